import type { Config } from "../config/config.ts";
import type { Issue } from "../model/issue.ts";
import type { WorkerHost } from "../model/worker.ts";
import { choiceFor } from "./choice.ts";
import { suspectedOn } from "./losses.ts";
import type { State } from "./state.ts";

/** What an attempt needs of its worker. */
interface Wanted {
  readonly agent: string;
  /** The worker to which a person has moved the issue; null: any. */
  readonly only: string | null;
  /** Its last worker died: it runs on none that has another such attempt. */
  readonly apart?: boolean;
}

type Places = Pick<State, "workers" | "issues">;

/** Long enough for the reasons of several workers. */
const maxTroubleChars = 1_000;

/** The workers as they are known; null: attempts run on this machine. */
export function workersOf({ workers }: Pick<State, "workers">, { worker }: Config) {
  return workers ?? (worker.sshHosts.length > 0 ? [] : null);
}

/**
 * The workers that may get attempts of this project, with their free slots; `wanted`: only those that fit. null: attempts run on
 * this machine.
 */
function open(places: Places, config: Config, wanted: Wanted | null) {
  const { issues } = places;
  const workers = workersOf(places, config);
  if (workers === null) return null;
  const running = [...issues.of("running").values()];
  const suspected = suspectedOn(places);
  const fits = (worker: WorkerHost) => wanted === null || why(worker, wanted, suspected) === null;
  return workers
    .filter((worker) => isOpen(worker, config) && fits(worker))
    .map((worker) => {
      const taken = running.filter((entry) => entry.worker === worker.name).length;
      return { name: worker.name, taken, free: Math.max(worker.capacity - taken, 0) };
    });
}

function isOpen({ ready, labels }: WorkerHost, { fleet }: Config): boolean {
  return ready && fleet.labels.every((label) => labels.includes(label));
}

/** Why the worker does not run the attempt, as a part of a sentence; null: it can, or it is not known. */
function why(
  { name, agents }: WorkerHost,
  { agent, only, apart = false }: Wanted,
  suspected: ReadonlySet<string>,
): string | null {
  if (only !== null && only !== name) return `is not ${only}, to which it was moved`;
  if (apart && suspected.has(name)) return "runs another attempt whose last worker died";
  if (agents === null) return null;
  const found = agents.find((one) => one.agent === agent);
  if (found === undefined) return `has not checked ${agent} yet`;
  return found.trouble && `cannot run ${agent}: ${found.trouble}`;
}

/** What the issue's next attempt needs of its worker; `agent`: another one than it would start with now. */
export function wantedFor(state: State, issue: Issue, config: Config, agent?: string): Wanted {
  const row = state.issues.get(issue.id);
  const only = row?.choices.worker ?? null;
  const apart = row?.claim === "retrying" && row.losses !== undefined;
  return { agent: agent ?? choiceFor(state, issue, config).agent, only, apart };
}

/** Free slots of all workers; null: attempts run on this machine. */
export function workerSlots(state: Places, config: Config): number | null {
  return open(state, config, null)?.reduce((sum, { free }) => sum + free, 0) ?? null;
}

/** Agents with a free slot, and without one: a long queue asks for each of its issues. */
const places = new WeakMap<
  State,
  { readonly config: Config; readonly has: Map<string, boolean> }
>();

/** Whether a worker that can run the issue's agent has a free slot, or attempts run on this machine. */
export function hasPlace(state: State, issue: Issue, config: Config): boolean {
  if (workersOf(state, config) === null) return true;
  const wanted = wantedFor(state, issue, config);
  const key = `${wanted.agent} ${wanted.only} ${wanted.apart}`;
  const kept = places.get(state);
  const known = kept?.config === config ? kept : { config, has: new Map<string, boolean>() };
  places.set(state, known);
  const has = known.has.get(key) ?? open(state, config, wanted)?.some(({ free }) => free > 0);
  known.has.set(key, has === true);
  return has === true;
}

/**
 * The worker for an attempt: the one that had the issue before, else the least loaded, the first of equals. After an attempt
 * that failed another one comes first: what its machine lacks, the next may have. null: all that can run the agent are full or
 * gone, and there is no other place.
 */
export function workerFor(
  state: Places,
  config: Config,
  {
    wanted,
    before,
    hasFailed = false,
  }: { wanted: Wanted; before: string | null; hasFailed?: boolean },
): string | null {
  const free = (open(state, config, wanted) ?? []).filter((worker) => worker.free > 0);
  const known = free.find(({ name }) => name === before);
  const [first, ...others] = hasFailed ? free.filter((worker) => worker !== known) : free;
  if (first === undefined || (known && !hasFailed)) return known?.name ?? null;
  return others.reduce((best, one) => (one.taken < best.taken ? one : best), first).name;
}

/** Why no worker that fits has a free slot, in one sentence; null: one has, or attempts run on this machine. */
export function whyNoWorker(state: Places, config: Config, wanted: Wanted): string | null {
  const workers = workersOf(state, config);
  const able = open(state, config, wanted);
  if (workers === null || able === null || able.some(({ free }) => free > 0)) return null;
  if (workers.length === 0)
    return config.worker.sshHosts.length > 0
      ? "the hosts of worker.ssh_hosts were not asked yet"
      : "no worker has joined the fleet";
  const { only } = wanted;
  const named = only === null ? workers : workers.filter(({ name }) => name === only);
  if (named.length === 0) return `it was moved to ${only}, which is no worker: move it --to any`;
  const suspected = suspectedOn(state);
  return named
    .map((worker) => `${worker.name} ${standing(worker, config, { ...wanted, suspected })}`)
    .join("; ");
}

function standing(
  worker: WorkerHost,
  { fleet }: Config,
  { suspected, ...wanted }: Wanted & { readonly suspected: ReadonlySet<string> },
): string {
  if (!worker.ready) return `takes nothing: ${worker.why ?? "not ready"}`;
  const missing = fleet.labels.filter((label) => !worker.labels.includes(label));
  if (missing.length > 0) return `lacks the label ${missing.join(", ")}`;
  return why(worker, wanted, suspected) ?? `is full (${worker.capacity})`;
}

/**
 * Of every agent that a worker has checked, why none of them can run it; null: one can, or none is there. What one machine
 * lacks keeps no other one from working.
 */
export function troublesOnWorkers(
  workers: readonly WorkerHost[],
  config: Config,
): readonly { readonly agent: string; readonly trouble: string | null }[] {
  const there = workers.filter((worker) => isOpen(worker, config));
  const names = new Set(workers.flatMap(({ agents }) => (agents ?? []).map(({ agent }) => agent)));
  return [...names].map((agent) => {
    const said = there.map((worker) => ({
      name: worker.name,
      trouble: (worker.agents ?? []).find((one) => one.agent === agent)?.trouble ?? null,
    }));
    if (said.length === 0 || said.some(({ trouble }) => trouble === null))
      return { agent, trouble: null };
    const all = said.map(({ name, trouble }) => `${name}: ${trouble}`).join("; ");
    return { agent, trouble: `no worker can run it: ${all}`.slice(0, maxTroubleChars) };
  });
}

/** The workers after one of them could not start the agent; null: it does not tell of its agents. */
export function afterFailedStart(
  workers: readonly WorkerHost[] | null,
  { worker: name, agent, trouble }: { worker: string; agent: string; trouble: string },
): readonly WorkerHost[] | null {
  const known = workers?.find((one) => one.name === name)?.agents ?? null;
  if (workers === null || known === null) return null;
  const agents = [...known.filter((one) => one.agent !== agent), { agent, trouble }];
  return workers.map((one) => (one.name === name ? { ...one, agents } : one));
}
