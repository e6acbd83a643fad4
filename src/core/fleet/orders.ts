import { sealList } from "./agents.ts";
import type { Engine, Queue } from "./engine.ts";
import { lettersKey, type Member } from "./members.ts";

// What the server orders of a worker that its talks may not reach: it reads orders with each renewal, and before it takes a job.

/** An order to end an attempt outlives every lease, and then itself. */
const orderMs = 3_600_000;
/** A worker that was removed while it was away learns of it for so long. */
const removedMs = 30 * 24 * 3_600_000;

/** `drain`: the worker ends when it runs nothing; `removed`: it ends everything now; null: neither. */
export function orderWorker(
  engine: Engine,
  worker: string,
  order: "drain" | "removed" | null,
): Promise<void> {
  return engine.note("order", worker, order, order === "removed" ? removedMs : undefined);
}

/** Of a worker that was removed and runs nothing any more: its queue and its list of agents go. Never rejects. */
export async function forgetWorker(
  engine: Engine,
  queues: Map<string, Queue>,
  worker: string,
): Promise<void> {
  const queue = queues.get(worker) ?? engine.queue(worker);
  queues.delete(worker);
  await queue.forget().catch(() => {});
  await queue.close().catch(() => {});
  await engine.note("agents", worker, null).catch(() => {});
}

export async function orderOf(engine: Engine, worker: string): Promise<string | null> {
  const [order] = await engine.notes("order", [worker]);
  return order?.toString() ?? null;
}

/** The worker ends the run, or does not take it. */
export function orderEnd(engine: Engine, run: string): Promise<void> {
  return engine.note("end", run, "1", orderMs);
}

/** Those of `runs` that have to end. */
export async function endOrders(
  engine: Engine,
  runs: readonly string[],
): Promise<readonly string[]> {
  const found = await engine.notes("end", runs);
  return runs.filter((_, at) => found[at] != null);
}

/** The agents that the worker is to check, sealed for it alone. */
export function orderChecks(engine: Engine, worker: Member, text: string): Promise<void> {
  const sealed = sealList(lettersKey(worker), worker.id, text);
  return engine.note("agents", worker.id, sealed);
}

/** null: none was ordered, or the engine has lost it. */
export async function checksFor(engine: Engine, worker: string): Promise<Buffer | null> {
  const [sealed] = await engine.notes("agents", [worker]);
  return sealed ?? null;
}
