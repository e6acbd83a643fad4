import { basename } from "node:path";
import type { Issue } from "../model/issue.ts";
import type { State } from "../orchestrator/state.ts";
import { workspaceKey } from "../repository/key.ts";
import type { History } from "../store/store.ts";

/** The issue of a workspace; `issue` only if it is in memory. */
export interface KnownIssue {
  readonly id: string;
  readonly identifier: string;
  readonly issue: Issue | null;
}

/** Every issue in memory by the key of its workspace. */
export function ownersOf(state: State): ReadonlyMap<string, KnownIssue> {
  const owners = new Map<string, KnownIssue>();
  const add = (issue: Issue) => {
    const key = keyOf(issue);
    if (key === null || owners.has(key)) return;
    owners.set(key, { id: issue.id, identifier: issue.identifier, issue });
  };
  for (const { claim, issue } of state.issues.values()) {
    if (claim !== "free" && claim !== "completed") add(issue);
  }
  for (const issue of state.candidates) add(issue);
  for (const { issue } of state.issues.of("completed").values()) add(issue);
  return owners;
}

/**
 * The directories that attempts of the issue used, the newest first, without those that another
 * issue has used since.
 */
export function recordedPlaces(
  history: Pick<History, "latestAttempt" | "workspacePlaceAt" | "workspacePlacesOf">,
  issueId: string,
): readonly string[] {
  const all = [...history.workspacePlacesOf(issueId)].map(({ path }) => path).reverse();
  const latest = history.latestAttempt(issueId)?.workspacePath ?? null;
  const isOwn = latest !== null && history.workspacePlaceAt(latest)?.issueId === issueId;
  return isOwn ? [latest, ...all] : all;
}

/** Whether a live attempt has entered the directory at `path`, or a person works in it. */
export function isAtWork({ issues }: State, path: string): boolean {
  if (attachedAt({ issues }, path) !== null) return true;
  return [...issues.of("running").values()].some(({ workspacePath }) => workspacePath === path);
}

/** The issue in whose workspace at `path` a person works. */
export function attachedAt({ issues }: Pick<State, "issues">, path: string): Issue | null {
  for (const { issue, attached } of issues.of("held").values()) {
    if (attached?.path === path) return issue;
  }
  return null;
}

/**
 * The issue whose live attempt uses the directory at `path`, or is about to: `today` returns where
 * a new workspace would be. Without `today`, an attempt without a directory counts as the user of
 * every directory with its key. A person who works in a workspace uses it like an attempt.
 */
export function userOf(state: State, path: string, today?: (issue: Issue) => string): Issue | null {
  for (const { issue, workspacePath } of state.issues.of("running").values()) {
    if (workspacePath === path) return issue;
    if (workspacePath !== null || keyOf(issue) === null) continue;
    const isMeant = today ? today(issue) === path : keyOf(issue) === basename(path);
    if (isMeant) return issue;
  }
  return attachedAt(state, path);
}

/** null for an identifier that cannot name a workspace. */
function keyOf({ identifier }: Issue): string | null {
  try {
    return workspaceKey(identifier);
  } catch {
    return null;
  }
}
