import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { AgentEvent, AskPolicy } from "../../../src/core/agent/agent.ts";
import { Questions } from "../../../src/core/agent/session.ts";
import type { Needs } from "../../../src/core/model/attempt.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";

const approval: Needs = { kind: "approval", prompt: "Run rm?", options: ["accept", "decline"] };
const question: Needs = { kind: "question", prompt: "Which branch?", options: [] };
const yes = { type: "decision", approve: true } as const;

function made(askPolicy: Partial<AskPolicy> = {}) {
  const clock = new FakeClock();
  const events: AgentEvent[] = [];
  const asks = new Questions({
    askPolicy: { approvals: "ask", timeoutMs: 60_000, ...askPolicy },
    clock,
    emit: (event) => events.push(event),
  });
  const open = () => {
    const event = events.findLast(({ type }) => type === "approval.requested");
    assert.ok(event?.type === "approval.requested" && event.ask);
    return event.ask;
  };
  return { asks, clock, events, open };
}

describe("asks", () => {
  test("an answer resolves the waiting request, and the event names the ask it answers", async () => {
    const { asks, events, open, clock } = made();
    const answer = asks.ask(approval, 0);
    assert.ok(asks.waiting);
    const { id, sinceWall, untilWall } = open();
    assert.deepEqual([sinceWall, untilWall - sinceWall], [clock.wall(), 60_000]);
    asks.answer(id, yes);
    assert.deepEqual(await answer, yes);
    assert.ok(!asks.waiting);
    assert.deepEqual(events.at(-1), {
      type: "approval.resolved",
      decision: "approved",
      automatic: false,
      askId: id,
    });
    assert.throws(() => asks.answer(id, yes), { code: "nothing_asked" });
  });

  test("an answer that does not fit the ask is refused, and the ask stays open", async () => {
    const { asks, open } = made();
    const approve = asks.ask(approval, 0);
    const first = open().id;
    const words = asks.ask(question, 2);
    const second = open().id;
    const answers = (...said: string[]) => ({ type: "answers", answers: said }) as const;
    assert.throws(() => asks.answer(first, answers("yes")), { code: "invalid_request" });
    assert.throws(() => asks.answer(second, yes), { code: "invalid_request" });
    assert.throws(() => asks.answer(second, answers("a")), { message: /2 answers are needed, 1/ });
    asks.answer(second, answers("a", "b"));
    asks.answer(first, { type: "decision", approve: false });
    assert.deepEqual(
      [await approve, await words],
      [{ type: "decision", approve: false }, answers("a", "b")],
    );
  });

  test("no request waits indefinitely: after the timeout it is refused with what was needed", async () => {
    const { asks, clock, open } = made();
    const late = assert.rejects(asks.ask(approval, 0), {
      code: "approval_required",
      details: { needs: approval },
    });
    const { id } = open();
    clock.advance(59_999);
    assert.ok(asks.waiting);
    clock.advance(1);
    await late;
    assert.ok(!asks.waiting);
    assert.throws(() => asks.answer(id, yes), { code: "nothing_asked" });
  });

  test("with a timeout of 0, or a question while everything is declined, nothing waits", async () => {
    for (const [people, needs, code] of [
      [{ timeoutMs: 0 }, approval, "approval_required"],
      [{ timeoutMs: 0 }, question, "turn_input_required"],
      [{ approvals: "decline" }, question, "turn_input_required"],
    ] as const) {
      const { asks, events } = made(people);
      await assert.rejects(asks.ask(needs, 1), { code });
      assert.deepEqual(events, [{ type: "approval.requested", needs, ask: null }]);
      assert.ok(!asks.waiting);
    }
  });

  test("after close no timer is left and no answer is taken", () => {
    const { asks, open, clock, events } = made();
    void asks.ask(approval, 0);
    const { id } = open();
    asks.close();
    clock.advance(120_000);
    assert.equal(events.length, 1);
    assert.throws(() => asks.answer(id, yes), { code: "nothing_asked" });
  });
});
