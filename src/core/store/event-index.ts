import type { SymphonyEvent } from "../model/event.ts";
import { type Database, int, type Row, text, textOrNull } from "./database.ts";

/** What events are found by; a name in small letters. */
export type EventKey = `${"issue" | "name" | "attempt" | "type"} ${string}`;

type Keyed = Pick<SymphonyEvent, "seq" | "issueId" | "issueIdentifier" | "attemptId"> & {
  readonly type: string;
};
type Keys = Map<EventKey, number[]>;

/** A run is 2,048 numbers of the series, from a multiple of that on; the migration counts the same. */
const runLength = 2_048;

/**
 * Which events have which key: in `event_runs` one row for each key in each complete run. An index of SQLite for each key
 * would change pages all over the file with every event; a run is written once, in order. What is newer than the runs is
 * in memory, and read again at the start.
 */
export class EventIndex {
  readonly #db: Database;
  /** Those that are not in the table, oldest first. */
  readonly #open = new Map<number, Keys>();
  /** The first that is not in the table. */
  #next: number;

  constructor(db: Database) {
    this.#db = db;
    this.#next = this.#edge("max") + 1;
    const sql = `SELECT seq, type, issue_id, issue_identifier, attempt_id
      FROM events WHERE seq >= $first ORDER BY seq`;
    for (const row of db.all(keyedOf, sql, { first: this.#next * runLength })) this.#add(row);
  }

  /** Writes the complete runs, in the transaction of an append; `appended` follows when that is committed. */
  write(): void {
    const rows = this.#complete().flatMap(([run, keys]) =>
      // In the order of the table.
      [...keys]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, seqs]) => [run, key, JSON.stringify(seqs)] as const),
    );
    this.#db.runEach("INSERT INTO event_runs VALUES (?, ?, ?)", rows);
  }

  /** The `events` are on disk now, and what the last `write` wrote. */
  appended(events: readonly Keyed[]): void {
    for (const [run] of this.#complete()) {
      this.#open.delete(run);
      this.#next = run + 1;
    }
    for (const event of events) this.#add(event);
  }

  /** In the transaction that removes all events up to `seq`. */
  removed(seq: number): void {
    const first = runOf(seq + 1);
    this.#db.run("DELETE FROM event_runs WHERE run < $first", { first });
  }

  /** The numbers above `after` of the events with the key, in order, a run at a time. */
  *upwards(key: EventKey, after: number): Generator<readonly number[]> {
    const first = Math.max(runOf(after + 1), this.#edge("min"));
    for (let run = first; run < this.#next; run++) {
      const seqs = this.#in(run, key);
      if (seqs.length > 0) yield seqs.filter((seq) => seq > after);
    }
    for (const keys of [...this.#open.values()]) {
      yield (keys.get(key) ?? []).filter((seq) => seq > after);
    }
  }

  /** The same, newest first. */
  *downwards(key: EventKey): Generator<readonly number[]> {
    for (const keys of [...this.#open.values()].reverse()) {
      yield (keys.get(key) ?? []).toReversed();
    }
    const last = this.#edge("min");
    for (let run = this.#next - 1; run >= last; run--) yield this.#in(run, key).toReversed();
  }

  #in(run: number, key: EventKey): readonly number[] {
    const sql = "SELECT seqs FROM event_runs WHERE run = $run AND key = $key";
    return this.#db.get((row) => JSON.parse(text(row, "seqs")), sql, { run, key }) ?? [];
  }

  /** Of the table; before the first one if it is empty. */
  #edge(which: "min" | "max"): number {
    const sql = `SELECT coalesce(${which}(run), -1) AS run FROM event_runs`;
    return this.#db.get((row) => int(row, "run"), sql) ?? -1;
  }

  #complete(): readonly (readonly [number, Keys])[] {
    return [...this.#open].slice(0, -1);
  }

  #add({ seq, type, issueId, issueIdentifier, attemptId }: Keyed): void {
    const run = runOf(seq);
    const keys = this.#open.get(run) ?? new Map<EventKey, number[]>();
    this.#open.set(run, keys);
    const put = (key: EventKey) => {
      const seqs = keys.get(key);
      if (seqs === undefined) keys.set(key, [seq]);
      else seqs.push(seq);
    };
    put(`type ${type}`);
    if (issueId !== null) put(`issue ${issueId}`);
    if (issueIdentifier !== null) put(nameKey(issueIdentifier));
    if (attemptId !== null) put(`attempt ${attemptId}`);
  }
}

function runOf(seq: number): number {
  return Math.floor(seq / runLength);
}

/** Folds ASCII letters only, as the comparison of identifiers does (NOCASE). */
export function nameKey(identifier: string): EventKey {
  return `name ${identifier.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase())}`;
}

function keyedOf(row: Row): Keyed {
  return {
    seq: int(row, "seq"),
    type: text(row, "type"),
    issueId: textOrNull(row, "issue_id"),
    issueIdentifier: textOrNull(row, "issue_identifier"),
    attemptId: textOrNull(row, "attempt_id"),
  };
}
