import { statSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { syncAgain, syncNow } from "./manifest.ts";
import { isFaultOfDisk, isFull } from "./sqlite-errors.ts";

/** 16 MB: pages of an index that change again and again are then written to the file a quarter as often. */
const checkpointPages = 4_000;
/** Rows that are written before the journal's length is asked for again. */
const rowsBetweenLooks = 250;

/** The journal of one connection: when it is on disk, and when its pages are written to the file. */
export class WriteAhead {
  readonly #db: DatabaseSync;
  readonly #path: string;
  readonly #synchronous: string;
  /** A sync failed. The kernel reports that once, and may count as written what never reached the disk. */
  #isUnsure = false;
  /** The last checkpoint failed. */
  #isBehind = false;
  #rows = 0;

  constructor(db: DatabaseSync, file: string, synchronous: string) {
    this.#db = db;
    this.#path = `${file}-wal`;
    this.#synchronous = synchronous;
    // SQLite's own checkpoints keep to themselves that the disk refused.
    db.exec("PRAGMA wal_autocheckpoint = 0");
  }

  /** Before a write that is not part of another. Throws while the disk refuses what an earlier one left to do. */
  require(): void {
    if (this.#isUnsure) this.#writeAgain();
    if (this.#isBehind) this.#checkpoint();
  }

  /**
   * After a committed write; `rows` since the last one. Never throws: what was written is committed, so a checkpoint that fails
   * is an error of the next write.
   */
  wrote(rows: number): void {
    this.#rows += rows;
    if (this.#rows < rowsBetweenLooks) return;
    this.#rows = 0;
    try {
      // The journal's length in pages, and how many of them are in the file.
      const row = this.#db.prepare("PRAGMA wal_checkpoint(NOOP)").get();
      if (Number(row?.["log"]) - Number(row?.["checkpointed"]) >= checkpointPages)
        this.#checkpoint();
    } catch {
      // `require` tries again.
    }
  }

  /** After a write that failed. */
  failed(error: unknown): void {
    if (!isFaultOfDisk(error)) return;
    this.#isUnsure = true;
    if (!this.#db.isTransaction) this.#takeBack();
  }

  /** When it returns, every committed transaction survives a power cut. */
  flush(): void {
    if (this.#isUnsure) return this.#writeAgain();
    try {
      if (this.#size()) syncNow(this.#path);
    } catch (error) {
      this.#isUnsure = true;
      throw error;
    }
  }

  #size(): number {
    return statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0;
  }

  #checkpoint(): void {
    this.#isBehind = false;
    try {
      this.#db.exec("PRAGMA wal_checkpoint(PASSIVE)");
    } catch (error) {
      this.#isUnsure ||= isFaultOfDisk(error);
      this.#isBehind = this.#isUnsure || isFull(error);
      if (this.#isBehind) throw error;
    }
  }

  /** Writes the journal over itself, so that the next sync is about all of it. No one else writes it meanwhile. */
  #writeAgain(): void {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      if (this.#size()) syncAgain(this.#path);
      this.#isUnsure = false;
    } finally {
      this.#db.exec("ROLLBACK");
    }
  }

  /** A commit that could not be synced is in the journal, where a start would find it: one that changes nothing takes its place. */
  #takeBack(): void {
    try {
      const version = this.#db.prepare("PRAGMA user_version").get()?.["user_version"];
      this.#db.exec(`PRAGMA synchronous = OFF; PRAGMA user_version = ${Number(version)}`);
    } catch {
      // The disk refuses that too.
    }
    this.#db.exec(`PRAGMA synchronous = ${this.#synchronous}`);
  }
}
