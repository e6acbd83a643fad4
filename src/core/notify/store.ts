import { join } from "node:path";
import {
  type FailureCategory,
  failureCategories,
  type OccasionName,
  occasions as occasionNames,
} from "../model/notice.ts";
import { type Database, int, intOrNull, openDatabase, type Row, text } from "../store/database.ts";
import { type Message, shownOccasions } from "./message.ts";
import type { Ended, Occasion } from "./occasions.ts";

export const notifyMigrations = [
  `
  -- One row: the last event that was handled.
  CREATE TABLE handled (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL) STRICT;

  -- Occasions that may be published again for the same cause.
  CREATE TABLE causes (key TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

  -- What each rule still has to report.
  CREATE TABLE waiting (
    rule TEXT NOT NULL,
    seq INTEGER NOT NULL,
    name TEXT NOT NULL,
    subject TEXT NOT NULL,
    at INTEGER NOT NULL,
    message TEXT,
    body TEXT NOT NULL,
    PRIMARY KEY (rule, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX waiting_of_message ON waiting (message) WHERE message IS NOT NULL;

  -- Messages without an outcome. begun: a try was started and its outcome is not known.
  CREATE TABLE messages (
    id TEXT PRIMARY KEY,
    rule TEXT NOT NULL UNIQUE,
    tries INTEGER NOT NULL,
    begun INTEGER NOT NULL,
    repeated INTEGER NOT NULL,
    due INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- The last outcome of each rule.
  CREATE TABLE outcomes (
    rule TEXT PRIMARY KEY,
    outcome TEXT NOT NULL,
    at INTEGER NOT NULL,
    message TEXT NOT NULL,
    total INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    category TEXT,
    reason TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
];

/** A message that is not settled yet. */
export interface Open {
  readonly id: string;
  readonly tries: number;
  /** A try was begun before this server, or its noting failed: it may have arrived. */
  readonly isBegun: boolean;
  /** It was sent once more already, because an earlier try may have arrived. */
  readonly isRepeated: boolean;
  /** Epoch ms: not before. */
  readonly due: number;
}

/** `unknown`: the server ended twice between sending it and noting that. */
export type OutcomeName = "sent" | "failed" | "unknown";

/** What became of the last message of a rule. */
export interface Outcome {
  readonly outcome: OutcomeName;
  readonly at: number;
  readonly id: string;
  readonly total: number;
  readonly tries: number;
  readonly category: FailureCategory | null;
  readonly reason: string;
}

/** An occasion for the rules that report it. */
export interface Addition {
  readonly occasion: Occasion;
  readonly rules: readonly string[];
  /** As `keyOf`. */
  readonly key: string | null;
}

/** What happened up to `seq`. */
export interface Batch {
  readonly seq: number;
  /** In their order. */
  readonly steps: readonly (Addition | Ended)[];
}

/** A standstill is reported when it has lasted this long: what ends before mends itself, as a pause of five minutes does. */
export const stoppedMs = 5 * 60_000 + 20_000;
/** One that is not over for good is reported again after this. */
const againMs = 6 * 3_600_000;

/** Causes are remembered for this long. */
const causeMs = 30 * 24 * 3_600_000;

/** `notify.db`: what was handled, what waits, and how it ended. Calls are synchronous; changes are on disk when they return. */
export class NoticeStore {
  readonly #db: Database;

  constructor(dir: string) {
    this.#db = openDatabase(join(dir, "notify.db"), {
      migrations: notifyMigrations,
      synchronous: "FULL",
    });
  }

  /** The last event that was handled; null: none yet. */
  handled(): number | null {
    return this.#db.get((row) => int(row, "seq"), "SELECT seq FROM handled");
  }

  /** Events up to `seq` are not reported. */
  beginAt(seq: number): void {
    this.#handle(seq);
  }

  add({ seq, steps }: Batch): void {
    this.#db.transaction(() => {
      for (const one of steps) {
        if ("prefix" in one) this.#end(one);
        else this.#add(one);
      }
      this.#handle(seq);
    });
  }

  #end({ prefix, isFree }: Ended): void {
    const unsaid = `FROM waiting WHERE name = 'stopped' AND message IS NULL
      AND substr(subject, 1, length($prefix)) = $prefix`;
    this.#db.run(
      `DELETE FROM causes WHERE substr(key, 1, length($prefix)) = $prefix
        AND ($free = 1 OR EXISTS (SELECT 1 ${unsaid}))`,
      { prefix, free: isFree ? 1 : 0 },
    );
    this.#db.run(`DELETE ${unsaid}`, { prefix });
  }

  #add({ occasion, rules, key }: Addition): void {
    const { seq, at, names, issueIdentifier } = occasion;
    const [name = ""] = names;
    if (key !== null) {
      const since = Math.round(at - (name === "stopped" ? againMs : causeMs));
      const known = "SELECT 1 FROM causes WHERE key = $key AND at > $since";
      if (this.#db.get(() => true, known, { key, since })) return;
      this.#db.run("DELETE FROM causes WHERE at < $before", { before: Math.round(at - causeMs) });
      this.#db.run("INSERT OR REPLACE INTO causes VALUES ($key, $at)", { key, at: Math.round(at) });
    }
    const subject = issueIdentifier ?? key ?? String(seq);
    for (const rule of rules) {
      this.#db.run(
        `INSERT INTO waiting (rule, seq, name, subject, at, body)
          VALUES ($rule, $seq, $name, $subject, $at, $body) ON CONFLICT DO NOTHING`,
        {
          ...{ rule, seq, at: Math.round(at) },
          ...{ name, subject },
          body: JSON.stringify(occasion),
        },
      );
    }
  }

  #handle(seq: number): void {
    this.#db.run(
      "INSERT INTO handled VALUES (1, $seq) ON CONFLICT (one) DO UPDATE SET seq = max(seq, $seq)",
      { seq },
    );
  }

  /** Of the occasions of a rule that are in no message: the times of the oldest, of the oldest need, and of the oldest standstill. */
  collected(rule: string): {
    readonly oldest: number | null;
    readonly oldestNeed: number | null;
    readonly oldestStop: number | null;
  } {
    const sql = `SELECT min(CASE WHEN name <> 'stopped' THEN at END) AS oldest,
        min(CASE WHEN name = 'needs' THEN at END) AS need,
        min(CASE WHEN name = 'stopped' THEN at END) AS stop
      FROM waiting WHERE rule = $rule AND message IS NULL`;
    const none = { oldest: null, oldestNeed: null, oldestStop: null };
    return this.#db.get(collectedOf, sql, { rule }) ?? none;
  }

  /** How many occasions of a rule are not reported yet. */
  waiting(rule: string): number {
    const sql = "SELECT count(*) AS count FROM waiting WHERE rule = $rule";
    return this.#db.get((row) => int(row, "count"), sql, { rule }) ?? 0;
  }

  /** The message of a rule that is not settled. */
  open(rule: string): Open | null {
    return this.#db.get(openOf, "SELECT * FROM messages WHERE rule = $rule", { rule });
  }

  /** One message of everything that the rule has collected, but for standstills that may end by themselves yet. */
  collect(rule: string, id: string, due: number): Open {
    this.#db.transaction(() => {
      const sql = `UPDATE waiting SET message = $id WHERE rule = $rule AND message IS NULL
        AND (name <> 'stopped' OR at <= $begun)`;
      this.#db.run(sql, { rule, id, begun: Math.round(due - stoppedMs) });
      this.#db.run("INSERT INTO messages VALUES ($id, $rule, 0, 0, 0, $due)", {
        ...{ id, rule, due: Math.round(due) },
      });
    });
    return { id, tries: 0, isBegun: false, isRepeated: false, due };
  }

  /** Before each try. */
  begin(id: string, isRepeat: boolean): void {
    const sql = `UPDATE messages SET tries = tries + 1, begun = 1, repeated = max(repeated, $repeat)
      WHERE id = $id`;
    this.#db.run(sql, { id, repeat: isRepeat ? 1 : 0 });
  }

  /** The try failed, and the next one is made at `due`. */
  retry(id: string, due: number, mayHaveArrived: boolean): void {
    const sql = `UPDATE messages SET begun = 0, due = $due, repeated = max(repeated, $repeat)
      WHERE id = $id`;
    this.#db.run(sql, { id, due: Math.round(due), repeat: mayHaveArrived ? 1 : 0 });
  }

  /** It is over with this outcome: its occasions are forgotten. */
  settle(rule: string, outcome: Outcome): void {
    this.#db.transaction(() => {
      this.#db.run("DELETE FROM waiting WHERE message = $id", { id: outcome.id });
      this.#db.run("DELETE FROM messages WHERE id = $id", { id: outcome.id });
      this.#db.run(
        `INSERT OR REPLACE INTO outcomes
          VALUES ($rule, $outcome, $at, $message, $total, $tries, $category, $reason)`,
        {
          ...{ rule, outcome: outcome.outcome, at: Math.round(outcome.at), message: outcome.id },
          ...{ total: outcome.total, tries: outcome.tries },
          ...{ category: outcome.category, reason: outcome.reason },
        },
      );
    });
  }

  outcome(rule: string): Outcome | null {
    return this.#db.get(outcomeOf, "SELECT * FROM outcomes WHERE rule = $rule", { rule });
  }

  /** The content of a message. */
  message(id: string, isRepeat: boolean): Message {
    const body = `SELECT body FROM waiting WHERE message = $id ORDER BY seq LIMIT ${shownOccasions}`;
    const counted = `SELECT name, count(DISTINCT subject) AS count, count(*) AS total
      FROM waiting WHERE message = $id GROUP BY name`;
    const rows = this.#db.all(
      (row) => ({ name: text(row, "name"), count: int(row, "count"), total: int(row, "total") }),
      counted,
      { id },
    );
    const counts = new Map<OccasionName, number>();
    for (const name of occasionNames) {
      const found = rows.find((row) => row.name === name);
      if (found) counts.set(name, found.count);
    }
    return {
      ...{ id, isRepeat, counts, type: "notice" },
      // Only `add` writes them.
      occasions: this.#db.all((row): Occasion => JSON.parse(text(row, "body")), body, { id }),
      total: rows.reduce((sum, { total }) => sum + total, 0),
    };
  }

  /** Forgets what rules that are not among `rules` still had to report. Returns how many occasions that were. */
  keepOnly(rules: readonly string[]): number {
    const kept = { rules: JSON.stringify(rules) };
    const others = "rule NOT IN (SELECT value FROM json_each($rules))";
    return this.#db.transaction(() => {
      const sql = `SELECT count(*) AS count FROM waiting WHERE ${others}`;
      const dropped = this.#db.get((row) => int(row, "count"), sql, kept) ?? 0;
      for (const table of ["waiting", "messages", "outcomes"]) {
        this.#db.run(`DELETE FROM ${table} WHERE ${others}`, kept);
      }
      return dropped;
    });
  }

  /** Nothing is reported any more: what happens until there are rules again is not reported later. */
  forget(): void {
    this.#db.transaction(() => {
      for (const table of ["handled", "causes", "waiting", "messages", "outcomes"]) {
        this.#db.run(`DELETE FROM ${table}`);
      }
    });
  }

  close(): void {
    this.#db.close();
  }
}

function collectedOf(row: Row) {
  return {
    oldest: intOrNull(row, "oldest"),
    oldestNeed: intOrNull(row, "need"),
    oldestStop: intOrNull(row, "stop"),
  };
}

function openOf(row: Row): Open {
  return {
    id: text(row, "id"),
    tries: int(row, "tries"),
    isBegun: int(row, "begun") === 1,
    isRepeated: int(row, "repeated") === 1,
    due: int(row, "due"),
  };
}

const outcomeNames: readonly OutcomeName[] = ["sent", "failed", "unknown"];

function outcomeOf(row: Row): Outcome {
  const written = text(row, "outcome");
  return {
    outcome: outcomeNames.find((one) => one === written) ?? "unknown",
    at: int(row, "at"),
    id: text(row, "message"),
    total: int(row, "total"),
    tries: int(row, "tries"),
    category: failureCategories.find((one) => one === row["category"]) ?? null,
    reason: text(row, "reason"),
  };
}
