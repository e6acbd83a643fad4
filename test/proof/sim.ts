// `npm run sim [-- --seed N] [--events M]`: seeded worlds around the scheduler, in which reads fail, agents crash and disks are full,
// and fleets whose workers, engine, network and servers fail; an invariant that breaks ends it with 1, the seed of its world
// and the last decisions.
import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { FleetSimulation } from "../support/worlds/fleet-simulation.ts";
import { Simulation } from "../support/worlds/simulation.ts";

const eventsEach = 3_000;
/** One world in so many has a fleet next to it: its events are small, most of them renewals. */
const worldsPerFleet = 5;
const fleetEventsEach = 15_000;
const secondsBetweenLines = 30;

const { values: given } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    events: { type: "string", default: "1000000" },
  },
});
const [first, limit] = [Number(given.seed), Number(given.events)];
assert.ok(Number.isInteger(first) && Number.isInteger(limit) && limit > 0, "a seed and a count");

const fleets = { events: 0, completed: 0, faults: 0 };
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
  if (seed % worldsPerFleet === 0) runFleet(seed);
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
console.log(
  `the fleets of these seeds: ${fleets.events} events, ${fleets.faults} faults, ${fleets.completed} issues completed: none twice at once, none lost`,
);

function runFleet(own: number): void {
  const fleet = new FleetSimulation(own);
  try {
    fleet.run(fleetEventsEach);
    fleet.heal();
  } catch (error) {
    console.error(
      `fleet of seed ${own}, event ${fleet.network.events}\n${fleet.network.trail.join("\n")}`,
    );
    throw error;
  }
  fleets.events += fleet.network.events;
  fleets.completed += fleet.completed;
  for (const count of fleet.faults.values()) fleets.faults += count;
}
