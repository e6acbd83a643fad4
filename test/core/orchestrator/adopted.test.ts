import assert from "node:assert/strict";
import { test } from "node:test";
import { type Attempt, noTokens } from "../../../src/core/model/attempt.ts";
import { idleOf } from "../../../src/core/orchestrator/brakes.ts";
import { slotsFor } from "../../../src/core/orchestrator/dispatch.ts";
import { adoptedEntry, adoptionOf, restoredState } from "../../../src/core/orchestrator/records.ts";
import { attemptOf, type State } from "../../../src/core/orchestrator/state.ts";
import { step } from "../../../src/core/orchestrator/step.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { record } from "../../support/makers/storage.ts";

const clocks = { now: 10_000, wall: 1_000_000 };
const context = {
  ...clocks,
  config: config(),
  problem: null,
  prior: () => ({ count: 1, resume: null, thread: null, tokens: 0, idle: null }),
};
const used = { ...noTokens, input: 100, total: 100 };

/** As stored in the history: in its second turn, on a thread that has used 100 tokens. */
const row: Attempt = {
  ...{ id: "att_000000001", issueId: "id-A-1", issueIdentifier: "A-1", number: 3 },
  ...{ status: "running", phase: "streaming_turn", agent: "codex", model: "m", templateId: "t" },
  ...{ workerHost: null, threadId: "th", sessionId: "th-tu", turnCount: 2, startedAt: 995_000 },
  ...{ endedAt: null, tokens: used, threadTokens: used, error: null, git: null },
  ...{ workspaceKey: "A-1", workspacePath: "/w/A-1" },
  idle: idleOf({ idle: null }, issue("A-1")),
};

const retry = { attempt: 1, failures: 2, dueAt: 0, error: null, waits: null };
const saved = record("A-1", { retry });

function restored(): State {
  const adopted = [
    adoptedEntry(
      row,
      { issue: issue("A-1"), attempt: 1, failures: 2, lastEventWall: 999_000, spentBefore: 7 },
      clocks,
    ),
  ];
  const totals = { tokens: used, seconds: 0 };
  const records = new Map([["id-A-1", saved]]);
  return restoredState({ records, totals, lastAttemptId: row.id, adopted }, clocks);
}

function entryOf(state: State) {
  return state.issues.of("running").get("id-A-1") ?? assert.fail("it runs");
}

test("an adopted attempt continues as the same row: it holds its slot and waits for no retry", () => {
  const state = restored();
  assert.equal(state.issues.of("retrying").size, 0);
  assert.equal(slotsFor(state, config()).free, 9);
  assert.deepEqual(attemptOf(entryOf(state)), row);
  assert.deepEqual([entryOf(state).turnId, entryOf(state).startedAt], ["tu", 5_000]);
  assert.deepEqual(adoptionOf(entryOf(state)), {
    ...{ attemptId: row.id, issue: issue("A-1"), attempt: 1, resumeThreadId: "th" },
    isRound: false,
    ...{
      agent: "codex",
      templateId: "t",
      adopt: { key: "A-1", path: "/w/A-1", turnCount: 2, sinceWall: 999_000 },
    },
  });
});

test("its running turn counts once, and tokens count from their previous total", () => {
  const of = { issueId: "id-A-1", attemptId: row.id, type: "attempt.reported" } as const;
  const started = { type: "turn.started", turnId: "tu" } as const;
  const total = { ...used, input: 130, total: 130 };
  const next = step(restored(), { ...of, event: started }, context).state;
  const { state, effects } = step(next, { ...of, event: { type: "tokens", total } }, context);
  assert.equal(entryOf(state).turnCount, 2);
  assert.equal(entryOf(state).tokens.total, 130);
  assert.equal(state.usage.tokens.total, 130);
  const counted = effects.find((effect) => effect.type === "saveUsed");
  assert.equal(counted?.type === "saveUsed" && counted.tokens.total, 30);
});

test("a server that stops detaches it: no end is written and nothing is stopped", () => {
  const drained = step(restored(), { type: "drain.requested", stopAttempts: true }, context);
  assert.deepEqual(
    drained.effects.filter(({ type }) => /Attempt$/.test(type)),
    [{ type: "detachAttempt", attemptId: row.id }],
  );
  const exit = { kind: "detached", git: null } as const;
  const of = { issueId: "id-A-1", attemptId: row.id };
  const gone = step(drained.state, { type: "attempt.exited", ...of, exit }, context);
  assert.deepEqual([gone.state.issues.of("running").size, gone.effects], [0, []]);
});

test("an attempt that is already stopping is stopped, not detached", () => {
  const aborted = { type: "operator.aborted", issueId: "id-A-1", reason: null } as const;
  const stopping = step(restored(), aborted, context).state;
  const drained = step(stopping, { type: "drain.requested", stopAttempts: true }, context);
  assert.ok(!drained.effects.some(({ type }) => type === "detachAttempt"));
});
