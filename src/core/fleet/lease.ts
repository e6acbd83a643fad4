import { z } from "zod";
import { leaseRange } from "../config/fleet.ts";
import { parseJson } from "../text/text.ts";
import { Found } from "./agents.ts";
import type { Engine, Lease, LeaseAnswer } from "./engine.ts";
import { seal, unseal } from "./sealing.ts";

// Who may act: one orchestrator leads a fleet in an epoch, and a worker may run agents while its lease of that epoch lasts.
// The engine counts the time of a lease; each side also counts on a monotonic clock of its own.

/** How long a lease lasts, and what follows from that; ms. */
export interface LeaseTimes {
  /** From the last renewal. */
  readonly leaseMs: number;
  /** A worker ends its agents this long before the end of its lease. */
  readonly marginMs: number;
  /** Renewals are tried this often. */
  readonly renewMs: number;
  /** Without an answer for longer the engine counts as away. */
  readonly awayMs: number;
  /** Clocks that are further apart than this are no ground for times that two machines compare. */
  readonly maxSkewMs: number;
}

export function leaseTimes(leaseMs: number): LeaseTimes {
  const marginMs = Math.round(leaseMs / 3);
  // Orders travel with renewals, so that a long lease does not make them late.
  const renewMs = Math.min(marginMs / 2, 2_500);
  return { leaseMs, marginMs, renewMs, awayMs: marginMs, maxSkewMs: leaseMs / 4 };
}

/** Who leads a fleet, as the engine has it: `EPOCH|HOST|DATA DIRECTORY|LEASE`. */
export function leadOf(epoch: number, host: string, dataDir: string, leaseMs: number): string {
  return [epoch, host, dataDir, leaseMs].join("|");
}

/** null: no orchestrator leads, or it is no lead. An orchestrator that does not say its lease has the default one. */
export function readLead(text: string | null) {
  const { shortest, usual, longest } = leaseRange;
  const [epoch = "", host = "", ...rest] = (text ?? "").split("|");
  const said = rest.length > 1 ? Number(rest.at(-1)) : usual;
  const isLead = /^\d+$/.test(epoch) && said >= shortest && said <= longest;
  return isLead ? { epoch, host, leaseMs: said } : null;
}

/** What a worker says of itself with each renewal. */
export const Presence = z.object({
  instance: z.string(),
  epoch: z.string(),
  /** Counts up, so that an earlier one cannot be shown again. */
  beat: z.number(),
  host: z.string(),
  pid: z.number(),
  sinceWall: z.number(),
  labels: z.array(z.string()),
  capacity: z.number(),
  version: z.string(),
  protocol: z.number(),
  /** Its wall clock minus that of the engine, ms. */
  skewMs: z.number(),
  /** The attempts that it runs. */
  runs: z.array(z.string()),
  /** How long it takes its lease to last. */
  leaseMs: z.number().default(leaseRange.usual),
  /** What it can run; null: it checks no agents. */
  agents: Found.nullable().default(null),
  /** It takes jobs from its queue. */
  takes: z.boolean().default(true),
  /** It has ended every agent and stopped: the last that it says. */
  left: z.boolean().default(false),
  /** The process before this one was killed, or its machine died. */
  afterDeath: z.boolean().default(false),
});
export type Presence = z.output<typeof Presence>;

/** What orchestrator and worker must have in common. */
export const protocol = 2;

function sealPresence(key: Buffer, presence: Presence): Buffer {
  return seal(key, "presence", Buffer.from(JSON.stringify(presence)));
}

export function readPresence(key: Buffer, sealed: Buffer | undefined): Presence | null {
  if (sealed === undefined) return null;
  const plain = unseal(key, "presence", sealed);
  return plain === null ? null : (Presence.safeParse(parseJson(plain.toString())).data ?? null);
}

interface Renewal {
  readonly worker: string;
  readonly presence: Presence;
  readonly key: Buffer;
}

export function renewLease(engine: Engine, renewal: Renewal): Promise<LeaseAnswer> {
  return engine.renew(leaseOf(renewal));
}

/** Takes the lease, unless another process holds it; `before`: an instance of this process that has ended. */
export function claimLease(
  engine: Engine,
  { before, ...renewal }: Renewal & { readonly before: string },
): Promise<LeaseAnswer> {
  return engine.claim(leaseOf(renewal), before);
}

/** Nothing of the worker runs any more: anyone may claim the lease, and until it expires the orchestrator reads that. */
export function giveBackLease(engine: Engine, renewal: Renewal): Promise<LeaseAnswer> {
  const presence = { ...renewal.presence, runs: [], takes: false, left: true };
  return engine.giveBack(leaseOf({ ...renewal, presence }));
}

function leaseOf({ worker, presence, key }: Renewal): Lease {
  const { epoch, instance, leaseMs } = presence;
  return { worker, epoch, instance, leaseMs, presence: sealPresence(key, presence) };
}
