import { basename, dirname, join } from "node:path";
import type { History } from "../store/store.ts";
import { readBaseline } from "./baseline.ts";
import { type KnownPlace, keyOfAside, knownPlaces } from "./known-places.ts";
import type { IssueName, Workspaces } from "./workspaces.ts";

interface Sources {
  readonly workspaces: Pick<Workspaces, "pathOf" | "root">;
  readonly history: Pick<History, "latestAttempt" | "workspacePlaceAt" | "workspacePlaces">;
}

interface Left {
  readonly path: string;
  readonly issue: IssueName;
  readonly isAside: boolean;
}

/**
 * The workspaces that no attempt is given any more, with their issues: those of an earlier root or identifier, and what was
 * set aside.
 */
export async function leftBehind({ workspaces, history }: Sources): Promise<readonly Left[]> {
  const left: Left[] = [];
  for (const place of await knownPlaces(workspaces.root(), history.workspacePlaces())) {
    const issue = await ownerOf(place, history);
    if (issue === null) continue;
    const { path, key } = place;
    const isAside = keyOfAside(key) !== null;
    if (isAside || path !== today(issue, workspaces)) left.push({ path, issue, isAside });
  }
  return left;
}

/** What was set aside has no record of its own, but what it was made with went along. */
async function ownerOf(
  { key, path, recorded }: KnownPlace,
  history: Sources["history"],
): Promise<IssueName | null> {
  if (recorded !== null) return { id: recorded.issueId, identifier: recorded.issueIdentifier };
  const base = keyOfAside(key);
  if (base === null) return null;
  const from = join(dirname(path), base);
  const id = (await readBaseline(path))?.issueId ?? history.workspacePlaceAt(from)?.issueId ?? null;
  if (id === null) return null;
  return { id, identifier: history.latestAttempt(id)?.issueIdentifier ?? basename(from) };
}

/** null for an identifier that no workspace can be made for. */
function today({ identifier }: IssueName, workspaces: Sources["workspaces"]): string | null {
  try {
    return workspaces.pathOf(identifier);
  } catch {
    return null;
  }
}
