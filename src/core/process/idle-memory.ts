import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Clock } from "../clock.ts";

/** What is asked of this process; tests pass their own. */
export interface MemoryDeps {
  readonly clock: Pick<Clock, "after" | "now">;
  /** Processor time so far, in ms. */
  cpuMs(): number;
  residentBytes(): number;
  collect(): void;
}

const lookMs = 15_000;
/** More of one processor is work, which a collection would delay. */
const idleShare = 0.03;
/** Less is not worth the pause of a whole collection, which is some 50 ms. */
const worthBytes = 24 * 1024 * 1024;

/**
 * Gives memory back to the machine after a burst of work: V8 collects where something is allocated, and so keeps what an idle
 * server does not need any more. The returned function ends it.
 */
export function giveBackWhenIdle(deps: MemoryDeps): () => void {
  const { clock } = deps;
  let lowest = Number.POSITIVE_INFINITY;
  let [at, spent] = [clock.now(), deps.cpuMs()];
  let cancel = () => {};
  const look = () => {
    const [now, cpu] = [clock.now(), deps.cpuMs()];
    const isIdle = (cpu - spent) / Math.max(now - at, 1) < idleShare;
    [at, spent] = [now, cpu];
    if (isIdle && deps.residentBytes() - lowest > worthBytes) deps.collect();
    lowest = Math.min(lowest, deps.residentBytes());
    plan();
  };
  const plan = () => {
    cancel = clock.after(lookMs, look);
  };
  plan();
  return () => cancel();
}

/** Of this process. */
export function ownMemory(clock: MemoryDeps["clock"]): MemoryDeps {
  let gc: (() => void) | null = null;
  return {
    clock,
    cpuMs() {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1_000;
    },
    residentBytes: () => process.memoryUsage.rss(),
    collect() {
      if (gc === null) {
        setFlagsFromString("--expose-gc");
        gc = runInNewContext("gc") as () => void;
      }
      gc();
    },
  };
}
