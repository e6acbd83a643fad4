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
/** Until what the start left was given back. */
const firstLookMs = 500;
/** More of one processor is work, which a collection would delay. */
const idleShare = 0.03;
/** Less is not worth the pause of a whole collection: 30 ms after the start, and about one for each MB that is in use. */
const worthBytes = 24 * 1024 * 1024;

/**
 * Gives memory back to the machine after the start and after each burst of work: V8 collects where something is allocated, and
 * so keeps what an idle server does not need any more. The returned function ends it.
 */
export function giveBackWhenIdle(deps: MemoryDeps): () => void {
  const { clock } = deps;
  let lowest: number | null = null;
  let [at, spent] = [clock.now(), deps.cpuMs()];
  let cancel = () => {};
  const look = () => {
    const [now, cpu] = [clock.now(), deps.cpuMs()];
    const isIdle = (cpu - spent) / Math.max(now - at, 1) < idleShare;
    [at, spent] = [now, cpu];
    if (isIdle) {
      if (deps.residentBytes() - (lowest ?? 0) > worthBytes) deps.collect();
      lowest = Math.min(lowest ?? Number.POSITIVE_INFINITY, deps.residentBytes());
    }
    plan();
  };
  const plan = () => {
    cancel = clock.after(lowest === null ? firstLookMs : lookMs, look);
  };
  plan();
  return () => cancel();
}

/** Of this process. */
export function ownMemory(clock: MemoryDeps["clock"]): MemoryDeps {
  let gc: ((how: object) => void) | null = null;
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
        gc = runInNewContext("gc") as (how: object) => void;
      }
      // A plain one keeps the pages that the young objects had, some 20 MB, until V8 has seen 8 s without work.
      gc({ type: "major", flavor: "last-resort" });
    },
  };
}
