import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Feedback as Said } from "../prompt/prompt.ts";
import {
  type Database,
  int,
  openDatabase,
  type Params,
  type Row,
  text,
  textOrNull,
} from "../store/database.ts";
import {
  type ConversationTable,
  conversationMigration,
  conversationTable,
  forgetSaid,
  type Opening,
} from "./conversation-table.ts";
import type { Delivered } from "./delivered.ts";

export const deliveryMigrations = [
  `
  CREATE TABLE deliveries (
    issue_id TEXT PRIMARY KEY,
    issue_identifier TEXT NOT NULL COLLATE NOCASE,
    over INTEGER NOT NULL,
    body TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX deliveries_open ON deliveries (over) WHERE over = 0;

  -- Each write to another system, before it is made. Entries of one target are made in their order.
  CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    target TEXT NOT NULL,
    issue_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL,
    tries INTEGER NOT NULL,
    due INTEGER NOT NULL,
    error TEXT,
    at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX outbox_waiting ON outbox (due) WHERE state = 'waiting';
  CREATE INDEX outbox_of_issue ON outbox (issue_id, id);

  -- Each word of a person, a bot or a check, once: by what it is and a hash of what it says.
  CREATE TABLE feedback (
    ordinal INTEGER PRIMARY KEY,
    issue_id TEXT NOT NULL,
    source TEXT NOT NULL,
    hash TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt_id TEXT,
    body TEXT NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (issue_id, source, hash)
  ) STRICT;
  CREATE INDEX feedback_new ON feedback (issue_id) WHERE state = 'new';
  `,
  conversationMigration,
];

export type EntryState = "waiting" | "done" | "final" | "dropped";

/** What became of one try; `wasTried: false`: it was not its time yet. */
type Settlement = { state: EntryState; error?: string | null; due?: number; wasTried?: boolean };

/** A write to another system. */
export interface Entry {
  readonly id: number;
  /** Names this one write: an entry with the same key is not added again, except a merge that was dropped. */
  readonly key: string;
  /** Entries with the same target are made one after the other. */
  readonly target: string;
  readonly issueId: string;
  readonly kind: string;
  readonly payload: Readonly<Record<string, unknown>>;
  readonly state: EntryState;
  readonly tries: number;
  /** Epoch ms: not before. */
  readonly due: number;
  readonly error: string | null;
}

export type NewEntry = Pick<Entry, "key" | "target" | "issueId" | "kind" | "payload">;

/** Something that the next turn must read. */
export interface Feedback extends Said {
  readonly issueId: string;
  readonly url: string | null;
  /** By a person who may write to the repository. */
  readonly byPerson: boolean;
  /** Where an answer is posted; null: nowhere. */
  readonly replyTo: string | null;
  readonly at: number;
}

/** The deliveries, the outbox and the feedback in `delivery.db`. Calls are synchronous; changes are durable when they return. */
export interface DeliveryStore {
  readonly conversations: ConversationTable<NewEntry>;
  all(): readonly Delivered[];
  of(issueId: string): Delivered | null;
  save(delivery: Delivered, entries?: readonly NewEntry[]): void;
  add(entries: readonly NewEntry[]): void;
  /** Waiting entries that are due, the first of each target only. */
  due(wall: number): readonly Entry[];
  /** When the next entry is due; null: none waits. */
  nextDue(): number | null;
  waitingOf(issueId: string): readonly Entry[];
  /** Whether an entry with this key was ever ordered and is kept. */
  isOrdered(key: string): boolean;
  /** Whether a push of this commit was ever ordered for the issue; `since` another one: after that. */
  isOwn(issueId: string, commit: string, since?: string | null): boolean;
  /** How many entries wait, of all issues. */
  waiting(): number;
  settle(id: number, outcome: Settlement): void;
  /** Makes waiting and failed entries of an issue due now. */
  retry(issueId: string, wall: number): void;
  /** Makes the waiting answers of an issue due now. */
  hurryAnswers(issueId: string, wall: number): void;
  /** True: it is new. An earlier text of the same source that no turn has read is replaced. */
  addFeedback(feedback: Feedback): boolean;
  /** What no turn has read yet, in the order it came. */
  newFeedback(issueId: string): readonly Feedback[];
  /** As `newFeedback`, with what another attempt was given and has not answered. */
  unanswered(issueId: string, attemptId: string): readonly Feedback[];
  /** What came last, whatever became of it; null: nothing came. */
  lastFeedback(issueId: string): Feedback | null;
  /** What this attempt was given and has not answered. */
  givenTo(attemptId: string): readonly Feedback[];
  give(
    issueId: string,
    sources: readonly Pick<Feedback, "source" | "hash">[],
    attemptId: string,
  ): void;
  answer(attemptId: string): void;
  /** Grows with every write. */
  changes(): number;
  close(): void;
}

/** Why an answer waits: it names a commit that is not on the remote yet. */
export const unpushed = "the commit that it names is not pushed";

/** `delivery.db` in `dir`; it is created at the first write. */
export function openDeliveryStore(dir: string, wall: () => number): DeliveryStore {
  const file = join(dir, "delivery.db");
  let opened: Database | null = null;
  const open = () => {
    opened ??= openDatabase(file, { migrations: deliveryMigrations, synchronous: "FULL" });
    return opened;
  };
  const isThere = existsSync(file) || existsSync(`${file}-wal`);
  if (isThere) open();
  return new Store({ open, opened: () => opened }, wall);
}

class Store implements DeliveryStore {
  readonly #opening: Opening;
  readonly #wall: () => number;
  readonly #known: Map<string, Delivered>;
  readonly conversations: ConversationTable<NewEntry>;

  constructor(opening: Opening, wall: () => number) {
    this.#opening = opening;
    this.#wall = wall;
    const rows = this.#all(deliveredOf, "SELECT body FROM deliveries ORDER BY issue_id");
    this.#known = new Map(rows.map((one) => [one.issueId, one]));
    this.conversations = conversationTable<NewEntry>({
      ...opening,
      insert: (entries) => this.#insert(entries),
    });
  }

  get #db(): Database {
    return this.#opening.open();
  }

  #all<T>(map: (row: Row) => T, sql: string, params: Params = {}): T[] {
    return this.#opening.opened()?.all(map, sql, params) ?? [];
  }

  #get<T>(map: (row: Row) => T, sql: string, params: Params = {}): T | null {
    return this.#opening.opened()?.get(map, sql, params) ?? null;
  }

  all(): readonly Delivered[] {
    return [...this.#known.values()];
  }

  of(issueId: string): Delivered | null {
    return this.#known.get(issueId) ?? null;
  }

  save(delivery: Delivered, entries: readonly NewEntry[] = []): void {
    const { issueId, issueIdentifier, over } = delivery;
    this.#db.transaction(() => {
      this.#db.run(
        `INSERT INTO deliveries (issue_id, issue_identifier, over, body)
          VALUES ($issueId, $issueIdentifier, $over, $body)
          ON CONFLICT (issue_id) DO UPDATE SET issue_identifier = $issueIdentifier, over = $over, body = $body`,
        { issueId, issueIdentifier, over: over ? 1 : 0, body: JSON.stringify(delivery) },
      );
      this.#insert(entries);
    });
    this.#known.set(issueId, delivery);
  }

  add(entries: readonly NewEntry[]): void {
    if (entries.length > 0) this.#db.transaction(() => this.#insert(entries));
  }

  #insert(entries: readonly NewEntry[]): void {
    const at = Math.round(this.#wall());
    for (const { payload, ...entry } of entries) {
      this.#db.run(
        `INSERT INTO outbox (key, target, issue_id, kind, payload, state, tries, due, at)
          VALUES ($key, $target, $issueId, $kind, $payload, 'waiting', 0, $at, $at)
          ON CONFLICT (key) DO UPDATE SET state = 'waiting', tries = 0, due = $at
            WHERE outbox.state = 'dropped' AND outbox.kind = 'merge'`,
        { ...entry, payload: JSON.stringify(payload), at },
      );
      // Work that is offered or merged has ended its attempt: the move to the state for running work, which may wait for
      // another try, is looked at now and does not hold this up.
      if (entry.kind !== "start") {
        this.#db.run(
          `UPDATE outbox SET due = $at
            WHERE target = $target AND kind = 'start' AND state = 'waiting' AND due > $at`,
          { target: entry.target, at },
        );
      }
    }
  }

  due(wall: number): readonly Entry[] {
    return this.#all(
      entryOf,
      `SELECT * FROM outbox WHERE id IN
        (SELECT min(id) FROM outbox WHERE state = 'waiting' GROUP BY target) AND due <= $wall`,
      { wall: Math.round(wall) },
    );
  }

  nextDue(): number | null {
    return this.#get(
      (row) => (row["due"] === null ? null : int(row, "due")),
      `SELECT min(due) AS due FROM outbox WHERE id IN
        (SELECT min(id) FROM outbox WHERE state = 'waiting' GROUP BY target)`,
    );
  }

  waitingOf(issueId: string): readonly Entry[] {
    const sql = "SELECT * FROM outbox WHERE issue_id = $issueId AND state = 'waiting' ORDER BY id";
    return this.#all(entryOf, sql, { issueId });
  }

  isOrdered(key: string): boolean {
    return this.#get(() => true, "SELECT 1 FROM outbox WHERE key = $key", { key }) === true;
  }

  isOwn(issueId: string, commit: string, since: string | null = null): boolean {
    const pushes = `SELECT max(id) FROM outbox WHERE issue_id = $issueId AND kind = 'push'`;
    const of = (name: string) => `ifnull((${pushes} AND payload ->> 'commit' = $${name}), 0)`;
    const sql = `SELECT 1 WHERE ${of("commit")} > ${of("since")}`;
    return this.#get(() => true, sql, { issueId, commit, since }) === true;
  }

  waiting(): number {
    const sql = "SELECT count(*) AS waiting FROM outbox WHERE state = 'waiting'";
    return this.#get((row) => int(row, "waiting"), sql) ?? 0;
  }

  settle(id: number, { state, error = null, due = 0, wasTried = true }: Settlement): void {
    const sql =
      "UPDATE outbox SET state = $state, error = $error, due = $due, tries = tries + $tried WHERE id = $id";
    this.#db.run(sql, { id, state, error, due: Math.round(due), tried: Number(wasTried) });
    if (state !== "waiting") this.#db.run(forgetSaid, { id });
  }

  retry(issueId: string, wall: number): void {
    const sql = `UPDATE outbox SET state = 'waiting', due = $wall, tries = 0
      WHERE issue_id = $issueId AND state IN ('waiting', 'final')`;
    this.#db.run(sql, { issueId, wall: Math.round(wall) });
  }

  hurryAnswers(issueId: string, wall: number): void {
    const sql = `UPDATE outbox SET due = $wall
      WHERE issue_id = $issueId AND state = 'waiting' AND kind = 'reply' AND error = $error`;
    this.#db.run(sql, { issueId, wall: Math.round(wall), error: unpushed });
  }

  addFeedback(feedback: Feedback): boolean {
    const { issueId, source, hash } = feedback;
    return this.#db.transaction(() => {
      const sql =
        "SELECT 1 FROM feedback WHERE issue_id = $issueId AND source = $source AND hash = $hash";
      if (this.#db.get(() => true, sql, { issueId, source, hash })) return false;
      this.#db.run(
        "DELETE FROM feedback WHERE issue_id = $issueId AND source = $source AND state = 'new'",
        { issueId, source },
      );
      const read = "SELECT 1 FROM feedback WHERE issue_id = $issueId AND source = $source";
      const isKnown = this.#db.get(() => true, read, { issueId, source }) === true;
      // Only what can be answered is edited: a check that fails again is another failure.
      const edited = isKnown && feedback.replyTo !== null;
      const body = JSON.stringify(edited ? { ...feedback, edited } : feedback);
      this.#db.run(
        `INSERT INTO feedback (issue_id, source, hash, state, body, at)
          VALUES ($issueId, $source, $hash, 'new', $body, $at)`,
        { issueId, source, hash, body, at: Math.round(feedback.at) },
      );
      return true;
    });
  }

  newFeedback(issueId: string): readonly Feedback[] {
    const sql =
      "SELECT body FROM feedback WHERE issue_id = $issueId AND state = 'new' ORDER BY ordinal";
    return this.#all(feedbackOf, sql, { issueId });
  }

  unanswered(issueId: string, attemptId: string): readonly Feedback[] {
    const sql = `SELECT body FROM feedback WHERE issue_id = $issueId
      AND (state = 'new' OR (state = 'given' AND attempt_id <> $attemptId)) ORDER BY ordinal`;
    return this.#all(feedbackOf, sql, { issueId, attemptId });
  }

  lastFeedback(issueId: string): Feedback | null {
    const sql = "SELECT body FROM feedback WHERE issue_id = $issueId ORDER BY ordinal DESC LIMIT 1";
    return this.#get(feedbackOf, sql, { issueId });
  }

  givenTo(attemptId: string): readonly Feedback[] {
    const sql =
      "SELECT body FROM feedback WHERE attempt_id = $attemptId AND state = 'given' ORDER BY ordinal";
    return this.#all(feedbackOf, sql, { attemptId });
  }

  give(
    issueId: string,
    sources: readonly Pick<Feedback, "source" | "hash">[],
    attemptId: string,
  ): void {
    this.#db.transaction(() => {
      for (const { source, hash } of sources) {
        this.#db.run(
          `UPDATE feedback SET state = 'given', attempt_id = $attemptId
            WHERE issue_id = $issueId AND source = $source AND hash = $hash`,
          { issueId, source, hash, attemptId },
        );
      }
    });
  }

  answer(attemptId: string): void {
    if (this.#opening.opened() === null) return;
    const sql =
      "UPDATE feedback SET state = 'answered' WHERE attempt_id = $attemptId AND state = 'given'";
    this.#db.run(sql, { attemptId });
  }

  changes(): number {
    return this.#opening.opened()?.changes() ?? 0;
  }

  close(): void {
    this.#opening.opened()?.close();
  }
}

function deliveredOf(row: Row): Delivered {
  return JSON.parse(text(row, "body"));
}

function feedbackOf(row: Row): Feedback {
  return JSON.parse(text(row, "body"));
}

function entryOf(row: Row): Entry {
  return {
    id: int(row, "id"),
    key: text(row, "key"),
    target: text(row, "target"),
    issueId: text(row, "issue_id"),
    kind: text(row, "kind"),
    payload: JSON.parse(text(row, "payload")),
    state: text(row, "state") as EntryState,
    tries: int(row, "tries"),
    due: int(row, "due"),
    error: textOrNull(row, "error"),
  };
}

/** The key of the move to the state for running work, which is made once for each attempt. */
export function startKey(attemptId: string): string {
  return `start:${attemptId}`;
}
