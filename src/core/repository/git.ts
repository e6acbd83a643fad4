import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { GitAddress } from "../config/git.ts";
import { runCookie } from "../process/environment.ts";
import { readSmall, sharedDirOf } from "./checkout.ts";

interface GitPlace {
  /** Commit that HEAD is; null: there is no commit yet. */
  readonly head: string | null;
  /** The files to compare with; null where only commits are looked at. */
  readonly worktree: string | null;
  /** Ends what runs. */
  readonly signal?: AbortSignal;
}

interface RunOptions {
  /** For git to read. */
  readonly input?: string;
  readonly timeoutMs?: number;
  readonly maxBytes?: number;
  /** `latin1`: input and output are bytes, one character each, so that a name that is no UTF-8 stays itself. */
  readonly encoding?: "utf8" | "latin1";
  /** An exit status that is an answer too, in addition to 0. */
  readonly mayExit?: number;
  /** The index to work with; left out, one that begins empty. */
  readonly index?: string;
}

const run = promisify(execFile);
const defaultTimeoutMs = 5_000;
const defaultMaxBytes = 16 * 1024 * 1024;
const maxShallowBytes = 1024 * 1024;
const shallowLine = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/;

/** Git whose directory is our own and empty; it borrows the objects of another repository. */
export interface ProtectedGit extends AsyncDisposable {
  /** The directory of ours; it goes when this is disposed of. */
  readonly dir: string;
  /** Output of one call. Rejects when git fails, takes too long or says more than `maxBytes`. */
  run(args: readonly string[], options?: RunOptions): Promise<string>;
  /** As `run`, but of more than `maxBytes` the beginning. */
  begin(args: readonly string[], options?: RunOptions): Promise<{ text: string; cut: boolean }>;
}

/**
 * A repository's `.git` may have been written by an agent, and its configuration, hooks, index, filters and attributes
 * can run programs. So git is started on a directory of ours that has none of these and never reads that one. `gitDir` is
 * null where no repository is looked at, but plain files.
 */
export async function openProtectedGit(
  gitDir: string | null,
  place: GitPlace,
): Promise<ProtectedGit> {
  const dir = await mkdtemp(join(tmpdir(), "symphony-git-"));
  const close = () => rm(dir, { recursive: true, force: true });
  try {
    await fill(dir, gitDir, place.head);
  } catch (error) {
    await close();
    throw error;
  }
  const env = environment(dir, place.worktree);
  const cwd = place.worktree ?? dir;
  const call = async (args: readonly string[], given: RunOptions = {}) => {
    const { input = "", timeoutMs = defaultTimeoutMs, maxBytes = defaultMaxBytes } = given;
    const { encoding = "utf8", index = join(dir, "index") } = given;
    const calling = run("git", [...settings, ...args], {
      cwd,
      env: { ...env, GIT_INDEX_FILE: index },
      timeout: timeoutMs,
      maxBuffer: maxBytes,
      killSignal: "SIGKILL",
      encoding,
      ...(place.signal && { signal: place.signal }),
    });
    // A git that ends early does not read all of it, which its exit tells.
    calling.child.stdin?.on("error", () => {}).end(input, encoding);
    return calling.then(
      ({ stdout }) => stdout,
      (error: unknown) => answerIn(error, given.mayExit),
    );
  };
  return {
    dir,
    run: call,
    begin: (args, options) =>
      call(args, options).then(
        (text) => ({ text, cut: false }),
        (error: unknown) => ({ text: beginningOf(error), cut: true }),
      ),
    [Symbol.asyncDispose]: close,
  };
}

/** What git said before it ended with a status that is an answer; throws any other error. */
function answerIn(error: unknown, status: number | undefined): string {
  const isAnswer = error instanceof Error && "code" in error && error.code === status;
  if (isAnswer && status !== undefined && "stdout" in error) return String(error.stdout);
  throw error;
}

/** What git had said when it had said too much; throws any other error. */
function beginningOf(error: unknown): string {
  const tooMuch = "ERR_CHILD_PROCESS_STDIO_MAXBUFFER";
  if (error instanceof Error && "code" in error && error.code === tooMuch && "stdout" in error) {
    return String(error.stdout);
  }
  throw error;
}

const settings = [
  "-c",
  "core.fsmonitor=false",
  "-c",
  "core.hooksPath=/dev/null",
  "-c",
  "core.quotePath=false",
  "-c",
  "submodule.recurse=false",
] as const;

async function fill(dir: string, gitDir: string | null, head: string | null): Promise<void> {
  await mkdir(join(dir, "objects", "info"), { recursive: true });
  await mkdir(join(dir, "refs"));
  await writeFile(join(dir, "HEAD"), `${head ?? "ref: refs/heads/none"}\n`);
  if (gitDir === null) return;
  const shared = await sharedDirOf(gitDir);
  const objects = join(shared, "objects");
  if (objects.includes("\n")) throw new Error("a path with a line break cannot be borrowed from");
  await writeFile(join(dir, "objects", "info", "alternates"), `${objects}\n`);
  if (head?.length === 64) {
    const format = "[core]\nrepositoryformatversion = 1\n[extensions]\nobjectformat = sha256\n";
    await writeFile(join(dir, "config"), format);
  }
  // Without it the history of a shallow clone would seem to be broken.
  const shallow = (await readSmall(join(shared, "shallow"), maxShallowBytes))?.trim() ?? "";
  const lines = shallow.split("\n");
  if (lines.every((line) => shallowLine.test(line))) {
    await writeFile(join(dir, "shallow"), `${shallow}\n`);
  }
}

function environment(dir: string, worktree: string | null): Record<string, string | undefined> {
  return {
    PATH: process.env["PATH"],
    HOME: dir,
    LC_ALL: "C",
    GIT_DIR: dir,
    ...(worktree !== null && { GIT_WORK_TREE: worktree }),
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_NO_REPLACE_OBJECTS: "1",
    GIT_NO_LAZY_FETCH: "1",
    GIT_OPTIONAL_LOCKS: "0",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ALLOW_PROTOCOL: "none",
  };
}

/** What git, ssh and curl may need of the server's environment to reach a remote. */
const inherited: readonly string[] = [
  "PATH",
  "HOME",
  "USER",
  "LOGNAME",
  "TMPDIR",
  "SSH_AUTH_SOCK",
  "HTTPS_PROXY",
  "https_proxy",
  "HTTP_PROXY",
  "http_proxy",
  "ALL_PROXY",
  "all_proxy",
  "NO_PROXY",
  "no_proxy",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "GIT_SSL_CAINFO",
];

/** No program of anybody's runs: no hook, no monitor, no upkeep in the background, nothing in submodules. */
const cloneSettings: readonly (readonly [string, string])[] = [
  ["core.hooksPath", "/dev/null"],
  ["core.fsmonitor", "false"],
  ["core.attributesFile", "/dev/null"],
  ["core.protectNTFS", "true"],
  ["core.protectHFS", "true"],
  ["submodule.recurse", "false"],
  ["fetch.recurseSubmodules", "false"],
  ["gc.auto", "0"],
  ["maintenance.auto", "false"],
  ["advice.detachedHead", "false"],
];

/** Answers git's question for a password out of the environment of that one call. */
const helper =
  '!f() { test "$1" = get && printf \'username=%s\\npassword=%s\\n\' "$SYMPHONY_GIT_USER" "$SYMPHONY_GIT_PASSWORD"; }; f';

/**
 * The environment of git while symphony clones: nobody's configuration, one transport, no questions. `password` goes to the
 * site of the address alone, and is in no argument and no file.
 */
export function cloneEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  { protocol, login }: GitAddress,
  { password, runId }: { readonly password: string | null; readonly runId: string },
): Record<string, string> {
  const kept = inherited.flatMap((name) => {
    const value = env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const withLogin = login !== null && password !== null;
  const all = withLogin
    ? [...cloneSettings, [`credential.${login.site}.helper`, helper] as const]
    : cloneSettings;
  return {
    ...Object.fromEntries(kept),
    ...(withLogin && { SYMPHONY_GIT_USER: login.user, SYMPHONY_GIT_PASSWORD: password }),
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
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "",
    SSH_ASKPASS: "",
    GIT_SSH_COMMAND: "ssh -o BatchMode=yes",
    GIT_ALLOW_PROTOCOL: protocol,
    LC_ALL: "C",
    [runCookie]: runId,
  };
}
