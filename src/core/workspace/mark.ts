import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { lstat, opendir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { gitChanges, gitHead } from "../repository/survey.ts";
import { fileDigest } from "./tree-digest.ts";

/** What a checkout holds, to tell later whether its content has changed. */
export interface WorkspaceMark {
  /** The first commit seen with these files; null: there is none. */
  readonly head: string | null;
  readonly entries: ReadonlyMap<string, Entry>;
}

interface Entry {
  readonly size: number;
  readonly mode: number;
  readonly changedMs: number;
  /** SHA-256 of a file, target of a link; null: it was not read. */
  readonly content: string | null;
}

/** A limit, because an agent can create any number of files. */
const maxStats = 20_000;
/** Files read at the same time: other work uses the thread pool too. */
const atOnce = 16;
/** Reading .git changes it; what a package manager installs is not the agent's work. */
const leftOut: ReadonlySet<string> = new Set([".git", "node_modules"]);
/** What one mark reads: the files that were changed last, because an agent changes the same ones again. */
const maxReadBytes = 32 * 1024 * 1024;
const maxReadFiles = 2_000;

/**
 * The checkout at `path`: its commit, and names, sizes, modes and contents of its files. The content of a file that is
 * unchanged since `before` is not read again. Runs nothing of the checkout; links are not followed. Never rejects.
 */
export async function workspaceMark(
  path: string,
  before: WorkspaceMark | null = null,
): Promise<WorkspaceMark> {
  const now = (await gitHead(path))?.head ?? null;
  const head = await contentHead(path, now, before?.head ?? null);
  const entries = new Map<string, Entry>();
  const files: string[] = [];
  const dirs = [path];
  for (let dir = dirs.shift(); dir !== undefined && entries.size < maxStats; dir = dirs.shift()) {
    for await (const { file, found } of entriesIn(dir)) {
      if (entries.size >= maxStats) break;
      // A directory's own size and time also change with entries that are left out here.
      const isDir = found.isDirectory();
      const [size, changedMs] = isDir ? [0, 0] : [found.size, found.mtimeMs];
      entries.set(file, { size, mode: found.mode, changedMs, content: null });
      if (isDir) dirs.push(file);
      else if (found.isFile() || found.isSymbolicLink()) files.push(file);
    }
  }
  await readContents(files, { entries, before });
  return { head, entries };
}

/** An empty commit, or one that was written again with the same files, is the previous commit: it adds no content. */
async function contentHead(
  path: string,
  head: string | null,
  before: string | null,
): Promise<string | null> {
  if (head === null || before === null || head === before) return head;
  const changes = await gitChanges(path, before, head);
  return changes?.changedFiles === 0 ? before : head;
}

/** True when both hold the same. A file that was written again with the same bytes is the same. */
export function isSameContent(a: WorkspaceMark, b: WorkspaceMark): boolean {
  if (a.head !== b.head || a.entries.size !== b.entries.size) return false;
  for (const [file, one] of a.entries) {
    const other = b.entries.get(file);
    if (!other || one.size !== other.size || one.mode !== other.mode) return false;
    const isRead = one.content !== null && other.content !== null;
    if (isRead ? one.content !== other.content : one.changedMs !== other.changedMs) return false;
  }
  return true;
}

/** Contents that are remembered, the newest: an agent that only undoes what it did returns to one of them. */
const maxEarlier = 32;

/** The contents that the checkout at `path` had before. */
export class EarlierContents {
  readonly #path: string;
  #all: readonly { readonly head: string | null; readonly digest: string }[] = [];

  constructor(path: string) {
    this.#path = path;
  }

  /** True when the checkout held the same files before, and its commit the same ones; else it is remembered. */
  async has(mark: WorkspaceMark, first: WorkspaceMark): Promise<boolean> {
    if (this.#all.length === 0) this.#add(first.head, digestOf(first));
    const digest = digestOf(mark);
    for (const earlier of this.#all) {
      if (earlier.digest !== digest) continue;
      if ((await contentHead(this.#path, mark.head, earlier.head)) === earlier.head) return true;
    }
    this.#add(mark.head, digest);
    return false;
  }

  #add(head: string | null, digest: string): void {
    this.#all = [...this.#all, { head, digest }].slice(-maxEarlier);
  }
}

/** Checkouts whose earlier contents are remembered, the newest. */
const maxCheckouts = 256;

/** The earlier contents by path, so that they outlast an attempt. */
export class ContentsByPath {
  readonly #known = new Map<string, EarlierContents>();

  /** `isNew`: what was there before is gone. */
  of(path: string, isNew = false): EarlierContents {
    const known = (!isNew && this.#known.get(path)) || new EarlierContents(path);
    this.#known.delete(path);
    this.#known.set(path, known);
    const [oldest] = this.#known.keys();
    if (this.#known.size > maxCheckouts && oldest !== undefined) this.#known.delete(oldest);
    return known;
  }
}

function digestOf({ entries }: WorkspaceMark): string {
  const hash = createHash("sha256");
  for (const file of [...entries.keys()].sort()) {
    const { size = 0, mode = 0, changedMs = 0, content = null } = entries.get(file) ?? {};
    hash.update(`${JSON.stringify([file, size, mode, content ?? changedMs])}\n`);
  }
  return hash.digest("hex");
}

interface Reading {
  readonly entries: Map<string, Entry>;
  readonly before: WorkspaceMark | null;
}

/** Fills in contents, newest change first, as far as the limits allow. */
async function readContents(files: string[], { entries, before }: Reading): Promise<void> {
  const changed = (file: string) => entries.get(file)?.changedMs ?? 0;
  let bytes = maxReadBytes;
  let left = maxReadFiles;
  for (const file of files.sort((a, b) => changed(b) - changed(a))) {
    const entry = entries.get(file);
    if (!entry || left <= 0) return;
    const known = before?.entries.get(file);
    const isKnown = known?.size === entry.size && known.changedMs === entry.changedMs;
    if (isKnown && known.content !== null) {
      entries.set(file, { ...entry, content: known.content });
      continue;
    }
    if (entry.size > bytes) continue;
    bytes -= entry.size;
    left -= 1;
    // It was removed, or it cannot be read: then its time is compared.
    entries.set(file, { ...entry, content: await contentOf(file, entry).catch(() => null) });
  }
}

/** The target of a link is its content. */
function contentOf(file: string, { mode }: Entry): Promise<string> {
  return (mode & constants.S_IFMT) === constants.S_IFLNK ? readlink(file) : fileDigest(file);
}

async function* entriesIn(dir: string) {
  try {
    let names: string[] = [];
    for await (const { name } of await opendir(dir)) {
      if (leftOut.has(name)) continue;
      names.push(name);
      if (names.length < atOnce) continue;
      yield* await statsIn(dir, names);
      names = [];
    }
    yield* await statsIn(dir, names);
  } catch {
    // It was removed, or it cannot be read: either way it does not show work.
  }
}

async function statsIn(dir: string, names: readonly string[]) {
  const all = await Promise.all(
    names.map(async (name) => {
      const file = join(dir, name);
      return { file, found: await lstat(file).catch(() => null) };
    }),
  );
  return all.flatMap(({ file, found }) => (found ? [{ file, found }] : []));
}
