import assert from "node:assert/strict";
import { test } from "node:test";
import { FleetSimulation } from "../../support/worlds/fleet-simulation.ts";

const worlds = Number(process.env["SIMULATED_FLEETS"] ?? 30);
const eventsEach = 12_000;

test(`1, 2, 4, 5, 8, 9, 16, 28: in ${worlds} seeded fleets no attempt runs twice at once, none is lost, no acknowledged work is done again, and an agent that kills its worker is held`, (t) => {
  const faults = new Map<string, number>();
  let completed = 0;
  let killed = 0;
  for (let seed = 1; seed <= worlds; seed++) {
    const world = new FleetSimulation(seed);
    try {
      world.run(eventsEach);
      world.heal();
    } catch (error) {
      t.diagnostic(
        `seed ${seed}, event ${world.network.events}\n${world.network.trail.join("\n")}`,
      );
      throw error;
    }
    completed += world.completed;
    killed += world.killed;
    for (const [name, count] of world.faults) faults.set(name, (faults.get(name) ?? 0) + count);
  }
  t.diagnostic(
    `${completed} issues completed, ${killed} workers killed by agents; ${JSON.stringify([...faults])}`,
  );
  assert.ok(completed > worlds * 10, "the fleets were alive");
  assert.ok(killed > worlds, "agents killed workers");
  assert.equal(faults.size, 12, "each fault came now and then");
});
