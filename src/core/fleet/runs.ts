import { SymphonyError } from "../model/errors.ts";
import { type JudgedRun, verdictOf } from "./judging.ts";
import type { Member } from "./members.ts";
import type { Sighting } from "./sighting.ts";
import type { Talk } from "./talk.ts";

/** An attempt on a worker, as the orchestrator follows it. */
export interface Run extends JudgedRun {
  readonly member: Member;
  readonly gone: PromiseWithResolvers<SymphonyError>;
  talk: Talk | null;
  dispatchedAt: number | null;
  wasSeen: boolean;
  missedAt: number | null;
  /** Nothing of it is wanted any more. */
  isWithdrawn: boolean;
  endOrder: JudgedRun["endOrder"];
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
  if (!isMember) run.talk?.fail(lost(`the worker ${name} was removed`));
  const verdict = verdictOf(id, run, { sighting, now, leaseMs });
  const { gone, failed, isSeen, died } = verdict;
  if (isSeen) run.wasSeen = true;
  run.missedAt = verdict.missedAt ?? null;
  // It may not have been taken yet; what kills a worker at once is not seen either.
  const workerDied = died === true && run.dispatchedAt !== null;
  if (gone) run.gone.resolve(lost(`the worker ${name} ${gone}`, workerDied));
  if (failed) run.talk?.fail(lost(`the worker ${name} ${failed}`));
}

export function lost(why: string, workerDied = false): SymphonyError {
  return new SymphonyError("worker_lost", why, {
    hint: "symphony workers list",
    ...(workerDied && { details: { workerDied } }),
  });
}
