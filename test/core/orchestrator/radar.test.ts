import assert from "node:assert/strict";
import { test } from "node:test";
import type { Config } from "../../../src/core/config/config.ts";
import type { Overlap } from "../../../src/core/model/delivery.ts";
import { dispatchGates } from "../../../src/core/orchestrator/explain.ts";
import type { Made } from "../../../src/core/orchestrator/messages.ts";
import { snapshot } from "../../../src/core/orchestrator/snapshot.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

type Mode = Config["delivery"]["conflicts"];

const settings = (conflicts: Mode) =>
  config({ tracker: { onSuccess: { kind: "auto" } }, delivery: { conflicts } });
const made = (head: string): Made => ({ kind: "changed", head });
const branchOf = (name: string, since: number) => ({
  issueId: `id-${name}`,
  issueIdentifier: name,
  branch: `symphony/${name}`,
  since,
});

/** A-2 began later than A-1 and changes the same line. */
function overlap(conflicts = true): Overlap {
  const kind = conflicts ? "conflict" : "near";
  const file = { path: "one.txt", kind, lines: [[], []] } as const;
  return {
    repository: "shop",
    first: branchOf("A-1", 1),
    second: branchOf("A-2", 2),
    conflicts,
    files: [file],
  };
}

async function compared(
  world: Scheduler,
  overlaps: readonly Overlap[] | null,
  judged: Readonly<Record<string, string>> = {},
  isRestored = false,
): Promise<void> {
  await world.orchestrator.apply({
    ...{ type: "radar.updated", repository: "shop", overlaps, isRestored },
    judged: new Map(Object.entries(judged).map(([name, head]) => [`id-${name}`, head])),
  });
  await world.advance(0);
}

async function begun(mode: Mode): Promise<Scheduler> {
  return new Scheduler([issue("A-1"), issue("A-2")], settings(mode)).begin();
}

const told = (world: Scheduler) =>
  world.events
    .filter(({ type }) => type.startsWith("conflict."))
    .map(({ type, message }) => `${type}: ${message}`);
const gateOf = (world: Scheduler, name: string) =>
  dispatchGates(issue(name), world.orchestrator.state, world).find(
    ({ gate }) => gate === "conflicts",
  );

test("O-41: a conflict is told once, to the one that began later, and once when it is over", async () => {
  const world = await begun("warn");
  for (let at = 0; at < 3; at++) await compared(world, [overlap()]);
  assert.deepEqual(told(world), ["conflict.found: conflicts with A-1 in one.txt"]);
  const { conflicts } = snapshot(world.orchestrator.state, world.config, { now: 0, limit: 9 });
  assert.equal(conflicts.length, 1);
  assert.deepEqual(gateOf(world, "A-2"), {
    gate: "conflicts",
    pass: true,
    detail: "warns of A-1, which conflicts in one.txt (delivery.conflicts: warn)",
    opens: null,
  });
  await compared(world, null);
  assert.equal(world.orchestrator.state.overlaps.length, 1, "unknown changes nothing");
  await compared(world, [overlap(false)]);
  await compared(world, []);
  assert.deepEqual(told(world).slice(1), ["conflict.resolved: conflicts with A-1 no more"]);
});

test("what an earlier server found is no news", async () => {
  const world = await begun("warn");
  await compared(world, [overlap()], {}, true);
  await compared(world, [overlap()]);
  assert.deepEqual(told(world), []);
});

test("O-42: the later one gets no further turn before the conflict is over; the earlier one does", async () => {
  const world = await begun("hold");
  for (const name of ["A-1", "A-2"])
    await world.run(name).end({ kind: "completed", made: made(name), issue: issue(name) });
  assert.ok(world.calls.includes("offer A-2 A-2 and move"));
  await compared(world, [overlap()]);
  const word = { type: "offer.answered", byPerson: true, summary: "ada: why?" } as const;
  for (const name of ["A-1", "A-2"])
    await world.orchestrator.apply({ ...word, issueId: `id-${name}` });
  await world.advance(60_000);
  assert.deepEqual(world.live, ["A-1"]);
  assert.equal(gateOf(world, "A-2")?.pass, false);
  assert.deepEqual(world.orchestrator.state.issues.of("retrying").get("id-A-2")?.waits, {
    gate: "conflicts",
  });
  assert.deepEqual(world.records.get("id-A-2")?.retry?.waits, { gate: "conflicts" });
  await world.advance(3_600_000);
  assert.deepEqual(world.live, ["A-1"]);
  await compared(world, []);
  await world.advance(0);
  assert.deepEqual(world.live, ["A-1", "A-2"]);
  assert.deepEqual(world.failures, []);
});

test("O-42: work is offered once it was compared, the later one after the end of the earlier", async () => {
  const world = await begun("order");
  const end = (name: string) =>
    world.run(name).end({ kind: "completed", made: made(`c-${name}`), issue: issue(name) });
  await end("A-1");
  await end("A-2");
  const offers = () => world.calls.filter((call) => /^(?:offer|update|wait) /.test(call));
  assert.match(offers().join("\n"), /^wait A-1 for a comparison.*\nwait A-2 for a comparison/);
  await compared(world, [overlap()], { "A-1": "another", "A-2": "c-A-2" });
  assert.equal(offers().length, 2, "another commit of it was compared");
  await compared(world, [overlap()], { "A-1": "c-A-1", "A-2": "c-A-2" });
  assert.deepEqual(offers().slice(2), ["update A-1 conflicts", "offer A-1 c-A-1 and move"]);
  assert.match(gateOf(world, "A-2")?.detail ?? "", /offered after the end of A-1.*order/);
  assert.equal(world.records.get("id-A-2")?.offer?.waits, "branch");
  await compared(world, [], { "A-2": "c-A-2" });
  assert.deepEqual(offers().slice(4), ["update A-2 behind", "offer A-2 c-A-2 and move"]);
  await compared(world, [], { "A-2": "c-A-2" });
  assert.equal(offers().length, 6, "once");
  assert.equal(world.records.get("id-A-2")?.offer?.waits, false);
});

test("order: what cannot be compared is offered, unless a conflict is known", async () => {
  const world = await begun("order");
  await world.run("A-2").end({ kind: "completed", made: made("c"), issue: issue("A-2") });
  await compared(world, [overlap()], {});
  await compared(world, null, { "A-2": "c" });
  assert.ok(!world.calls.includes("offer A-2 c and move"));
  await compared(world, [], {});
  await compared(world, null, { "A-2": "c" });
  assert.ok(world.calls.includes("offer A-2 c and move"));
});

test("order: work that merely changes the same files, and merges, does not wait for the other branch", async () => {
  const world = await begun("order");
  await world.run("A-2").end({ kind: "completed", made: made("c"), issue: issue("A-2") });
  await compared(world, [overlap(false)], { "A-2": "c" });
  assert.ok(world.calls.includes("offer A-2 c and move"));
  assert.deepEqual(told(world), []);
  assert.equal(gateOf(world, "A-2")?.pass, true);
});
