import { createHash } from "node:crypto";
import {
  branchNames,
  isBranchName,
  type RepositoryConfig,
  type RepositoryMatch,
} from "../config/git.ts";
import { type Issue, normalState } from "../model/issue.ts";
import { workspaceKey } from "./key.ts";

export type Routed = Pick<Issue, "identifier" | "title" | "labels" | "state" | "branchName"> &
  Partial<Pick<Issue, "team" | "project">>;

const maxSlugChars = 40;
const maxNumber = 1_000;

/** The first repository that matches the issue; null when none does. */
export function repositoryFor(
  issue: Routed,
  repositories: readonly RepositoryConfig[],
): RepositoryConfig | null {
  return repositories.find(({ match }) => fits(issue, match)) ?? null;
}

/** The repository of that name; null: no name, or it is configured no longer. */
export function repositoryNamed(
  wanted: string | null | undefined,
  repositories: readonly RepositoryConfig[],
): RepositoryConfig | null {
  return repositories.find(({ name }) => name === wanted) ?? null;
}

/** The repository that the work on an issue was begun with; before that, the one that matches. */
export function repositoryOfWork(
  issue: Routed,
  known: { readonly repository: string | null } | null,
  repositories: readonly RepositoryConfig[],
): RepositoryConfig | null {
  return known === null || known.repository === null
    ? repositoryFor(issue, repositories)
    : repositoryNamed(known.repository, repositories);
}

/** The conditions of `match`, as text for a person. */
export function matchInWords({
  labels,
  states,
  prefixes,
  teams,
  projects,
}: RepositoryMatch): string {
  const parts = [
    inWords("label", labels),
    inWords("state", states),
    inWords("prefix", prefixes),
    inWords("team", teams),
    inWords("project", projects),
  ].filter((part) => part !== null);
  return parts.length === 0 ? "every issue" : parts.join(" and ");
}

/**
 * The wanted branch for the work on an issue: the first name of the template that is valid and is
 * neither `base` nor below it. The workspace's key replaces an identifier that is not a safe name,
 * an unsafe branch name is left out, and a title is reduced to plain words. The forge shows it: `issue` is a `nameable` one.
 */
export function branchFor(
  { branchTemplate }: Pick<RepositoryConfig, "branchTemplate">,
  issue: Pick<Routed, "identifier" | "title" | "branchName">,
  base: string | null,
): string {
  const key = workspaceKey(issue.identifier);
  const words = {
    "issue.identifier": key,
    "issue.slug": slugOf(issue.title),
    "issue.branch_name": safeBranchName(issue),
  };
  const names = [...branchNames(branchTemplate, words), `symphony/${key}`];
  const found = names.find((name) => isBranchName(name) && isApart(name, base));
  return found ?? `symphony-${shortHash(key)}`;
}

/** `issue` as a branch may be named after it: a title without secrets, and no branch name that was made of another title. */
export function nameable<T extends Pick<Routed, "title" | "branchName">>(
  issue: T,
  redact: (text: string) => string,
): T {
  const title = redact(issue.title);
  const name = issue.branchName;
  const isClean = title === issue.title && (name === null || redact(name) === name);
  return { ...issue, title, branchName: isClean ? name : null };
}

/**
 * The first words of a title as part of a branch name: lower-case ASCII letters and digits, joined
 * by `-`, at most 40 characters. Empty when the title has no such word.
 */
export function slugOf(title: string): string {
  const plain = title.normalize("NFKD").replaceAll(/\p{M}/gu, "").toLowerCase();
  let slug = "";
  for (const word of plain.match(/[a-z0-9]+/g) ?? []) {
    const longer = slug === "" ? word.slice(0, maxSlugChars) : `${slug}-${word}`;
    if (longer.length > maxSlugChars) break;
    slug = longer;
  }
  return slug;
}

/**
 * `wanted`, or another name when git or a file system that ignores case could not keep it next to
 * the `taken` ones. With a taken branch `symphony`, for example, no branch can be below it.
 */
export function freeBranch(wanted: string, taken: Iterable<string>): string {
  const all = [...taken];
  const isFree = (name: string) => isBranchName(name) && all.every((one) => isApart(name, one));
  for (const name of [wanted, wanted.replaceAll("/", "-")]) {
    for (let number = 1; number <= maxNumber; number++) {
      const next = number === 1 ? name : `${name}-${number}`;
      if (isFree(next)) return next;
      // A number at the end changes nothing about a branch in the way of the directory.
      if (all.some((one) => isBelow(next, one))) break;
    }
  }
  return `symphony-${shortHash([wanted, ...all].join("\n"))}`;
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
function isApart(name: string, other: string | null): boolean {
  if (other === null) return true;
  const isSame = name.toLowerCase() === other.toLowerCase();
  return !isSame && !isBelow(name, other) && !isBelow(other, name);
}

function isBelow(name: string, other: string): boolean {
  return name.toLowerCase().startsWith(`${other.toLowerCase()}/`);
}

function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

function fits(issue: Routed, match: RepositoryMatch): boolean {
  const { labels, states, prefixes, teams, projects } = match;
  const { identifier } = issue;
  const prefix = identifier.slice(0, Math.max(identifier.lastIndexOf("-"), 0)).toLowerCase();
  return (
    (labels.length === 0 || issue.labels.some((label) => labels.includes(label))) &&
    (states.length === 0 || states.includes(normalState(issue.state))) &&
    (prefixes.length === 0 || prefixes.includes(prefix)) &&
    isNamed(teams, issue.team?.key, issue.team?.name) &&
    isNamed(projects, issue.project?.slug, issue.project?.name)
  );
}

/** Whether `wanted` is empty or has one of the names, in any case. */
function isNamed(wanted: readonly string[], ...names: (string | null | undefined)[]): boolean {
  const known = names.map((name) => name?.trim().toLowerCase());
  return wanted.length === 0 || wanted.some((one) => known.includes(one));
}

function inWords(what: string, values: readonly string[]): string | null {
  return values.length === 0 ? null : `${what} ${values.join(" or ")}`;
}
