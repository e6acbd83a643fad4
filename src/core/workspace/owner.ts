import { basename } from "node:path";
import type { Issue } from "../model/issue.ts";
import type { State } from "../orchestrator/state.ts";
import { workspaceKey } from "./key.ts";

/** Whose workspace it is; `issue` only where memory has it. */
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
  const claimed = [state.running, state.retrying, state.blocked, state.held, state.failed];
  for (const map of claimed) for (const { issue } of map.values()) add(issue);
  for (const issue of state.candidates) add(issue);
  for (const { issue } of state.completed.values()) add(issue);
  for (const { issue } of state.dismissed.values()) add(issue);
  return owners;
}

/** Whether a live attempt has entered the directory at `path`. */
export function isAtWork({ running }: State, path: string): boolean {
  return [...running.values()].some(({ workspacePath }) => workspacePath === path);
}

/**
 * The issue whose live attempt has the directory at `path`, or is about to: `today` says where a new one would be. Left out,
 * an attempt without a directory counts as the user of every one that has its key.
 */
export function userOf(
  state: State,
  path: string,
  today?: (identifier: string) => string,
): Issue | null {
  for (const { issue, workspacePath } of state.running.values()) {
    if (workspacePath === path) return issue;
    if (workspacePath !== null || keyOf(issue) !== basename(path)) continue;
    if (today === undefined || today(issue.identifier) === path) return issue;
  }
  return null;
}

/** null for an identifier that no workspace can be made for. */
function keyOf({ identifier }: Issue): string | null {
  try {
    return workspaceKey(identifier);
  } catch {
    return null;
  }
}
