import assert from "node:assert/strict";
import { test } from "node:test";
import { fresh } from "../../../src/core/delivery/delivered.ts";
import { offerOf } from "../../../src/core/delivery/offer.ts";
import { issue } from "../../support/makers/issue.ts";

const one = issue("A-1");
const known = { ...fresh(one), repository: "shop", branch: "symphony/A-1", base: "main" };

function offered(head: string | null, mode: "none" | "branch" | "pull_request") {
  const work = { head, from: null, workspacePath: "/w" };
  const order = { issue: one, attemptId: "att_1", moves: true, ...work };
  return offerOf(order, { known, mode, given: [], said: null, wall: 1 });
}

test("work with a commit is pushed, and then offered; its issue is moved last", () => {
  const { next, entries } = offered("a".repeat(40), "pull_request");
  assert.deepEqual(
    entries.map(({ kind }) => kind),
    ["push", "pull_request", "move"],
  );
  assert.deepEqual([next.mode, next.over], ["pull_request", false]);
});

test("a turn that made no commit waits for a person to look at it, and for no push", () => {
  for (const mode of ["branch", "pull_request", "none"] as const) {
    const { next, entries } = offered(null, mode);
    assert.deepEqual(
      entries.map(({ kind, payload }) => [kind, payload["mode"]]),
      [["move", "none"]],
    );
    assert.deepEqual([next.waitingFor, next.over], ["a person to look at it", true], mode);
  }
});
