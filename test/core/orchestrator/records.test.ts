import assert from "node:assert/strict";
import { test } from "node:test";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { IssueMap } from "../../../src/core/orchestrator/issues.ts";
import { recordOf, restoredState } from "../../../src/core/orchestrator/records.ts";
import type { CompletedRecord, IssueRecord } from "../../../src/core/store/store.ts";
import { issue } from "../../support/makers/issue.ts";
import { record } from "../../support/makers/storage.ts";

const clocks = { now: 0, wall: 1_000_000 };
const totals = { tokens: noTokens, seconds: 0 };
const retry = { attempt: 3, failures: 2, dueAt: 1_060_000, error: "boom", waits: null };
const choices = {
  model: "m",
  effort: "high",
  agent: "command",
  templateId: "tpl",
  allowanceAfter: "att_000000001",
};

/** Every form of record that earlier versions wrote. */
const written: Readonly<Record<string, Partial<IssueRecord>>> = {
  held: { held: { reason: "aborted: no", since: 5 } },
  attached: {
    held: { reason: "attached", since: 5, attached: { path: "/w", head: "c0ffee", dirty: true } },
  },
  failed: { failed: { reason: "retries used up", error: "boom", since: 6 } },
  retry: { retry },
  waiting: { retry: { ...retry, waits: { gate: "provider", agent: "codex" } } },
  dismissed: { dismissed: { state: "todo", since: 7 } },
  chosen: choices,
  agentOnly: { agent: "acp" },
  heldNext: { held: { reason: "closed", since: 5, next: "complete" } },
  heldAndChosen: { held: { reason: "no", since: 5 }, ...choices },
  dismissedAndChosen: { dismissed: { state: "todo", since: 7 }, ...choices },
  retryAndChosen: { retry, ...choices },
};
const records = new Map(
  Object.entries(written).map(([name, fields]) => [
    `id-${name}`,
    record(name, { ...fields, issue: issue(name) }),
  ]),
);

test("INV-27: each stored record is restored as the same record", () => {
  const state = restoredState({ records, totals, lastAttemptId: null }, clocks);
  assert.equal(state.issues.size, records.size);
  for (const [id, saved] of records) assert.deepEqual(recordOf(state, id), saved);
  assert.equal(state.pauses.get("codex")?.untilWall, 1_060_000);
});

test("a completed issue keeps its place and facts together with an operator's decision about it", () => {
  const done = (name: string): CompletedRecord => ({
    issue: issue(name),
    attemptId: "att_1",
    outcome: "succeeded",
    endedWall: 9,
    tokens: noTokens,
  });
  const completed = ["first", "dismissed", "held", "chosen", "last"].map(done);
  const state = restoredState({ records, totals, lastAttemptId: null, completed }, clocks);
  const rows = [...state.issues.of("completed").values()];
  assert.deepEqual(
    rows.map((row) => [row.issue.identifier, row.outcome, row.dismissed?.state ?? null]),
    [
      ["first", "succeeded", null],
      ["dismissed", "succeeded", "todo"],
      ["chosen", "succeeded", null],
      ["last", "succeeded", null],
      ["dismissedAndChosen", "none", "todo"],
    ],
  );
  assert.equal(state.issues.get("id-chosen")?.choices.pick?.model, "m");
  assert.equal(state.issues.get("id-held")?.claim, "held");
});

test("an issue has one row: a new claim replaces the previous one, and choices stay", () => {
  const own = issue("A-1");
  const stop = { issue: own, reason: "no", error: null, sinceWall: 1 };
  const held = IssueMap.empty.choosing(own, { templateId: "tpl" }).with({ claim: "held", ...stop });
  const failed = held.with({ claim: "failed", ...stop });
  assert.deepEqual([held.size, failed.size], [1, 1]);
  assert.deepEqual([failed.of("held").size, failed.of("failed").size], [0, 1]);
  assert.equal(failed.get(own.id)?.choices.templateId, "tpl");
  assert.equal(held.get(own.id)?.claim, "held", "a map never changes");
  const free = failed.with({ claim: "free", issue: own, worked: false });
  assert.equal(free.get(own.id)?.claim, "free", "for what was chosen");
  assert.equal(free.choosing(own, { templateId: null }).size, 0);
  assert.deepEqual([...failed.keys()], [own.id]);
});
