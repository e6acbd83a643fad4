import { createHash, randomUUID } from "node:crypto";
import { constants, existsSync } from "node:fs";
import { copyFile, link, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { getSystemErrorMessage, getSystemErrorName } from "node:util";
import type { Adapter, Low } from "lowdb";
import { z } from "zod";
import { messageOf, SymphonyError, systemCodeOf } from "../model/errors.ts";
import { noteKept, requireNeverMade } from "./manifest.ts";

const Envelope = z.strictObject({
  version: z.number().int(),
  sha256: z.string(),
  data: z.unknown(),
});

/**
 * lowdb adapter for one document in `file`: every write is on disk when it resolves. `read` returns null only when the
 * document was never written; an empty, truncated, altered or unreadable file rejects with `storage_corrupt`.
 */
export function durableJson<T>(file: string, version: number, schema: z.ZodType<T>): Adapter<T> {
  /** The document in an earlier release's format, until the first write. */
  let earlier: { readonly version: number; readonly text: string } | null = null;
  let isNoted = false;
  return {
    async read() {
      const text = await readText(file);
      if (text === null) return null;
      const found = parse(text, { file, version, schema });
      if (found.version < version) earlier = { version: found.version, text };
      return found.data;
    },
    async write(data) {
      // Not before: a start that is refused for another file must change nothing.
      if (earlier !== null) await keepFormat(file, earlier.version, earlier.text);
      earlier = null;
      await writeDurably(file, `${JSON.stringify({ version, sha256: digest(data), data })}\n`);
      // It is on disk, whatever becomes of the note: the next write or start makes it.
      if (!isNoted) isNoted = tryTo(() => noteKept(file));
    },
  };
}

function tryTo(work: () => void): boolean {
  try {
    work();
    return true;
  } catch (error) {
    if (isStorageError(error)) return false;
    throw error;
  }
}

/** A loaded document that is written as a whole, one write after the other. */
export class OneByOne<T> {
  readonly #document: Low<T>;
  #current: T;
  #last: Promise<unknown> = Promise.resolve();

  constructor(document: Low<T>) {
    this.#document = document;
    this.#current = document.data;
  }

  /** As it is on disk. */
  get current(): T {
    return this.#current;
  }

  /**
   * Replaces it by the result of `change`; an error of `change` changes nothing. On disk (fsynced) when it resolves, with
   * the new document. Rejects with `storage_unavailable`.
   */
  change(change: (current: T) => T): Promise<T> {
    const done = this.#last.then(() => this.#write(change));
    // The caller of this change gets its error; the next change starts anyway.
    this.#last = done.catch(() => undefined);
    return done;
  }

  /** Resolves when no write is running or waiting. */
  async settled(): Promise<void> {
    await this.#last;
  }

  async #write(change: (current: T) => T): Promise<T> {
    const next = change(this.#current);
    this.#document.data = next;
    // Not with `write` of the document, which writes no null.
    await this.#document.adapter.write(next);
    this.#current = next;
    return next;
  }
}

/** The text of a file, through links too. Rejects for a pipe or a device in its place, which might never end. */
export async function readPlain(file: string): Promise<string> {
  await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  if (!(await handle.stat()).isFile()) throw new Error("it is not a file");
  return await handle.readFile("utf8");
}

async function readText(file: string): Promise<string | null> {
  try {
    return await readPlain(file);
  } catch (error) {
    if (!isMissing(error)) throw corrupt(file, "it cannot be read", error);
  }
  const previous = await readFile(backupOf(file)).catch(() => null);
  if (previous !== null) throw corrupt(file, "it is missing, but its previous copy exists");
  requireNeverMade(file);
  return null;
}

function parse<T>(
  text: string,
  target: { file: string; version: number; schema: z.ZodType<T> },
): { readonly version: number; readonly data: T } {
  const { file, version, schema } = target;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw corrupt(file, text === "" ? "it is empty" : "it is not complete JSON", error);
  }
  const envelope = Envelope.safeParse(json);
  if (!envelope.success) throw corrupt(file, "it does not look like one of symphony's documents");
  if (envelope.data.version > version) throw newerVersion(file, envelope.data.version);
  if (envelope.data.sha256 !== digest(envelope.data.data)) {
    throw corrupt(file, "its content does not match its checksum");
  }
  const data = schema.safeParse(envelope.data.data);
  if (data.success) return { version: envelope.data.version, data: data.data };
  const issue = data.error.issues[0];
  throw corrupt(file, `${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`);
}

/** A copy of the document in the earlier release's format, for a return to that release: the next write changes it. */
async function keepFormat(file: string, version: number, text: string): Promise<void> {
  const copy = `${file}.v${version}.bak`;
  // Keep an existing copy: it is older.
  if (existsSync(copy)) return;
  const temporary = temporaryFor(file);
  try {
    await writeSynced(temporary, text);
    await rename(temporary, copy);
    await syncDirectory(dirname(copy));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw storageUnavailable(file, error);
  }
}

function corrupt(file: string, why: string, cause?: unknown): SymphonyError {
  const backup = backupOf(file);
  const hint = existsSync(backup)
    ? `Check ${backup}, the copy before the last change, and restore it by hand`
    : `Restore it from a backup, or start without it: mv '${file}' '${file}.aside', then symphony serve --accept-loss ${basename(file)}`;
  return new SymphonyError("storage_corrupt", `Cannot load ${file}: ${why}`, {
    cause,
    details: { file, backup },
    hint,
  });
}

/** Removes what a crash during a write left next to `file`; only for the process that writes it. */
export async function removeLeftovers(file: string): Promise<void> {
  const prefix = `.${basename(file)}.`;
  try {
    for (const name of await readdir(dirname(file))) {
      if (!name.startsWith(prefix) || !name.endsWith(".tmp")) continue;
      await rm(join(dirname(file), name), { force: true });
    }
  } catch (error) {
    if (!isMissing(error)) throw storageUnavailable(file, error);
  }
}

function isMissing(error: unknown): boolean {
  return systemCodeOf(error) === "ENOENT";
}

function digest(data: unknown): string {
  return createHash("sha256")
    .update(JSON.stringify(data) ?? "")
    .digest("hex");
}

const linkRefusals = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "EXDEV", "EMLINK"]);

/** Where the previous copy of a durable file is kept. */
export function backupOf(file: string): string {
  return `${file}.bak`;
}

/**
 * Replaces `file` (mode 0600) atomically: after a crash it holds the old text or the new one. On disk when it
 * resolves. The previous text is kept next to it (`backupOf`). Rejects with `storage_unavailable`.
 */
export async function writeDurably(file: string, text: string): Promise<void> {
  const temporary = temporaryFor(file);
  let replaced: (() => Promise<void>) | null = null;
  try {
    await writeSynced(temporary, text);
    const hasPrevious = await keepPrevious(file);
    await rename(temporary, file);
    replaced = () => (hasPrevious ? replaceByLink(file, backupOf(file)) : rm(file));
    await syncDirectory(dirname(file));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    // Refused, so that a start must not find it; unless the disk refuses that too.
    await replaced?.().catch(() => undefined);
    throw storageUnavailable(file, error);
  }
}

/** Creates `file`, which must not exist, with mode 0600; on disk when it resolves, its name not yet. */
export async function writeSynced(file: string, text: string): Promise<void> {
  const handle = await open(file, "wx", 0o600);
  try {
    await handle.writeFile(text, "utf8");
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** False: there is none. */
async function keepPrevious(file: string): Promise<boolean> {
  const twin = temporaryFor(file);
  try {
    await makeTwin(twin, file);
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
  await putInPlace(twin, backupOf(file));
  return true;
}

/** `file` is then the same file as `by`, or a copy of it where the file system has no links. */
async function replaceByLink(file: string, by: string): Promise<void> {
  const twin = temporaryFor(file);
  await makeTwin(twin, by);
  await putInPlace(twin, file);
}

async function makeTwin(twin: string, of: string): Promise<void> {
  try {
    await link(of, twin);
  } catch (error) {
    if (!linkRefusals.has(String(systemCodeOf(error)))) throw error;
    await copyFile(of, twin);
  }
}

async function putInPlace(temporary: string, file: string): Promise<void> {
  await rename(temporary, file);
  // rename(2) keeps both names when they already are the same file, as after a crash between two renames.
  await rm(temporary, { force: true });
}

/** Makes the creation, change or removal of names in `dir` durable, where the file system can do that. */
export async function syncDirectory(dir: string): Promise<void> {
  await using handle = await open(dir, "r");
  try {
    await handle.sync();
  } catch (error) {
    if (!unsyncable.has(String(systemCodeOf(error)))) throw error;
  }
}

/** The answers of file systems that sync no directories. */
const unsyncable = new Set(["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]);

function temporaryFor(file: string): string {
  return join(dirname(file), `.${basename(file)}.${randomUUID()}.tmp`);
}

/** Errors of SQLite have no errno: those of https://sqlite.org/rescode.html that are the disk's. */
const sqliteCodes: Readonly<Record<number, string>> = {
  8: "EACCES",
  10: "EIO",
  13: "ENOSPC",
  14: "EACCES",
};

const ownership = "its files and their directory must be writable for the user that runs symphony";
const remedies: Readonly<Record<string, string>> = {
  ENOSPC: "free space on the disk of the data directory",
  EDQUOT: "free space on the disk of the data directory, or raise the quota of the user",
  EFBIG: "raise the limit for the size of a file (ulimit -f)",
  EROFS: "the disk is read-only: mount it writable, or use another --data-dir",
  EACCES: ownership,
  EPERM: ownership,
  EIO: "the disk is failing: see the log of the system (dmesg), and move the data directory to another disk",
};

/** The errno of what the disk refused; empty: it is not known. */
function diskCodeOf(error: unknown): string {
  let cause = error;
  while (cause instanceof SymphonyError) cause = cause.cause;
  if (!(cause instanceof Error)) return "";
  if ("errcode" in cause) return sqliteCodes[Number(cause.errcode) & 0xff] ?? "";
  return "errno" in cause ? getSystemErrorName(Number(cause.errno)) : "";
}

/** What to do about a disk that refused a write. */
export function remedyFor(error: unknown): string {
  const known = remedies[diskCodeOf(error)];
  return known ?? "Check free space, permissions and that the disk is writable";
}

/** `storage_unavailable`: the file system refused; the content on disk is unchanged. */
export function storageUnavailable(file: string, cause: unknown): SymphonyError {
  return new SymphonyError("storage_unavailable", `Cannot use ${file}: ${messageOf(cause)}`, {
    cause,
    details: { file },
    hint: remedyFor(cause),
  });
}

/** The disk refused a change that is in force; it is written as soon as the disk accepts it. */
export class SavedLater extends SymphonyError {
  /** Resolves when it is on disk; rejects when the process ends before that. */
  readonly saved: Promise<void>;

  constructor(message: string, cause: unknown, saved: Promise<void>) {
    const file = cause instanceof SymphonyError ? cause.details["file"] : undefined;
    super("storage_unavailable", message, {
      cause,
      details: { ...(file !== undefined && { file }), reason: reasonOf(cause), savedLater: true },
      hint: `${remedyFor(cause)}; symphony state says whether writes still wait`,
    });
    this.saved = saved;
  }

  /** The same error with a message for the caller: `what` took effect. */
  as(what: string): SavedLater {
    const when = diskCodeOf(this.cause) === "ENOSPC" ? "there is room" : "the disk takes it";
    const message = `${what} took effect but is not saved yet (${reasonOf(this.cause)}); it is saved as soon as ${when}`;
    return new SavedLater(message, this.cause, this.saved);
  }
}

/** The error for a change that is not in force until it is on disk. */
export function nothingChanged(cause: unknown): SymphonyError {
  const message = `nothing was changed: it cannot be saved (${reasonOf(cause)})`;
  const details = cause instanceof SymphonyError ? cause.details : {};
  return new SymphonyError("storage_unavailable", message, {
    cause,
    details,
    hint: `${remedyFor(cause)}, and try again`,
  });
}

/** True for errors of the disk, for any write. */
export function isStorageError(error: unknown): boolean {
  if (!(error instanceof SymphonyError)) return false;
  return error.code === "storage_unavailable" || error.code === "storage_corrupt";
}

/** A short reason why the disk refused: "no space left on device". */
export function reasonOf(error: unknown): string {
  const cause = error instanceof SymphonyError && error.cause !== undefined ? error.cause : error;
  if (!(cause instanceof Error)) return messageOf(cause);
  if ("errno" in cause && typeof cause.errno === "number")
    return getSystemErrorMessage(cause.errno);
  return diskCodeOf(cause) === "ENOSPC" ? "no space left on device" : messageOf(cause);
}

/** `storage_corrupt` for a file that a later release of symphony wrote. */
export function newerVersion(file: string, version: number): SymphonyError {
  return new SymphonyError(
    "storage_corrupt",
    `${file} was written by a later symphony (format ${version}); nothing was changed`,
    { details: { file, version }, hint: "Use the later symphony, or another --data-dir" },
  );
}
