import { z } from "zod";
import { leaseRange } from "../config/fleet.ts";
import { parseJson } from "../text/text.ts";
import { Found } from "./agents.ts";
import type { Engine } from "./engine.ts";
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
});
export type Presence = z.output<typeof Presence>;

/** What orchestrator and worker must have in common. */
export const protocol = 2;

export function sealPresence(key: Buffer, presence: Presence): Buffer {
  return seal(key, "presence", Buffer.from(JSON.stringify(presence)));
}

export function readPresence(key: Buffer, sealed: Buffer | undefined): Presence | null {
  if (sealed === undefined) return null;
  const plain = unseal(key, "presence", sealed);
  return plain === null ? null : (Presence.safeParse(parseJson(plain.toString())).data ?? null);
}

/** Renews what is there; never makes it anew, so that a lease that was lost is noticed. */
const renewScript = `
local lead = redis.call('GET', KEYS[1])
if not lead then return 'no lead' end
if string.match(lead, '^[^|]*') ~= ARGV[1] then return 'lead ' .. string.match(lead, '^[^|]*') end
local holder = redis.call('HGET', KEYS[2], 'instance')
if not holder then return 'gone' end
if holder ~= ARGV[2] then return 'held' end
redis.call('HSET', KEYS[2], 'presence', ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 'ok'`;

const claimScript = `
local lead = redis.call('GET', KEYS[1])
if not lead then return 'no lead' end
local epoch = string.match(lead, '^[^|]*')
if epoch ~= ARGV[1] then return 'lead ' .. epoch end
local holder = redis.call('HGET', KEYS[2], 'instance')
if holder and holder ~= '' and holder ~= ARGV[5] then return 'held' end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'instance', ARGV[2], 'presence', ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 'ok'`;

/** The same holder may lead on with another lease. */
const leadScript = `
local function holder(text) return string.match(text, '|(.*)|[^|]*$') end
local lead = redis.call('GET', KEYS[1])
if lead and lead ~= ARGV[1] then
  if holder(lead) ~= holder(ARGV[1]) then return 'held ' .. lead end
  if tonumber(string.match(lead, '^[^|]*')) > tonumber(string.match(ARGV[1], '^[^|]*')) then return 'held ' .. lead end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return lead == ARGV[1] and 'kept' or 'taken'`;

const observeScript = `
local function lead()${leadScript}
end
local found = { lead() }
for at = 2, #KEYS do found[at] = redis.call('HGET', KEYS[at], 'presence') end
return found`;

const leaveScript = `
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1`;

const giveBackScript = `
if redis.call('HGET', KEYS[1], 'instance') ~= ARGV[1] then return 'held' end
redis.call('HSET', KEYS[1], 'instance', '', 'presence', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'ok'`;

/** `ok`, `no lead`, `lead EPOCH` (another one leads), `gone` (it has expired), or `held` (by another process). */
export type LeaseAnswer = string;

interface Renewal {
  readonly worker: string;
  readonly presence: Presence;
  readonly key: Buffer;
}

export function renewLease(
  engine: Engine,
  { worker, presence, key }: Renewal,
): Promise<LeaseAnswer> {
  const { epoch, instance } = presence;
  const keys = [engine.key("lead"), engine.key("worker", worker)];
  const sealed = sealPresence(key, presence);
  return evaluated(engine, renewScript, keys, [epoch, instance, presence.leaseMs, sealed]);
}

/** Takes the lease, unless another process holds it; `before`: an instance of this process that has ended. */
export function claimLease(
  engine: Engine,
  { worker, presence, key, before }: Renewal & { readonly before: string },
): Promise<LeaseAnswer> {
  const { epoch, instance } = presence;
  const keys = [engine.key("lead"), engine.key("worker", worker)];
  const sealed = sealPresence(key, presence);
  return evaluated(engine, claimScript, keys, [epoch, instance, presence.leaseMs, sealed, before]);
}

/** Nothing of the worker runs any more: anyone may claim the lease, and until it expires the orchestrator reads that. */
export function giveBackLease(
  engine: Engine,
  { worker, presence, key }: Renewal,
): Promise<LeaseAnswer> {
  const sealed = sealPresence(key, { ...presence, runs: [], takes: false, left: true });
  const keys = [engine.key("worker", worker)];
  return evaluated(engine, giveBackScript, keys, [presence.instance, presence.leaseMs, sealed]);
}

/** What the engine had at one moment. */
export interface Observed {
  /** `kept`, `taken` (nothing led before, or an earlier epoch of the same holder), or `held LEAD`. */
  readonly lead: string;
  /** Of each worker, sealed; null: it has no lease. */
  readonly presences: readonly (Buffer | null)[];
}

/** Takes the lead, and reads every lease in the same moment: an engine that loses its keys loses them before or after it. */
export async function observe(
  engine: Engine,
  { lead, leaseMs, workers }: { lead: string; leaseMs: number; workers: readonly string[] },
): Promise<Observed> {
  const keys = [engine.key("lead"), ...workers.map((id) => engine.key("worker", id))];
  const found = await engine.redis.evalBuffer(observeScript, keys.length, ...keys, lead, leaseMs);
  const [answer, ...presences] = Array.isArray(found) ? found : [];
  return {
    lead: String(answer),
    presences: workers.map((_, at) => (Buffer.isBuffer(presences[at]) ? presences[at] : null)),
  };
}

export function leaveLead(engine: Engine, lead: string): Promise<string> {
  return evaluated(engine, leaveScript, [engine.key("lead")], [lead]);
}

async function evaluated(
  { redis }: Engine,
  script: string,
  keys: readonly string[],
  args: readonly (string | number | Buffer)[],
): Promise<string> {
  return String(await redis.eval(script, keys.length, ...keys, ...args));
}
