import { z } from "zod";
import { positive, section, solidText, text, texts } from "./agents.ts";

const longestName = 200;

/** A commit's id in hex (SHA-1 or SHA-256); whatever else an agent wrote never reaches git. */
export const commitId = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** git's rules for a branch name (git-check-ref-format), as far as paths and output are concerned. */
export function isRefName(name: string): boolean {
  if (name.length > 255) return false;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it refuses control characters
  if (/[\x00-\x20\x7f~^:?*[\\]|\.\.|@\{|\/\/|\/$|\.$/.test(name)) return false;
  return name.split("/").every((part) => !part.startsWith(".") && !part.endsWith(".lock"));
}

/** Whether a branch name is safe on a command line: it is neither an option nor a path of refs. */
function isBaseName(name: string): boolean {
  if (name === "" || name === "@" || name === "HEAD" || commitId.test(name)) return false;
  return isRefName(name) && !/^(?:[-/]|refs\/)/.test(name);
}

/** Whether symphony may create a branch with this name: plain letters, and nothing special to a shell or to git. */
export function isBranchName(name: string): boolean {
  const plain = /^[A-Za-z0-9_][A-Za-z0-9_./+-]*$/.test(name);
  return plain && name.length <= longestName && isBaseName(name);
}

/** The repository of which an issue's workspace is a clone. */
export interface GitConfig {
  /** In the order of evaluation; empty: symphony clones nothing. */
  readonly repositories: readonly RepositoryConfig[];
  /** Limit for one clone with its checkout. */
  readonly timeoutMs: number;
}

export interface RepositoryConfig {
  readonly name: string;
  readonly address: GitAddress;
  readonly match: RepositoryMatch;
  /** null: the remote's default branch. */
  readonly baseBranch: string | null;
  readonly branchTemplate: string;
  /** Commits of history; null: all. */
  readonly depth: number | null;
  /** The directories whose files are checked out, next to those at the top; empty: all files. */
  readonly sparse: readonly string[];
  /** Contents of git LFS are fetched into each workspace, and pushed. */
  readonly lfs: boolean;
  /** Submodules are checked out. */
  readonly submodules: boolean;
  /** null: nothing is prepared. */
  readonly prepare: Prepare | null;
}

/** What is made once for all workspaces of a repository, with network, for example its dependencies. */
export interface Prepare {
  /** Shell lines of the operator, run one after the other at the top of the base's files. */
  readonly commands: readonly string[];
  /** The files that decide the result, such as lock files: a change of one makes it anew. */
  readonly files: readonly string[];
  /** The directories that the commands make and that every workspace gets, read-only. */
  readonly results: readonly string[];
  /** Limit for each command. */
  readonly timeoutMs: number;
}

/** Each list that is not empty must contain a value of the issue. All in lower case. */
export interface RepositoryMatch {
  readonly labels: readonly string[];
  readonly states: readonly string[];
  /** The part of identifiers before their last `-`. */
  readonly prefixes: readonly string[];
  /** Keys or names of the tracker's teams. */
  readonly teams: readonly string[];
  /** Short names (slugs) or names of the tracker's projects. */
  readonly projects: readonly string[];
}

/** The values for one alternative of a branch template; null: the issue has none. */
export interface BranchWords {
  readonly "issue.identifier": string;
  /** Words of the title; empty when it has none. */
  readonly "issue.slug": string;
  readonly "issue.branch_name": string | null;
}

const defaultTemplate = "symphony/{{ issue.identifier }}-{{ issue.slug }}";
const deepest = 1_000_000;
const maxRepositories = 200;

const name = text.regex(
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/,
  "must be letters, digits, . _ and -, at most 100",
);

const address = text.check((context) => {
  if (isLocalPath(context.value) && !/[\p{Cc}\\]/u.test(context.value)) return;
  const found = parseGitAddress(context.value);
  if (isGitAddress(found)) return;
  context.issues.push({ code: "custom", message: found.problem, input: "" });
});

const match = z.strictObject(
  {
    labels: texts.nullable().default(null),
    states: texts.nullable().default(null),
    prefixes: texts.nullable().default(null),
    teams: texts.nullable().default(null),
    projects: texts.nullable().default(null),
  },
  "must be a map of labels, states, prefixes, teams, projects and nothing else",
);

const template = solidText
  .refine((value) => value.length <= 500, "must not be longer than 500 characters")
  .refine(
    isTemplate,
    "must make branch names of {{ issue.identifier }}, {{ issue.slug }} and {{ issue.branch_name }}",
  );

const inTree = text.refine(
  (path) =>
    path.split("/").every((part) => part !== "" && part !== "." && part !== "..") &&
    !/^\.git(?:\/|$)/.test(path),
  "must be a path inside the repository, without . and ..",
);
const fewest = "must not be empty";

/** No character that is special in git's patterns, and no blank that they would lose. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it refuses control characters
const inCone = /^(?![!#\s])[^\x00-\x1f\x7f*?[\]\\]+(?<!\s)$/;
const notGit = /(?:^|\/)(?:\.git|git~\d)(?:$|\/)/i;
const sparse = z
  .array(
    inTree.refine(
      (path) => path.length <= 1_000 && inCone.test(path) && !notGit.test(path),
      "must be the name of a directory, without patterns",
    ),
    "must be a list",
  )
  .min(1, fewest)
  .max(200);

const prepare = z.strictObject(
  {
    commands: z.array(solidText, "must be a list").min(1, fewest).max(20),
    files: z.array(inTree, "must be a list").min(1, fewest).max(100),
    results: z.array(inTree, "must be a list").min(1, fewest).max(20),
    timeout_ms: positive.default(1_800_000),
  },
  "must be a map of commands, files, results, timeout_ms and nothing else",
);

const repository = z
  .strictObject(
    {
      name,
      url: address,
      match: match.nullable().default(null),
      base_branch: text.refine(isBaseName, "must be the name of a branch").nullable().default(null),
      branch_template: template.nullable().default(null),
      depth: positive.max(deepest, `must not be greater than ${deepest}`).nullable().default(null),
      sparse: sparse.nullable().default(null),
      lfs: z.boolean("must be true or false").default(false),
      submodules: z.boolean("must be true or false").default(false),
      prepare: prepare.nullable().default(null),
    },
    "must be a map of name, url, match, base_branch, branch_template, depth, sparse, lfs, submodules, prepare and nothing else",
  )
  .refine(({ sparse, prepare }) => (prepare?.results ?? []).every((one) => isIn(sparse, one)), {
    path: ["prepare", "results"],
    error: "must be at the top or in the directories of sparse",
  });

/** Whether the directory above `path` is one that a workspace with these directories has. */
function isIn(dirs: readonly string[] | null, path: string): boolean {
  const above = path.slice(0, Math.max(path.lastIndexOf("/"), 0));
  if (dirs === null || above === "") return true;
  return dirs.some((dir) => `${above}/`.startsWith(`${dir}/`) || dir.startsWith(`${above}/`));
}

/** The repositories that symphony itself clones. */
export const gitSection = section({
  repositories: z
    .array(repository, "must be a list")
    .max(maxRepositories, `must not hold more than ${maxRepositories}`)
    .refine(haveOwnNames, "must each have a different name")
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
          teams: lowered(one.match?.teams),
          projects: lowered(one.match?.projects),
        },
        baseBranch: one.base_branch,
        branchTemplate: one.branch_template ?? defaultTemplate,
        depth: one.depth,
        sparse: one.sparse ?? [],
        lfs: one.lfs,
        submodules: one.submodules,
        prepare: preparedBy(one.prepare),
      };
    }),
  };
}

function preparedBy(written: z.output<typeof prepare> | null): Prepare | null {
  if (written === null) return null;
  const { commands, files, results, timeout_ms: timeoutMs } = written;
  return { commands, files, results, timeoutMs };
}

/** Names of the secrets and variables that hold a repository's credential: agents and hooks never get them. */
export function gitSecretNames({ repositories }: GitConfig): string[] {
  return repositories.flatMap(({ address: { login } }) => (login === null ? [] : [login.secret]));
}

/**
 * The branch names of a template, in order of preference. Values are inserted unchanged and nothing is evaluated;
 * an alternative that needs a value the issue does not have is omitted. An empty slug is omitted with the `-` next to it.
 */
export function branchNames(template: string, words: BranchWords): string[] {
  return template.split(" or ").flatMap((alternative) => {
    const written = words["issue.slug"] === "" ? withoutSlug(alternative) : alternative;
    const parts = written.trim().split(variable);
    const filled = parts.map((part) => (isWord(part) ? words[part] || null : part));
    return filled.includes(null) ? [] : [filled.join("")];
  });
}

const variable = /\{\{\s*(issue\.identifier|issue\.slug|issue\.branch_name)\s*\}\}/;

function withoutSlug(alternative: string): string {
  return alternative.replace(/-\{\{\s*issue\.slug\s*\}\}|\{\{\s*issue\.slug\s*\}\}-/g, "");
}

function isWord(part: string): part is keyof BranchWords {
  return part === "issue.identifier" || part === "issue.slug" || part === "issue.branch_name";
}

function isTemplate(value: string): boolean {
  const sample = {
    "issue.identifier": "ENG-1",
    "issue.slug": "login-fails",
    "issue.branch_name": "ada/eng-1",
  };
  return branchNames(value, sample).every(isBranchName);
}

function haveOwnNames(all: readonly { readonly name: string }[]): boolean {
  return new Set(all.map((one) => one.name.toLowerCase())).size === all.length;
}

function lowered(values: readonly string[] | null | undefined): string[] {
  return (values ?? []).map((value) => value.trim().toLowerCase());
}

/** The address of a repository, separate from its credential. */
export interface GitAddress {
  /** The only transport that git may use for it. */
  readonly protocol: "https" | "http" | "ssh" | "file";
  /** The address that git gets and the clone remembers: it holds no credential. */
  readonly address: string;
  readonly login: GitLogin | null;
}

export interface GitLogin {
  readonly user: string;
  /** Name of the secret or variable that holds the password. */
  readonly secret: string;
  /** Scheme and host it is for; it is sent to no other host. */
  readonly site: string;
}

/** Why an address cannot be used; it never quotes the address, which may hold a credential. */
interface Refused {
  readonly problem: string;
}

const longest = 2_000;
const reference = /^\$([A-Za-z_][A-Za-z0-9_]*)$/;
const loginName = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;
const likeScp =
  /^(?:([A-Za-z0-9_][A-Za-z0-9._-]*)@)?[A-Za-z0-9][A-Za-z0-9.-]*:[A-Za-z0-9_~./][^:]*$/;
const thisMachine: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);
/** The user name for a token when the address has none. */
const tokenUser = "x-access-token";

const forms: Refused = {
  problem:
    "must be https://host/path, ssh://host/path, user@host:path or a path that begins with /, ./, ../ or ~/",
};

/** Whether a workflow file's address is a path: absolute, relative to that file, or below the home. */
export function isLocalPath(written: string): boolean {
  return /^(?:\/|~(?:\/|$)|\.\.?(?:\/|$))/.test(written);
}

/** Parses `https://…`, `ssh://…`, `user@host:path`, an absolute path or `file:///…`, and `http://` on this machine. */
export function parseGitAddress(written: string): GitAddress | Refused {
  if (written.length > longest || /[\s\p{Cc}\\]/u.test(written)) {
    return { problem: "must not hold blanks, control characters or backslashes" };
  }
  if (written.startsWith("/")) return { protocol: "file", address: written, login: null };
  const url = written.includes("://") ? URL.parse(written) : null;
  if (url === null) {
    return likeScp.test(written) ? { protocol: "ssh", address: written, login: null } : forms;
  }
  if (url.search !== "" || url.hash !== "") return { problem: "must not hold ? or #" };
  switch (url.protocol) {
    case "https:":
      return overHttp(url, "https");
    case "http:":
      return thisMachine.has(url.hostname)
        ? overHttp(url, "http")
        : { problem: "must be https: http is for this machine only" };
    case "ssh:":
      return overSsh(url);
    case "file:":
      return url.host === "" ? { protocol: "file", address: url.href, login: null } : forms;
    default:
      return forms;
  }
}

/** Whether the address can be used. */
export function isGitAddress(found: GitAddress | Refused): found is GitAddress {
  return "protocol" in found;
}

function overHttp(url: URL, protocol: "https" | "http"): GitAddress | Refused {
  const site = `${url.protocol}//${url.host}`;
  const address = `${site}${url.pathname}`;
  const user = decoded(url.username);
  const password = decoded(url.password);
  if (user === "" && password === "") return { protocol, address, login: null };
  const secret = reference.exec(password === "" ? user : password)?.[1];
  const name = password === "" ? tokenUser : user;
  if (secret === undefined || !loginName.test(name)) {
    return {
      problem: "must name its credential, as in https://$TOKEN@host/path or https://user:$TOKEN@…",
    };
  }
  return { protocol, address, login: { user: name, secret, site } };
}

function overSsh(url: URL): GitAddress | Refused {
  if (url.password !== "") return { problem: "must not hold a password: ssh uses keys" };
  const isSound = /^[A-Za-z0-9[]/.test(url.host) && url.pathname.length > 1;
  if (!isSound || (url.username !== "" && !loginName.test(url.username))) return forms;
  const user = url.username === "" ? "" : `${url.username}@`;
  const address = `ssh://${user}${url.host}${url.pathname}`;
  return { protocol: "ssh", address, login: null };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
