import type { Config } from "../config/config.ts";
import type { WorkerHost } from "../model/worker.ts";
import type { State } from "./state.ts";

type Places = Pick<State, "workers" | "issues">;

/** The workers that may get attempts of this project, with their free slots; null: attempts run on this machine. */
function open({ workers, issues }: Places, { fleet }: Config) {
  if (workers === null) return null;
  const running = [...issues.of("running").values()];
  return workers
    .filter(({ ready, labels }) => ready && fleet.labels.every((label) => labels.includes(label)))
    .map((worker) => {
      const taken = running.filter((entry) => entry.worker === worker.name).length;
      return { name: worker.name, taken, free: Math.max(worker.capacity - taken, 0) };
    });
}

/** Free slots of all workers; null: attempts run on this machine. */
export function workerSlots(state: Places, config: Config): number | null {
  return open(state, config)?.reduce((sum, { free }) => sum + free, 0) ?? null;
}

/**
 * The worker for an attempt: the one that had the issue before, else the least loaded, the first of equals. After an attempt
 * that failed another one comes first: what its machine lacks, the next may have. null: all are full or gone, and there is no
 * other place.
 */
export function workerFor(
  state: Places,
  config: Config,
  { before, hasFailed = false }: { before: string | null; hasFailed?: boolean },
): string | null {
  const free = (open(state, config) ?? []).filter((worker) => worker.free > 0);
  const known = free.find(({ name }) => name === before);
  const [first, ...others] = hasFailed ? free.filter((worker) => worker !== known) : free;
  if (first === undefined || (known && !hasFailed)) return known?.name ?? null;
  return others.reduce((best, one) => (one.taken < best.taken ? one : best), first).name;
}

/** Why no worker has a free slot, in one sentence; null: one has, or attempts run on this machine. */
export function whyNoWorker(state: Places, config: Config): string | null {
  const { workers } = state;
  if (workers === null || workerSlots(state, config) !== 0) return null;
  if (workers.length === 0) return "no worker has joined the fleet";
  return workers.map((worker) => `${worker.name} ${standing(worker, config)}`).join("; ");
}

function standing({ ready, why, labels, capacity }: WorkerHost, { fleet }: Config): string {
  if (!ready) return `takes nothing: ${why ?? "not ready"}`;
  const missing = fleet.labels.filter((label) => !labels.includes(label));
  if (missing.length > 0) return `lacks the label ${missing.join(", ")}`;
  return `is full (${capacity})`;
}
