import type { Effect } from "../orchestrator/messages.ts";
import type { State } from "../orchestrator/state.ts";
import type { Replayed } from "./replay.ts";

/** A decision about one issue, in words that a person can compare. */
export interface DecisionAbout {
  readonly effects: readonly Effect[];
  readonly words: readonly string[];
}

/** Picks what is about one issue out of decisions, by its id and the ids of its attempts. */
export class About {
  readonly #names: Set<string>;
  readonly #id: string;

  constructor(issueId: string) {
    this.#id = issueId;
    this.#names = new Set([issueId]);
  }

  /** The effects about the issue; null: the decision has nothing to do with it. */
  of({ before, input, effects, refusal }: Replayed): DecisionAbout | null {
    this.#learn(before);
    for (const effect of effects) {
      if (effect.type === "startAttempt" && effect.issue.id === this.#id) {
        this.#names.add(effect.attemptId);
      }
    }
    const own = effects
      .filter((effect) => this.#mentions(effect))
      .flatMap((one) => this.#part(one));
    const asked = refusal !== null && this.#mentions(input);
    if (own.length === 0 && !asked) return null;
    return { effects: own, words: wordsOf({ effects: own, refusal }) };
  }

  /** Of a read of many issues, what is about this one; that a live issue is read again is no decision. */
  #part(effect: Effect): readonly Effect[] {
    if (effect.type === "refreshRunning") return [];
    if (effect.type === "verifyIssues") return [{ ...effect, request: 0, ids: [this.#id] }];
    return effect.type === "checkIssue" ? [{ ...effect, request: 0 }] : [effect];
  }

  /** The attempt that runs may have been started before the record was read. */
  #learn({ issues }: State): void {
    const row = issues.get(this.#id);
    if (row?.claim === "running") this.#names.add(row.attemptId);
  }

  #mentions(value: unknown): boolean {
    if (typeof value === "string") return this.#names.has(value);
    if (typeof value !== "object" || value === null) return false;
    return Object.values(value).some((item) => this.#mentions(item));
  }
}

const shownChars = 160;

/** What was decided: each order, or the refusal. */
export function wordsOf({ effects, refusal }: Pick<Replayed, "effects" | "refusal">) {
  return refusal === null ? effects.map(orderOf) : [`refused: ${refusal}`];
}

/** The order with its plain facts, such as `setTimer retry.due 10000`. */
function orderOf(effect: Effect): string {
  const facts = Object.entries(effect).flatMap(([key, value]) => factsOf(key, value));
  return [effect.type, ...facts].join(" ");
}

function factsOf(key: string, value: unknown): string[] {
  if (key === "type" || value === null || value === undefined) return [];
  // Numbers of requests only order answers.
  if (key === "request") return [];
  if (typeof value === "string") return value === "" ? [] : [shortened(value)];
  if (typeof value === "number" || typeof value === "boolean") return [`${key}=${value}`];
  if (Array.isArray(value)) {
    const names = value.filter((one) => typeof one === "string");
    return names.length === 0 ? [] : [shortened(names.join(","))];
  }
  if (typeof value !== "object") return [];
  const { type, identifier, message } = value as Readonly<Record<string, unknown>>;
  return [type, identifier, message].flatMap((one) =>
    typeof one === "string" && one !== "" ? [shortened(one)] : [],
  );
}

function shortened(text: string): string {
  return text.length > shownChars ? `${text.slice(0, shownChars)}…` : text;
}
