import type { Clock } from "./clock.ts";
import type { Logger } from "./logger.ts";
import { messageOf } from "./model/errors.ts";
import type { State } from "./orchestrator/state.ts";
import type { RemovalStep } from "./store/aged.ts";
import type { History } from "./store/store.ts";

const dayMs = 24 * 60 * 60 * 1_000;
/** Rows of one step: a few ms each, so that nothing else waits for it. */
const eventsAtOnce = 250;
const attemptsAtOnce = 200;
/** Between two steps everything else has its turn. */
const pauseMs = 20;

interface Parts {
  readonly history: History;
  readonly clock: Clock;
  readonly log: Logger;
  /** null: nothing is removed. */
  days(): number | null;
  state(): State;
}

/** Removes old attempts and events now and once a day, in small steps. Returns how to stop. */
export function followRetention(parts: Parts): () => void {
  const { clock, log } = parts;
  let cancel = () => {};
  const run = () => {
    const days = parts.days();
    const sweep = days === null ? null : sweepOf(parts, clock.wall() - days * dayMs);
    const step = () => {
      let more = false;
      try {
        more = sweep?.step() ?? false;
      } catch (error) {
        log.error("old history could not be removed", { reason: messageOf(error) });
      }
      cancel = more ? clock.after(pauseMs, step) : clock.after(dayMs, run);
    };
    step();
  };
  cancel = clock.after(0, run);
  return () => cancel();
}

/** One walk through what is old. */
function sweepOf(parts: Parts, before: number) {
  const { history, clock, log } = parts;
  const removed = { events: 0, attempts: 0 };
  let longestMs = 0;
  let after = "";
  let stage: "events" | "attempts" = "events";
  const work = (): RemovalStep => {
    if (stage === "events") return history.removeOldEvents({ before, limit: eventsAtOnce });
    const kept = busyIssues(parts.state());
    return history.removeOldAttempts({ before, limit: attemptsAtOnce, after, kept });
  };
  return {
    /** False when it is through. */
    step(): boolean {
      const startedAt = clock.now();
      const done = work();
      longestMs = Math.max(longestMs, clock.now() - startedAt);
      removed[stage] += done.removed;
      if (done.next !== null) after = stage === "attempts" ? done.next : "";
      else if (stage === "events") stage = "attempts";
      else {
        const any = removed.events + removed.attempts > 0;
        if (any) log.info("old history removed", { ...removed, longest_step_ms: longestMs });
        return false;
      }
      return true;
    },
  };
}

/** Whatever an operator may still ask about in full. */
function busyIssues({ running, retrying, blocked, held, failed }: State): readonly string[] {
  return [running, retrying, blocked, held, failed].flatMap((issues) => [...issues.keys()]);
}
