import { inflateRawSync } from "node:zlib";
import { type Database, int, openDatabase, openToRead, type Row, text } from "../store/database.ts";

const migrations: readonly string[] = [
  `
  -- A segment is complete in itself: what it refers to is in it, so an old one is deleted as a whole.
  CREATE TABLE segments (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    version TEXT NOT NULL,
    why TEXT NOT NULL
  ) STRICT;
  CREATE TABLE contents (
    segment INTEGER NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (segment, first)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE checkpoints (
    input INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    at INTEGER NOT NULL,
    event INTEGER NOT NULL,
    hash TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (input, segment)
  ) STRICT, WITHOUT ROWID;
  -- Some decisions in a row, compressed together; the key is the number of the first.
  CREATE TABLE batches (
    first INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    at INTEGER NOT NULL,
    ticks INTEGER NOT NULL,
    event INTEGER NOT NULL,
    body BLOB NOT NULL
  ) STRICT;
  `,
];

export type SegmentReason = "start" | "secret" | "day" | "gap";

export interface Segment {
  readonly id: number;
  readonly at: number;
  readonly version: string;
  readonly why: string;
}

/** The state after `input` decisions of the record. */
export interface Checkpoint {
  readonly input: number;
  readonly segment: number;
  readonly at: number;
  readonly event: number;
  readonly hash: string;
  readonly body: string;
}

/** The times and the event of its first decision, from which its lines count. */
export interface Batch {
  readonly first: number;
  readonly count: number;
  readonly at: number;
  /** Monotonic, in millionths of a ms. */
  readonly ticks: number;
  readonly event: number;
  readonly body: string;
}

export interface Contents {
  readonly first: number;
  readonly texts: readonly string[];
}

/** A row whose body is compressed as `packing` says. */
type Packed<T extends { readonly body: string }> = Omit<T, "body"> & { readonly body: Uint8Array };

/** What one write adds: all of it or nothing. */
export interface Addition {
  readonly contents: Packed<ContentsRow> | null;
  readonly batch: Packed<Batch> | null;
  readonly checkpoint: Packed<Checkpoint> | null;
}

export interface ContentsRow {
  readonly segment: number;
  readonly first: number;
  readonly count: number;
  /** The texts, one a line. */
  readonly body: string;
}

/** Frequent texts of a batch, so that a small one is small on disk. Part of the format: it never changes. */
const dictionary = Buffer.from(
  [
    '{"issueId":"id-","attemptId":"att_2026","answer":null,"lastError":null',
    '{"type":"attempt.entered","phase":"preparing_workspace","workspace":null}',
    '{"type":"attempt.turned","moved":true,"issue":{"$":"r","v":',
    '{"type":"attempt.exited","exit":{"kind":"completed","git":null}}',
    '{"type":"attempt.reported","event":{"type":"tokens","total":{"input":0,"cachedInput":0,"output":0,"reasoningOutput":0,"total":',
    '{"type":"issues.verified","request":1,"ids":["id-"],"issues":[]}',
    '{"type":"running.refreshed","request":2,"ids":["","issues":[{"$":"r","v":1},{"$":"r","v":2}]}]\n',
    '{"asked":[["prior",["",""],{"count":0,"resume":null,"thread":null,"tokens":0,"idle":null}]]}]\n',
    ',0,0,"turn_failed",{"type":"retry.due"}]\n,0,0,0,{"type":"refill.due"}]\n',
    '[0,0,0,"",{"type":"poll.due"}]\n[1234567,0,0,"',
    '",{"type":"preflight.ended","request":10,"problem":null}]\n[89000,0,0,"',
    '",{"type":"candidates.fetched","request":11},{"list":0}]',
  ].join(""),
);

export const packing = { dictionary, level: 6 };

function unpacked(row: Row, name: string): string {
  const body = row[name];
  if (!(body instanceof Uint8Array)) throw new TypeError(`column ${name} is not a blob`);
  return inflateRawSync(body, { dictionary }).toString("utf8");
}

/** The record in its own SQLite file; every call throws as `Database` does. */
export class RecordFile {
  readonly #db: Database;

  private constructor(db: Database) {
    this.#db = db;
  }

  /** Opens or creates it. NORMAL: a power cut may take the newest decisions, a crash of the process only unwritten ones. */
  static open(file: string): RecordFile {
    const options = { migrations, synchronous: "NORMAL", busyTimeoutMs: 250 } as const;
    return new RecordFile(openDatabase(file, options));
  }

  /** Only to read; null for a file of another release. */
  static openToRead(file: string): RecordFile | null {
    const db = openToRead(file, migrations);
    return db && new RecordFile(db);
  }

  /** The number of the last decision; 0: there is none. */
  lastInput(): number {
    const batch = this.#db.get(
      (row) => int(row, "first") + int(row, "count") - 1,
      "SELECT first, count FROM batches ORDER BY first DESC LIMIT 1",
    );
    const sql = "SELECT input FROM checkpoints ORDER BY input DESC LIMIT 1";
    return Math.max(batch ?? 0, this.#db.get((row) => int(row, "input"), sql) ?? 0);
  }

  begin(segment: Omit<Segment, "id">): number {
    const sql = "INSERT INTO segments (at, version, why) VALUES ($at, $version, $why)";
    this.#db.run(sql, { ...segment });
    const last = "SELECT id FROM segments ORDER BY id DESC LIMIT 1";
    return this.#db.get((row) => int(row, "id"), last) ?? 0;
  }

  add({ contents, batch, checkpoint }: Addition): void {
    this.#db.transaction(() => {
      if (contents) {
        const sql = "INSERT INTO contents VALUES ($segment, $first, $count, $body)";
        this.#db.run(sql, { ...contents });
      }
      if (batch) {
        const sql = "INSERT INTO batches VALUES ($first, $count, $at, $ticks, $event, $body)";
        this.#db.run(sql, { ...batch });
      }
      if (checkpoint) {
        const sql = "INSERT INTO checkpoints VALUES ($input, $segment, $at, $event, $hash, $body)";
        this.#db.run(sql, { ...checkpoint });
      }
    });
  }

  segments(): readonly Segment[] {
    return this.#db.all(segmentOf, "SELECT * FROM segments ORDER BY id");
  }

  /** The newest checkpoint not after this moment; null: the record begins later. */
  checkpointBefore(moment: Moment): Checkpoint | null {
    const [column, value] = columnOf(moment);
    const sql = `SELECT * FROM checkpoints WHERE ${column} <= $value
      ORDER BY input DESC, segment DESC LIMIT 1`;
    return this.#db.get(checkpointOf, sql, { value });
  }

  /** The next checkpoint of the same segment. */
  checkpointAfter({ input, segment }: Pick<Checkpoint, "input" | "segment">): Checkpoint | null {
    const sql = `SELECT * FROM checkpoints WHERE input > $input AND segment = $segment
      ORDER BY input LIMIT 1`;
    return this.#db.get(checkpointOf, sql, { input, segment });
  }

  /** The number of the segment's last decision; the newest segment has no end. */
  endOf(segment: number): number {
    const sql = "SELECT input FROM checkpoints WHERE segment > $segment ORDER BY input LIMIT 1";
    const next = this.#db.get((row) => int(row, "input"), sql, { segment });
    return next ?? Number.POSITIVE_INFINITY;
  }

  /** The state with which the segment begins. */
  firstOf(segment: number): Checkpoint | null {
    const sql = "SELECT * FROM checkpoints WHERE segment = $segment ORDER BY input LIMIT 1";
    return this.#db.get(checkpointOf, sql, { segment });
  }

  /** The next batch that begins after the decision `input`. */
  batchAfter(input: number): Batch | null {
    const sql = "SELECT * FROM batches WHERE first > $input ORDER BY first LIMIT 1";
    return this.#db.get(batchOf, sql, { input });
  }

  contentsWith(segment: number, number: number): Contents | null {
    const sql = `SELECT * FROM contents WHERE segment = $segment AND first <= $number
      ORDER BY first DESC LIMIT 1`;
    return this.#db.get(contentsOf, sql, { segment, number });
  }

  /** Deletes up to `limit` batches of segments that ended before `before`; false: there is nothing more. */
  removeOld(before: number, limit: number): boolean {
    const next = this.#db.get(
      (row) => ({ id: int(row, "id"), input: int(row, "input") }),
      `SELECT later.id, min(input) AS input FROM segments AS later
        JOIN checkpoints ON segment = later.id
        WHERE later.at < $before AND later.id > (SELECT min(id) FROM segments)
        GROUP BY later.id ORDER BY later.id LIMIT 1`,
      { before },
    );
    if (next === null) return false;
    return this.#db.transaction(() => {
      const changes = this.#db.changes();
      this.#db.run(
        `DELETE FROM batches WHERE first IN
          (SELECT first FROM batches WHERE first <= $input ORDER BY first LIMIT $limit)`,
        { input: next.input, limit },
      );
      if (this.#db.changes() - changes >= limit) return true;
      for (const table of ["checkpoints", "contents"]) {
        this.#db.run(`DELETE FROM ${table} WHERE segment < $id`, { id: next.id });
      }
      this.#db.run("DELETE FROM segments WHERE id < $id", { id: next.id });
      return true;
    });
  }

  /** Moves what is in the journal of the file into the file. */
  compact(): void {
    this.#db.run("PRAGMA wal_checkpoint(TRUNCATE)");
  }

  close(): void {
    this.#db.close();
  }
}

/** A decision by its number, an event by its number, or a time of the day in ms. */
export type Moment =
  | { readonly input: number }
  | { readonly event: number }
  | { readonly at: number };

function columnOf(moment: Moment): readonly ["input" | "event" | "at", number] {
  if ("input" in moment) return ["input", moment.input];
  // The decision that published an event came when the event before it was the last one.
  return "event" in moment ? ["event", moment.event - 1] : ["at", moment.at];
}

function segmentOf(row: Row): Segment {
  return {
    id: int(row, "id"),
    at: int(row, "at"),
    version: text(row, "version"),
    why: text(row, "why"),
  };
}

function checkpointOf(row: Row): Checkpoint {
  return {
    input: int(row, "input"),
    segment: int(row, "segment"),
    at: int(row, "at"),
    event: int(row, "event"),
    hash: text(row, "hash"),
    body: unpacked(row, "body"),
  };
}

function batchOf(row: Row): Batch {
  return {
    first: int(row, "first"),
    count: int(row, "count"),
    at: int(row, "at"),
    ticks: int(row, "ticks"),
    event: int(row, "event"),
    body: unpacked(row, "body"),
  };
}

function contentsOf(row: Row): Contents {
  return { first: int(row, "first"), texts: unpacked(row, "body").split("\n") };
}
