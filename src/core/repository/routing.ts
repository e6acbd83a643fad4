import { createHash } from "node:crypto";
import {
  branchNames,
  isBranchName,
  type RepositoryConfig,
  type RepositoryMatch,
} from "../config/git.ts";
import { type Issue, normalState } from "../model/issue.ts";
import { workspaceKey } from "./key.ts";

export type Routed = Pick<Issue, "identifier" | "labels" | "state" | "branchName">;

/** The first repository that matches the issue; null when none does. */
export function repositoryFor(
  issue: Routed,
  repositories: readonly RepositoryConfig[],
): RepositoryConfig | null {
  return repositories.find(({ match }) => fits(issue, match)) ?? null;
}

/** The conditions of `match`, as text for a person. */
export function matchInWords({ labels, states, prefixes }: RepositoryMatch): string {
  const parts = [
    inWords("label", labels),
    inWords("state", states),
    inWords("prefix", prefixes),
  ].filter((part) => part !== null);
  return parts.length === 0 ? "every issue" : parts.join(" and ");
}

/**
 * The branch for the work on an issue: the first name of the template that is valid and is neither
 * `base` nor below it. The text of the issue decides nothing: the workspace's key replaces an
 * identifier that is not a safe name, and an unsafe branch name is left out.
 */
export function branchFor(
  { branchTemplate }: Pick<RepositoryConfig, "branchTemplate">,
  issue: Pick<Routed, "identifier" | "branchName">,
  base: string | null,
): string {
  const key = workspaceKey(issue.identifier);
  const words = { "issue.identifier": key, "issue.branch_name": safeBranchName(issue) };
  const hash = createHash("sha256").update(key).digest("hex").slice(0, 16);
  const names = [...branchNames(branchTemplate, words), `symphony/${key}`];
  return names.find((name) => isBranchName(name) && isApart(name, base)) ?? `symphony-${hash}`;
}

/**
 * The tracker's branch name if it is about this issue: work must not be put onto an arbitrary
 * branch that a text names.
 */
function safeBranchName({ branchName, identifier }: Pick<Routed, "identifier" | "branchName">) {
  if (branchName === null || !isBranchName(branchName)) return null;
  return branchName.toLowerCase().includes(identifier.toLowerCase()) ? branchName : null;
}

/**
 * Work is never put onto the branch that it starts from, and git cannot keep a branch below another
 * one.
 */
function isApart(name: string, base: string | null): boolean {
  if (base === null) return true;
  const [one, other] = [name.toLowerCase(), base.toLowerCase()];
  return one !== other && !one.startsWith(`${other}/`) && !other.startsWith(`${one}/`);
}

function fits(issue: Routed, { labels, states, prefixes }: RepositoryMatch): boolean {
  const { identifier } = issue;
  const prefix = identifier.slice(0, Math.max(identifier.lastIndexOf("-"), 0)).toLowerCase();
  return (
    (labels.length === 0 || issue.labels.some((label) => labels.includes(label))) &&
    (states.length === 0 || states.includes(normalState(issue.state))) &&
    (prefixes.length === 0 || prefixes.includes(prefix))
  );
}

function inWords(what: string, values: readonly string[]): string | null {
  return values.length === 0 ? null : `${what} ${values.join(" or ")}`;
}
