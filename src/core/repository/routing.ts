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

/** The first repository that the issue fits; null where it fits none. */
export function repositoryFor(
  issue: Routed,
  repositories: readonly RepositoryConfig[],
): RepositoryConfig | null {
  return repositories.find(({ match }) => fits(issue, match)) ?? null;
}

/** What `match` asks for, for people. */
export function matchInWords({ labels, states, prefixes }: RepositoryMatch): string {
  const parts = [
    inWords("label", labels),
    inWords("state", states),
    inWords("prefix", prefixes),
  ].filter((part) => part !== null);
  return parts.length === 0 ? "every issue" : parts.join(" and ");
}

/**
 * The branch for the work on an issue: the first of the template's names that is sound and is not `base`, nor below it. The
 * text of the issue decides nothing: of a strange identifier the workspace's key is taken, a strange branch name is left out.
 */
export function branchFor(
  { branchTemplate }: Pick<RepositoryConfig, "branchTemplate">,
  issue: Pick<Routed, "identifier" | "branchName">,
  base: string | null,
): string {
  const key = workspaceKey(issue.identifier);
  const words = { "issue.identifier": key, "issue.branch_name": soundName(issue) };
  const hash = createHash("sha256").update(key).digest("hex").slice(0, 16);
  const names = [...branchNames(branchTemplate, words), `symphony/${key}`];
  return names.find((name) => isBranchName(name) && isApart(name, base)) ?? `symphony-${hash}`;
}

/** The tracker's name for the branch if it is about this issue: work must not go onto whatever branch a text names. */
function soundName({ branchName, identifier }: Pick<Routed, "identifier" | "branchName">) {
  if (branchName === null || !isBranchName(branchName)) return null;
  return branchName.toLowerCase().includes(identifier.toLowerCase()) ? branchName : null;
}

/** Work never goes onto the branch it starts from; and git can keep no branch below another one. */
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
