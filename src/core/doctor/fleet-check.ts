import { systemClock } from "../clock.ts";
import { engineUrlOf } from "../config/fleet.ts";
import type { Engine } from "../fleet/engine.ts";
import { inTime } from "./in-time.ts";
import type { Project } from "./project.ts";
import { type Answer, failure, notAsked, ok, warn, worst } from "./result.ts";

const engineMs = 15_000;

/** The engine of `fleet.url`: that it answers and refuses nothing, what it keeps on disk, and its clock. */
export async function checkFleet({ checked, lookup, redactor }: Project): Promise<Answer> {
  if (checked === null) return notAsked("the workflow file cannot be used");
  try {
    const { fleet } = checked.effective.config;
    const url = engineUrlOf(fleet, lookup);
    if (url === null) return notAsked("there is no fleet.url");
    const password = URL.parse(url)?.password;
    if (password) for (const secret of [url, password]) redactor.add(secret);
    const { addressOf, Engine } = await import("../fleet/engine.ts");
    const address = addressOf(url);
    const asked = Engine.open(url, "doctor").then(async (engine) => {
      await using open = engine;
      // Awaited here: the engine is closed as this returns.
      return await answerOf(open, { address, leaseMs: fleet.leaseMs });
    });
    return await inTime(asked, engineMs, `the engine at ${address}`);
  } catch (error) {
    return failure(error);
  }
}

async function answerOf(
  engine: Engine,
  { address, leaseMs }: { address: string; leaseMs: number },
): Promise<Answer> {
  // A worker whose clock is further off gets nothing; so the server's may not be either.
  const { redis } = engine;
  const { leaseTimes } = await import("../fleet/lease.ts");
  const skewMs = await engine.skewMs(systemClock);
  // A user without the right to read this is no fault.
  const info = await redis.info().catch(() => "");
  const fact = (key: string) => new RegExp(`^${key}:(.*?)\\r?$`, "m").exec(info)?.[1] ?? null;
  const save = await redis.config("GET", "save").catch(() => null);
  const savesNever = Array.isArray(save) && save[1] === "";
  const found: Answer[] = [];
  if (Math.abs(skewMs) > leaseTimes(leaseMs).maxSkewMs) {
    const message = `the clock of this machine is ${Math.round(skewMs / 1_000)} s off that of the engine at ${address}`;
    found.push(warn(message, "set both by NTP"));
  }
  if (fact("aof_enabled") === "0" && savesNever) {
    const message = `the engine at ${address} keeps nothing on disk: after its restart every attempt on a worker runs again`;
    found.push(warn(message, "redis-cli config set appendonly yes"));
  }
  if (fact("rdb_last_bgsave_status") === "err") {
    const message = `the engine at ${address} could not save its file, and may refuse every write until it can`;
    found.push(warn(message, "redis-cli lastsave; then look at the disk of the engine"));
  }
  const needed = await redis.config("GET", "min-replicas-to-write").catch(() => null);
  const isUnsure = Array.isArray(needed) && needed[1] === "0";
  if (Number(fact("connected_slaves") ?? 0) > 0 && isUnsure) {
    const message = `the engine at ${address} has replicas and writes without them: a failover may lose what it has acknowledged`;
    found.push(warn(message, "redis-cli config set min-replicas-to-write 1"));
  }
  if (found.length > 0) return worst(found);
  const version = fact("redis_version") ?? "of an unknown version";
  return ok(`Redis ${version} at ${address} answers`);
}
