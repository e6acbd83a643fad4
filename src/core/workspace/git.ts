import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { lstat, mkdir, mkdtempDisposable, open, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

/** What a repository says of itself; read from its files, because git would run what an agent wrote into them. */
export interface GitHead {
  /** null when no branch is checked out. */
  readonly branch: string | null;
  /** Commit id in hex; null before the first commit, or where refs are not kept as files. */
  readonly head: string | null;
}

/** What lies between two commits. Work that is not committed is not among it. */
export interface GitChanges {
  readonly commits: number;
  readonly changedFiles: number;
}

const run = promisify(execFile);
const gitTimeoutMs = 5_000;
const maxListBytes = 16 * 1024 * 1024;
const maxRefBytes = 4_096;
const maxPackedRefsBytes = 16 * 1024 * 1024;
const commitId = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;
const branchRef = /^ref: refs\/heads\/(\S+)$/;

/** Branch and commit of the checkout at `path`, or null where there is none that can be read. Never rejects. */
export async function gitHead(path: string): Promise<GitHead | null> {
  const gitDir = await gitDirOf(path);
  if (gitDir === null) return null;
  const text = (await readSmall(join(gitDir, "HEAD"), maxRefBytes))?.trim() ?? "";
  if (commitId.test(text)) return { branch: null, head: text };
  const branch = branchRef.exec(text)?.[1];
  if (branch === undefined || !isRefName(branch)) return null;
  return { branch, head: await commitOf(`refs/heads/${branch}`, gitDir) };
}

/**
 * Counts what the checkout at `path` gained from commit `before` to commit `after`; null where that cannot be
 * told. Git runs in an empty directory of ours and borrows only the objects, so configuration, hooks, filters
 * and attributes of the checkout are never read. Never rejects.
 */
export async function gitChanges(
  path: string,
  before: string,
  after: string,
): Promise<GitChanges | null> {
  if (before === after) return { commits: 0, changedFiles: 0 };
  const gitDir = await gitDirOf(path);
  if (gitDir === null || !commitId.test(before) || !commitId.test(after)) return null;
  try {
    await using empty = await mkdtempDisposable(join(tmpdir(), "symphony-git-"));
    const git = await protectedGit(empty.path, join(await sharedDirOf(gitDir), "objects"));
    const commits = await git(["rev-list", "--count", `${before}..${after}`]);
    const files = await git(["diff-tree", "-r", "-z", "--name-only", before, after]);
    return { commits: Number(commits), changedFiles: files.split("\0").length - 1 };
  } catch {
    return null;
  }
}

async function protectedGit(
  dir: string,
  objects: string,
): Promise<(args: readonly string[]) => Promise<string>> {
  await mkdir(join(dir, "objects"));
  await mkdir(join(dir, "refs"));
  await writeFile(join(dir, "HEAD"), "ref: refs/heads/none\n");
  const env = {
    PATH: process.env["PATH"],
    HOME: dir,
    LC_ALL: "C",
    GIT_DIR: dir,
    GIT_OBJECT_DIRECTORY: objects,
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_NO_REPLACE_OBJECTS: "1",
    GIT_NO_LAZY_FETCH: "1",
  };
  const options = { cwd: dir, env, timeout: gitTimeoutMs, maxBuffer: maxListBytes };
  return async (args) => (await run("git", [...args], options)).stdout;
}

/** `.git` itself, or the directory that a linked worktree's `.git` file names. */
async function gitDirOf(path: string): Promise<string | null> {
  const dotGit = join(path, ".git");
  const found = await lstat(dotGit).catch(() => null);
  if (found?.isDirectory()) return dotGit;
  const text = (found?.isFile() && (await readSmall(dotGit, maxRefBytes))) || "";
  const named = /^gitdir: (.+)$/m.exec(text)?.[1];
  return named === undefined ? null : resolve(path, named.trim());
}

async function commitOf(ref: string, gitDir: string): Promise<string | null> {
  const refsDir = await sharedDirOf(gitDir);
  const loose = (await readSmall(join(refsDir, ref), maxRefBytes))?.trim() ?? "";
  if (commitId.test(loose)) return loose;
  const packed = (await readSmall(join(refsDir, "packed-refs"), maxPackedRefsBytes)) ?? "";
  const line = packed.split("\n").find((entry) => entry.endsWith(` ${ref}`));
  const id = line?.slice(0, line.indexOf(" ")) ?? "";
  return commitId.test(id) ? id : null;
}

/** A linked worktree shares refs and objects with the repository it was made from. */
async function sharedDirOf(gitDir: string): Promise<string> {
  const shared = (await readSmall(join(gitDir, "commondir"), maxRefBytes))?.trim();
  return shared ? resolve(gitDir, shared) : gitDir;
}

/** What git itself allows in a branch's name (git-check-ref-format), as far as paths and output are concerned. */
function isRefName(name: string): boolean {
  if (name.length > 255) return false;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it refuses
  if (/[\x00-\x20\x7f~^:?*[\\]|\.\.|@\{|\/\/|\/$|\.$/.test(name)) return false;
  return name.split("/").every((part) => !part.startsWith(".") && !part.endsWith(".lock"));
}

/** The text of a regular file of at most `maxBytes`; null for anything else: a link, a pipe, a huge file. */
async function readSmall(path: string, maxBytes: number): Promise<string | null> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    await using file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const found = await file.stat();
    return found.isFile() && found.size <= maxBytes ? await file.readFile("utf8") : null;
  } catch {
    return null;
  }
}
