import type { LeaseTimes } from "./lease.ts";
import type { Sighting } from "./sighting.ts";

// What the orchestrator concludes from what it has seen: nothing here asks the engine or a clock.

/** What of a run its end is judged by. */
export interface JudgedRun {
  /** The process of the worker that it was given to. */
  readonly instance: string;
  /** When that process began, epoch ms. */
  readonly sinceWall: number;
  /** Monotonic ms; null: no worker can have it yet. */
  readonly dispatchedAt: number | null;
  /** The worker has said once that it runs it. */
  readonly wasSeen: boolean;
  /** The beat that was the first without it after that; null: none was. */
  readonly missedAt: number | null;
  /** The worker was ordered to end it, or not to take it; then the beat that was seen first after that. */
  readonly endOrder: "none" | "given" | number;
}

/** `gone`: the worker certainly has no agent of it any more; `failed`: it is given up. Both as the end of a sentence. */
export interface Verdict {
  readonly gone?: string;
  /** The process of the worker died with it, as far as that can be seen from here. */
  readonly died?: true;
  readonly failed?: string;
  readonly isSeen?: boolean;
  /** The beat that says no more of it. */
  readonly missedAt?: number;
}

/** Whether the run `name` is certainly over on its worker at `now` (monotonic ms). */
export function verdictOf(
  name: string,
  { instance, sinceWall, dispatchedAt, wasSeen, missedAt, endOrder }: JudgedRun,
  { sighting, now, leaseMs }: { sighting: Sighting | null; now: number; leaseMs: number },
): Verdict {
  const { presence = null, missingWall = null, beat = 0, lastBeatAt = now } = sighting ?? {};
  if (presence && presence.instance !== instance) {
    // A process that lives on has another instance after it could not renew its lease.
    const hasDied = presence.afterDeath && presence.sinceWall !== sinceWall;
    return hasDied ? { gone: "was killed", died: true } : { gone: "has ended its agents" };
  }
  if (presence?.left) return { gone: "has stopped" };
  if (missingWall !== null) {
    // The engine may have lost it: by our own time it cannot have been renewed for a whole lease.
    return now - lastBeatAt >= leaseMs ? { gone: "was lost", died: true } : {};
  }
  if (presence?.runs.includes(name)) return { isSeen: true };
  // The second beat after the order was seen was made with the order in force.
  if (typeof endOrder === "number" && beat >= endOrder + 2) return { gone: "has ended the agent" };
  // Its last word, which it said before the first beat without it, is read by the next one.
  if (wasSeen && (missedAt === null || beat === missedAt)) return { missedAt: beat };
  if (wasSeen) return { gone: "has ended the agent" };
  // One that says nothing any more may have died with it: then its lease tells.
  const isThere = now - lastBeatAt <= leaseMs / 3;
  if (dispatchedAt !== null && now - dispatchedAt > leaseMs && isThere)
    return { failed: `did not take the attempt within ${leaseMs / 1_000} s` };
  return {};
}

/**
 * Whether every worker has ended what it ran for an earlier server, by its word or by the end of its lease. `since`: when
 * this one began to lead, monotonic ms; null: it does not.
 */
export function isSettled(
  { since, now, epoch }: { since: number | null; now: number; epoch: number },
  leaseMs: number,
  sightings: readonly (Sighting | null)[],
): boolean {
  if (since !== null && now >= since + leaseMs) return true;
  return sightings.every((one) => one?.presence?.epoch === String(epoch));
}

/** A worker's own time for agents, by its monotonic clock: it is over before the lease can be given away. */
export class Deadline {
  #at = Number.NEGATIVE_INFINITY;

  /**
   * The lease was renewed; `from`: the moment before that was asked for. `leadMs`: the lead lasted for so long then. A master
   * that was replaced without knowing it renews on, but no orchestrator renews the lead there.
   */
  extend(from: number, { leaseMs, marginMs }: LeaseTimes, leadMs = leaseMs): void {
    this.#at = from + Math.min(leaseMs, leadMs) - marginMs;
  }

  /** Agents may run until then, monotonic ms. */
  get at(): number {
    return this.#at;
  }

  isOver(now: number): boolean {
    return now >= this.#at;
  }

  end(): void {
    this.#at = Number.NEGATIVE_INFINITY;
  }
}

/** How long the lead lasts after a renewal or a claim that was granted, ms; null: it was not. */
export function grantedMs(answer: string): number | null {
  const [word, ms = "Infinity"] = answer.split(" ");
  return word === "ok" ? Number(ms) : null;
}

/** What a worker does after the engine's answer to a renewal: a text is why it ends its agents. */
export function afterRenewal(
  answer: string,
): "wait" | { readonly leadMs: number } | { readonly ends: string } {
  const leadMs = grantedMs(answer);
  if (leadMs !== null) return { leadMs };
  // Without an orchestrator the lease runs out; all else says that it is not this process's any more.
  if (answer === "no lead") return "wait";
  return { ends: answer === "gone" ? "its lease has expired" : "another one leads the fleet" };
}
