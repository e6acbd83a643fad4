import { version as ownVersion } from "../package.ts";
import { type LeaseTimes, protocol } from "./lease.ts";
import type { Member } from "./members.ts";
import type { Sighting } from "./sighting.ts";

// Whether a worker takes attempts, and if not, why.

/** What holds for every worker of a fleet now. */
export interface FleetStanding {
  /** The host whose orchestrator leads instead; null: none does. */
  readonly refusedBy: string | null;
  readonly leads: boolean;
  readonly epoch: number;
  /** No worker can still run agents of an earlier server. */
  readonly isSettled: boolean;
  readonly times: LeaseTimes;
}

/** Why the worker gets nothing now, as a part of a sentence; null: it takes attempts. */
export function whyNothing(
  { cordoned }: Pick<Member, "cordoned">,
  sighting: Sighting | null,
  { refusedBy, leads, epoch, isSettled, times }: FleetStanding,
): string | null {
  if (refusedBy !== null) return `the orchestrator on ${refusedBy} leads this fleet`;
  if (!leads) return "the engine does not answer";
  const presence = sighting?.presence ?? null;
  if (presence === null) return "it has not come yet";
  if (presence.left) return cordoned ? "drained" : "stopped";
  if (sighting?.missingWall != null) return "lost";
  if (presence.epoch !== String(epoch)) return "it ends agents of an earlier server";
  if (!isSettled) return "another worker may still run agents of an earlier server";
  if (cordoned) return "cordoned";
  if (!presence.takes) return "its queue has stopped: restart the worker";
  const { protocol: its, leaseMs, skewMs, version } = presence;
  if (its !== protocol) {
    const own = ownVersion();
    return `its version ${version} speaks protocol ${its}, and this server's ${own} protocol ${protocol}: on its machine npm install --global ./symphony-${own}.tgz, then start the worker again`;
  }
  if (leaseMs !== times.leaseMs)
    return `its version ${version} does not understand a lease of ${times.leaseMs} ms`;
  if (Math.abs(skewMs) <= times.maxSkewMs) return null;
  const seconds = Math.round(skewMs / 1_000);
  return `its clock is ${Math.abs(seconds)} s ${seconds > 0 ? "ahead of" : "behind"} the engine's`;
}
