import { sealList } from "./agents.ts";
import type { Engine } from "./engine.ts";
import { lettersKey, type Member } from "./members.ts";

// What the server orders of a worker that its talks may not reach: it reads orders with each renewal, and before it takes a job.

/** An order to end an attempt outlives every lease, and then itself. */
const orderSeconds = 3_600;

/** `drain`: the worker ends when it runs nothing; `removed`: it ends everything now; null: neither. */
export async function orderWorker(
  engine: Engine,
  worker: string,
  order: "drain" | "removed" | null,
): Promise<void> {
  const at = engine.key("order", worker);
  if (order === null) await engine.redis.del(at);
  else await engine.redis.set(at, order);
}

export function orderOf(engine: Engine, worker: string): Promise<string | null> {
  return engine.redis.get(engine.key("order", worker));
}

/** The worker ends the run, or does not take it. */
export async function orderEnd(engine: Engine, run: string): Promise<void> {
  await engine.redis.set(engine.key("end", run), "1", "EX", orderSeconds);
}

/** Those of `runs` that have to end. */
export async function endOrders(
  engine: Engine,
  runs: readonly string[],
): Promise<readonly string[]> {
  if (runs.length === 0) return [];
  const found = await engine.redis.mget(...runs.map((run) => engine.key("end", run)));
  return runs.filter((_, at) => found[at] != null);
}

/** The agents that the worker is to check, sealed for it alone. */
export async function orderChecks(engine: Engine, worker: Member, text: string): Promise<void> {
  const sealed = sealList(lettersKey(worker), worker.id, text);
  await engine.redis.set(engine.key("agents", worker.id), sealed);
}

/** null: none was ordered, or the engine has lost it. */
export function checksFor(engine: Engine, worker: string): Promise<Buffer | null> {
  return engine.redis.getBuffer(engine.key("agents", worker));
}
