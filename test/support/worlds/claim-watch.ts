import assert from "node:assert/strict";
import { normalState } from "../../../src/core/model/issue.ts";
import type { Decision } from "../../../src/core/orchestrator/decision.ts";
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

  decided(before: State, input: Input, { state, effects }: Decision, now: number): void {
    const { tokens } = state.usage;
    assert.ok(tokens.total >= before.usage.tokens.total, "INV-15: the total of tokens decreases");
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
      const [was, is] = [before, state].map(({ issues }) => [...issues.of(claim).keys()].sort());
      assert.deepEqual(is, was, `INV-20: a failed read changes what is ${claim}`);
    }
  }
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
