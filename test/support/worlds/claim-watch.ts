import assert from "node:assert/strict";
import { normalState } from "../../../src/core/model/issue.ts";
import type { Decision } from "../../../src/core/orchestrator/decision.ts";
import type { IssueRow } from "../../../src/core/orchestrator/issues.ts";
import type { Input } from "../../../src/core/orchestrator/messages.ts";
import type { State } from "../../../src/core/orchestrator/state.ts";

const failures = new Set([
  "candidates.failed",
  "running.refreshFailed",
  "issues.verifyFailed",
  "issue.checkFailed",
]);

/** Checks what one decision changes: of outcomes, tokens and claims. Knows only what the decisions say. */
export class ClaimWatch {
  readonly #ended = new Map<string, string>();
  /** The highest count that each attempt's agent has reported. */
  readonly #marks = new Map<string, number>();

  decided(before: State, input: Input, { state, effects }: Decision, now: number): void {
    const { tokens } = state.usage;
    assert.ok(tokens.total >= before.usage.tokens.total, "INV-15: the total of tokens decreases");
    if (input.type === "attempt.reported") {
      const [was, is] = [before, state].map(({ issues, usage }) => {
        const row = issues.of("running").get(input.issueId);
        return usage.tokens.total - (row?.tokens.total ?? 0);
      });
      assert.equal(is, was, "INV-15: the total of tokens is not the sum over the attempts");
      if (input.event.type === "tokens") {
        const mark = this.#marks.get(input.attemptId) ?? -1;
        const { total } = input.event.total;
        if (total <= mark)
          assert.equal(tokens.total, before.usage.tokens.total, "INV-15: tokens count twice");
        this.#marks.set(input.attemptId, Math.max(total, mark));
      }
    }
    for (const effect of effects) {
      if (effect.type === "saveAttempt" && effect.attempt.endedAt !== null) {
        const { id, status } = effect.attempt;
        assert.equal(this.#ended.get(id) ?? status, status, `INV-11: ${id} ends twice`);
        this.#ended.set(id, status);
      }
      if (effect.type === "startAttempt") mayStart(before, input, effect.issue, now);
    }
    if (!failures.has(input.type)) return;
    for (const claim of ["running", "held", "failed", "blocked"] as const) {
      const [was, is] = [before, state].map(({ issues }) =>
        [...issues.of(claim).values()].map(keptOf).sort(),
      );
      assert.deepEqual(is, was, `INV-20: a failed read changes what is ${claim}`);
    }
  }
}

/** What a claim is; an agent that is ordered to stop loses its own. */
function keptOf(row: IssueRow): string {
  return `${row.issue.id} ${row.claim === "running" && row.stopping !== null}`;
}

/** A retry starts when it is due, when a person or a change of its issue ends the wait, or in a slot that it waited for. */
function mayStart(
  { issues }: State,
  { type }: Input,
  { id, state }: { readonly id: string; readonly state: string },
  now: number,
): void {
  const was = issues.get(id);
  if (was?.claim !== "retrying" || type.startsWith("operator.")) return;
  const isFree = was.wantsSlot || was.waits !== null || was.queuedState !== normalState(state);
  assert.ok(isFree || was.dueAt <= now, `INV-7: the retry of ${id} starts before it is due`);
}
