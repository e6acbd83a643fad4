import { SymphonyError } from "../model/errors.ts";
import type { Member } from "./members.ts";
import type { Sighting } from "./sighting.ts";
import type { Talk } from "./talk.ts";

/** An attempt on a worker, as the orchestrator follows it. */
export interface Run {
  readonly member: Member;
  readonly instance: string;
  readonly gone: PromiseWithResolvers<SymphonyError>;
  talk: Talk | null;
  dispatchedAt: number | null;
  wasSeen: boolean;
  /** Nothing of it is wanted any more. */
  isWithdrawn: boolean;
  /** The worker was ordered to end it, or not to take it; then the beat that was seen first after that. */
  endOrder: "none" | "given" | number;
}

/** What is known of the worker of a run. */
interface Look {
  /** The run's own name. */
  readonly name: string;
  readonly isMember: boolean;
  readonly sighting: Sighting | null;
  /** Monotonic ms. */
  readonly now: number;
  readonly leaseMs: number;
}

/** Settles `gone` of a run that is certainly over on its worker, and ends the talk of one that cannot continue. */
export function judge(run: Run, { name: id, isMember, sighting, now, leaseMs }: Look): void {
  const { name } = run.member;
  const { presence = null, missingWall = null, beat = 0, lastBeatAt = now } = sighting ?? {};
  if (!isMember) run.talk?.fail(lost(`the worker ${name} was removed`));
  if (presence && presence.instance !== run.instance) {
    return run.gone.resolve(lost(`the worker ${name} has ended its agents`));
  }
  if (presence?.left) return run.gone.resolve(lost(`the worker ${name} has stopped`));
  if (missingWall !== null) {
    // The engine may have lost it: by our own time it cannot have been renewed for a whole lease.
    if (now - lastBeatAt >= leaseMs) run.gone.resolve(lost(`the worker ${name} was lost`));
    return;
  }
  if (presence?.runs.includes(id)) {
    run.wasSeen = true;
    // The second beat after the order was seen was made with the order in force.
  } else if (run.wasSeen || (typeof run.endOrder === "number" && beat >= run.endOrder + 2)) {
    run.gone.resolve(lost(`the worker ${name} has ended the agent`));
  } else if (run.dispatchedAt !== null && now - run.dispatchedAt > leaseMs) {
    run.talk?.fail(lost(`the worker ${name} did not take the attempt within ${leaseMs / 1_000} s`));
  }
}

export function lost(why: string): SymphonyError {
  return new SymphonyError("worker_lost", why, { hint: "symphony workers list" });
}
