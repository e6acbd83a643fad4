import type { Context, Decision } from "./decision.ts";
import type { Running } from "./issues.ts";
import type { Exit } from "./messages.ts";
import type { State } from "./state.ts";
import { hold } from "./stop.ts";

// An attempt whose worker dies may be what killed it: it must not go round the fleet and end one worker after another.

/** On so many different workers the machine is not the cause. */
const maxWorkers = 2;
/** On one worker, where there is no other. */
const maxDeaths = 3;

/** The workers that died in a row while an issue ran on them, by name, the newest last; absent: none. */
export interface Losses {
  readonly losses?: readonly string[];
}

/** What is kept of them with the issue's next claim. */
export function lossesOf({ losses = [] }: Losses): Losses {
  return losses.length === 0 ? {} : { losses };
}

/** Those after this exit: an end that its worker has lived to see clears them. */
export function lossesAfter(entry: Running, exit: Exit): Losses {
  const { worker, losses = [] } = entry;
  if (exit.kind !== "failed" || exit.code !== "worker_lost") return {};
  const hasDied = exit.workerDied === true && worker !== undefined;
  return hasDied ? { losses: [...losses, worker] } : lossesOf(entry);
}

/** Holds an issue after whose attempts too many workers died; null: it may run again. */
export function heldAsPoison(
  state: State,
  { issue }: Running,
  { losses = [], context }: Losses & { readonly context: Context },
): Decision | null {
  const names = [...new Set(losses)];
  if (names.length < maxWorkers && losses.length < maxDeaths) return null;
  const times = losses.length === 1 ? "once" : `${losses.length} times in a row`;
  const reason = `its worker died while it ran, ${times} (${names.join(", ")}): it is held so that it ends no further one`;
  return hold(state, issue, { reason, data: { workers: losses }, context });
}

/** The workers with an attempt that may be what killed its last one: no second one is put next to it. */
export function suspectedOn({ issues }: Pick<State, "issues">): ReadonlySet<string> {
  const running = [...issues.of("running").values()];
  return new Set(
    running.flatMap(({ worker, losses = [] }) => (worker && losses.length > 0 ? [worker] : [])),
  );
}
