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

/** The issue whose live attempt has the workspace of this key, or is about to. */
export function userOf(state: State, key: string): Issue | null {
  for (const { issue, workspaceKey: entered } of state.running.values()) {
    if ((entered ?? keyOf(issue)) === key) return issue;
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
