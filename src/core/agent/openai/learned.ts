import { join } from "node:path";
import { z } from "zod";
import type { Clock } from "../../clock.ts";
import type { LearnedRow, Quirks } from "../agent.ts";
import { recalled, remember } from "../memory.ts";

const keptMs = 7 * 24 * 3_600_000;
const maxRows = 200;

const none: Quirks = {
  chatOnly: false,
  unsealed: false,
  omit: [],
  newMaxTokens: false,
  contextTokens: null,
};

const Rows = z.array(
  z.object({
    baseUrl: z.string(),
    model: z.string(),
    learnedAt: z.number(),
    chatOnly: z.boolean(),
    unsealed: z.boolean(),
    omit: z.array(z.string()),
    newMaxTokens: z.boolean(),
    contextTokens: z.number().nullable(),
  }),
);

interface Place {
  readonly baseUrl: string;
  readonly model: string;
}

/**
 * What providers cannot take, by base URL and model, so that a request is refused for it once and not in each attempt.
 * Kept for 7 days in the data directory: a provider changes, and so may the answer.
 */
export class Learned {
  readonly #file: string | null;
  readonly #clock: Clock;
  /** null until it is needed: most servers start without it. */
  #known: readonly LearnedRow[] | null = null;

  /** `dir` null: only in memory. */
  constructor(dir: string | null, clock: Clock) {
    this.#file = dir === null ? null : join(dir, "providers.json");
    this.#clock = clock;
  }

  of(place: Place): Quirks {
    return this.rows().find((row) => isSame(row, place)) ?? none;
  }

  /** All that is still known, newest first. */
  rows(): readonly LearnedRow[] {
    const since = this.#clock.wall() - keptMs;
    return this.#rows.filter(({ learnedAt }) => learnedAt > since);
  }

  add(place: Place, news: Partial<Quirks>): void {
    const known = this.of(place);
    const omit = [...new Set([...known.omit, ...(news.omit ?? [])])];
    const { baseUrl, model } = place;
    const row = { ...known, ...news, omit, baseUrl, model, learnedAt: this.#clock.wall() };
    const others = this.rows().filter((one) => !isSame(one, place));
    this.#keep([row, ...others].slice(0, maxRows));
  }

  /** Asks every provider anew from now on. */
  forget(): void {
    if (this.#rows.length > 0) this.#keep([]);
  }

  get #rows(): readonly LearnedRow[] {
    this.#known ??= (this.#file === null ? null : recalled(this.#file, Rows)) ?? [];
    return this.#known;
  }

  #keep(rows: readonly LearnedRow[]): void {
    this.#known = rows;
    if (this.#file !== null) remember(this.#file, rows);
  }
}

function isSame(row: Place, place: Place): boolean {
  return row.baseUrl === place.baseUrl && row.model === place.model;
}

const byDir = new Map<string, Learned>();

/** The one of a data directory: sessions learn, the list of models shows it. */
export function learnedIn(dir: string, clock: Clock): Learned {
  const known = byDir.get(dir) ?? new Learned(dir, clock);
  byDir.set(dir, known);
  return known;
}
