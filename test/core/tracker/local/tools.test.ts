import assert from "node:assert/strict";
import { test } from "node:test";
import { openLocalIssues } from "../../../../src/core/tracker/local/issues.ts";
import { localOptions } from "../../../../src/core/tracker/local/settings.ts";
import { localTools } from "../../../../src/core/tracker/local/tools.ts";
import { FakeClock } from "../../../support/fakes/fake-clock.ts";
import { startFakeLinear } from "../../../support/fakes/fake-linear.ts";
import { linearTracker } from "../../../support/fakes/linear-tracker.ts";
import { config, issue } from "../../../support/makers/issue.ts";
import { temporaryDir } from "../../../support/makers/storage.ts";

test("linear_graphql: a mutation counts as a write; a query and an invalid document do not", async () => {
  await using fake = await startFakeLinear();
  const tools = linearTracker(fake).tracker.bindTools(issue("ENG-1"));
  const writes = (args: unknown) => tools.writes?.("linear_graphql", args);
  const move = 'mutation { issueUpdate(id: "ENG-1", input: {}) { success } }';
  assert.equal(writes({ query: move }), true);
  assert.equal(writes(move), true);
  assert.equal(writes({ query: "fragment F on Issue { id } mutation M { x }" }), true);
  assert.equal(writes({ query: "query { issue(id: 1) { id } }" }), false);
  assert.equal(writes("{ viewer { id } }"), false);
  for (const args of [null, undefined, 7, {}, { query: "" }]) assert.equal(writes(args), false);
});

test("the embedded tracker: every tool except reading the issue counts as a write", (t) => {
  const dir = temporaryDir(t);
  const options = localOptions(config().tracker);
  const open = () => openLocalIssues(dir, options, new FakeClock());
  const tools = localTools({ issue: issue("local-1"), options, open });
  assert.deepEqual(
    tools.specs.map(({ name }) => [name, tools.writes?.(name, {})]),
    [
      ["issue_get", false],
      ["issue_comment", true],
      ["issue_move", true],
    ],
  );
});
