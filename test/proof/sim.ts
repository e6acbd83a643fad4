// `npm run sim [-- --seed N] [--events M]`: seeded worlds around the scheduler, in which reads fail, agents crash and disks are full;
// an invariant that breaks ends it with 1, the seed of its world and the last decisions.
import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { Simulation } from "../support/worlds/simulation.ts";

const eventsEach = 3_000;
const secondsBetweenLines = 30;

const { values: given } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    events: { type: "string", default: "1000000" },
  },
});
const [first, limit] = [Number(given.seed), Number(given.events)];
assert.ok(Number.isInteger(first) && Number.isInteger(limit) && limit > 0, "a seed and a count");

const total = { events: 0, dispatches: 0, restarts: 0, refusedWrites: 0 };
const since = performance.now();
const seconds = () => Math.round((performance.now() - since) / 1_000);
let said = 0;
let seed = first;
for (; total.events < limit; seed += 1) {
  const world = new Simulation(seed);
  try {
    world.run(eventsEach);
    world.heal();
    world.closeAll();
  } catch (error) {
    console.error(`seed ${seed}, event ${world.events}\n${world.trail.join("\n")}`);
    throw error;
  }
  total.events += world.events;
  total.dispatches += world.dispatches;
  total.restarts += world.restarts;
  total.refusedWrites += world.disk.failures;
  if (seconds() - said < secondsBetweenLines) continue;
  said = seconds();
  console.log(`${total.events} events, seed ${seed}`);
}
const { events, dispatches, restarts, refusedWrites } = total;
console.log(
  `seeds ${first} to ${seed - 1}: ${events} events, ${dispatches} dispatches, ${restarts} restarts, ${refusedWrites} refused writes in ${seconds()} s: no invariant broke`,
);
