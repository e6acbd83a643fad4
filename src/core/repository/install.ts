import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import {
  copyFile,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  rmdir,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { commitId } from "../config/git.ts";
import { SymphonyError, systemCodeOf } from "../model/errors.ts";
import { syncDirectory } from "../store/durable.ts";
import { commitOf, readSmall } from "./checkout.ts";
import type { Identity, ProtectedGit } from "./git.ts";
import { type Signer, writeSigned } from "./signing.ts";

// New commits, and writing them into the `.git` of a workspace, which an agent can write too: no link in it is
// followed.

const timeoutMs = 120_000;

/** Author or committer as a commit and a log name them. */
export function whoOf({ name, email }: Identity, wall: number): string {
  return `${plain(name)} <${plain(email)}> ${Math.floor(wall / 1_000)} +0000`;
}

/** `text` without what separates the parts of a commit's first lines. */
export function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it removes control characters
  return text.replaceAll(/[\x00-\x1f\x7f<>]+/g, " ").trim();
}

interface NewCommit {
  readonly tree: string;
  readonly parents: readonly string[];
  /** As `whoOf`. */
  readonly who: string;
  readonly message: string;
}

/**
 * Writes a commit into symphony's own directory, signed where there is a signer; resolves with its id. Rejects with
 * `SigningFailure`.
 */
export async function writeCommit(
  git: ProtectedGit,
  { tree, parents, who, message }: NewCommit,
  { signer, signal }: { readonly signer?: Signer | null; readonly signal: AbortSignal },
): Promise<string> {
  const above = parents.map((id) => `parent ${id}\n`).join("");
  const text = `${message.replaceAll("\0", "").trimEnd()}\n`;
  if (signer) return writeSigned(git, signer, { tree, parents, who, message: text }, signal);
  const input = `tree ${tree}\n${above}author ${who}\ncommitter ${who}\n\n${text}`;
  const write = ["hash-object", "-t", "commit", "-w", "--stdin"];
  return (await git.run(write, { input, timeoutMs })).trim();
}

/** Packs all objects that were written into symphony's own directory; resolves with the packs' directory. */
export async function packNew(git: ProtectedGit): Promise<string> {
  const objects = join(git.dir, "objects");
  const packs = join(objects, "pack");
  await mkdir(packs, { recursive: true });
  const ids: string[] = [];
  for (const dir of await readdir(objects)) {
    if (!/^[0-9a-f]{2}$/.test(dir)) continue;
    for (const rest of await readdir(join(objects, dir))) ids.push(`${dir}${rest}`);
  }
  const pack = ["pack-objects", "--quiet", join(packs, "pack")];
  await git.run(pack, { input: ids.map((id) => `${id}\n`).join(""), timeoutMs });
  return packs;
}

/** A new commit, and the ref that has to lead to it. */
export interface Move {
  /** The branch that is checked out; null: HEAD itself holds the commit. */
  readonly branch: string | null;
  /** The commit it leads to now; null before the first one. */
  readonly from: string | null;
  readonly to: string;
  /** `Name <address> seconds +0000`, as in a commit. */
  readonly who: string;
  /** For the log of the ref, in one line. */
  readonly subject: string;
}

const maxHeadBytes = 4_096;
const maxPackedBytes = 256 * 1024 * 1024;
/** Longer than git takes for one write. */
const staleLockMs = 3_000;

/**
 * Removes the locks of the index, of HEAD and of `branch` that a killed git or server left, and waits for those of a
 * git that still runs: each goes once it is 3 s old and has not changed. Call it where no agent works: a git of a person who
 * has not attached may hold its lock longer, and then loses what it has staged. Behind a link nothing is touched.
 */
export async function clearLocks(gitDir: string, branch: string | null): Promise<void> {
  const names = ["index", "HEAD", ...(branch === null ? [] : [`refs/heads/${branch}`])];
  await Promise.all(names.map((name) => clearLock(gitDir, name)));
}

async function clearLock(gitDir: string, name: string): Promise<void> {
  const lock = join(gitDir, `${name}.lock`);
  const find = async () =>
    (await isInOwnDirectory(gitDir, name)) ? await lstat(lock).catch(() => null) : null;
  const found = await find();
  if (!found?.isFile()) return;
  const left = found.ctimeMs + staleLockMs - Date.now();
  await setTimeout(Math.min(Math.max(left, 0), staleLockMs));
  const now = await find();
  if (now?.ino === found.ino && now.ctimeMs === found.ctimeMs) await rm(lock, { force: true });
}

/** Whether everything on the way from `gitDir` to `name` is a directory, and no link out of the repository. */
async function isInOwnDirectory(gitDir: string, name: string): Promise<boolean> {
  let at = gitDir;
  for (const part of name.split("/").slice(0, -1)) {
    at = join(at, part);
    if (!(await isDirectory(at))) return false;
  }
  return true;
}

/**
 * Moves the packs that git made in `packs` into the object store of `gitDir`. A pack is complete
 * before its index makes it visible. Rejects with `no_repository` when the store is not a directory
 * of this repository.
 */
export async function installPacks(gitDir: string, packs: string): Promise<void> {
  const to = join(gitDir, "objects", "pack");
  await requireDirectory(join(gitDir, "objects"));
  await mkdir(to).catch(unlessThere);
  await requireDirectory(to);
  const names = (await readdir(packs)).filter((name) =>
    /^pack-[0-9a-f]+\.(?:pack|idx)$/.test(name),
  );
  for (const kind of [".pack", ".idx"]) {
    for (const name of names.filter((file) => file.endsWith(kind))) {
      await place(join(packs, name), join(to, name), 0o444);
    }
  }
  await syncDirectory(to);
}

/** Replaces the index of `gitDir` by the file `index`, as a whole. */
export async function installIndex(gitDir: string, index: string): Promise<void> {
  await place(index, join(gitDir, "index"), 0o644);
}

async function place(from: string, to: string, mode: number): Promise<void> {
  const temporary = `${to}.${randomUUID()}`;
  try {
    await copyFile(from, temporary, constants.COPYFILE_EXCL);
    await using file = await open(temporary, constants.O_RDONLY | constants.O_NOFOLLOW);
    const { atime, mtime } = await lstat(from);
    await file.utimes(atime, mtime);
    await file.chmod(mode);
    await file.sync();
    await rename(temporary, to);
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * Moves the branch, or the detached HEAD, as git itself does: under a lock, and only if it still
 * leads to `from`. Rejects with `workspace_error` when it does not, or when it is locked.
 */
export async function moveRef(gitDir: string, move: Move): Promise<void> {
  const { branch, from, to } = move;
  const name = branch === null ? "HEAD" : `refs/heads/${branch}`;
  await requireParents(gitDir, name);
  const file = join(gitDir, name);
  const lock = `${file}.lock`;
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const handle = await open(lock, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644).catch(
    (cause) => {
      throw failed(`${name} is locked: another git works here, or was killed`, cause);
    },
  );
  try {
    if ((await currentOf(gitDir, branch)) !== from)
      throw failed(`${name} has moved while the work was read`);
    await handle.writeFile(`${to}\n`);
    await handle.sync();
    await handle.close();
    await rename(lock, file);
  } finally {
    await handle.close().catch(() => {});
    await rm(lock, { force: true });
  }
  for (const log of branch === null ? ["HEAD"] : ["HEAD", name]) await appendLog(gitDir, log, move);
}

/**
 * Notes the commit that the remote's branch has: work is compared with it. Nothing is written where an
 * agent has put a link or a directory in its place.
 */
export async function noteRemote(gitDir: string, branch: string, id: string): Promise<void> {
  const name = `refs/remotes/origin/${branch}`;
  const temporary = join(gitDir, `symphony-${randomUUID()}`);
  try {
    await requireParents(gitDir, name);
    await writeFile(temporary, `${id}\n`, { flag: "wx" });
    await rename(temporary, join(gitDir, name));
  } catch (error) {
    if (systemCodeOf(error) === null) throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Writes a ref of `refs/`, whose name is raw, that is not checked out. Rejects with `no_repository` where a link stands in its way. */
export async function putRef(gitDir: string, raw: string, id: string): Promise<void> {
  const name = Buffer.from(raw, "latin1").toString();
  const isRef = name.startsWith("refs/") && commitId.test(id);
  // As git: no part is empty, hidden, a lock or a step up, and none has a character that git refuses.
  const isSafe = !/(?:^|\/)\.|\.\.|\/\/|\.lock(?:\/|$)|[\s~^:?*[\\]|\p{Cc}|@\{|[/.]$|\ufffd/u.test(
    name,
  );
  if (!isRef || !isSafe) throw failed("the name of a ref cannot be written");
  await requireParents(gitDir, name);
  for (const at of [name, `logs/${name}`])
    if (await isInOwnDirectory(gitDir, at)) await removeEmpty(join(gitDir, at));
  const temporary = join(gitDir, `symphony-${randomUUID()}`);
  try {
    await writeFile(temporary, `${id}\n`, { flag: "wx" });
    await rename(temporary, join(gitDir, name));
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Deletes a ref of `refs/`, whose name is raw and that is not checked out, with its log; loose or packed. */
export async function dropRef(gitDir: string, raw: string): Promise<void> {
  const name = Buffer.from(raw, "latin1").toString();
  await requireParents(gitDir, name);
  const file = join(gitDir, "packed-refs");
  const packed = (await readSmall(file, maxPackedBytes, "latin1")) ?? "";
  const kept = packed
    .split(/^(?=[0-9a-f#])/m)
    .filter((entry) => entry.split("\n", 1)[0]?.replace(/^\S+ /, "") !== raw);
  if (kept.join("") !== packed) {
    const temporary = join(gitDir, `symphony-${randomUUID()}`);
    await writeFile(temporary, kept.join(""), { flag: "wx", encoding: "latin1" });
    await rename(temporary, file);
  }
  await rm(join(gitDir, name), { force: true });
  const log = `logs/${name}`;
  if (await isInOwnDirectory(gitDir, log)) await rm(join(gitDir, log), { force: true });
}

/** Directories of which nothing is left but directories. */
async function removeEmpty(path: string): Promise<void> {
  if (!(await isDirectory(path))) return;
  for (const name of await readdir(path)) await removeEmpty(join(path, name));
  await rmdir(path).catch(() => {});
}

/** Makes these the stashes, oldest first. */
export async function putStashes(gitDir: string, ids: readonly string[]): Promise<void> {
  const last = ids.at(-1);
  const log = "logs/refs/stash";
  await requireParents(gitDir, log);
  if (last === undefined) {
    for (const file of [log, "refs/stash"]) await rm(join(gitDir, file), { force: true });
    return;
  }
  const temporary = join(gitDir, `symphony-${randomUUID()}`);
  try {
    await writeFile(temporary, stashLog(ids), { flag: "wx" });
    await rename(temporary, join(gitDir, log));
  } finally {
    await rm(temporary, { force: true });
  }
  await putRef(gitDir, "refs/stash", last);
}

/** The log of `refs/stash`, which holds every stash but the last. */
export function stashLog(ids: readonly string[]): string {
  const none = "0".repeat(ids[0]?.length ?? 40);
  const lines = ids.map((id, at) => {
    return `${ids[at - 1] ?? none} ${id} symphony <symphony@localhost> 1 +0000\tkept stash\n`;
  });
  return lines.join("");
}

/** The commit of the checked-out branch or the detached HEAD; throws if another one is checked out. */
async function currentOf(gitDir: string, branch: string | null): Promise<string | null> {
  const text = (await readSmall(join(gitDir, "HEAD"), maxHeadBytes))?.trim() ?? "";
  if (branch === null) return commitId.test(text) ? text : null;
  if (text !== `ref: refs/heads/${branch}`) throw failed("HEAD has moved while the work was read");
  const id = await commitOf(`refs/heads/${branch}`, gitDir);
  const ref = await lstat(join(gitDir, "refs/heads", branch)).catch(() => null);
  // A ref to another ref, or a link, is no branch of which symphony knows the commit.
  const isKnown =
    ref === null || (ref.isFile() && (await isCommit(join(gitDir, "refs/heads", branch))));
  if (!isKnown) throw failed(`the branch ${branch} cannot be read`);
  return id;
}

async function isCommit(file: string): Promise<boolean> {
  return commitId.test((await readSmall(file, maxHeadBytes))?.trim() ?? "");
}

/** Makes the directories above a ref; each is a directory of this repository. */
async function requireParents(gitDir: string, name: string): Promise<void> {
  let at = gitDir;
  for (const part of name.split("/").slice(0, -1)) {
    at = join(at, part);
    await mkdir(at).catch(unlessThere);
    await requireDirectory(at);
  }
}

/** A log that does not exist is not begun: the repository may be set to have none. */
async function appendLog(gitDir: string, name: string, move: Move): Promise<void> {
  const { O_WRONLY, O_APPEND, O_NOFOLLOW, O_NONBLOCK } = constants;
  let at = gitDir;
  for (const part of ["logs", ...name.split("/").slice(0, -1)]) {
    at = join(at, part);
    if (!(await isDirectory(at))) return;
  }
  const log = join(gitDir, "logs", name);
  const file = await open(log, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK).catch(() => null);
  if (file === null) return;
  const { from, to, who, subject } = move;
  const before = from ?? "0".repeat(to.length);
  const kind = from === null ? "commit (initial)" : "commit";
  try {
    if ((await file.stat()).isFile())
      await file.writeFile(`${before} ${to} ${who}\t${kind}: ${subject}\n`);
  } finally {
    await file.close();
  }
}

/** Rejects with `no_repository` unless `path` is a directory and no link to one. */
export async function requireDirectory(path: string): Promise<void> {
  if (!(await isDirectory(path)))
    throw new SymphonyError("no_repository", `${path} is not a directory of the repository`);
}

async function isDirectory(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null))?.isDirectory() === true;
}

function unlessThere(error: unknown): void {
  if (systemCodeOf(error) !== "EEXIST") throw error;
}

function failed(why: string, cause?: unknown): SymphonyError {
  const options = cause === undefined ? {} : { cause };
  return new SymphonyError("workspace_error", `nothing was committed: ${why}`, options);
}
