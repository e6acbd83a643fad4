import assert from "node:assert/strict";
import type { Config } from "../../../src/core/config/config.ts";
import { type Issue, normalState } from "../../../src/core/model/issue.ts";
import type { Decision } from "../../../src/core/orchestrator/decision.ts";
import { dispatchGates } from "../../../src/core/orchestrator/explain.ts";
import type { State } from "../../../src/core/orchestrator/state.ts";

/** Everything at the same time of a simulated world is one tick. */
const tickMs = 1;
/** After as many attempts without a turn only polls start the next. */
const falseStartsAtMost = 3;
/** The gates of a claim that a start itself ends: the retry that is due, a review that was answered. */
const ownClaim: ReadonlySet<string> = new Set(["not_claimed"]);

/**
 * Checks what `explain` shows: an issue that passes all of its gates is started by the next look at the queue, an issue starts
 * beside no closed gate, and so one that is not started has a closed one. Knows no gate by itself.
 */
export class GateWatch {
  readonly #configured;
  /** Issues that passed all of their gates with nothing under way, and since when. */
  #since = new Map<string, number>();
  /** The gates that were seen closed. */
  readonly closed = new Set<string>();

  constructor(config: Config) {
    this.#configured = { config, problem: null };
  }

  /** A start is decided: what held before it, apart from the claims, holds after it too. */
  decided(before: State, { state, effects }: Decision): void {
    let claims = before;
    for (const effect of effects) {
      if (effect.type !== "startAttempt") continue;
      const then = { ...state, issues: reopened(claims, effect.issue) };
      const shut = this.#shut(effect.issue, then).filter(({ gate }) => !ownClaim.has(gate));
      assert.deepEqual(shut, [], `${effect.issue.id} starts beside a gate that is shown closed`);
      const started = state.issues.get(effect.issue.id);
      if (started?.claim === "running") claims = { ...then, issues: then.issues.with(started) };
    }
  }

  /** The machine was suspended: the time in which issues waited does not count. */
  woke(): void {
    this.#since.clear();
  }

  restarted(): void {
    this.#since.clear();
  }

  /** Between two inputs; `isReading`: a read that may start something is under way. */
  look(state: State, { now, isReading }: { now: number; isReading: boolean }): void {
    const { poll, refill } = state;
    const isLookedAt = poll.phase !== "idle" || isReading || refill.isDue;
    const mayWait = isLookedAt || this.#isLeftToPolls(state) ? [] : state.queue;
    const waits = mayWait.filter((issue) => this.#isOpen(issue, state));
    this.#since = new Map(waits.map(({ id }) => [id, this.#since.get(id) ?? now]));
    for (const [id, since] of this.#since) {
      assert.ok(now - since <= tickMs, `${id} passes all gates and waits for ${now - since} ms`);
    }
  }

  /** A poll has ended: it has started everything that passes, or a gate has opened since it tried; then the queue is due. */
  polled({ poll: { tried } }: State, state: State): void {
    if (state.refill.isDue) return;
    for (const issue of state.queue.filter(({ id }) => !tried.has(id))) {
      const isOpen = this.#isOpen(issue, state);
      assert.ok(!isOpen, `${issue.id} passes all gates, and the poll did not start it`);
    }
  }

  #isOpen(issue: Issue, state: State): boolean {
    return state.issues.get(issue.id)?.claim !== "running" && this.#shut(issue, state).length === 0;
  }

  #shut(issue: Issue, state: State) {
    const shut = dispatchGates(issue, state, this.#configured).filter(({ pass }) => !pass);
    for (const { gate } of shut) this.closed.add(gate);
    return shut;
  }

  /** A free slot is kept for an issue that continues within a second, and for polls where agents do not start. */
  #isLeftToPolls({ issues, refill }: State): boolean {
    const continuing = [...issues.of("retrying").values()].some(
      ({ checking, error }) => checking !== null || error === null,
    );
    return continuing || refill.falseStarts >= falseStartsAtMost;
  }
}

/**
 * A read that shows a completed issue in another state than an operator completed it in, or one that
 * only the tracker had closed, makes it a candidate again; the same read may start it.
 */
function reopened({ issues }: State, issue: Issue): State["issues"] {
  const row = issues.get(issue.id);
  if (row?.claim !== "completed" || row.dismissed?.state === normalState(issue.state))
    return issues;
  return issues.with({ claim: "free", issue, worked: true });
}
