// Git on untrusted repositories: cloning, routing, comparing.

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { GitAddress } from "../config/git.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { type CommandEnd, CommandSeries, runCommand } from "../process/run.ts";
import { startedBy } from "../process/sandbox.ts";
import { readSmall, sharedDirOf } from "./checkout.ts";

// All git processes are started here, with the same environment.

/**
 * Git runs no foreign program: no hook, file monitor, helper or signature program, no background
 * maintenance, nothing in submodules.
 */
const settings: readonly (readonly [string, string])[] = [
  ["core.hooksPath", "/dev/null"],
  ["core.fsmonitor", "false"],
  ["core.attributesFile", "/dev/null"],
  ["core.excludesFile", "/dev/null"],
  ["core.protectNTFS", "true"],
  ["core.protectHFS", "true"],
  ["core.quotePath", "false"],
  // An empty value removes the helpers that were named before it.
  ["credential.helper", ""],
  ["commit.gpgSign", "false"],
  ["tag.gpgSign", "false"],
  ["log.showSignature", "false"],
  ["submodule.recurse", "false"],
  ["fetch.recurseSubmodules", "false"],
  ["gc.auto", "0"],
  ["maintenance.auto", "false"],
  ["advice.detachedHead", "false"],
];

interface GitReach {
  /** Where programs are found. */
  readonly path: string | undefined;
  readonly home: string | undefined;
  /** The one transport that may be used. */
  readonly protocol: GitAddress["protocol"] | "none";
  /** In addition to those of every call. */
  readonly settings?: readonly (readonly [string, string])[];
}

/**
 * The whole environment of git for every purpose: no user or system configuration, at most one
 * transport, no prompts. It has no variable of the server's environment except the two that are
 * passed in.
 */
export function gitEnvironment(reach: GitReach): Record<string, string> {
  const { path, home, protocol } = reach;
  const all = [...settings, ...(reach.settings ?? [])];
  return {
    ...(path !== undefined && { PATH: path }),
    ...(home !== undefined && { HOME: home }),
    LC_ALL: "C",
    ...Object.fromEntries(
      all.flatMap(([key, value], at) => [
        [`GIT_CONFIG_KEY_${at}`, key],
        [`GIT_CONFIG_VALUE_${at}`, value],
      ]),
    ),
    GIT_CONFIG_COUNT: String(all.length),
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_NO_REPLACE_OBJECTS: "1",
    GIT_NO_LAZY_FETCH: "1",
    GIT_OPTIONAL_LOCKS: "0",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "",
    SSH_ASKPASS: "",
    GIT_EDITOR: "false",
    GIT_PAGER: "cat",
    GIT_SSH_COMMAND: "ssh -o BatchMode=yes",
    GIT_ALLOW_PROTOCOL: protocol,
  };
}

export interface Identity {
  readonly name: string;
  readonly email: string;
}

/** Who commits when no name and address are configured. */
const ownIdentity: Identity = { name: "symphony", email: "symphony@localhost" };

/** The user's own name and address, as the user's git has them. */
export async function operatorIdentity(
  env: Readonly<Record<string, string | undefined>>,
): Promise<Identity> {
  const names = ["PATH", "HOME", "XDG_CONFIG_HOME"];
  const own = Object.fromEntries(names.map((name) => [name, env[name]]));
  const configured = async (key: string) => {
    // In the root directory no repository adds a configuration of its own.
    const { exitCode, output } = await runCommand({
      argv: ["git", "config", "--get", key],
      ...{ cwd: "/", env: { ...own, GIT_CONFIG_NOSYSTEM: "1", GIT_CEILING_DIRECTORIES: "/" } },
      ...{ timeoutMs: 5_000, outputBytes: 1_000 },
    });
    const value = output.replaceAll(/[\p{Cc}<>]/gu, "").trim();
    return exitCode === 0 && value !== "" ? value : null;
  };
  const [name, email] = await Promise.all([configured("user.name"), configured("user.email")]);
  return name === null || email === null ? ownIdentity : { name, email };
}

/** Settings of the operator's own git whose keys match, as `config -z` prints them; empty: none. No repository adds any. */
export async function operatorSettings(
  pattern: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<string> {
  const { exitCode, output } = await runCommand({
    argv: ["git", "config", "--includes", "-z", "--get-regexp", pattern],
    ...{ cwd: "/", env: { ...env, GIT_CEILING_DIRECTORIES: "/" } },
    ...{ timeoutMs: 5_000, outputBytes: 64 * 1024 },
  });
  return exitCode === 0 ? output : "";
}

export interface GitCall {
  readonly args: readonly string[];
  readonly cwd: string;
  /** A `gitEnvironment`, and a run cookie if there is one. */
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly clock?: Clock;
  /** Aborting it ends git and everything that it started. */
  readonly signal: AbortSignal;
  /** Limit of stdout; the rest of a longer one is dropped. 64 KiB if omitted. */
  readonly outputBytes?: number;
  /** Written to stdin. */
  readonly input?: string;
  /** The largest file that it, or what it starts, may write; no limit if omitted. */
  readonly maxFileBytes?: number;
  /** For short local calls: processes that it left are searched for at the end of the series. */
  readonly series?: CommandSeries;
  /** Called with each line of stderr, progress included. */
  onLine?(line: string): void;
}

export interface GitResult {
  /** null: it was ended by a signal. */
  readonly status: number | null;
  /** The first `outputBytes`. */
  readonly stdout: string;
  /** The last part of stderr. */
  readonly said: string;
}

const maxOutputBytes = 64 * 1024;
/** What `ulimit -f` counts in. */
const blockBytes = 1024;
const maxSaidBytes = 2_048;

/**
 * Runs git until it exits; then no process of it is left. Rejects with `git_not_found`, the
 * signal's reason, or a `GitFailure` when it takes too long.
 */
export async function runGit(call: GitCall): Promise<GitResult> {
  const { args, cwd, env, timeoutMs, clock, signal, input, series, onLine, maxFileBytes } = call;
  signal.throwIfAborted();
  let begun = "";
  const end = await runCommand({
    argv: [
      ...startedBy(
        maxFileBytes === undefined ? [] : [`ulimit -f ${Math.ceil(maxFileBytes / blockBytes)}`],
      ),
      "git",
      ...args,
    ],
    name: "git",
    ...{ cwd, env, timeoutMs, signal },
    ...(clock && { clock }),
    ...(series && { series }),
    ...(input !== undefined && { input: Buffer.from(input) }),
    outputBytes: call.outputBytes ?? maxOutputBytes,
    keep: "beginning",
    errorBytes: maxSaidBytes,
    onOutput(chunk, stream) {
      if (stream !== "stderr" || onLine === undefined) return;
      // A progress line overwrites itself: each state ends with a carriage return.
      const lines = (begun + chunk.toString("latin1")).split(/[\r\n]+/);
      begun = (lines.pop() ?? "").slice(-1_000);
      for (const line of lines) onLine(line);
    },
  });
  if (end.failure !== null) throw notStarted(end.failure);
  if (end.stoppedFor === "interrupt") throw signal.reason;
  if (end.stoppedFor !== null) throw new GitFailure(end);
  return { status: end.exitCode, stdout: end.output, said: end.errors };
}

function notStarted(cause: unknown): SymphonyError {
  return new SymphonyError("git_not_found", `git could not be started: ${messageOf(cause)}`, {
    cause,
    hint: "install git and make sure that it is in PATH",
  });
}

/** A call of git that gave no answer; the message is the reason, in one line. */
export class GitFailure extends Error {
  constructor(end: CommandEnd) {
    super(reasonOf(end));
    this.name = "GitFailure";
  }
}

function reasonOf({ failure, stoppedFor, errors }: CommandEnd): string {
  if (failure !== null) return "git could not be started";
  if (stoppedFor !== null) return "git took too long or wrote too much output";
  const said = errors.trim().split("\n");
  return said.findLast((line) => /^(?:fatal|error):/.test(line)) ?? (said.at(-1) || "git failed");
}

interface GitPlace {
  /** The commit of HEAD; null before the first commit. Without a repository only its format counts. */
  readonly head: string | null;
  /** The files to compare with; null when only commits are read. */
  readonly worktree: string | null;
  /** The hash of its objects, where `head` does not tell it; `sha1` if omitted. */
  readonly format?: "sha1" | "sha256";
  /** Where symphony's own directory is made; default: the system's temporary folder. */
  readonly parent?: string;
  /** Ends running calls. */
  readonly signal?: AbortSignal;
}

interface RunOptions {
  /** Written to stdin. */
  readonly input?: string;
  readonly timeoutMs?: number;
  readonly maxBytes?: number;
  /**
   * `latin1`: input and output are bytes, one character each, so that a name that is not UTF-8 is
   * unchanged.
   */
  readonly encoding?: "utf8" | "latin1";
  /** An exit status that is also an answer, in addition to 0. */
  readonly mayExit?: number;
  /** The index to use; if omitted, an empty one. */
  readonly index?: string;
}

const defaultTimeoutMs = 5_000;
const defaultMaxBytes = 16 * 1024 * 1024;
const maxShallowBytes = 1024 * 1024;
const shallowLine = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/;

/** Git with an empty directory that symphony owns; it borrows the objects of another repository. */
export interface ProtectedGit extends AsyncDisposable {
  /** Symphony's own directory; disposing removes it and ends every process that a call left. */
  readonly dir: string;
  /**
   * Output of one call. Rejects with `GitFailure` when git fails, takes too long or writes more
   * than `maxBytes`.
   */
  run(args: readonly string[], options?: RunOptions): Promise<string>;
  /** Like `run`, but returns the beginning of an output that is longer than `maxBytes`. */
  begin(args: readonly string[], options?: RunOptions): Promise<{ text: string; cut: boolean }>;
}

/**
 * A repository's `.git` may have been written by an agent, and its configuration, hooks, index,
 * filters and attributes can run programs. So git is started on a directory that symphony owns,
 * which has none of these, and never reads the repository's own. `gitDir` is null when plain files
 * are read instead of a repository.
 */
export async function openProtectedGit(
  gitDir: string | null,
  place: GitPlace,
): Promise<ProtectedGit> {
  const [series, own] = await Promise.all([
    CommandSeries.begin("git"),
    openOwnDir(gitDir, place.head, place),
  ]);
  const { dir } = own;
  const call = callsIn(dir, place, series);
  return {
    dir,
    run: (args, options = {}) => call(args, options).then((end) => answerIn(end, options)),
    async begin(args, options = {}) {
      const end = await call(args, options);
      if (end.stoppedFor === "output") return { text: end.output, cut: true };
      return { text: answerIn(end, options), cut: false };
    },
    async [Symbol.asyncDispose]() {
      await series[Symbol.asyncDispose]();
      await own[Symbol.asyncDispose]();
    },
  };
}

/** An empty repository of symphony's own in the temporary directory; disposing removes it. */
export interface OwnDir extends AsyncDisposable {
  readonly dir: string;
}

/**
 * Makes a repository that has no configuration, hooks or refs and borrows the objects of `gitDir`.
 * `head` also tells the format of the objects; null: SHA-1.
 */
export async function openOwnDir(
  gitDir: string | null,
  head: string | null,
  { format, parent }: Pick<GitPlace, "format" | "parent"> = {},
): Promise<OwnDir> {
  const dir = await mkdtemp(join(parent ?? tmpdir(), "symphony-git-"));
  const remove = () => rm(dir, { recursive: true, force: true });
  try {
    await fill(dir, gitDir, { head, format });
    return { dir, [Symbol.asyncDispose]: remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

function callsIn(dir: string, { worktree, signal }: GitPlace, series: CommandSeries) {
  const env = {
    ...gitEnvironment({ path: process.env["PATH"], home: dir, protocol: "none" }),
    GIT_DIR: dir,
    ...(worktree !== null && { GIT_WORK_TREE: worktree }),
  };
  return (args: readonly string[], given: RunOptions): Promise<CommandEnd> => {
    const { input = "", timeoutMs = defaultTimeoutMs, maxBytes = defaultMaxBytes } = given;
    const { encoding = "utf8", index = join(dir, "index") } = given;
    return runCommand({
      argv: ["git", ...args],
      cwd: worktree ?? dir,
      env: { ...env, GIT_INDEX_FILE: index },
      ...{ timeoutMs, encoding, series },
      ...(signal && { signal }),
      ...(input !== "" && { input: Buffer.from(input, encoding) }),
      outputBytes: maxBytes,
      keep: "beginning",
      overflow: "end",
      errorBytes: maxSaidBytes,
    });
  };
}

/** The output of git with a status that is an answer; throws `GitFailure` for anything else. */
function answerIn(end: CommandEnd, { mayExit }: RunOptions): string {
  const { exitCode, stoppedFor, output } = end;
  const isAnswer = exitCode === 0 || (exitCode !== null && exitCode === mayExit);
  if (stoppedFor === null && isAnswer) return output;
  throw new GitFailure(end);
}

async function fill(
  dir: string,
  gitDir: string | null,
  {
    head,
    format,
  }: { readonly head: string | null; readonly format: GitPlace["format"] | undefined },
): Promise<void> {
  await mkdir(join(dir, "objects", "info"), { recursive: true });
  await mkdir(join(dir, "refs"));
  // A HEAD without its commit would be an error.
  const commit = gitDir === null ? null : head;
  await writeFile(join(dir, "HEAD"), `${commit ?? "ref: refs/heads/none"}\n`);
  if (head?.length === 64 || format === "sha256") {
    const text = "[core]\nrepositoryformatversion = 1\n[extensions]\nobjectformat = sha256\n";
    await writeFile(join(dir, "config"), text);
  }
  if (gitDir === null) return;
  const shared = await sharedDirOf(gitDir);
  const objects = join(shared, "objects");
  if (objects.includes("\n"))
    throw new Error("a path with a line break cannot be used as an object store");
  await writeFile(join(dir, "objects", "info", "alternates"), `${objects}\n`);
  // Without it the history of a shallow clone would seem to be broken.
  const shallow = (await readSmall(join(shared, "shallow"), maxShallowBytes))?.trim() ?? "";
  const lines = shallow.split("\n");
  if (lines.every((line) => shallowLine.test(line))) {
    await writeFile(join(dir, "shallow"), `${shallow}\n`);
  }
}
