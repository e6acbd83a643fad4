import { z } from "zod";
import type { TrackerConfig } from "../../config/config.ts";
import { SymphonyError } from "../../model/errors.ts";
import { type IssueName, normalState, type TrackerState } from "../../model/issue.ts";
import { type BlockerRules, blockerRulesOf } from "../blockers.ts";
import { readProvider } from "../provider-settings.ts";

const Provider = z.object({
  prefix: z
    .string()
    .regex(/^[A-Za-z][A-Za-z0-9_]{0,19}$/, "must be a letter, then up to 19 letters, digits or _")
    .nullish(),
  states: z.array(z.string().trim().min(1, "must not be blank").max(100)).max(100).nullish(),
});

/** What the local tracker needs to know about its issues. */
export interface LocalOptions {
  /** Identifiers of new issues are `PREFIX-N`. */
  readonly prefix: string;
  /** Every state an issue may have, in the order of work; at least one. */
  readonly states: readonly TrackerState[];
  readonly blockers: BlockerRules;
}

/**
 * The options of a `local` tracker: its states are the active ones, those of `tracker.provider.states`, and the terminal
 * ones. Throws `invalid_tracker_config`, naming the key.
 */
export function localOptions(config: TrackerConfig): LocalOptions {
  const { prefix, states } = readProvider(Provider, config.provider);
  const terminal = new Set(config.terminalStates.map(normalState));
  const byName = new Map<string, TrackerState>();
  for (const name of [...config.activeStates, ...(states ?? []), ...config.terminalStates]) {
    const key = normalState(name);
    if (key === "" || byName.has(key)) continue;
    byName.set(key, { name: name.trim(), terminal: terminal.has(key) });
  }
  if (byName.size === 0) {
    const message = "tracker.active_states and tracker.terminal_states name no state";
    throw new SymphonyError("invalid_tracker_config", message);
  }
  return {
    prefix: prefix ?? "LOCAL",
    states: [...byName.values()],
    blockers: blockerRulesOf(config),
  };
}

/** The configured state with that name, ignoring case and spacing; null when there is none. */
export function stateNamed(
  { states }: Pick<LocalOptions, "states">,
  name: string,
): TrackerState | null {
  const key = normalState(name);
  return states.find((state) => normalState(state.name) === key) ?? null;
}

/** As `stateNamed`. Throws `transition_not_allowed`. */
export function requireState(
  states: readonly TrackerState[],
  { identifier }: IssueName,
  name: string,
): TrackerState {
  const state = stateNamed({ states }, name);
  if (state) return state;
  const allowed = states.map((known) => known.name);
  const message = `${identifier} cannot move to ${name}; it can to ${allowed.join(", ")}`;
  throw new SymphonyError("transition_not_allowed", message, { details: { allowed } });
}
