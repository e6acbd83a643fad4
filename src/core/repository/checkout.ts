import { constants } from "node:fs";
import { type FileHandle, lstat, open, readdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { commitId, isRefName } from "../config/git.ts";
import { systemCodeOf } from "../model/errors.ts";
import { oneLine } from "../text/text.ts";

const maxRefBytes = 4_096;
const maxPackedRefsBytes = 16 * 1024 * 1024;
const maxRefs = 5_000;
const maxRefDepth = 8;
const firstPartBytes = 16 * 1024;
const partBytes = 1024 * 1024;

/** `.git` itself, or the directory that a linked worktree's `.git` file names. */
export async function gitDirOf(path: string): Promise<string | null> {
  const dotGit = join(path, ".git");
  const found = await lstat(dotGit).catch(() => null);
  if (found?.isDirectory()) return dotGit;
  const text = (found?.isFile() && (await readSmall(dotGit, maxRefBytes))) || "";
  const named = /^gitdir: (.+)$/m.exec(text)?.[1];
  return named === undefined ? null : resolve(path, named.trim());
}

/** The commit that a ref points to, loose or packed. */
export async function commitOf(ref: string, gitDir: string): Promise<string | null> {
  const refsDir = await sharedDirOf(gitDir);
  const loose = (await readSmall(join(refsDir, ref), maxRefBytes))?.trim() ?? "";
  if (commitId.test(loose)) return loose;
  const packed = (await readSmall(join(refsDir, "packed-refs"), maxPackedRefsBytes)) ?? "";
  const line = packed.split("\n").find((entry) => entry.endsWith(` ${ref}`));
  const id = line?.slice(0, line.indexOf(" ")) ?? "";
  return commitId.test(id) ? id : null;
}

/** A linked worktree shares refs and objects with the repository it was made from. */
export async function sharedDirOf(gitDir: string): Promise<string> {
  const shared = (await readSmall(join(gitDir, "commondir"), maxRefBytes))?.trim();
  return shared ? resolve(gitDir, shared) : gitDir;
}

/**
 * The text of a regular file of at most `maxBytes`; null for anything else: a link, a pipe, a
 * larger file.
 */
export async function readSmall(
  path: string,
  maxBytes: number,
  encoding: BufferEncoding = "utf8",
): Promise<string | null> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    await using file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const found = await file.stat();
    return found.isFile() && found.size <= maxBytes ? await file.readFile(encoding) : null;
  } catch {
    return null;
  }
}

/**
 * The content of a file from where it was read last, in parts that are valid until the next. Most files are small: a large buffer
 * for each would cost more than to read it.
 */
export async function* partsOf(file: FileHandle): AsyncGenerator<Buffer, void, void> {
  let buffer = Buffer.allocUnsafe(firstPartBytes);
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    if (bytesRead === firstPartBytes) buffer = Buffer.allocUnsafe(partBytes);
  }
}

/** Commits of the refs below `prefix`, such as `refs/remotes`, by the rest of their names. */
export async function refsBelow(prefix: string, gitDir: string): Promise<Map<string, string>> {
  const refsDir = await sharedDirOf(gitDir);
  const found = new Map<string, string>();
  const packed = (await readSmall(join(refsDir, "packed-refs"), maxPackedRefsBytes)) ?? "";
  for (const line of packed.split("\n")) {
    const [id = "", name = ""] = line.split(" ");
    const rest = name.startsWith(`${prefix}/`) ? name.slice(prefix.length + 1) : "";
    if (found.size < maxRefs && commitId.test(id) && rest !== "" && isRefName(rest)) {
      found.set(rest, id);
    }
  }
  for (const name of await looseNames(join(refsDir, prefix))) {
    const id = (await readSmall(join(refsDir, prefix, name), maxRefBytes))?.trim() ?? "";
    if (commitId.test(id)) found.set(name, id);
  }
  return found;
}

/** The name that a symbolic ref points to, or null. */
async function targetOf(ref: string, gitDir: string): Promise<string | null> {
  const text = await readSmall(join(await sharedDirOf(gitDir), ref), maxRefBytes);
  const name = /^ref: refs\/(\S+)$/.exec(text?.trim() ?? "")?.[1];
  return name !== undefined && isRefName(name) ? name : null;
}

async function looseNames(dir: string): Promise<string[]> {
  const names: string[] = [];
  const open: { readonly prefix: string; readonly depth: number }[] = [{ prefix: "", depth: 0 }];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const { prefix, depth } = at;
    const entries = await readdir(join(dir, prefix), { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const name = `${prefix}${entry.name}`;
      if (names.length >= maxRefs || !isRefName(name)) continue;
      if (entry.isFile()) names.push(name);
      else if (entry.isDirectory() && depth < maxRefDepth) {
        open.push({ prefix: `${name}/`, depth: depth + 1 });
      }
    }
  }
  return names;
}

export interface Remote {
  readonly name: string;
  /** Without credentials; null when it has no known form. */
  readonly url: string | null;
}

const maxConfigBytes = 256 * 1024;
const maxRemotes = 50;
const maxUrlChars = 500;
const schemes: ReadonlySet<string> = new Set(["https:", "http:", "ssh:", "git:", "file:"]);

/** The remotes in a repository's own configuration, read as text without running git. */
export async function remotesOf(gitDir: string): Promise<Remote[]> {
  const text = (await readSmall(join(await sharedDirOf(gitDir), "config"), maxConfigBytes)) ?? "";
  const remotes = new Map<string, Remote>();
  let current: string | null = null;
  for (const line of text.split("\n")) {
    if (/^\s*\[/.test(line)) {
      const name = /^\s*\[remote "([^"\\]{1,200})"\]\s*$/.exec(line)?.[1];
      current = name !== undefined && isRefName(name) ? name : null;
      continue;
    }
    const written = /^\s*url\s*=\s*"?(.*?)"?\s*$/i.exec(line)?.[1];
    if (current === null || written === undefined || remotes.has(current)) continue;
    if (remotes.size < maxRemotes) {
      remotes.set(current, { name: current, url: withoutCredentials(written) });
    }
  }
  return [...remotes.values()];
}

/** A remote's address in a form that may be shown: without user name and password. */
export function withoutCredentials(written: string): string | null {
  const text = oneLine(written, maxUrlChars);
  if (text.startsWith("/")) return text;
  const url = URL.parse(text);
  if (url !== null && schemes.has(url.protocol)) {
    const user = url.username === "git" && url.protocol === "ssh:" ? "git@" : "";
    return `${url.protocol}//${user}${url.host}${url.pathname}`;
  }
  const [, user = "", place = ""] = /^(?:([^/\s]*)@)?([\w.-]+:(?!:)[^\s]+)$/.exec(text) ?? [];
  if (place === "") return null;
  return user === "git" ? `git@${place}` : place;
}

/**
 * The remote's default branch as recorded by the last clone or fetch; null when that is not known.
 */
export async function defaultBranchOf(
  gitDir: string,
  remote: string,
  tracked: ReadonlyMap<string, string>,
): Promise<string | null> {
  const target = await targetOf(`refs/remotes/${remote}/HEAD`, gitDir);
  const prefix = `remotes/${remote}/`;
  if (target?.startsWith(prefix)) return target.slice(prefix.length);
  return ["main", "master"].find((name) => tracked.has(`${remote}/${name}`)) ?? null;
}

const operations: readonly (readonly [file: string, what: string])[] = [
  ["MERGE_HEAD", "a merge"],
  ["CHERRY_PICK_HEAD", "a cherry-pick"],
  ["REVERT_HEAD", "a revert"],
  ["rebase-merge", "a rebase"],
  ["rebase-apply", "a rebase"],
  ["sequencer", "a series of picks"],
  ["MERGE_AUTOSTASH", "a merge"],
  ["BISECT_LOG", "a bisection"],
];

/** The git operation that is in progress in a repository, such as `a merge`; null for none. */
export async function unfinishedIn(gitDir: string): Promise<string | null> {
  for (const [file, what] of operations) {
    if ((await lstat(join(gitDir, file)).catch(unlessMissing)) !== null) return what;
  }
  return null;
}

const maxIndexBytes = 256 * 1024 * 1024;

/**
 * Copies the index of a repository, which an agent may have written, to a file for git to read; false
 * when there is none. Rejects when it is not a regular file, or too large.
 */
export async function copyIndex(gitDir: string, to: string): Promise<boolean> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const from = join(gitDir, "index");
  const file = await open(from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch(unlessMissing);
  if (file === null) return false;
  try {
    const found = await file.stat();
    if (!found.isFile() || found.size > maxIndexBytes)
      throw new Error("the index is not a git file");
    await writeFile(to, await file.readFile(), { mode: 0o600 });
    return true;
  } finally {
    await file.close();
  }
}

/** What a read that failed found: null for nothing there. Throws any other error again. */
export function unlessMissing(error: unknown): null {
  if (systemCodeOf(error) === "ENOENT") return null;
  throw error;
}

const maxAlternatesBytes = 16_384;

/**
 * The directories that a repository takes objects from, as it says itself. Rejects where that cannot be
 * read: git would follow it all the same.
 */
export async function borrowsOf(store: string): Promise<readonly string[]> {
  const file = join(store, "objects", "info", "alternates");
  const text = await readSmall(file, maxAlternatesBytes);
  const isThere = text !== null || (await lstat(file).catch(() => null)) !== null;
  if (text === null && isThere) throw new Error(`${file} cannot be read`);
  return (text ?? "").split("\n").filter((line) => line !== "");
}
