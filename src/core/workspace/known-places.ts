import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isWorkspaceKey } from "../repository/key.ts";
import type { WorkspacePlace } from "../store/store.ts";
import { isWorkspaceRoot } from "./place.ts";

/** A directory that is one of symphony's workspaces. */
export interface KnownPlace {
  readonly key: string;
  readonly path: string;
  /** The record in the history. */
  readonly recorded: WorkspacePlace | null;
}

const aside = /\.aside-\d+$/;

/** The original key of a directory that was set aside; null for any other key. */
export function keyOfAside(key: string): string | null {
  return aside.test(key) ? key.replace(aside, "") : null;
}

/**
 * All workspaces: the directories with a key in `root`, the current directory of workspaces as its
 * real path; and the recorded workspaces of attempts below an earlier root, with what was set aside
 * there. Sorted by key; of equal keys the current one is first. null: the current root is not
 * known.
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
      // An earlier root may now belong to another project: a directory without a record is not
      // symphony's.
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

/** Links and files are not workspaces, whatever their names. */
async function keysIn(root: string): Promise<readonly string[]> {
  const entries = await readdir(root, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory() && isWorkspaceKey(entry.name))
    .map(({ name }) => name);
}
