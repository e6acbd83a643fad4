import type { Presence } from "../../../src/core/fleet/lease.ts";

// The engine of a simulated fleet: what its scripts answer, without a network.

export interface Letter {
  readonly run: string;
  readonly seq: number;
  readonly isLast: boolean;
}

export interface Job {
  readonly run: string;
  readonly instance: string;
}

interface Lease {
  readonly instance: string;
  readonly presence: Presence;
  readonly until: number;
}

interface Stored {
  lead: { text: string; until: number } | null;
  readonly leases: Map<string, Lease>;
  readonly jobs: Map<string, Job[]>;
  readonly ends: Set<string>;
  /** What workers say, by worker. */
  readonly letters: Map<string, Letter[]>;
}

const epochOf = (lead: string) => Number(lead.split("|")[0]);
const holderOf = (lead: string) => lead.split("|").slice(1, -1).join("|");

export class ModelEngine {
  #stored: Stored = empty();
  readonly #now: () => number;
  isUp = true;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** As it is now, for a replica that is behind. */
  copy(): Stored {
    return structuredClone(this.#stored);
  }

  become(stored: Stored): void {
    this.#stored = stored;
  }

  flush(): void {
    this.#stored = empty();
  }

  get lead(): string | null {
    const { lead } = this.#stored;
    return lead !== null && lead.until > this.#now() ? lead.text : null;
  }

  /** Takes the lead, and reads every lease. */
  observe(text: string, leaseMs: number, workers: readonly string[]) {
    const presences = workers.map((id) => this.lease(id)?.presence ?? null);
    const before = this.lead;
    if (before !== null && before !== text) {
      const isOther = holderOf(before) !== holderOf(text);
      if (isOther || epochOf(before) > epochOf(text)) return { lead: `held ${before}`, presences };
    }
    this.#stored.lead = { text, until: this.#now() + leaseMs };
    return { lead: before === text ? "kept" : "taken", presences };
  }

  lease(worker: string): Lease | null {
    const lease = this.#stored.leases.get(worker);
    return lease && lease.until > this.#now() ? lease : null;
  }

  renew(worker: string, presence: Presence): string {
    const refused = this.#refused(presence.epoch);
    if (refused !== null) return refused;
    const lease = this.lease(worker);
    if (lease === null) return "gone";
    if (lease.instance !== presence.instance) return "held";
    return this.#put(worker, presence);
  }

  claim(worker: string, presence: Presence, before: string): string {
    const refused = this.#refused(presence.epoch);
    if (refused !== null) return refused;
    const holder = this.lease(worker)?.instance ?? "";
    if (holder !== "" && holder !== before) return "held";
    return this.#put(worker, presence);
  }

  add(worker: string, job: Job): true {
    const jobs = this.#stored.jobs.get(worker) ?? [];
    this.#stored.jobs.set(worker, [...jobs.filter(({ run }) => run !== job.run), job]);
    return true;
  }

  take(worker: string): Job | null {
    return this.#stored.jobs.get(worker)?.shift() ?? null;
  }

  /** An order to end it, or not to take it; a job that waits is removed. */
  end(worker: string, run: string): true {
    this.#stored.ends.add(run);
    const jobs = this.#stored.jobs.get(worker) ?? [];
    this.#stored.jobs.set(
      worker,
      jobs.filter((one) => one.run !== run),
    );
    return true;
  }

  ended(runs: readonly string[]): readonly string[] {
    return runs.filter((run) => this.#stored.ends.has(run));
  }

  say(worker: string, letter: Letter): true {
    const letters = this.#stored.letters.get(worker) ?? [];
    this.#stored.letters.set(worker, [...letters, letter]);
    return true;
  }

  /** Reads and deletes. */
  read(workers: readonly string[]): readonly Letter[] {
    const found = workers.flatMap((id) => this.#stored.letters.get(id) ?? []);
    for (const id of workers) this.#stored.letters.delete(id);
    return found;
  }

  #refused(epoch: string): string | null {
    const lead = this.lead;
    if (lead === null) return "no lead";
    return String(epochOf(lead)) === epoch ? null : `lead ${epochOf(lead)}`;
  }

  #put(worker: string, presence: Presence): string {
    const { instance, leaseMs } = presence;
    this.#stored.leases.set(worker, { instance, presence, until: this.#now() + leaseMs });
    return "ok";
  }
}

function empty(): Stored {
  return { lead: null, leases: new Map(), jobs: new Map(), ends: new Set(), letters: new Map() };
}
