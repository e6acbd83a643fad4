import type { Config } from "../config/config.ts";
import type { StorageTrouble } from "../model/gates.ts";
import type { PollPace, TrackerHealth } from "../tracker/tracker.ts";
import { type Snapshot, snapshot } from "./snapshot.ts";
import type { Fault, State } from "./state.ts";

/** The state, the polls and the configuration as an operator sees them. */
export interface View {
  readonly snapshot: Snapshot;
  readonly polling: {
    readonly intervalMs: number;
    readonly lastWall: number | null;
    readonly nextWall: number | null;
    /** Polls are slower than configured, and why. */
    readonly slowed: PollPace | null;
    readonly lastError: Fault | null;
  };
  readonly tracker: TrackerHealth;
  /** Why nothing new is started. */
  readonly problem: Fault | null;
  /** What is wrong with the configuration and does not stop the start. */
  readonly warnings: readonly string[];
  /** Refused writes that are being repeated; nothing new is started while there are any. */
  readonly storage: StorageTrouble | null;
}

/** What the last read says about the tracker. */
export function healthOf({
  trackerRead,
  trackerError,
}: State): Pick<TrackerHealth, "status" | "healthy"> {
  if (!trackerRead) return { status: "starting", healthy: null };
  const healthy = trackerError === null;
  return { status: healthy ? "healthy" : "failing", healthy };
}

/** The configuration in force, why nothing new may start, and what else is wrong. */
export interface InForce {
  readonly config: Config;
  readonly problem: Fault | null;
  readonly warnings: readonly string[];
}

/** What an operator sees of `state`; `now` is monotonic ms. */
export function viewIn(
  state: State,
  { config, problem, warnings }: InForce,
  moment: { readonly now: number; readonly limit: number },
): View {
  const { poll } = state;
  const lastError = state.trackerError ?? poll.unread;
  return {
    snapshot: snapshot(state, config, moment),
    polling: {
      intervalMs: config.polling.intervalMs,
      lastWall: poll.lastWall,
      nextWall: poll.nextWall,
      slowed: poll.pace,
      lastError,
    },
    tracker: {
      kind: config.tracker.kind,
      ...healthOf(state),
      lastError,
    },
    problem,
    warnings,
    storage: state.storage,
  };
}
