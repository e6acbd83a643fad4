import assert from "node:assert/strict";
import { test } from "node:test";
import { type BranchSeen, readBranch } from "../../../src/core/delivery/branch.ts";
import { fresh } from "../../../src/core/delivery/delivered.ts";
import { progressOf } from "../../../src/core/model/delivery.ts";
import { issue } from "../../support/makers/issue.ts";

const known = { ...fresh(issue("A-1")), branch: "symphony/A-1", base: "main", pushed: "p1" };
const intoMain = "a person to merge symphony/A-1 into main";

interface Remote {
  readonly contained?: boolean | null;
  readonly included?: boolean | null;
  readonly heads?: Readonly<Record<string, string>>;
  readonly head?: string | null;
  readonly baseBranch?: string;
}

/** What is read of a remote with these branches. */
function read(remote: Remote): Promise<BranchSeen | null> {
  const { contained = false, included = false, head = "main", baseBranch = null } = remote;
  const heads = remote.heads ?? { main: "m1", "symphony/A-1": "p1" };
  const rule = { name: "shop", baseBranch } as Parameters<typeof readBranch>[1];
  return readBranch(known, rule, {
    isContained: async () => contained,
    isIncluded: async () => included,
    headOf: async (_, branch) => heads[branch] ?? null,
    defaultBranch: async () => head,
  });
}

test("a pushed branch is merged when its base contains it, and unknown says nothing", async () => {
  const summary = "symphony/A-1 is merged into main";
  assert.deepEqual(await read({ contained: true }), { end: "merged", summary });
  assert.equal(await read({ contained: null }), null);
  const now = { base: "main", waitingFor: intoMain };
  assert.deepEqual(await read({}), { end: null, tip: "m1", now });
});

test("a pushed branch that a person deletes is closed, and said whether its base has the content", async () => {
  const heads = { main: "m1" };
  const deleted = "symphony/A-1 was deleted at shop";
  assert.deepEqual(await read({ heads }), { end: "closed", summary: deleted });
  const has = { end: "closed", summary: `${deleted}, and main has its content` };
  assert.deepEqual(await read({ heads, included: true }), has);
});

test("a default branch that is renamed stays the base; another base that is gone is said to a person", async () => {
  const heads = { trunk: "m1", "symphony/A-1": "p1" };
  const renamed = { base: "trunk", waitingFor: "a person to merge symphony/A-1 into trunk" };
  assert.deepEqual(await read({ heads, head: "trunk" }), { end: null, tip: null, now: renamed });
  const waitingFor =
    "a person: main is gone at shop; bring it back, or symphony transition A-1 completed";
  const gone = { end: null, tip: null, now: { base: "main", waitingFor } };
  assert.deepEqual(await read({ heads, head: "trunk", baseBranch: "main" }), gone);
  assert.deepEqual(await read({ heads, head: null }), gone);
});

test("a branch whose issue ended without it is not said to be merged or over", () => {
  assert.equal(progressOf(known), "its issue ended before it was merged");
  assert.equal(progressOf({ ...known, merged: "p1" }), "it was merged");
  assert.equal(progressOf({ ...known, pushed: null }), "not delivered");
});
