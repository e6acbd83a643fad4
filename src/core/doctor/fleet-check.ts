import { systemClock } from "../clock.ts";
import { engineUrlOf, passwordsIn } from "../config/fleet.ts";
import type { Engine } from "../fleet/engine.ts";
import { inTime } from "./in-time.ts";
import type { Project } from "./project.ts";
import { type Answer, failure, notAsked, ok, warn, worst } from "./result.ts";

const engineMs = 15_000;

export interface FleetVersions {
  readonly server: string;
  /** The version is null for one that has not come yet. */
  readonly workers: readonly { readonly name: string; readonly version: string | null }[];
}

/**
 * The engine of `fleet.url`: that it answers and refuses nothing, what it keeps on disk, and its clock; `versions` asks the
 * running server for those of its workers, null: none runs.
 */
export async function checkFleet(
  { checked, lookup, redactor }: Project,
  versions: (() => Promise<FleetVersions>) | null,
): Promise<Answer> {
  if (checked === null) return notAsked("the workflow file cannot be used");
  try {
    const { fleet } = checked.effective.config;
    const url = engineUrlOf(fleet, lookup);
    if (url === null) return notAsked("there is no fleet.url");
    const passwords = passwordsIn(url);
    for (const secret of passwords.length > 0 ? [url, ...passwords] : []) redactor.add(secret);
    const { addressOf, openEngine } = await import("../fleet/opening.ts");
    const address = addressOf(url);
    const asked = openEngine(url, { fleet: "doctor", tables: "any" }).then(async (engine) => {
      await using open = engine;
      // Awaited here: the engine is closed as this returns.
      return await answerOf(open, { address, leaseMs: fleet.leaseMs });
    });
    const answer = await inTime(asked, engineMs, `the engine at ${address}`);
    // A server that does not answer is the matter of another check.
    const mixed = mixedIn((await versions?.().catch(() => null)) ?? null);
    return mixed === null ? answer : worst([answer, mixed]);
  } catch (error) {
    return failure(error);
  }
}

function mixedIn(found: FleetVersions | null): Answer | null {
  const others = found?.workers.filter(
    ({ version }) => version !== null && version !== found.server,
  );
  const [first] = others ?? [];
  if (first === undefined) return null;
  const list = others?.map(({ name, version }) => `${name} ${version}`).join(", ");
  return warn(
    `workers have other versions than the server's ${found?.server}: ${list}`,
    `symphony workers drain ${first.name}, then install the server's version there and start it again`,
  );
}

async function answerOf(
  engine: Engine,
  { address: written, leaseMs }: { address: string; leaseMs: number },
): Promise<Answer> {
  // A worker whose clock is further off gets nothing; so the server's may not be either.
  const { leaseTimes } = await import("../fleet/lease.ts");
  const { skewOf } = await import("../fleet/engine.ts");
  const skewMs = await skewOf(engine, systemClock);
  const { name, master, faults } = await engine.facts();
  const address = master === undefined ? written : `${written} (its master is ${master})`;
  const found = faults.map(([what, next]) => warn(`the engine at ${address} ${what}`, next));
  if (Math.abs(skewMs) > leaseTimes(leaseMs).maxSkewMs) {
    const message = `the clock of this machine is ${Math.round(skewMs / 1_000)} s off that of the engine at ${address}`;
    found.unshift(warn(message, "set both by NTP"));
  }
  return found.length > 0 ? worst(found) : ok(`${name} at ${address} answers`);
}
