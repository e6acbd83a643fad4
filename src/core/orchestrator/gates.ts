import type { Config } from "../config/config.ts";
import type { Issue } from "../model/issue.ts";
import { unsavedText } from "../model/storage.ts";
import type { Wait } from "../model/wait.ts";
import { grouped } from "./grouped.ts";
import { choiceFor } from "./model-choice.ts";
import type { Day, Pause, State, StorageWait } from "./state.ts";

const dayMs = 86_400_000;

/** Something that keeps an issue from starting until a time. */
export interface Gate {
  readonly wait: Wait | StorageWait;
  readonly detail: string;
  /** null: not known. */
  readonly untilWall: number | null;
}

type TimedGate = Gate & { readonly wait: Wait; readonly untilWall: number };

/** What keeps the issue from starting now although nothing is wrong with it; null when nothing does. */
export function shutGate(state: State, issue: Issue, config: Config): Gate | null {
  return storageGate(state) ?? dayGate(state.day, config) ?? providerGate(state, issue, config);
}

/** Something that happened is not on disk: whatever is started now could be started again by a crash. */
export function storageGate({ storage }: Pick<State, "storage">): Gate | null {
  if (storage === null) return null;
  return { wait: { gate: "storage" }, detail: unsavedText(storage), untilWall: null };
}

/** The token budget of the day, when it is used up. */
export function dayGate(day: Day, { brakes }: Config): TimedGate | null {
  const limit = brakes.tokensPerDay;
  if (limit === null || day.tokens < limit) return null;
  const untilWall = (day.index + 1) * dayMs;
  const numbers = `${grouped(day.tokens)} of ${grouped(limit)}`;
  return {
    wait: { gate: "day_budget" },
    detail: `the day's token budget is used up: ${numbers} (brakes.tokens_per_day), next day at ${timeOf(untilWall)}`,
    untilWall,
  };
}

/** The provider of the issue's agent, when it takes no turns. */
export function providerGate(state: State, issue: Issue, config: Config): TimedGate | null {
  if (state.pauses.size === 0) return null;
  const { agent } = choiceFor(state, issue, config);
  const pause = state.pauses.get(agent);
  if (!pause?.active) return null;
  return {
    wait: { gate: "provider", agent },
    detail: pausedText(pause),
    untilWall: pause.untilWall,
  };
}

/** Why an agent's issues wait, in a few words. */
export function pausedText({ agent, untilWall }: Pick<Pause, "agent" | "untilWall">): string {
  return `the provider's limit (${agent}) until ${timeOf(untilWall)}`;
}

/** The day (UTC) that `wall` lies in. */
export function dayIndex(wall: number): number {
  return Math.floor(wall / dayMs);
}

function timeOf(wall: number): string {
  return new Date(wall).toISOString();
}
