// `npm run moves [-- --only server|from|to]`: an issue moves from one worker to another while its agent runs, and the server or one
// of the two workers is killed (-9) at each step of the move. Ends with 1 when two agents of the issue ran at one moment, it did
// not end on the other worker, work that had come back was lost, or a kill of the server counted as a failure.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { agentsIn, FleetWorld } from "../support/worlds/fleet.ts";
import { eventually, symphony } from "../support/worlds/symphony.ts";

const { values: given } = parseArgs({ options: { only: { type: "string" } } });
const victims = ["server", "from", "to"] as const;
type Victim = (typeof victims)[number];
const limitMs = 120_000;

await using world = await FleetWorld.open(
  `echo "$SYMPHONY_ISSUE_IDENTIFIER" >> work; git add work; echo more >> one
until [ -e "$shared/go-$SYMPHONY_ISSUE_IDENTIFIER" ]; do sleep 0.1; done
echo done`,
  undefined,
  { leaseMs: 6_000 },
);
await world.serve();
for (const name of ["a", "b"]) await world.worker(name, "--capacity", "1");
let made = 0;

const attemptsOf = async (id: string) =>
  (await world.client.issues.attempts({ params: { id } })).attempts;
const startsOf = (id: string) =>
  world.shared("started").filter((line) => line.includes(`/${id} `)).length;

/** What the server and the workers have done when the victim is killed, in this order. */
const steps: Readonly<Record<string, (id: string, from: string) => Promise<unknown>>> = {
  "the move is on disk": async () => {},
  "the agent is asked to end": () => delay(60),
  "its work is on its way": () => delay(200),
  "no agent is left": (_, from) =>
    until("no agent is left", async () => agentsIn(join(world.dir, "workers", from)) === 0),
  "its attempt has ended": (id) =>
    until("it has ended", async () => (await attemptsOf(id)).at(-1)?.ended_at !== null),
  "the next attempt is placed": (id) =>
    until("the next one", async () => (await attemptsOf(id)).length === 2),
  "the workspace is on its way": async (id) => {
    await until("the next one", async () => (await attemptsOf(id)).length === 2);
    await delay(400);
  },
  "its agent runs there": (id) => until("the agent runs", async () => startsOf(id) === 2),
};

for (const victim of victims) {
  if (given.only !== undefined && given.only !== victim) continue;
  for (const [step, reached] of Object.entries(steps)) {
    const from = performance.now();
    await moved(victim, reached);
    const seconds = ((performance.now() - from) / 1_000).toFixed(1);
    process.stdout.write(`${victim} killed when ${step}: ${seconds} s\n`);
  }
}
process.stdout.write("moves: each ended on the other worker, and nothing ran twice\n");

async function moved(victim: Victim, reached: (id: string, from: string) => Promise<unknown>) {
  made += 1;
  const id = `LOCAL-${made}`;
  await world.issue(`Issue ${made}`);
  await until("its agent runs", async () => startsOf(id) === 1);
  const { running } = await world.client.system.state();
  const from = running.find((row) => row.issue_identifier === id)?.worker_host ?? "";
  const to = from === "a" ? "b" : "a";
  const told = await symphony(world.place, "move", id, "--to", to);
  assert.equal(told.code, 0, told.stderr);
  await reached(id, from);
  if (victim === "server") {
    await world.server?.crash();
    await world.serve();
  } else {
    const name = victim === "from" ? from : to;
    const killed = world.started.findLast((one) => one.name === name);
    killed?.child.kill("SIGKILL");
    await killed?.exited();
    world.again(name, null, "--capacity", "1");
  }
  writeFileSync(join(world.dir, "shared", `go-${id}`), "");
  const attempts = await until("it has succeeded", async () => {
    const all = await attemptsOf(id);
    return all.some(({ status }) => status === "succeeded") && all;
  });
  const last = attempts.find(({ status }) => status === "succeeded");
  assert.equal(last?.worker_host, to, JSON.stringify(attempts));
  assert.equal(world.wasTwice, false, world.shared("twice").join("\n"));
  const failed = attempts.filter(({ status }) => status === "failed");
  if (victim === "server") assert.deepEqual(failed, []);
  const work = readFileSync(join(last?.workspace?.path ?? "", "work"), "utf8")
    .trim()
    .split("\n");
  // A worker that dies takes the turn under way with it, and a server that dies what has not come back.
  assert.ok(work.length <= startsOf(id) && work.every((line) => line === id), work.join());
  if (victim === "to") assert.ok(work.length > 1, "what had come back is lost");
  await until("no agent is left", async () => agentsIn(join(world.dir, "workers")) === 0);
  for (const name of ["a", "b"]) await world.isReady(name);
}

function until<T>(what: string, ask: () => Promise<T | null | undefined | false>) {
  return eventually(() => `${what}\n${world.logs.slice(-6_000)}`, ask, limitMs);
}
