import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isWorkspaceKey } from "../repository/key.ts";
import type { WorkspacePlace } from "../store/store.ts";
import { isWorkspaceRoot } from "./place.ts";

/** A directory that is a workspace of symphony's. */
export interface KnownPlace {
  readonly key: string;
  readonly path: string;
  /** What the history has of it. */
  readonly recorded: WorkspacePlace | null;
}

const aside = /\.aside-\d+$/;

/** The key that was in the way, of one that was set aside; null for any other. */
export function keyOfAside(key: string): string | null {
  return aside.test(key) ? key.replace(aside, "") : null;
}

/**
 * Every workspace there is: what `root`, today's directory of workspaces as its real path, has by a key, and what attempts
 * are recorded to have worked in below an earlier root, with what was set aside there. By key; of one key today's is first.
 * null: which root is today's is not known.
 */
export async function knownPlaces(
  root: string | null,
  recorded: Iterable<WorkspacePlace>,
): Promise<readonly KnownPlace[]> {
  const byRoot = new Map<string, Map<string, WorkspacePlace>>();
  if (root !== null) byRoot.set(root, new Map());
  for (const place of recorded) {
    const parent = dirname(place.path);
    const keys = byRoot.get(parent) ?? new Map<string, WorkspacePlace>();
    byRoot.set(parent, keys.set(basename(place.path), place));
  }
  const places: KnownPlace[] = [];
  for (const [parent, known] of byRoot) {
    if (parent !== root && !(await isWorkspaceRoot(parent))) continue;
    for (const key of await keysIn(parent)) {
      // An earlier root may have been given to another project: what is not on record there is not ours.
      const isOurs = parent === root || known.has(key) || known.has(keyOfAside(key) ?? key);
      if (!isOurs) continue;
      places.push({ key, path: join(parent, key), recorded: known.get(key) ?? null });
    }
  }
  const rank = ({ path }: KnownPlace) => (dirname(path) === root ? 0 : 1);
  return places.sort(
    (a, b) => compare(a.key, b.key) || rank(a) - rank(b) || compare(a.path, b.path),
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Links and files are no workspaces, whatever their names are. */
async function keysIn(root: string): Promise<readonly string[]> {
  const entries = await readdir(root, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory() && isWorkspaceKey(entry.name))
    .map(({ name }) => name);
}
