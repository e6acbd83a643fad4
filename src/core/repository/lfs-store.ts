import { createHash, randomUUID } from "node:crypto";
import { constants } from "node:fs";
import {
  type FileHandle,
  lstat,
  mkdir,
  open,
  readdir,
  realpath,
  rename,
  rm,
  utimes,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncDirectory } from "../store/durable.ts";
import { partsOf } from "./checkout.ts";

// Where the contents of git LFS are on this disk.

/** What a commit has in place of a file's content. */
export interface Pointer {
  /** SHA-256 of the content, in hex. */
  readonly oid: string;
  readonly bytes: number;
}

/** A larger blob is no pointer. */
export const maxPointerBytes = 1_024;
const pointerForm =
  /^version https:\/\/git-lfs\.github\.com\/spec\/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n$/;

/** The pointer that a blob is; null: it is another text. */
export function pointerIn(text: string): Pointer | null {
  const [, oid, bytes] = pointerForm.exec(text) ?? [];
  return oid === undefined ? null : { oid, bytes: Number(bytes) };
}

export function pointerText({ oid, bytes }: Pointer): string {
  return `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${bytes}\n`;
}

/** Sets the time of the last use of a content not more often than this. */
const useMs = 24 * 3_600_000;
/** Contents that no workspace names are deleted this long after their last use. */
const unusedMs = 7 * useMs;

/**
 * The contents that a workspace reads: those that its mirror has, which the server has too and every agent of the
 * repository may read; and those of work that was not pushed yet, which are in the workspace itself.
 */
export class LfsStore {
  /** What git LFS calls its storage; only symphony writes it. */
  readonly dir: string;
  /** The `.git` of the workspace; null: none. */
  readonly #gitDir: string | null;

  /** @param mirror path of the mirror's repository */
  constructor(mirror: string, gitDir: string | null = null) {
    this.dir = join(mirror, "lfs");
    this.#gitDir = gitDir;
  }

  /** Its place in the mirror. */
  pathOf(pointer: Pick<Pointer, "oid">): string {
    return objectIn(this.dir, pointer);
  }

  /** The file with the content, in the mirror or else in the workspace; null: it is in none. */
  async find(pointer: Pointer, signal?: AbortSignal): Promise<string | null> {
    const shared = this.pathOf(pointer);
    const found = await lstat(shared).catch(() => null);
    if (found?.isFile() && found.size === pointer.bytes) {
      const now = new Date();
      if (now.getTime() - found.mtimeMs > useMs) await utimes(shared, now, now).catch(() => {});
      return shared;
    }
    return this.#gitDir === null ? null : findOwn(this.#gitDir, pointer, signal);
  }

  /** Whether it is in the mirror; of a remote on this disk git LFS has made a link, which becomes a copy. */
  async own(pointer: Pointer): Promise<boolean> {
    const file = this.pathOf(pointer);
    const found = await lstat(file).catch(() => null);
    if (!found?.isFile() || found.size !== pointer.bytes) return false;
    // The copy takes the place of the link in one step: another push may read it meanwhile.
    if (found.nlink === 1 || (await copyInto(this.dir, file, pointer))) return true;
    const now = await lstat(file).catch(() => null);
    if (now !== null && now.nlink > 1) await rm(file, { force: true });
    return false;
  }

  /** Deletes begun downloads of a content that are longer than its pointer says; whether there were any. */
  async dropOverlong({ oid, bytes }: Pointer): Promise<boolean> {
    const dir = join(this.dir, "incomplete");
    let isFound = false;
    for (const name of await readdir(dir).catch(() => [])) {
      const file = join(dir, name);
      const found = name.startsWith(oid) ? await lstat(file).catch(() => null) : null;
      if (found === null || found.size <= bytes) continue;
      await rm(file, { force: true });
      isFound = true;
    }
    return isFound;
  }

  /**
   * Copies the content of new work from `file` into the workspace, where its git LFS would have put it, or nowhere
   * when it is there already; false: `file` has another one. Rejects when a directory on the way is a link.
   */
  async add(file: string | Buffer, pointer: Pointer, signal?: AbortSignal): Promise<boolean> {
    if ((await this.find(pointer, signal)) !== null) return true;
    if (this.#gitDir === null) return false;
    const dir = join(this.#gitDir, "lfs");
    const levels = [dir, join(dir, "tmp"), join(dir, "objects")];
    const above = dirname(objectIn(dir, pointer));
    for (const level of [...levels, dirname(above), above]) {
      const found = await lstat(level).catch(() => null);
      if (found?.isDirectory() === false) throw new Error(`${level} is not a directory`);
    }
    // Another one in its place was not found.
    await rm(objectIn(dir, pointer), { recursive: true, force: true });
    return copyInto(dir, file, pointer, signal);
  }

  /** Copies a content of the workspace into `dir`, a storage of symphony's own; false: it is not there. */
  async stage(dir: string, pointer: Pointer, signal?: AbortSignal): Promise<boolean> {
    const file = this.#gitDir === null ? null : await findOwn(this.#gitDir, pointer, signal);
    return file !== null && (await copyInto(dir, file, pointer, signal));
  }

  /** Moves a content from the storage `dir` into the mirror. */
  async share(dir: string, pointer: Pointer): Promise<void> {
    const to = this.pathOf(pointer);
    await mkdir(dirname(to), { recursive: true });
    await rename(objectIn(dir, pointer), to);
    await syncDirectory(dirname(to));
  }

  /**
   * Deletes from the mirror what was last used before `before` (ms since the epoch; the time of the oldest workspace,
   * which has used what it names), and more than a week ago. The server has all of it.
   */
  async prune(before: number): Promise<void> {
    const limit = Math.min(before, Date.now()) - unusedMs;
    const all = await readdir(this.dir, { recursive: true, withFileTypes: true }).catch(() => []);
    for (const one of all) {
      if (!one.isFile()) continue;
      const file = join(one.parentPath, one.name);
      const found = await lstat(file).catch(() => null);
      if (found !== null && found.mtimeMs < limit) await rm(file, { force: true });
    }
  }
}

function objectIn(dir: string, { oid }: Pick<Pointer, "oid">): string {
  return join(dir, "objects", oid.slice(0, 2), oid.slice(2, 4), oid);
}

/** Where an agent's own git LFS has put the content. */
export function agentsContent(gitDir: string, pointer: Pick<Pointer, "oid">): string {
  return objectIn(join(gitDir, "lfs"), pointer);
}

/** Nothing is read through a link, which could lead to the store of another repository. */
async function findOwn(
  gitDir: string,
  pointer: Pointer,
  signal?: AbortSignal,
): Promise<string | null> {
  if (pointer.bytes > maxContentBytes) return null;
  const real = await realpath(gitDir).catch(() => null);
  if (real === null) return null;
  const file = agentsContent(real, pointer);
  if ((await realpath(file).catch(() => null)) !== file) return null;
  return (await isContent(file, pointer, signal)) ? file : null;
}

async function copyInto(
  dir: string,
  file: string | Buffer,
  pointer: Pointer,
  signal?: AbortSignal,
): Promise<boolean> {
  const from = await open(file, readOnly).catch(() => null);
  if (from === null) return false;
  await using source = from;
  const found = await source.stat();
  if (!found.isFile() || found.size !== pointer.bytes) return false;
  const to = objectIn(dir, pointer);
  const temporary = join(dir, "tmp", randomUUID());
  await mkdir(dirname(temporary), { recursive: true });
  try {
    await using copy = await open(temporary, "wx", 0o444);
    const { oid, bytes } = await hashOf(source, { to: copy, atMost: pointer.bytes, signal });
    if (oid !== pointer.oid || bytes !== pointer.bytes) return false;
    await copy.sync();
    await mkdir(dirname(to), { recursive: true });
    await rename(temporary, to);
    await syncDirectory(dirname(to));
    return true;
  } finally {
    await rm(temporary, { force: true });
  }
}

const readOnly = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
/** A file that was written in this time before it was read may be written again without a sign. */
const settledMs = 2_000;
const maxRemembered = 100_000;
/** The hash of each file that was read, by what differs after every write to it. */
const remembered = new Map<string, string>();

/** Whether a regular file has the content. One that was read before, and is as it was, is not read again. */
export async function isContent(
  file: string | Buffer,
  { oid, bytes }: Pointer,
  signal?: AbortSignal,
): Promise<boolean> {
  const found = await lstat(file).catch(() => null);
  if (!found?.isFile() || found.size !== bytes) return false;
  const opened = await open(file, readOnly).catch(() => null);
  if (opened === null) return false;
  await using content = opened;
  const { dev, ino, size, mtimeNs, ctimeNs } = await content.stat({ bigint: true });
  const state = [dev, ino, size, mtimeNs, ctimeNs].join(" ");
  const known = remembered.get(state);
  if (known !== undefined) return known === oid;
  const isSettled = Date.now() - Number(ctimeNs / 1_000_000n) > settledMs;
  const read = await hashOf(content, { atMost: bytes, signal });
  if (isSettled && read.bytes === bytes) {
    if (remembered.size >= maxRemembered) remembered.clear();
    remembered.set(state, read.oid);
  }
  return read.oid === oid && read.bytes === bytes;
}

/** A larger content of an agent is not taken: sites have limits below it. */
const maxContentBytes = 16 * 1024 ** 3;

interface Hashing {
  /** Gets a copy. */
  readonly to?: FileHandle;
  /** What is longer is not read to its end. */
  readonly atMost?: number;
  readonly signal?: AbortSignal | undefined;
}

/** What the pointer to the content of a regular file would be. */
export async function hashOf(
  from: FileHandle,
  { to, atMost = Number.POSITIVE_INFINITY, signal }: Hashing = {},
): Promise<Pointer> {
  const hash = createHash("sha256");
  let bytes = 0;
  if (!(await from.stat()).isFile()) return { oid: "", bytes };
  signal?.throwIfAborted();
  for await (const part of partsOf(from)) {
    if (bytes > atMost) break;
    hash.update(part);
    await to?.writeFile(part);
    bytes += part.length;
    signal?.throwIfAborted();
  }
  return { oid: hash.digest("hex"), bytes };
}
