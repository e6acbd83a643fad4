// Why an issue left while its agent worked: row S11 of the cases of the scheduler. Labels of the scope.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TrackerConfig } from "../../../src/core/config/config.ts";
import type { Issue } from "../../../src/core/model/issue.ts";
import { dispatchGates } from "../../../src/core/orchestrator/explain.ts";
import { config, issue, linkTo } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

const stopped = { kind: "stopped" } as const;
const needs = { kind: "approval", prompt: "rm -rf?", options: ["approve"] } as const;
const blocker = { id: "id-ENG-9", identifier: "ENG-9", title: null, state: "Todo", url: null };

interface Case {
  readonly tracker?: Partial<TrackerConfig>;
  readonly before?: Partial<Issue>;
  readonly now: Partial<Issue> | null;
  readonly says: string;
}

const go = { labels: ["agent"] };
const cases: readonly Case[] = [
  {
    tracker: { requiredLabels: ["agent"] },
    before: go,
    now: { labels: [] },
    says: "label agent removed",
  },
  {
    tracker: { anyLabels: ["agent", "bot"] },
    before: go,
    now: { labels: ["bug"] },
    says: "label agent removed",
  },
  {
    tracker: { excludedLabels: ["needs-human"] },
    before: go,
    now: { labels: ["agent", "needs-human"] },
    says: "label needs-human added",
  },
  { now: { dispatchable: false, blockedBy: [blocker] }, says: "blocked by ENG-9" },
  { now: { state: "Backlog" }, says: "issue left: Backlog" },
  { now: { dispatchable: false }, says: "the tracker does not allow work now" },
  { now: { dispatchable: false, withheld: "assigned to Grace" }, says: "assigned to Grace" },
  { now: null, says: "no longer visible in the tracker" },
];

async function begun({ tracker = {}, before = {} }: Case): Promise<Scheduler> {
  return new Scheduler([issue("ENG-1", before)], config({ tracker })).begin();
}

function change(world: Scheduler, now: Case["now"]): void {
  if (now === null) world.issues.delete("id-ENG-1");
  else world.set(issue("ENG-1", now));
}

const messages = (world: Scheduler, type: string) =>
  world.events.filter((event) => event.type === type).map(({ message }) => message);

for (const one of cases) {
  test(`S11: a running issue that leaves says "${one.says}" in its events and in its attempt`, async () => {
    const world = await begun(one);
    change(world, one.now);
    await world.advance(30_000);
    assert.equal(world.run("ENG-1").stopReason, one.says);
    await world.run("ENG-1").end(stopped);
    assert.deepEqual(messages(world, "issue.released"), [one.says]);
    assert.deepEqual(messages(world, "attempt.ended"), [`attempt canceled: ${one.says}`]);
    const [attempt] = [...world.attempts.values()];
    assert.deepEqual(attempt?.error, { code: "stopped", message: one.says });
  });

  test(`S11: an issue that waits for a person, or for its retry, and leaves says "${one.says}"`, async () => {
    for (const exit of [
      { kind: "needs", needs, code: "approval_required" },
      { kind: "failed", code: "turn_failed", message: "no" },
      { kind: "completed" },
    ] as const) {
      const world = await begun(one);
      await world.run("ENG-1").end(exit);
      change(world, one.now);
      await world.advance(30_000);
      assert.deepEqual(messages(world, "issue.released"), [one.says], exit.kind);
    }
  });
}

test("S11: an issue that the tracker leaves out says why, if the tracker does", async () => {
  for (const exit of [null, { kind: "needs", needs, code: "approval_required" } as const]) {
    const world = await begun({ now: null, says: "" });
    if (exit) await world.run("ENG-1").end(exit);
    change(world, null);
    world.gone.set("id-ENG-1", "moved to the project Billing");
    await world.advance(30_000);
    if (!exit) await world.run("ENG-1").end(stopped);
    assert.deepEqual(messages(world, "issue.released"), ["moved to the project Billing"]);
  }
});

test("an issue that a changed configuration excludes misses the label, which nobody removed", async () => {
  const world = await begun({ now: null, says: "" });
  world.config = config({ tracker: { requiredLabels: ["agent"] } });
  await world.advance(30_000);
  assert.equal(world.run("ENG-1").stopReason, "label agent missing");
});

test("labels any, all and exclude decide what runs, and each is a gate that says what opens it", async () => {
  const tracker = { requiredLabels: ["agent"], anyLabels: ["web", "api"], excludedLabels: ["wip"] };
  const labels = [["agent", "web"], ["agent"], ["web"], ["agent", "api", "wip"], []];
  const issues = labels.map((some, at) => issue(`ENG-${at + 1}`, { labels: some }));
  const world = await new Scheduler(issues, config({ tracker })).begin();
  assert.deepEqual(world.live, ["ENG-1"]);
  const gates = dispatchGates(issue("ENG-6", { labels: ["wip"] }), world.orchestrator.state, world);
  const shut = gates.filter(({ pass }) => !pass);
  assert.deepEqual(shut, [
    { gate: "required_labels", pass: false, detail: 'misses "agent"', opens: 'add "agent"' },
    {
      gate: "any_label",
      pass: false,
      detail: 'has none of "web", "api"',
      opens: 'add one of "web", "api"',
    },
    { gate: "excluded_labels", pass: false, detail: 'has "wip"', opens: 'remove "wip"' },
  ]);
});

test("issues that block each other in a ring say so, and what keeps an issue back says what lets it go", async () => {
  const waits = { dispatchable: false };
  const blockedBy = (name: string) => [linkTo(issue(name))];
  const issues = [
    issue("ENG-1", { ...waits, blockedBy: blockedBy("ENG-2") }),
    issue("ENG-2", { ...waits, blockedBy: blockedBy("ENG-3") }),
    issue("ENG-3", { ...waits, blockedBy: blockedBy("ENG-1") }),
    issue("ENG-4", { ...waits, blockedBy: blockedBy("ENG-1") }),
    issue("ENG-5", { ...waits, withheld: "assigned to Grace", withheldBy: "assignee" }),
    issue("ENG-6", {
      ...{ ...waits, blockedBy: blockedBy("ENG-1") },
      ...{ withheld: "its milestone is none, not v1", withheldBy: "milestone" },
    }),
    issue("ENG-7", { ...waits, withheld: "assigned by chance" }),
  ];
  const world = await new Scheduler(issues, config()).begin();
  assert.deepEqual(world.live, []);
  const opens = issues.map((one) => {
    const gates = dispatchGates(one, world.orchestrator.state, world);
    return gates.find(({ gate }) => gate === "dispatchable")?.opens;
  });
  assert.deepEqual(opens, [
    "the removal of a relation: ENG-1, ENG-2, ENG-3 wait for each other",
    "the removal of a relation: ENG-2, ENG-3, ENG-1 wait for each other",
    "the removal of a relation: ENG-3, ENG-1, ENG-2 wait for each other",
    "ENG-1 (Todo) must end",
    "assign it in the tracker",
    "give it this milestone in the tracker",
    "a change in the tracker",
  ]);
});

test("states are the same in every case and in both Unicode forms of a letter", async () => {
  const settings = config({ tracker: { activeStates: ["Pre\u0302t", "İŞTE"] } });
  const issues = [
    issue("ENG-1", { state: "pr\u00eat" }),
    issue("ENG-2", { state: "i\u0307şte" }),
    issue("ENG-3", { state: "Pret" }),
  ];
  const world = await new Scheduler(issues, settings).begin();
  assert.deepEqual(world.live, ["ENG-1", "ENG-2"]);
});
