// Whatever single thing fails, no agent of an issue runs beside another, and the issue is worked on in the end.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { agentsIn, FleetWorld, type WorkerProcess } from "../../support/worlds/fleet.ts";
import { eventually, isAlive, symphony } from "../../support/worlds/symphony.ts";

let world: FleetWorld;
let first: WorkerProcess;
let number = 0;
before(async () => {
  // A part of it leaves the group, forks twice and would live for ever.
  const agent = `case $SYMPHONY_ISSUE_TITLE in Deadly) kill -9 $(cat "$shared/pid-$(basename "\${PWD%/*/*}")"); esac
(setsid bash -c 'while :; do sleep 1; done' &)
until [ -e "$shared/go" ]; do sleep 0.1; done
echo done > result; echo done`;
  world = await FleetWorld.open(agent, undefined, { leaseMs: 6_000 });
  await world.serve();
  first = await world.worker("build-1", "--capacity", "1");
});
after(() => world[Symbol.asyncDispose]());

/** An issue whose first agent runs; resolves with its identifier and the agent's process. */
async function running() {
  world.stop();
  number += 1;
  const before = world.shared("started").length;
  await world.issue(`Issue ${number}`);
  const line = await eventually(
    "the agent has started",
    async () => world.shared("started")[before],
  );
  return { id: `LOCAL-${number}`, pid: Number(line.split(" ")[1]), before };
}

/** The last attempt of the issue has succeeded, and never did two of it run at one moment. */
async function succeeded(id: string): Promise<void> {
  world.go();
  await eventually(
    `${id} succeeded: ${world.server?.log.slice(-2_000)}`,
    async () => {
      const { attempts } = await world.client.issues.attempts({ params: { id } });
      return attempts.some(({ status }) => status === "succeeded");
    },
    90_000,
  );
  assert.equal(world.wasTwice, false, world.shared("twice").join("\n"));
}

test("5, 6, 17: after kill -9 of a worker nothing of its agent is left, it is listed as lost, the attempt runs again, and the worker returns", async () => {
  const { id } = await running();
  const second = await world.worker("build-2", "--capacity", "1");
  first.child.kill("SIGKILL");
  const killedAt = performance.now();
  await eventually("no process of the agent is left", async () => agentsIn(first.dir) === 0);
  await eventually("it is lost", async () => (await world.seen("build-1"))?.why === "lost");
  assert.ok(performance.now() - killedAt < 30_000);
  await succeeded(id);
  const { attempts } = await world.client.issues.attempts({ params: { id } });
  assert.deepEqual(
    attempts.map(({ worker_host, error }) => [worker_host, error?.code ?? null]).sort(),
    [
      ["build-1", "worker_lost"],
      ["build-2", null],
    ],
    second.log,
  );
  first = world.again("build-1", null, "--capacity", "1");
  await world.isReady("build-1", first);
  assert.equal((await world.seen("build-2"))?.ready, true);
});

test("16: an agent that kills its worker is held after two of them, with words and the next command; another issue is not", async () => {
  world.go();
  const deadly = `LOCAL-${number + 1}`;
  const workers = new Map(world.started.map((one) => [one.name, one]));
  for (const [name, { child }] of workers)
    writeFileSync(`${world.dir}/shared/pid-${name}`, String(child.pid));
  await world.issue("Deadly");
  number += 1;
  await eventually(
    "it is held",
    async () => (await world.client.issues.detail({ params: { id: deadly } })).status === "held",
    60_000,
  );
  const told = await symphony(world.place, "explain", deadly);
  assert.match(
    told.stdout,
    /its worker died while it ran, 2 times in a row \(build-\d, build-\d\)/,
  );
  assert.match(told.stdout, new RegExp(`symphony transition ${deadly} queued`));
  first = world.again("build-1", null, "--capacity", "1");
  const second = world.again("build-2", null, "--capacity", "1");
  await world.isReady("build-1", first);
  await world.isReady("build-2", second);
  const { id } = await running();
  await succeeded(id);
});

test("1: the agent of a stopped worker (SIGSTOP) is ended by another process before the attempt is given to another worker", async () => {
  const { id } = await running();
  const { running: rows } = await world.client.system.state();
  const holder = world.started.find(({ name, child }) => {
    return name === rows[0]?.worker_host && child.exitCode === null && child.signalCode === null;
  });
  assert.ok(holder);
  holder.child.kill("SIGSTOP");
  await eventually("its agent was ended", async () => agentsIn(holder.dir) === 0);
  assert.equal((await world.client.system.state()).running[0]?.attempt_id, rows[0]?.attempt_id);
  await succeeded(id);
  holder.child.kill("SIGCONT");
  await world.isReady(holder.name, holder);
});

test("9: an engine that loses every key (FLUSHALL) ends the agents, and nobody restarts anything", async () => {
  const { id, pid } = await running();
  assert.equal(world.redis.cli("flushall"), "OK");
  await eventually("its agent was ended", async () => !isAlive(pid));
  await succeeded(id);
});

test("8, 9: an engine that comes back empty is used again, and the attempt runs once more", async () => {
  const { id, pid } = await running();
  await world.redis.restart();
  await eventually("its agent was ended", async () => !isAlive(pid));
  await succeeded(id);
});

test("4: workers without an engine end their agents by themselves", async () => {
  const { id } = await running();
  await world.redis.down();
  await eventually("no agent is left", async () => agentsIn(`${world.dir}/workers`) === 0);
  await world.redis.up();
  await succeeded(id);
});

test("28: a server that is killed (-9) and starts again ends the agents of its predecessor before it starts others", async () => {
  const { id } = await running();
  await world.server?.crash();
  await world.serve();
  await succeeded(id);
});

test("28: of two servers on copies of one data directory one works and the other says who does; the first, overtaken while it stood still (SIGSTOP), ends with an error", async () => {
  const { first: stopped, other } = await world.serveTwice();
  await eventually("it says who leads", async () => /another orchestrator leads/.test(other.log));
  stopped.child.kill("SIGSTOP");
  world.server = other;
  await world.isReady("build-1");
  stopped.child.kill("SIGCONT");
  await eventually("it has ended", async () => stopped.child.exitCode !== null);
  assert.equal(stopped.child.exitCode, 1, stopped.log.slice(-2_000));
  assert.match(stopped.log, /level=error msg="another orchestrator leads this fleet now/);
  const { id } = await running();
  await succeeded(id);
});
