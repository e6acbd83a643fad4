import { randomUUID } from "node:crypto";
import { closeSync, linkSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import {
  DatabaseSync,
  type SQLInputValue,
  type SQLOutputValue,
  type StatementSync,
} from "node:sqlite";
import { pathToFileURL } from "node:url";
import { systemCodeOf } from "../model/errors.ts";
import { newerVersion } from "./durable.ts";
import { noteKept, requireNeverMade, syncNow } from "./manifest.ts";
import { corrupt, translate } from "./sqlite-errors.ts";
import { userVersionIn } from "./user-version.ts";
import { WriteAhead } from "./write-ahead.ts";

const defaultBusyTimeoutMs = 5_000;
/** A check reads the whole file: for a larger one it would delay the start. */
const fullCheckLimitBytes = 64 * 1024 * 1024;

export type Row = Readonly<Record<string, SQLOutputValue>>;
export type Params = Readonly<Record<string, SQLInputValue>>;

interface DatabaseOptions {
  /** Step n takes the schema from version n to n + 1; a released step never changes. */
  readonly migrations: readonly string[];
  /** FULL: every commit is on disk. NORMAL: a power cut may take the newest ones, a crash none. */
  readonly synchronous: "NORMAL" | "FULL";
  /** How long to wait for another connection's write; default 5 s. */
  readonly busyTimeoutMs?: number;
}

/**
 * Opens or creates an SQLite file (0600, WAL) and migrates it to the newest schema. Throws `storage_corrupt` for a damaged
 * file, an empty one and one of a later release (which is not changed), `storage_unavailable` when the disk refuses.
 */
export function openDatabase(file: string, options: DatabaseOptions): Database {
  return translate(file, () => {
    const size = sizeOf(file);
    const journalSize = sizeOf(`${file}-wal`) ?? 0;
    if (size === undefined) create(file, options.migrations);
    // symphony completes the file under another name first, so it was never empty under this name.
    if (size === 0) throw corrupt(file, "it is empty");
    requireKnown(file, userVersionIn(file), options.migrations);
    const db = new DatabaseSync(file, { timeout: options.busyTimeoutMs ?? defaultBusyTimeoutMs });
    try {
      db.exec(`PRAGMA synchronous = ${options.synchronous}; PRAGMA fullfsync = ON;
        PRAGMA journal_mode = WAL; PRAGMA journal_size_limit = 67108864;`);
      check(db, file, journalSize === 0 ? (size ?? 0) : null);
      migrate(db, file, options.migrations);
      return new Database(db, file, options.synchronous);
    } catch (error) {
      db.close();
      throw error;
    }
  });
}

/**
 * Throws `storage_corrupt` for a file of a later release. For all files before the first one is migrated: a refused start
 * changes nothing. What else may be wrong with a file is told when it is opened.
 */
export function refuseLater(file: string, migrations: readonly string[]): void {
  let version = 0;
  try {
    if (sizeOf(file)) version = userVersionIn(file);
  } catch {
    // The file cannot be read: opening it says so.
  }
  requireKnown(file, version, migrations);
}

/**
 * The checks of `openDatabase` on a file that may be there, by a connection that only reads. `isOurs`: no other process
 * writes it, so that no journal has to be made. Throws as `openDatabase` does.
 */
export function inspectDatabase(file: string, { migrations, isOurs, json = [] }: Inspection): void {
  translate(file, () => {
    const size = sizeOf(file);
    const journalSize = sizeOf(`${file}-wal`) ?? 0;
    if (size === undefined) {
      if (journalSize > 0) throw corrupt(file, "it is missing, but its journal exists");
      return;
    }
    if (size === 0) throw corrupt(file, "it is empty");
    requireKnown(file, userVersionIn(file), migrations);
    const url = pathToFileURL(file);
    if (isOurs && journalSize === 0) url.searchParams.set("immutable", "1");
    const db = new DatabaseSync(url, { readOnly: true });
    try {
      check(db, file, isOurs && journalSize === 0 ? size : null);
      if (userVersion(db) === migrations.length) requireJson(db, file, json);
    } finally {
      db.close();
    }
  });
}

/**
 * A connection that only reads, also while a server writes; null for a file of another release. Where no server has it open,
 * nothing is created next to it either. Throws as `openDatabase` does.
 */
export function openToRead(file: string, migrations: readonly string[]): Database | null {
  return translate(file, () => {
    if (userVersionIn(file) !== migrations.length) return null;
    const url = pathToFileURL(file);
    const isAtRest = ["-wal", "-shm"].every((end) => sizeOf(file + end) === undefined);
    if (isAtRest) url.searchParams.set("immutable", "1");
    const db = new DatabaseSync(url, { readOnly: true, timeout: defaultBusyTimeoutMs });
    return new Database(db, file, "NORMAL");
  });
}

function requireKnown(file: string, version: number, migrations: readonly string[]): void {
  if (version > migrations.length) throw newerVersion(file, version);
}

const counted = { statements: 0, waits: 0 };

/** What this process asked of its databases so far: statements (each row of a `runEach` is one), and waits for the disk. */
export function databaseWork(): Readonly<typeof counted> {
  return { ...counted };
}

/** One connection that caches its prepared statements. Calls are synchronous and throw only SymphonyErrors, or bugs. */
export class Database {
  readonly #db: DatabaseSync;
  readonly #file: string;
  readonly #synchronous: string;
  readonly #statements = new Map<string, StatementSync>();
  readonly #ahead: WriteAhead;
  #rows = 0;

  constructor(db: DatabaseSync, file: string, synchronous: string) {
    this.#db = db;
    this.#file = file;
    this.#synchronous = synchronous;
    this.#ahead = new WriteAhead(db, file, synchronous);
  }

  all<T>(map: (row: Row) => T, sql: string, params: Params = {}): T[] {
    return translate(this.#file, () => this.#prepare(sql).all(params).map(map));
  }

  get<T>(map: (row: Row) => T, sql: string, params: Params = {}): T | null {
    return translate(this.#file, () => {
      const row = this.#prepare(sql).get(params);
      return row === undefined ? null : map(row);
    });
  }

  run(sql: string, params: Params = {}): void {
    this.#rows += 1;
    this.#writing(() => this.#prepare(sql).run(params));
  }

  /** As `run`, with the values in the order of the question marks: for rows that are written by the thousand. */
  runEach(sql: string, rows: Iterable<readonly SQLInputValue[]>): void {
    this.#writing(() => {
      const statement = this.#prepare(sql);
      counted.statements -= 1;
      for (const values of rows) {
        counted.statements += 1;
        this.#rows += 1;
        statement.run(...values);
      }
    });
  }

  /** Grows with every row that this connection writes. */
  changes(): number {
    return this.get((row) => Number(row["changes"]), "SELECT total_changes() AS changes") ?? 0;
  }

  /** All of `work` or nothing. */
  transaction<T>(work: () => T): T {
    return this.#within("BEGIN IMMEDIATE", work);
  }

  /** `work` reads one consistent state of the data, whatever other processes write meanwhile. */
  snapshot<T>(work: () => T): T {
    return this.#within("BEGIN", work);
  }

  /** A transaction that survives a power cut, whatever the connection's default setting. */
  durably<T>(work: () => T): T {
    translate(this.#file, () => this.#db.exec("PRAGMA synchronous = FULL"));
    counted.waits += 1;
    try {
      return this.transaction(work);
    } finally {
      this.#db.exec(`PRAGMA synchronous = ${this.#synchronous}`);
    }
  }

  /** When it returns, every committed transaction survives a power cut. */
  flush(): void {
    counted.waits += 1;
    translate(this.#file, () => this.#ahead.flush());
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close();
  }

  #within<T>(begin: string, work: () => T): T {
    return this.#writing(() => {
      this.#db.exec(begin);
      if (begin !== "BEGIN" && this.#synchronous === "FULL") counted.waits += 1;
      try {
        const result = work();
        this.#db.exec("COMMIT");
        return result;
      } catch (error) {
        if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
        throw error;
      }
    }, begin !== "BEGIN");
  }

  #writing<T>(work: () => T, isWrite = true): T {
    return translate(this.#file, () => {
      const isWhole = isWrite && !this.#db.isTransaction;
      if (isWhole) this.#ahead.require();
      try {
        const result = work();
        if (isWhole) this.#ahead.wrote(this.#rows);
        if (isWhole) this.#rows = 0;
        return result;
      } catch (error) {
        this.#ahead.failed(error);
        throw error;
      }
    });
  }

  #prepare(sql: string): StatementSync {
    counted.statements += 1;
    const known = this.#statements.get(sql);
    if (known) return known;
    const statement = this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}

/** Created under another name until it is complete: a crash leaves no partial file, and of two processes one wins. */
function create(file: string, migrations: readonly string[]): void {
  // Another process may make both at this moment: the file first, and so it is looked for last.
  if ((sizeOf(`${file}-wal`) ?? 0) > 0 && sizeOf(file) === undefined)
    throw corrupt(file, "it is missing, but its journal exists");
  requireNeverMade(file);
  const temporary = `${file}.${randomUUID()}.tmp`;
  closeSync(openSync(temporary, "wx", 0o600));
  try {
    fill(temporary, migrations);
    syncNow(temporary);
    publish(temporary, file);
    syncNow(dirname(file));
    noteKept(file);
  } finally {
    for (const suffix of ["", "-wal", "-shm"]) rmSync(temporary + suffix, { force: true });
  }
}

function fill(file: string, migrations: readonly string[]): void {
  const db = new DatabaseSync(file);
  try {
    db.exec("PRAGMA journal_mode = WAL");
    applyMigrations(db, 0, migrations);
  } finally {
    db.close();
  }
}

function publish(temporary: string, file: string): void {
  try {
    linkSync(temporary, file);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === "EEXIST") return;
    // A file system without hard links; there the loser of a race replaces the winner's file, which is still empty.
    renameSync(temporary, file);
  }
}

function sizeOf(file: string): number | undefined {
  return statSync(file, { throwIfNoEntry: false })?.size;
}

interface Inspection {
  readonly migrations: readonly string[];
  readonly isOurs: boolean;
  /** Columns of the newest schema that hold JSON, as `table.column`. */
  readonly json?: readonly string[];
}

/** A row that is not JSON stops whoever reads it. */
function requireJson(db: DatabaseSync, file: string, columns: readonly string[]): void {
  for (const name of columns) {
    const [table, column] = name.split(".");
    const sql = `SELECT 1 FROM ${table} WHERE NOT json_valid(${column}) LIMIT 1`;
    if (db.prepare(sql).get()) throw corrupt(file, `a row of it is not JSON (${name})`);
  }
}

/** `wholeBytes` is the file's size if its journal was empty. */
function check(db: DatabaseSync, file: string, wholeBytes: number | null): void {
  if (userVersion(db) === 0) throw corrupt(file, "it was not made by symphony");
  const pageBytes = Number(db.prepare("PRAGMA page_size").get()?.["page_size"]);
  // SQLite itself reads the missing part of a last page as zeros.
  if (wholeBytes !== null && wholeBytes % pageBytes !== 0) throw corrupt(file, "it is truncated");
  if ((sizeOf(file) ?? 0) > fullCheckLimitBytes) return;
  const found = db.prepare("PRAGMA quick_check(1)").get()?.["quick_check"];
  if (found !== "ok") throw corrupt(file, String(found));
}

function migrate(db: DatabaseSync, file: string, migrations: readonly string[]): void {
  const before = userVersion(db);
  if (before === migrations.length) return;
  keepFormat(db, `${file}.v${before}.bak`);
  db.exec("BEGIN IMMEDIATE");
  try {
    // Read again under the lock: another process may have migrated it first.
    const version = userVersion(db);
    requireKnown(file, version, migrations);
    applyMigrations(db, version, migrations);
    db.exec("COMMIT");
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
  // Then an earlier release, which refuses this version, finds it without the journal.
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
}

/** A copy in the earlier release's format, for a return to that release; kept if an interrupted migration made it. */
function keepFormat(db: DatabaseSync, copy: string): void {
  if (sizeOf(copy) !== undefined) return;
  const temporary = `${copy}.${randomUUID()}.tmp`;
  try {
    // SQLite fills an empty file; a file created by SQLite could be read by other users.
    closeSync(openSync(temporary, "wx", 0o600));
    db.prepare("VACUUM INTO ?").run(temporary);
    syncNow(temporary);
    renameSync(temporary, copy);
    syncNow(dirname(copy));
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function applyMigrations(db: DatabaseSync, from: number, migrations: readonly string[]): void {
  for (const step of migrations.slice(from)) db.exec(step);
  db.exec(`PRAGMA user_version = ${migrations.length}`);
}

function userVersion(db: DatabaseSync): number {
  return Number(db.prepare("PRAGMA user_version").get()?.["user_version"]);
}

/** Typed access to columns of STRICT tables; a mismatch is a bug in a query, not bad data. */
export function text(row: Row, name: string): string {
  const value = row[name];
  if (typeof value !== "string") throw new TypeError(`column ${name} is not text`);
  return value;
}

export function textOrNull(row: Row, name: string): string | null {
  return row[name] === null ? null : text(row, name);
}

export function int(row: Row, name: string): number {
  const value = row[name];
  if (typeof value !== "number") throw new TypeError(`column ${name} is not a number`);
  return value;
}

export function intOrNull(row: Row, name: string): number | null {
  return row[name] === null ? null : int(row, name);
}
