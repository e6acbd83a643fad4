// "S2" is a row of the inputs to the scheduler and the configuration that went wrong.

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkConfig } from "../../../src/core/config/check.ts";
import { findingText } from "../../../src/core/config/finding.ts";
import { sections } from "../../../src/core/kinds.ts";
import { nameProblems } from "../../../src/core/tracker/scope-names.ts";

const teams = new Map([
  ["ENG", ["Backlog", "Todo", "In Progress", "Done"]],
  ["OPS", ["Inbox", "Todo", "Shipped"]],
]);

async function told(settings: string, labels: readonly string[] | null = null) {
  const text = `---\n${settings}\n---\nhi`;
  const deps = { sections, workflowPath: "/srv/WORKFLOW.md", env: {}, flags: {} };
  const checked = await checkConfig(Buffer.from(text), deps);
  return checked.locate(nameProblems(checked.effective, { teams, labels })).map(findingText);
}

test("S2: a state that no team has is named, with the states there are and the one that was meant", async () => {
  const found = await told("tracker: { kind: linear, active_states: [To Do, Doing, todo] }");
  assert.equal(found.length, 2);
  assert.equal(
    found[0],
    'tracker.active_states: no team knows "To Do"; the states of ENG are Backlog, Todo, In Progress, Done; the states of OPS are Inbox, Todo, Shipped; did you mean Todo? (line 2, column 41)',
  );
  assert.match(found[1] ?? "", /no team knows "Doing"/);
});

test("S2: every key that names a state is checked; the default terminal states are not", async () => {
  assert.deepEqual(await told("tracker: { kind: linear }"), []);
  const found = await told(
    [
      "tracker: { kind: linear, in_progress: Started, on_success: Reviw, terminal_states: [Done, Shiped] }",
      "agent: { by_state: { Rework: { model: m } }, max_concurrent_agents_by_state: { inbox: 1, Later: 1 } }",
    ].join("\n"),
  );
  const named = found.map((one) => /no team knows "([^"]+)"/.exec(one)?.[1]);
  assert.deepEqual(named.toSorted(), ["Reviw", "Rework", "Shiped", "Started", "later"]);
  assert.ok(found.some((one) => /"Shiped".*did you mean Shipped\?/.test(one)));
});

test("S2: labels are checked where the tracker says which there are", async () => {
  const settings = "tracker: { kind: linear, required_labels: [Agnet] }";
  assert.deepEqual(await told(settings), []);
  const [found = ""] = await told(settings, ["agent", "bug"]);
  assert.match(found, /the tracker has no label "agnet"; did you mean agent\?/);
});
