import { hash } from "node:crypto";
import { crc32 } from "node:zlib";
import type { Config } from "../config/config.ts";
import { SymphonyError } from "../model/errors.ts";
import type { Context, Decision } from "../orchestrator/decision.ts";
import type { Effect, Input } from "../orchestrator/messages.ts";
import type { State } from "../orchestrator/state.ts";
import type { Json } from "./codec.ts";
import type { Names } from "./shared.ts";

/** `step`, or what stands in front of it. */
export type Decide = (state: State, input: Input, context: Context) => Decision;

/** One question of a decision to its context, and the answer that it got. */
export interface Lookup {
  readonly name: string;
  readonly args: readonly unknown[];
  readonly answer: unknown;
}

/** What one decision was made from, and what it decided. Nothing in it is ever changed. */
export interface Decided {
  readonly before: State;
  readonly input: Input;
  readonly context: Context;
  readonly lookups: readonly Lookup[];
  readonly after: State;
  readonly effects: readonly Effect[];
  /** The code of a refusal; null: it was decided. */
  readonly refusal: string | null;
  /** The last event that was published before it. */
  readonly event: number;
}

/** The configuration as `symphony config get` shows it. */
export interface ShownConfig {
  readonly config: unknown;
  readonly origins: unknown;
}

/**
 * A decision as it is written, one line of a batch. Times and event count from the previous line; `ticks` are millionths of a
 * ms, or as text the monotonic time itself, where that is no whole number of them. `mark` names the decision.
 */
export type Line = readonly [
  ticks: number | string,
  wall: number,
  event: number,
  mark: string | 0,
  input: Json,
  more?: More,
];

/** What a line has only when there is something to say. */
export interface More {
  /** The configuration, when it is another object than that of the previous decision. */
  readonly config?: WrittenConfig;
  /** All of the context that is neither a time, nor the configuration, nor a question; when it differs. */
  readonly rest?: Json;
  /** The questions and their answers. */
  readonly asked?: Json;
  /** The issues of the input as changes against the candidates of the state; 0: the same list. */
  readonly list?: Json;
}

export interface WrittenConfig {
  readonly hash: string;
  readonly value: Json;
  readonly shown: Json;
}

const markChars = 4;

/**
 * Names a decision: 0 orders nothing, four characters stand for the effects, and a refusal is its code. Two decisions that
 * differ have different marks, but for one in 16 million.
 */
export function markOf(effects: readonly Effect[], refusal: string | null, names: Names) {
  if (refusal !== null) return refusal;
  if (effects.length === 0) return 0;
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(names.textOf(effects)));
  return sum.toString("base64url").slice(0, markChars);
}

/** A monotonic time in millionths of a ms; null when it is no whole number of them. */
export function ticksOf(now: number): number | null {
  const ticks = Math.round(now * ticksPerMs);
  return Number.isSafeInteger(ticks) && ticks / ticksPerMs === now ? ticks : null;
}

export const ticksPerMs = 1_000_000;

/** Compares whole states: equal states have equal hashes, on every machine. */
export function stateHash(state: State, names: Names): string {
  return hash("sha256", names.textOf(state));
}

/** The same, while other work has its turns. */
export async function stateHashInTurns(state: State, names: Names): Promise<string> {
  return hash("sha256", await names.textInTurns(state));
}

export function configHash(config: Config, names: Names): string {
  return hash("sha256", names.textOf(config)).slice(0, 16);
}

/** The context with every question noted, and the parts of it that are plain data. */
export function watched(context: Context): { context: Context; lookups: readonly Lookup[] } {
  const lookups: Lookup[] = [];
  const asking = (name: string, ask: (...args: unknown[]) => unknown) => {
    return (...args: unknown[]) => {
      const answer = ask(...args);
      lookups.push({ name, args, answer });
      return answer;
    };
  };
  const entries = Object.entries(context).map(([key, value]) => [
    key,
    typeof value === "function" ? asking(key, value) : value,
  ]);
  return { context: Object.fromEntries(entries), lookups };
}

const separately: ReadonlySet<string> = new Set(["config", "now", "wall"]);

/** What the context holds in addition to the configuration, the times and its questions. */
export function restOf(context: Context): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(context).filter(
      ([key, value]) => !separately.has(key) && typeof value !== "function",
    ),
  );
}

/** The names of the questions that a decision may ask. */
export function questionsOf(context: Context): readonly string[] {
  return Object.entries(context).flatMap(([key, value]) =>
    typeof value === "function" ? [key] : [],
  );
}

export function refusalOf(error: unknown): string {
  return error instanceof SymphonyError ? error.code : "internal_error";
}
