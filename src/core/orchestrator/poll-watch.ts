import { type ErrorCode, SymphonyError } from "../model/errors.ts";
import type { Decision } from "./decision.ts";
import type { Effect } from "./messages.ts";
import type { Fault, State } from "./state.ts";

/** What a poll decided, once that is done. */
export interface PollReport {
  readonly started: readonly PolledAttempt[];
  readonly stopped: readonly PolledAttempt[];
}

interface PolledAttempt {
  readonly attemptId: string;
  readonly issueIdentifier: string;
}

interface Waiter {
  /** The number of the first poll that has read everything after the request. */
  readonly from: number;
  resolve(report: Promise<PollReport>): void;
}

/** Follows the polls, for those who wait for one: what each has decided, and when that is done. */
export class PollWatch {
  /** Of the running poll or the last one; 0 before the first. */
  #number = 0;
  #started: PolledAttempt[] = [];
  #stopped: PolledAttempt[] = [];
  #work: Promise<unknown>[] = [];
  #waiting: readonly Waiter[] = [];

  /**
   * Resolves when the next poll that begins after this call has ended, and what it decided is done: attempts are started,
   * stopped agents are gone. Rejects with the fault of that poll, and with `unavailable` when the server stops before.
   */
  next(): Promise<PollReport> {
    return new Promise((resolve) => {
      this.#waiting = [...this.#waiting, { from: this.#number + 1, resolve }];
    });
  }

  /** Called for each decision; `gone` resolves when an attempt's agent is gone. */
  decided(before: State, decision: Decision, deps: WatchDeps): void {
    const { state, effects } = decision;
    if (before.poll.phase === "idle" && state.poll.phase !== "idle") this.#begin();
    const isPolling = before.poll.phase !== "idle" || state.poll.phase !== "idle";
    if (isPolling) for (const effect of effects) this.#note(effect, before, deps);
    if (isPolling) this.#work.push(deps.work);
    if (state.draining) this.#end(Number.POSITIVE_INFINITY, stopping);
    else if (effects.some(({ type }) => type === "measurePoll")) {
      this.#end(this.#number, deps.problem ?? state.trackerError);
    }
  }

  #begin(): void {
    this.#number += 1;
    this.#started = [];
    this.#stopped = [];
    this.#work = [];
  }

  #note(effect: Effect, before: State, { gone }: WatchDeps): void {
    if (effect.type === "startAttempt") {
      const { attemptId, issue } = effect;
      this.#started.push({ attemptId, issueIdentifier: issue.identifier });
    }
    if (effect.type !== "stopAttempt") return;
    const { attemptId } = effect;
    const running = [...before.issues.of("running").values()];
    const entry = running.find((one) => one.attemptId === attemptId);
    this.#stopped.push({ attemptId, issueIdentifier: entry?.issue.identifier ?? "" });
    this.#work.push(gone(attemptId));
  }

  #end(number: number, fault: Fault | null): void {
    const ready = this.#waiting.filter(({ from }) => from <= number);
    if (ready.length === 0) return;
    this.#waiting = this.#waiting.filter(({ from }) => from > number);
    const report = this.#report(fault);
    // Each of those who wait gets the failure; there is none without one.
    for (const { resolve } of ready) resolve(report);
  }

  async #report(fault: Fault | null): Promise<PollReport> {
    if (fault !== null) throw new SymphonyError(fault.code as ErrorCode, fault.message);
    const report = { started: this.#started, stopped: this.#stopped };
    await Promise.allSettled(this.#work);
    return report;
  }
}

interface WatchDeps {
  /** Settles when the effects of the decision are performed. */
  readonly work: Promise<unknown>;
  /** Why no configuration is in force. */
  readonly problem: Fault | null;
  gone(attemptId: string): Promise<void>;
}

const stopping: Fault = { code: "unavailable", message: "the server is stopping" };
