import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { mkdir, open, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { SymphonyError } from "../model/errors.ts";

/** Where a kind of agent keeps the records of its threads on this machine: one file for each, named by its id. */
export interface ThreadRecords {
  readonly root: string;
  /** The directory of a record in `root`, when it was in `directory` on another machine; null: it cannot continue here. */
  directoryFor(directory: string): string | null;
}

const dayMs = 86_400_000;
const sweptAt = new Map<string, number>();

/** Removes what is too old in a directory, at most once a day: its cost grows with what is there. Never rejects. */
export async function sweptDaily(
  dir: string,
  wall: number,
  sweep: () => Promise<void>,
): Promise<void> {
  if (Math.abs(wall - (sweptAt.get(dir) ?? -dayMs)) < dayMs) return;
  sweptAt.set(dir, wall);
  await sweep().catch(() => {});
}

/** The record of one thread, on its way to another machine. */
export interface ThreadRecord {
  /** Its path in the root of the machine that it comes from. */
  readonly name: string;
  /** Compressed. */
  readonly data: Buffer;
}

const maxRecordBytes = 256 * 1024 * 1024;
const maxDepth = 4;
const idForm = /^[\w-]{8,80}$/;
const segmentForm = /^[\w:-][\w.:-]*$/;

/**
 * The record of thread `id`; null: there is none. An agent may write what is in the root, so that no link is followed.
 * Rejects with `workspace_error` when it is larger than 256 MiB.
 */
export async function readRecord(
  { root }: Pick<ThreadRecords, "root">,
  id: string,
): Promise<ThreadRecord | null> {
  const path = idForm.test(id) ? await fileOf(root, id, maxDepth) : null;
  if (path === null) return null;
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(path, flags).catch(() => null);
  if (handle === null) return null;
  await using file = handle;
  // A directory on the way may have become a link since it was listed.
  const place = await realpath(dirname(path)).catch(() => null);
  const stats = await file.stat();
  if (!stats.isFile() || place !== join(await realpath(root), relative(root, dirname(path))))
    return null;
  if (stats.size > maxRecordBytes) throw tooLarge(id);
  const data = await promisify(gzip)(await file.readFile(), { level: 1 });
  return { name: relative(root, path), data };
}

/** Whether thread `id` has a record here. */
export async function hasRecord(
  { root }: Pick<ThreadRecords, "root">,
  id: string,
): Promise<boolean> {
  return idForm.test(id) && (await fileOf(root, id, maxDepth)) !== null;
}

/** Puts a record to where the agent's program on this machine finds it; false: it cannot continue here. Rejects with `workspace_error`. */
export async function placeRecord(
  records: ThreadRecords,
  id: string,
  { name, data }: ThreadRecord,
): Promise<boolean> {
  const segments = name.split("/");
  const file = segments.at(-1) ?? "";
  const isSound = segments.length <= maxDepth && segments.every((part) => segmentForm.test(part));
  if (!idForm.test(id) || !isSound || !isRecordOf(file, id)) {
    throw new SymphonyError("workspace_error", "the record of a thread has a name of another form");
  }
  const directory = records.directoryFor(segments.slice(0, -1).join("/"));
  if (directory === null) return false;
  const text = await promisify(gunzip)(data, { maxOutputLength: maxRecordBytes }).catch((cause) => {
    const message = `the record of thread ${id} cannot be read, or is larger than 256 MiB`;
    throw new SymphonyError("workspace_error", message, { cause });
  });
  const place = join(records.root, directory);
  await mkdir(place, { recursive: true, mode: 0o700 });
  if ((await realpath(place)) !== join(await realpath(records.root), directory)) {
    throw new SymphonyError("workspace_error", `${place} leads elsewhere: no record is put there`);
  }
  const draft = join(place, `.${randomUUID()}`);
  try {
    {
      await using written = await open(draft, "wx", 0o600);
      await written.writeFile(text);
      await written.sync();
    }
    await rename(draft, join(place, file));
    await syncDirectory(place);
    await removeDrafts(place);
  } finally {
    await rm(draft, { force: true });
  }
  return true;
}

/** Not every file system can. */
async function syncDirectory(dir: string): Promise<void> {
  await using handle = await open(dir, "r");
  await handle.sync().catch(() => {});
}

const draftForm = /^\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const draftKeptMs = 3_600_000;

/** Drafts of processes that were killed while they wrote one. */
async function removeDrafts(place: string): Promise<void> {
  for (const name of (await readdir(place)).filter((one) => draftForm.test(one))) {
    const path = join(place, name);
    const stats = await stat(path).catch(() => null);
    if (stats !== null && Date.now() - stats.mtimeMs > draftKeptMs) await rm(path, { force: true });
  }
}

async function fileOf(dir: string, id: string, depth: number): Promise<string | null> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  const own = entries.find((entry) => entry.isFile() && isRecordOf(entry.name, id));
  if (own) return join(dir, own.name);
  if (depth === 1) return null;
  // The latest first, where they are named by date.
  for (const entry of entries.filter((one) => one.isDirectory()).toSorted(byName)) {
    const found = await fileOf(join(dir, entry.name), id, depth - 1);
    if (found !== null) return found;
  }
  return null;
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? 1 : -1;
}

function isRecordOf(file: string, id: string): boolean {
  return file === `${id}.jsonl` || file.endsWith(`-${id}.jsonl`);
}

function tooLarge(id: string): SymphonyError {
  return new SymphonyError("workspace_error", `the record of thread ${id} is larger than 256 MiB`);
}
