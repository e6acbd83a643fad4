import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import { commitId, type GitAddress, isBranchName, isRefName } from "../config/git.ts";
import { SymphonyError } from "../model/errors.ts";
import { oneLine } from "../text/text.ts";
import { borrowsOf } from "./checkout.ts";
import { type Credential, isPassword, remoteEnvironment } from "./credential.ts";
import { GitFailure, type GitResult, openOwnDir, runGit } from "./git.ts";
import { repositoryAt } from "./refs.ts";

/** How to reach a remote. */
export interface RemoteOrder {
  readonly address: GitAddress;
  /** null: the remote asks for none, or ssh has a key. */
  readonly credential: Credential | null;
  /** The server's environment; git gets a part of it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The cookie of the processes. */
  readonly runId: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Measures `timeoutMs`; the machine's clock if omitted. */
  readonly clock?: Clock;
}

/** The branches of a remote, by name. */
export interface RemoteRefs {
  readonly heads: ReadonlyMap<string, string>;
  /** The default branch; null when the remote names none. */
  readonly head: string | null;
}

export interface PushOrder extends RemoteOrder {
  /** The mirrors that the workspace borrows from (`Workspaces.borrowedBy`). */
  readonly borrowed: readonly string[];
  /** The workspace that has the commit. */
  readonly path: string;
  readonly commit: string;
  readonly branch: string;
  /** The commit that the remote branch must have, such as the last push; null: it must not exist. */
  readonly expected: string | null;
}

/** Why a remote refuses; `permission` includes a repository that the credential cannot see. */
export type RefusalCategory =
  | "permission"
  | "protected"
  | "rule"
  | "file_size"
  | "workflow_scope"
  | "not_found"
  /** The repository has another address now. */
  | "redirected"
  | "network"
  | "other";

export interface Refusal {
  readonly category: RefusalCategory;
  /** Repeating the same request cannot succeed. */
  readonly final: boolean;
  /** One line in the words of git or of the forge, without the credential. */
  readonly reason: string;
}

export type PushResult =
  | { readonly outcome: "pushed" }
  /** The remote branch has the commit: an earlier push whose answer was lost, for example. */
  | { readonly outcome: "already_there" }
  /** The remote branch is not at `expected`: another party wrote to it, or removed it (null). */
  | { readonly outcome: "moved"; readonly found: string | null }
  | ({ readonly outcome: "refused" } & Refusal);

/** A remote that could not be read. */
export class RemoteFailure extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.reason);
    this.name = "RemoteFailure";
    this.refusal = refusal;
  }
}

const maxListBytes = 64 * 1024 * 1024;
const maxReasonChars = 300;
const maxLines = 500;
/** A body that git streams cannot be sent again to where the site redirects it: it is kept in memory as a whole then. */
const wholeBody = ["-c", `http.postBuffer=${512 * 1024 * 1024}`];
const redirected =
  /\bHTTP 30[1278]\b|returned error: 30[1278]\b|redirects followed|disabled in libcurl|unable to rewind rpc post data/i;

/**
 * The branches that the remote has now. Rejects with `RemoteFailure`, `git_not_found` or the
 * signal's reason.
 */
export async function readRemote(order: RemoteOrder): Promise<RemoteRefs> {
  return readRefs(order, "refs/heads/*");
}

/**
 * Pushes one commit of a workspace to a branch, if the remote branch is still at `expected`, or
 * at a commit between that and the pushed one. Git
 * runs in a directory of symphony's own: the configuration and hooks of the workspace are not read,
 * and the credential is in no argument and no file. Rejects with `git_not_found`, the signal's
 * reason, or when the workspace has no readable repository.
 */
export async function pushCommit(order: PushOrder): Promise<PushResult> {
  const { path, commit, branch, expected } = order;
  const isSound = [commit, expected ?? commit].every((id) => commitId.test(id));
  if (!isSound || !isBranchName(branch)) throw invalid(`${commit} cannot be pushed to ${branch}`);
  const repository = await repositoryAt(path);
  if (repository === null) throw invalid(`there is no repository in ${path}`);
  await requireOwnObjects(repository.store, order.borrowed);
  await using own = await openOwnDir(repository.gitDir, commit);
  return await pushFrom(own.dir, order, expected);
}

async function pushFrom(
  dir: string,
  order: PushOrder,
  expected: string | null,
): Promise<PushResult> {
  const { commit, branch } = order;
  const ref = `refs/heads/${branch}`;
  const flags = ["--porcelain", "--no-verify", "--no-signed", "--no-follow-tags"];
  const lease = `--force-with-lease=${ref}:${expected ?? ""}`;
  const what = ["--", order.address.address, `${commit}:${ref}`];
  const push = ["push", ...flags, lease, ...what];
  const first = await call(order, dir, push);
  const isRedirected = first.lines.some((line) => redirected.test(line));
  const answer = isRedirected ? await call(order, dir, [...wholeBody, ...push]) : first;
  const [sign, summary] = lineOf(answer.stdout, ref);
  if (answer.status === 0) return { outcome: sign === "=" ? "already_there" : "pushed" };
  // The remote may have the commit although its answer was lost.
  const now = await commitThere(order, branch);
  if (now.known && now.commit === commit) return { outcome: "already_there" };
  if (now.known && now.commit !== expected) {
    const isOn = await brings(dir, order, { theirs: now.commit, expected });
    return isOn ? pushFrom(dir, order, now.commit) : { outcome: "moved", found: now.commit };
  }
  const refusal = refusalIn(answer.lines, summary, order.credential);
  const inTheWay = refusal.category === "other" ? await branchInTheWay(order, branch) : null;
  if (inTheWay === null) return { outcome: "refused", ...refusal };
  const reason = `the remote has a branch ${inTheWay}, and git allows no ${branch} next to it: rename or delete it there`;
  return { outcome: "refused", category: "other", final: false, reason };
}

/** The branch of the remote whose name is the beginning of this one, by whole parts, or begins with it; null: none is known. */
async function branchInTheWay(order: RemoteOrder, branch: string): Promise<string | null> {
  const refs = await readRemote(order).catch(() => null);
  const names = [...(refs?.heads.keys() ?? [])];
  return (
    names.find((name) => branch.startsWith(`${name}/`) || name.startsWith(`${branch}/`)) ?? null
  );
}

/**
 * Whether the remote would take a branch of that name, by a dry run with an empty commit: nothing is written there. Returns
 * the refusal; null: it would. Rejects with `git_not_found` or the signal's reason.
 */
export async function tryPush(order: RemoteOrder, branch: string): Promise<Refusal | null> {
  if (!isBranchName(branch)) throw invalid(`${branch} is not a name of a branch`);
  await using own = await openOwnDir(null, null);
  const made = async (args: readonly string[]) => (await call(order, own.dir, args)).stdout.trim();
  const tree = await made(["hash-object", "-t", "tree", "-w", "/dev/null"]);
  const author = ["-c", "user.name=symphony", "-c", "user.email=symphony@localhost"];
  const commit = await made([...author, "commit-tree", "-m", "dry run", tree]);
  if (!commitId.test(commit)) throw invalid("git made no commit for the dry run");
  const ref = `refs/heads/${branch}`;
  const flags = ["--dry-run", "--porcelain", "--no-verify", "--no-signed"];
  const what = ["--", order.address.address, `${commit}:${ref}`];
  const answer = await call(order, own.dir, ["push", ...flags, ...what]);
  if (answer.status === 0) return null;
  return refusalIn(answer.lines, lineOf(answer.stdout, ref)[1], order.credential);
}

/**
 * Whether the commit contains what another party wrote to the branch, so that nothing is overwritten. A branch that was only set
 * back to an earlier commit brings nothing: a push would undo that. False also when the workspace lacks one of them.
 */
async function brings(
  dir: string,
  order: PushOrder,
  { theirs, expected }: { readonly theirs: string | null; readonly expected: string | null },
): Promise<boolean> {
  if (theirs === null || expected === null) return false;
  const contains = async (commit: string) =>
    (await call(order, dir, ["merge-base", "--is-ancestor", theirs, commit])).status === 0;
  return (await contains(order.commit)) && !(await contains(expected));
}

/**
 * An agent that may write `.git` could make it borrow the objects of another repository, and then a
 * push would send these. Throws `internal_error`.
 */
export async function requireOwnObjects(
  store: string,
  borrowed: readonly string[],
  mayLink = false,
): Promise<void> {
  const objects = join(store, "objects");
  const known = borrowed.map((mirror) => join(mirror, "objects"));
  const isForeign = (await borrowsOf(store)).some((line) => !known.includes(line));
  if (isForeign) throw invalid(`${store} borrows objects of another repository`);
  if (mayLink) return;
  for (const dir of [store, objects, join(objects, "info"), join(objects, "pack")]) {
    const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
    const link = entries.find((entry) => entry.isSymbolicLink() && dir !== store);
    const isLinked = entries.some((entry) => entry.name === "objects" && !entry.isDirectory());
    if (link || (dir === store && isLinked)) {
      throw invalid(`${store} has objects outside of the workspace`);
    }
  }
}

async function commitThere(
  order: PushOrder,
  branch: string,
): Promise<{ readonly known: boolean; readonly commit: string | null }> {
  try {
    const { heads } = await readRefs(order, `refs/heads/${branch}`);
    return { known: true, commit: heads.get(branch) ?? null };
  } catch (error) {
    if (!(error instanceof RemoteFailure)) throw error;
    return { known: false, commit: null };
  }
}

async function readRefs(order: RemoteOrder, pattern: string): Promise<RemoteRefs> {
  await using own = await openOwnDir(null, null);
  const args = ["ls-remote", "--symref", "--", order.address.address, "HEAD", pattern];
  const { status, stdout, lines } = await call(order, own.dir, args);
  if (status !== 0) throw new RemoteFailure(refusalIn(lines, null, order.credential));
  if (stdout.length >= maxListBytes) {
    const reason = "the remote has too many branches to read";
    throw new RemoteFailure({ category: "other", final: true, reason });
  }
  const heads = new Map<string, string>();
  let head: string | null = null;
  for (const line of stdout.split("\n")) {
    const [value = "", name = ""] = line.split("\t");
    const target = /^ref: refs\/heads\/(.+)$/.exec(value)?.[1];
    if (name === "HEAD" && target !== undefined && isRefName(target)) head = target;
    const branch = /^refs\/heads\/(.+)$/.exec(name)?.[1];
    if (branch !== undefined && isRefName(branch) && commitId.test(value)) heads.set(branch, value);
  }
  return { heads, head };
}

interface Answer extends Pick<GitResult, "status" | "stdout"> {
  /** The first lines of stderr. */
  readonly lines: readonly string[];
}

async function call(order: RemoteOrder, dir: string, args: readonly string[]): Promise<Answer> {
  const { address, credential, env, runId, timeoutMs, signal, clock } = order;
  if (credential !== null && !isPassword(credential.password)) {
    const why = "fatal: authentication needs a credential that is a single line";
    return { status: null, stdout: "", lines: [why] };
  }
  const lines: string[] = [];
  try {
    const { status, stdout, said } = await runGit({
      args,
      cwd: dir,
      env: { ...remoteEnvironment(env, address, { credential, runId }), GIT_DIR: dir },
      outputBytes: maxListBytes,
      timeoutMs,
      signal,
      ...(clock && { clock }),
      onLine(line) {
        if (lines.length < maxLines) lines.push(line);
      },
    });
    // The end of `said` has the last line also when no line break follows it.
    return { status, stdout, lines: [...lines, ...said.split(/[\r\n]+/).slice(-2)] };
  } catch (error) {
    if (!(error instanceof GitFailure)) throw error;
    return { status: null, stdout: "", lines: [...lines, "fatal: the connection timed out"] };
  }
}

/** The sign and the summary of a ref in the output of `push --porcelain`. */
function lineOf(output: string, ref: string): readonly [string | null, string | null] {
  for (const line of output.split("\n")) {
    const [sign = "", refs = "", summary = ""] = line.split("\t");
    if (refs.endsWith(`:${ref}`)) return [sign, summary];
  }
  return [null, null];
}

interface Sign {
  readonly pattern: RegExp;
  readonly category: RefusalCategory;
  readonly final: boolean;
}

/** Signs in the words of git, GitHub and GitLab, the most exact first. */
const signs: readonly Sign[] = [
  {
    pattern: /\bGH001\b|exceeds .*file size limit|which exceed the .*limit/i,
    category: "file_size",
    final: true,
  },
  {
    pattern: /without [`'"]?workflows?[`'"]? (?:scope|permission)/i,
    category: "workflow_scope",
    final: true,
  },
  { pattern: /\bGH006\b|protected branch/i, category: "protected", final: true },
  { pattern: /\bGH0\d\d\b|rule violations/i, category: "rule", final: true },
  { pattern: /archived|read-only/i, category: "permission", final: true },
  { pattern: /hook declined/i, category: "rule", final: true },
  {
    pattern:
      /repository .*not found|returned error: 40[13]|denied|authenticat|not authorized|not allowed to|could not read (?:Username|Password)|terminal prompts|host key verification/i,
    category: "permission",
    final: false,
  },
  { pattern: redirected, category: "redirected", final: true },
  {
    pattern: /does not appear to be a git repository|does not exist|no such file/i,
    category: "not_found",
    final: false,
  },
  {
    pattern:
      /could not resolve|failed to connect|couldn't connect|timed out|connection (?:reset|refused|closed)|returned error: (?:429|5\d\d)|RPC failed|early EOF|hung up|SSL|TLS|network is unreachable/i,
    category: "network",
    final: false,
  },
];

/** The refusal in the messages of git. */
export function refusalIn(
  lines: readonly string[],
  summary: string | null,
  credential: Credential | null,
): Refusal {
  const said = [...lines, summary ?? ""].map((line) => withoutCredential(line, credential));
  const found = signs.find(({ pattern }) => said.some((line) => pattern.test(line)));
  const exact = found && said.find((line) => found.pattern.test(line));
  const fault = said.findLast((line) => /^(?:fatal|error|remote: error):/.test(line));
  const general = exact ?? summary ?? fault ?? said.findLast((line) => line.trim() !== "");
  // A hook of the remote says in lines of its own why it declines.
  const own = said
    .flatMap((line) => /^remote: (?!error:)(\S.*)$/.exec(line)?.[1]?.trim() ?? [])
    .join(" ");
  const isHook = own !== "" && /hook declined/i.test(general ?? "");
  const words = isHook ? `${general}: ${own}` : general;
  return {
    category: found?.category ?? "other",
    final: found?.final ?? false,
    reason: oneLine(words ?? "git failed", maxReasonChars)
      .replace(/^(?:remote: )?(?:(?:fatal|error): )?/, "")
      .trim(),
  };
}

function withoutCredential(line: string, credential: Credential | null): string {
  return credential === null ? line : line.replaceAll(credential.password, "[redacted]");
}

function invalid(message: string): SymphonyError {
  return new SymphonyError("internal_error", message);
}
