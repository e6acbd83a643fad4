import { z } from "zod";
import { isBaseName, isBranchName } from "../workspace/branch-name.ts";
import { positive, section, solidText, text, texts } from "./fields.ts";
import { type GitAddress, isGitAddress, parseGitAddress } from "./git-address.ts";

/** Which repository an issue's workspace is a clone of. */
export interface GitConfig {
  /** In the order they are tried; empty: symphony clones nothing. */
  readonly repositories: readonly RepositoryConfig[];
  /** For one clone with its checkout. */
  readonly timeoutMs: number;
}

export interface RepositoryConfig {
  readonly name: string;
  readonly address: GitAddress;
  readonly match: RepositoryMatch;
  /** null: the remote's default branch. */
  readonly baseBranch: string | null;
  readonly branchTemplate: string;
  /** Commits of history; null for all. */
  readonly depth: number | null;
}

/** Each list that is not empty must hold something of the issue. All in lower case. */
export interface RepositoryMatch {
  readonly labels: readonly string[];
  readonly states: readonly string[];
  /** What identifiers begin with before their last `-`. */
  readonly prefixes: readonly string[];
}

/** What one alternative of a branch template is filled with; null: the issue has none. */
export interface BranchWords {
  readonly "issue.identifier": string;
  readonly "issue.branch_name": string | null;
}

const usualTemplate = "{{ issue.branch_name }} or symphony/{{ issue.identifier }}";
const deepest = 1_000_000;
const mostRepositories = 200;

const name = text.regex(
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/,
  "must be letters, digits, . _ and -, at most 100",
);

const address = text.check((context) => {
  const found = parseGitAddress(context.value);
  if (isGitAddress(found)) return;
  context.issues.push({ code: "custom", message: found.problem, input: "" });
});

const match = z.strictObject(
  {
    labels: texts.nullable().default(null),
    states: texts.nullable().default(null),
    prefixes: texts.nullable().default(null),
  },
  "must be a map of labels, states, prefixes and nothing else",
);

const template = solidText
  .refine((value) => value.length <= 500, "must not be longer than 500 characters")
  .refine(
    isTemplate,
    "must make branch names of {{ issue.identifier }} and {{ issue.branch_name }}",
  );

const repository = z.strictObject(
  {
    name,
    url: address,
    match: match.nullable().default(null),
    base_branch: text.refine(isBaseName, "must be the name of a branch").nullable().default(null),
    branch_template: template.nullable().default(null),
    depth: positive.max(deepest, `must not be over ${deepest}`).nullable().default(null),
  },
  "must be a map of name, url, match, base_branch, branch_template, depth and nothing else",
);

/** The repositories that symphony clones by itself. */
export const gitSection = section({
  repositories: z
    .array(repository, "must be a list")
    .max(mostRepositories, `must not hold more than ${mostRepositories}`)
    .refine(haveOwnNames, "must each have a name of their own")
    .default([]),
  timeout_ms: positive.default(600_000),
});

export function gitConfigOf(written: z.output<typeof gitSection>): GitConfig {
  return {
    timeoutMs: written.timeout_ms,
    repositories: written.repositories.flatMap((one) => {
      const found = parseGitAddress(one.url);
      if (!isGitAddress(found)) return [];
      return {
        name: one.name,
        address: found,
        match: {
          labels: lowered(one.match?.labels),
          states: lowered(one.match?.states),
          prefixes: lowered(one.match?.prefixes),
        },
        baseBranch: one.base_branch,
        branchTemplate: one.branch_template ?? usualTemplate,
        depth: one.depth,
      };
    }),
  };
}

/** Names of the secrets and variables that hold a repository's credential: agents and hooks never get them. */
export function gitSecretNames({ repositories }: GitConfig): string[] {
  return repositories.flatMap(({ address: { login } }) => (login === null ? [] : [login.secret]));
}

/**
 * The branch names a template stands for, the one to prefer first. Values are put in as they are and nothing is evaluated;
 * what needs a value that the issue has not is left out.
 */
export function branchNames(template: string, words: BranchWords): string[] {
  return template.split(" or ").flatMap((alternative) => {
    const parts = alternative.trim().split(/\{\{\s*(issue\.identifier|issue\.branch_name)\s*\}\}/);
    const filled = parts.map((part) => (isWord(part) ? words[part] : part));
    return filled.includes(null) ? [] : [filled.join("")];
  });
}

function isWord(part: string): part is keyof BranchWords {
  return part === "issue.identifier" || part === "issue.branch_name";
}

function isTemplate(value: string): boolean {
  const sample = { "issue.identifier": "ENG-1", "issue.branch_name": "ada/eng-1" };
  return branchNames(value, sample).every(isBranchName);
}

function haveOwnNames(all: readonly { readonly name: string }[]): boolean {
  return new Set(all.map((one) => one.name.toLowerCase())).size === all.length;
}

function lowered(values: readonly string[] | null | undefined): string[] {
  return (values ?? []).map((value) => value.trim().toLowerCase());
}
