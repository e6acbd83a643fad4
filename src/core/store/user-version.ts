import { closeSync, openSync, readSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { systemCodeOf } from "../model/errors.ts";

// From https://sqlite.org/fileformat2.html: the database's header, which begins page 1, and the journal's.
const versionAt = 60;
const journalHeaderBytes = 32;
const journalMagic = 0x377f0682;
const frameHeaderBytes = 24;

/**
 * Reads the `user_version` of the database `file` and changes nothing: it takes no lock and creates no journal. Throws as SQLite
 * does for a file that is not a database. Missing pages are not noticed: after a checkpoint that ran out of space, or was
 * killed, the main file is complete only together with its journal.
 */
export function userVersionIn(file: string): number {
  // The journal first: pages that a checkpoint moves meanwhile are in the main file by the time it is read.
  const journal = newestPageOneIn(`${file}-wal`);
  const main = mainVersion(file);
  return journal?.readInt32BE(versionAt) ?? main;
}

/** By SQLite: closing the file in another way would release the locks of this process's open connection. */
function mainVersion(file: string): number {
  const url = pathToFileURL(file);
  url.searchParams.set("immutable", "1");
  const db = new DatabaseSync(url, { readOnly: true, defensive: false });
  try {
    // Without this SQLite refuses a file that is shorter than its header says. A read-only connection can write nothing.
    db.exec("PRAGMA writable_schema = ON");
    return Number(db.prepare("PRAGMA user_version").get()?.["user_version"]);
  } finally {
    db.close();
  }
}

/** The newest committed page 1 of the journal, which SQLite reads instead of the main file's; null if there is none. */
function newestPageOneIn(journal: string): Buffer | null {
  const fd = openIfThere(journal);
  if (fd === null) return null;
  try {
    return newestPageOne(fd);
  } finally {
    // SQLite holds no lock on a journal that closing it could release.
    closeSync(fd);
  }
}

function newestPageOne(fd: number): Buffer | null {
  const start = readAt(fd, 0, journalHeaderBytes);
  const kind = start?.readUInt32BE(0) ?? 0;
  if (start === null || (kind & ~1) !== journalMagic) return null;
  const pageBytes = start.readUInt32BE(8);
  if (pageBytes < 512 || pageBytes > 65_536) return null;
  const sum = new Checksum((kind & 1) === 1);
  sum.add(start.subarray(0, 24));
  if (!sum.isAt(start, 24)) return null;
  let committed: Buffer | null = null;
  let pending: Buffer | null = null;
  for (let at = journalHeaderBytes; ; at += frameHeaderBytes + pageBytes) {
    const frame = readAt(fd, at, frameHeaderBytes + pageBytes);
    // Frames of an earlier round have other salts.
    if (frame === null || !frame.subarray(8, 16).equals(start.subarray(16, 24))) return committed;
    sum.add(frame.subarray(0, 8));
    sum.add(frame.subarray(frameHeaderBytes));
    // Incomplete: SQLite reads neither this frame nor those after it.
    if (!sum.isAt(frame, 16)) return committed;
    if (frame.readUInt32BE(0) === 1) pending = frame.subarray(frameHeaderBytes);
    const isCommit = frame.readUInt32BE(4) !== 0;
    if (isCommit) committed = pending ?? committed;
  }
}

/** The running checksum of a journal. */
class Checksum {
  readonly #bigEndian: boolean;
  #first = 0;
  #second = 0;

  constructor(bigEndian: boolean) {
    this.#bigEndian = bigEndian;
  }

  add(bytes: Buffer): void {
    const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < bytes.length; at += 8) {
      this.#first = (this.#first + words.getUint32(at, !this.#bigEndian) + this.#second) >>> 0;
      this.#second = (this.#second + words.getUint32(at + 4, !this.#bigEndian) + this.#first) >>> 0;
    }
  }

  /** Whether `bytes` has this checksum at `at`. */
  isAt(bytes: Buffer, at: number): boolean {
    return bytes.readUInt32BE(at) === this.#first && bytes.readUInt32BE(at + 4) === this.#second;
  }
}

function openIfThere(file: string): number | null {
  try {
    return openSync(file, "r");
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return null;
    throw error;
  }
}

/** null when the file ends before that. */
function readAt(fd: number, at: number, length: number): Buffer | null {
  const bytes = Buffer.alloc(length);
  return readSync(fd, bytes, 0, length, at) === length ? bytes : null;
}
