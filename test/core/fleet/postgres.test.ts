// A fleet on a real PostgreSQL, by the same code: what a person does with it, and that no agent runs twice when a part fails.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { openEngine } from "../../../src/core/fleet/opening.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { FleetWorld, type WorkerProcess } from "../../support/worlds/fleet.ts";
import { PostgresServer } from "../../support/worlds/postgres.ts";
import { eventually, isAlive, symphony } from "../../support/worlds/symphony.ts";

let world: FleetWorld;
let postgres: PostgresServer;
let first: WorkerProcess;
let number = 0;
before(async () => {
  postgres = await PostgresServer.start();
  const agent = `until [ -e "$shared/go" ]; do sleep 0.1; done
pwd > where; echo two >> one; echo done`;
  world = await FleetWorld.open(agent, undefined, { leaseMs: 5_000, engine: postgres });
});
after(() => world[Symbol.asyncDispose]());

/** An issue whose first agent runs. */
async function running() {
  world.stop();
  number += 1;
  const count = world.shared("started").length;
  await world.issue(`Issue ${number}`);
  const line = await eventually(
    `the agent has started: ${world.server?.log.slice(-2_000)}`,
    async () => world.shared("started")[count],
  );
  const [run] = (await world.client.system.state()).running;
  return { id: `LOCAL-${number}`, pid: Number(line.split(" ")[1]), run };
}

async function attemptsOf(id: string) {
  const { attempts } = await world.client.issues.attempts({ params: { id } });
  return attempts.map(({ worker_host: host, status, error }) => [
    ...[host, status, error?.code ?? null],
  ]);
}

/** The last attempt of the issue has succeeded, and never did two of it run at one moment. */
async function succeeded(id: string) {
  world.go();
  await eventually(
    `${id} succeeded: ${world.server?.log.slice(-2_000)}`,
    async () => (await attemptsOf(id)).some(([, status]) => status === "succeeded"),
    90_000,
  );
  assert.equal(world.wasTwice, false, world.shared("twice").join("\n"));
  return (await attemptsOf(id)).sort();
}

test("10, 18: doctor says what of the database endangers a fleet; what no wait mends is refused with what mends it", async () => {
  const { stdout } = await symphony(world.place, "doctor", "--json");
  const { checks } = JSON.parse(stdout) as { checks: Record<string, string>[] };
  const found = checks.find(({ name }) => name === "fleet") ?? {};
  // The server has not made its tables yet.
  assert.equal(found["status"], "warn", found["message"]);
  assert.match(found["message"] ?? "", /127\.0\.0\.1:\d+\/fleet does not wait for its disk/);
  postgres.sql("CREATE ROLE other LOGIN");
  const { url } = postgres;
  for (const [wrong, says] of [
    [url.replace("/fleet", "/nowhere"), /no database of the name in its URL/],
    [url.replace("symphony@", "nobody@"), /the user or the password of its URL is wrong/],
    [url.replace("symphony@", "other@"), /its user may not do what a fleet needs: GRANT CREATE/],
    [`${url}?sslmode=verify-full`, /it has no TLS/],
  ] as const) {
    const opened = openEngine(wrong, { fleet: "f", tables: "make" });
    await assert.rejects(opened, (error) => {
      assert.ok(error instanceof SymphonyError);
      assert.equal(error.code, "engine_refused");
      assert.match(error.message, says);
      return true;
    });
  }
  const worker = openEngine(url, { fleet: "f" });
  await assert.rejects(worker, { code: "engine_unavailable", hint: /start the server/ });
});

test("30: an attempt runs on a worker, its work comes back, and an abort ends every process of it", async () => {
  await world.serve();
  first = await world.worker("build-1", "--capacity", "1");
  const one = await running();
  assert.equal(one.run?.worker_host, "build-1", first.log);
  assert.deepEqual(await succeeded(one.id), [["build-1", "succeeded", null]]);
  const { workspace } = await world.client.issues.detail({ params: { id: one.id } });
  const read = (name: string) => readFileSync(`${workspace.path}/${name}`, "utf8");
  assert.equal(read("where").trim(), `${first.dir}/workspaces/${one.id}`);
  assert.equal(read("one"), "one\ntwo\n");
  const two = await running();
  await symphony(world.place, "abort", two.id, "--reason", "enough");
  await eventually("its processes are gone", async () => !isAlive(two.pid));
});

test("30: an attempt whose letters are broken is ended on the worker, and tried again", async () => {
  const { id, pid, run } = await running();
  const [fleet, epoch] = postgres
    .sql("SELECT fleet, split_part(lead, '|', 1) FROM symphony.lead")
    .split("|");
  const stream = postgres.sql("SELECT 'up:' || worker FROM symphony.lease");
  postgres.sql(
    `SELECT symphony.append('${fleet}', '${stream}', '${run?.attempt_id}-${epoch}', 9999, true, 'x', 'c')`,
  );
  await eventually("its processes are gone", async () => !isAlive(pid));
  assert.deepEqual(await succeeded(id), [
    ["build-1", "failed", "worker_lost"],
    ["build-1", "succeeded", null],
  ]);
});

test("9: a database whose tables are emptied, and then one that has lost them, is used again", async () => {
  const one = await running();
  const names = postgres.sql(
    "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables WHERE schemaname LIKE 'symphony%'",
  );
  postgres.sql(`TRUNCATE ${names} RESTART IDENTITY CASCADE`);
  await eventually("its agent was ended", async () => !isAlive(one.pid));
  await succeeded(one.id);
  const two = await running();
  postgres.sql("DROP SCHEMA symphony, symphony_jobs CASCADE");
  await eventually("its agent was ended", async () => !isAlive(two.pid));
  await succeeded(two.id);
});

test("4: a database that is away ends the agents, and one that is killed (-9) and comes back loses nothing that it had", async () => {
  const one = await running();
  await postgres.down();
  await eventually("no agent is left", async () => !isAlive(one.pid));
  await postgres.up();
  await succeeded(one.id);
  const two = await running();
  await postgres.down();
  await postgres.up();
  assert.deepEqual(await succeeded(two.id), [["build-1", "succeeded", null]]);
});

test("an issue is moved in mid-attempt; the worker is stopped (SIGSTOP): never twice; killed (-9) and started again it takes attempts", async () => {
  const second = await world.worker("build-2", "--capacity", "1");
  const { id, run } = await running();
  const from = run?.worker_host ?? "";
  const to = from === "build-1" ? "build-2" : "build-1";
  const moved = await symphony(world.place, "move", id, "--to", to);
  assert.equal(moved.code, 0, moved.stderr);
  const runsOn = async () => (await world.client.system.state()).running[0]?.worker_host;
  await eventually("it runs there", async () => (await runsOn()) === to);
  await symphony(world.place, "move", id, "--to", "any");
  const holder = to === "build-1" ? first : second;
  holder.child.kill("SIGSTOP");
  await eventually("its agent was ended", async () => agentsIn(holder.dir) === 0);
  assert.deepEqual(await succeeded(id), [
    ...[
      [from, "interrupted", "stopped"],
      [from, "succeeded", null],
      [to, "failed", "worker_lost"],
    ],
  ]);
  holder.child.kill("SIGKILL");
  const again = world.again(holder.name, null, "--capacity", "1");
  await world.isReady(holder.name, again);
});

test("28: a server that is killed (-9) and starts again ends the agents of its predecessor first; five connections a worker; what ended leaves nothing", async () => {
  const { id } = await running();
  await world.server?.crash();
  await world.serve();
  await succeeded(id);
  const left = () =>
    postgres.sql(
      "SELECT 'a part of ' || run FROM symphony.part UNION ALL SELECT 'the job ' || id FROM symphony_jobs.job",
    );
  await eventually(`nothing is left: ${left()}`, async () => left() === "");
  const count = () =>
    Number(postgres.sql("SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = 'fleet'"));
  await eventually(`${count()} connections`, async () => count() <= 2 * 5 + 3 + 2);
  assert.doesNotMatch(world.server?.log ?? "", /level=error/);
});

test("a drained worker ends by itself, and a removed one with the reason", async () => {
  const workers = world.started.filter(({ child }) => child.exitCode === null && !child.signalCode);
  const [drained, removed] = ["build-1", "build-2"].map((name) =>
    workers.find((one) => one.name === name),
  );
  await symphony(world.place, "workers", "drain", "build-1");
  assert.equal(await drained?.exited(), 0, drained?.log);
  await symphony(world.place, "workers", "remove", "build-2");
  assert.notEqual(await removed?.exited(), 0);
  assert.match(removed?.log ?? "", /build-2 was removed from the fleet/);
  // Once its lease is over nothing is kept for it but the word that it was removed, for a while.
  const kept = () =>
    postgres.sql(
      "SELECT count(DISTINCT queue) FROM symphony_jobs.meta UNION ALL SELECT count(*) FROM symphony.note WHERE kind = 'agents' UNION ALL SELECT count(*) FROM symphony.note WHERE value = 'removed' AND until IS NULL",
    );
  await eventually("its queue is gone", async () => kept() === "1\n1\n0");
});

test("15: a worker ends in words when a newer server makes tables that it may not use, and the server says so", async () => {
  const worker = await world.worker("build-3");
  postgres.sql(
    "ALTER FUNCTION symphony.hold RENAME TO hold_9; ALTER FUNCTION symphony.observe RENAME TO observe_9; COMMENT ON SCHEMA symphony IS '9'",
  );
  assert.notEqual(await worker.exited(), 0);
  const says = /it has tables of a newer symphony \(their version is 9, and this one knows 1\)/;
  assert.match(worker.log, says);
  await eventually("the server says so", async () => says.test(world.server?.log ?? ""));
});

/** Processes with a directory below `dir`. */
function agentsIn(dir: string): number {
  const script = `n=0; for d in /proc/[0-9]*/cwd; do case $(readlink "$d" 2>/dev/null) in "$1"/*) n=$((n+1)); esac; done; echo $n`;
  return Number(execFileSync("bash", ["-c", script, "count", dir], { encoding: "utf8" }));
}
