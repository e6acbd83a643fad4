import type { Config } from "../config/config.ts";
import type { Issue } from "../model/issue.ts";
import type { Wait } from "../model/wait.ts";
import { grouped } from "./grouped.ts";
import { choiceFor } from "./model-choice.ts";
import type { Day, Pause, State } from "./state.ts";

const dayMs = 86_400_000;

/** Something that keeps an issue from starting until a time. */
export interface Gate {
  readonly wait: Wait;
  readonly detail: string;
  readonly untilWall: number;
}

/** What keeps the issue from starting now although nothing is wrong with it; null when nothing does. */
export function shutGate(state: State, issue: Issue, config: Config): Gate | null {
  return dayGate(state.day, config) ?? providerGate(state, issue, config);
}

/** The token budget of the day, when it is used up. */
export function dayGate(day: Day, { brakes }: Config): Gate | null {
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
export function providerGate(state: State, issue: Issue, config: Config): Gate | null {
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
