import { type Issue, normalState } from "../../model/issue.ts";
import { type LinearRow, type LinearRules, withBlockers } from "./normalize.ts";

/** The issues in one set of states as last known, newest change first. Pure: it sends no requests. */
export class Listing {
  readonly #states: ReadonlySet<string>;
  #rows: ReadonlyMap<string, LinearRow> = new Map();
  #issues: readonly Issue[] = [];

  constructor(states: Iterable<string>) {
    this.#states = new Set([...states].map(normalState));
  }

  /** The same array as before when nothing changed. */
  get issues(): readonly Issue[] {
    return this.#issues;
  }

  /** The known row if it has the same values, so that unchanged issues stay the same objects. */
  settle(row: LinearRow): LinearRow {
    const known = this.#rows.get(row.issue.id);
    return known !== undefined && sameRow(known, row) ? known : row;
  }

  /** Takes the result of a full pass, in the tracker's order. Duplicates count once (T-4). */
  replace(rows: Iterable<LinearRow>): void {
    const next = new Map<string, LinearRow>();
    for (const row of rows) {
      const { id } = row.issue;
      const newest = [next.get(id), this.#rows.get(id)].reduce<LinearRow>(newer, row);
      next.set(id, this.settle(newest));
    }
    this.#take(next);
  }

  /**
   * Applies changed issues of any state: those in the listing's states enter or are updated, others leave,
   * as do those that are `gone`; issues that one of them blocks are evaluated again.
   */
  merge(changed: readonly LinearRow[], gone: readonly string[], rules: LinearRules): void {
    if (changed.length === 0 && gone.length === 0) return;
    const next = new Map(this.#rows);
    const states = new Map<string, string>();
    for (const row of changed) {
      const { id, state } = row.issue;
      const known = next.get(id);
      if (known !== undefined && newer(row, known) === known) continue;
      states.set(id, state);
      if (this.#states.has(normalState(state))) next.set(id, this.settle(row));
      else next.delete(id);
    }
    for (const id of gone) next.delete(id);
    for (const [id, row] of next) next.set(id, withBlockers(row, states, rules));
    const same =
      next.size === this.#rows.size && [...next].every(([id, row]) => row === this.#rows.get(id));
    if (!same) this.#take(new Map([...next].sort(([, a], [, b]) => updatedAt(b) - updatedAt(a))));
  }

  #take(next: ReadonlyMap<string, LinearRow>): void {
    const before = [...this.#rows.values()];
    const after = [...next.values()];
    this.#rows = next;
    const same = before.length === after.length && after.every((row, at) => row === before[at]);
    if (!same) this.#issues = after.map((row) => row.issue);
  }
}

/** `other` when it is the later snapshot, else `row`. */
function newer(row: LinearRow, other: LinearRow | undefined): LinearRow {
  return other !== undefined && updatedAt(other) > updatedAt(row) ? other : row;
}

function updatedAt(row: LinearRow): number {
  return row.issue.updatedAt ?? 0;
}

function sameRow(a: LinearRow, b: LinearRow): boolean {
  if (a === b) return true;
  return a.issue.updatedAt === b.issue.updatedAt && JSON.stringify(a) === JSON.stringify(b);
}
