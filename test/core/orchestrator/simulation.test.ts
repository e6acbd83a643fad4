import assert from "node:assert/strict";
import { test } from "node:test";
import { step } from "../../../src/core/orchestrator/step.ts";
import { Simulation } from "../../support/worlds/simulation.ts";

const worlds = Number(process.env["SIMULATED_WORLDS"] ?? 60);
const eventsEach = 3_000;
/** Each of them kept some issue from starting; `test/core/orchestrator/gates.test.ts` has the others. */
const gatesMet = [
  ...["dispatchable", "not_held", "not_failed", "not_completed", "not_claimed", "tracker"],
  ...["paused", "active_hours", "host", "storage", "day_budget", "provider", "free_slot"],
];

test(`no invariant breaks in ${worlds} seeded worlds of ${eventsEach} events`, (t) => {
  let dispatches = 0;
  let restarts = 0;
  let dispatchPauses = 0;
  let refusedWrites = 0;
  const closed = new Set<string>();
  const limits = { holds: 0, pauses: 0, fullDays: 0 };
  const agents = { standIns: 0, moves: 0, stays: 0 };
  for (let seed = 1; seed <= worlds; seed++) {
    const world = new Simulation(seed);
    try {
      world.run(eventsEach);
      world.heal();
      world.closeAll();
    } catch (error) {
      t.diagnostic(`seed=${seed} event=${world.events}`);
      t.diagnostic(world.trail.join("\n"));
      throw error;
    }
    dispatches += world.dispatches;
    restarts += world.restarts;
    dispatchPauses += world.pauses;
    refusedWrites += world.disk.failures;
    agents.standIns += world.agents.standIns;
    agents.moves += world.agents.moves;
    agents.stays += world.agents.stays;
    for (const gate of world.gates.closed) closed.add(gate);
    limits.holds += world.ledger.holds;
    limits.pauses += world.ledger.pauses;
    limits.fullDays += world.ledger.fullDays;
  }
  t.diagnostic(`${dispatches} dispatches, ${restarts} restarts, ${refusedWrites} refused writes`);
  assert.ok(dispatches > worlds * 50, "the worlds were alive");
  assert.ok(restarts > 0, "some crashed");
  assert.ok(dispatchPauses > worlds / 4, "dispatch was paused in some");
  assert.ok(refusedWrites > worlds * 10, "their disks were full now and then");
  assert.deepEqual(
    gatesMet.filter((gate) => !closed.has(gate)),
    [],
    "each gate was closed now and then",
  );
  t.diagnostic(JSON.stringify({ ...limits, ...agents }));
  const { standIns, moves, stays } = agents;
  assert.ok(standIns > worlds && moves > 0 && stays > worlds, "agents stood in for others");
  const { holds, pauses, fullDays } = limits;
  assert.ok(holds > worlds && pauses > worlds / 2 && fullDays > 0, "some met a limit");
});

test("INV-28: the same seed gives the same decisions and the same state", () => {
  const lived = [1, 2].map(() => {
    const decided: string[] = [];
    const world = new Simulation(7, {
      decide(...args) {
        const decision = step(...args);
        decided.push(JSON.stringify([args[1], decision.effects]));
        return decision;
      },
    });
    world.run(2_000);
    return decided;
  });
  assert.ok((lived[0]?.length ?? 0) > 1_000);
  assert.deepEqual(lived[0], lived[1]);
});
