import assert from "node:assert/strict";
import { test } from "node:test";
import { blockerRulesOf } from "../../../src/core/tracker/blockers.ts";
import { isCut, rowOf } from "../../../src/core/tracker/linear/normalize.ts";
import {
  blockersOf,
  type IssueFields,
  instantOf,
  labelsOf,
  nativeRefOf,
  normalizeIssue,
  priorityOf,
} from "../../../src/core/tracker/normalize.ts";

const minimal: IssueFields = {
  id: "1",
  nativeRef: undefined,
  identifier: "ENG-1",
  title: "Title",
  description: undefined,
  priority: undefined,
  state: " todo ",
  stateType: undefined,
  branchName: undefined,
  url: undefined,
  assigneeId: undefined,
  assignee: undefined,
  team: undefined,
  project: undefined,
  parent: undefined,
  subIssues: undefined,
  labels: undefined,
  blockedBy: undefined,
  dispatchable: true,
  withheld: undefined,
  withheldBy: undefined,
  createdAt: undefined,
  updatedAt: undefined,
};

test("N-1, N-6: a minimal record has every key, nulls, empty lists, and its own spelling of the state", () => {
  assert.deepEqual(normalizeIssue(minimal), {
    id: "1",
    nativeRef: null,
    identifier: "ENG-1",
    title: "Title",
    description: null,
    priority: null,
    state: " todo ",
    stateType: null,
    branchName: null,
    url: null,
    assigneeId: null,
    assignee: null,
    team: null,
    project: null,
    parent: null,
    subIssues: [],
    labels: [],
    blockedBy: [],
    dispatchable: true,
    withheld: null,
    withheldBy: null,
    createdAt: null,
    updatedAt: null,
  });
});

for (const key of ["id", "identifier", "title", "state"] as const) {
  test(`N-2: a blank, absent or numeric ${key} makes the record malformed`, () => {
    for (const value of [" ", undefined, null, 7]) {
      assert.equal(normalizeIssue({ ...minimal, [key]: value }), null);
    }
  });
}

test("N-8: a missing dispatchable is malformed, not true", () => {
  assert.equal(normalizeIssue({ ...minimal, dispatchable: undefined }), null);
  assert.equal(normalizeIssue({ ...minimal, dispatchable: "yes" }), null);
});

test("N-7: unusable optional values do not hide the issue", () => {
  const issue = normalizeIssue({ ...minimal, url: 7, description: {}, blockedBy: ["x", null, {}] });
  assert.deepEqual([issue?.url, issue?.description, issue?.blockedBy], [null, null, []]);
});

test("N-3: labels are trimmed, lowercased, without blanks and duplicates", () => {
  assert.deepEqual(labelsOf(["Backend", " backend ", " ", 7, "Ünit"]), ["backend", "ünit"]);
  assert.deepEqual(labelsOf("Backend"), []);
});

test("N-4: only integers are a priority", () => {
  const given = [2.5, "2", true, Number.NaN, 0, 7, -1, 2];
  assert.deepEqual(given.map(priorityOf), [null, null, null, null, 0, 7, -1, 2]);
});

test("N-5: only RFC 3339 instants with an offset are a time", () => {
  assert.equal(instantOf("2026-01-01T00:00:00+02:00"), Date.parse("2025-12-31T22:00:00Z"));
  assert.equal(instantOf("2026-01-01t00:00:00.5z"), Date.parse("2026-01-01T00:00:00.500Z"));
  assert.equal(instantOf("2028-02-29T00:00:00Z"), Date.parse("2028-02-29T00:00:00Z"));
  for (const text of [
    "2026-01-01",
    "Jan 1 2026",
    "2026-01-01T00:00:00",
    "2026-02-30T00:00:00Z",
    "",
    0,
  ])
    assert.equal(instantOf(text), null, String(text));
});

test("N-7: blockers have the fields of a link, each nullable, none invented", () => {
  assert.deepEqual(
    blockersOf([{ id: "b" }, { identifier: "ENG-2", state: "Done" }, { state: "Done" }]),
    [
      { id: "b", identifier: null, title: null, state: null, url: null },
      { id: null, identifier: "ENG-2", title: null, state: "Done", url: null },
    ],
  );
});

test("N-9: native_ref is a JSON-safe object, verbatim, or null", () => {
  const nested = { a: [1, { b: null }], c: "x" };
  assert.equal(nativeRefOf(nested), nested);
  const cyclic: Record<string, unknown> = {};
  cyclic["self"] = cyclic;
  for (const unsafe of [
    { f: () => 1 },
    cyclic,
    [1],
    "x",
    { n: Number.NaN },
    { d: new Date() },
    { u: undefined },
  ])
    assert.equal(nativeRefOf(unsafe), null);
});

const states = { activeStates: ["Todo", "In Progress"], terminalStates: ["Done", "Canceled"] };
const rules = { assignee: null, ...blockerRulesOf({ ...states, blockerStates: null }) };

function node(state: string, blockers: readonly unknown[], more: object = {}): unknown {
  return {
    id: "1",
    identifier: "ENG-1",
    title: "Title",
    priority: 0,
    state: { name: state },
    inverseRelations: { nodes: blockers, pageInfo: { hasNextPage: false } },
    ...more,
  };
}

const blocks = (state: string | null) => ({
  type: "blocks",
  issue: { id: "2", identifier: "ENG-2", state: state === null ? null : { name: state } },
});

test("L-9: an issue that has not begun waits for blockers that are open or have no state; one in progress does not", () => {
  const judge = (state: string, blockers: readonly unknown[]) =>
    rowOf(node(state, blockers), rules)?.issue.dispatchable;
  assert.equal(judge("Todo", [blocks("In Progress")]), false);
  assert.equal(judge(" todo ", [blocks(null)]), false);
  assert.equal(judge("Todo", [blocks(" DONE ")]), true);
  assert.equal(judge("In Progress", [blocks("Todo")]), true);
  assert.equal(judge("Todo", [{ ...blocks("Todo"), type: "related" }]), true);
});

test("S10: a blocked issue waits in every active state in which work has not begun", () => {
  const judge = (name: string, type: string | null, blockerStates: string[] | null = null) => {
    const own = blockerRulesOf({ ...states, activeStates: ["Ready", "Doing"], blockerStates });
    const state = { name, ...(type !== null && { type }) };
    const more = { state };
    return rowOf(node(name, [blocks("Doing")], more), { assignee: null, ...own })?.issue
      .dispatchable;
  };
  assert.equal(judge("Ready", "unstarted"), false);
  assert.equal(judge("Inbox", "triage"), false);
  assert.equal(judge("Later", "backlog"), false);
  assert.equal(judge("Doing", "started"), true);
  assert.equal(judge(" READY", null), false, "without types the first of active_states");
  assert.equal(judge("Doing", null), true);
  assert.equal(judge("Ready", "unstarted", ["Todo"]), true, "the SPEC's rule");
  assert.equal(judge("Todo", "started", [" todo "]), false);
  assert.equal(judge("Ready", "unstarted", []), true);
});

test("L-9: an assignee filter accepts an issue that is assigned or delegated to the person, and no other", () => {
  const mine = { ...rules, assignee: { id: "ada", name: "Ada" } };
  const judge = (more: object) => rowOf(node("Todo", [], more), mine)?.issue.dispatchable;
  assert.equal(judge({}), false);
  assert.equal(judge({ assignee: { id: "grace" } }), false);
  assert.equal(judge({ assignee: { id: "ada" } }), true);
  assert.equal(judge({ assignee: { id: "grace" }, delegate: { id: "ada" } }), true);
});

test("L-9: relations that Linear withholds may hide a blocker", () => {
  const cut = node("Todo", [], {
    inverseRelations: { nodes: [], pageInfo: { hasNextPage: true } },
  });
  assert.equal(isCut(cut), true);
  assert.equal(rowOf(cut, rules)?.issue.dispatchable, false);
});

test("L-11: native_ref is null and priority 0 is kept", () => {
  const issue = rowOf(node("Todo", []), rules)?.issue;
  assert.deepEqual([issue?.nativeRef, issue?.priority], [null, 0]);
});
