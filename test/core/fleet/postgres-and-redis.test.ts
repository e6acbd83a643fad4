// Each engine gives the same answers, and two fleets on one engine see nothing of each other.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  type Engine,
  type Job,
  mostParts,
  type Part,
  type Reader,
  type Stream,
} from "../../../src/core/fleet/engine.ts";
import { openEngine } from "../../../src/core/fleet/opening.ts";
import { sweeps, sweptAtOnce } from "../../../src/core/fleet/tables.ts";
import { type EngineServer, RedisServer } from "../../support/worlds/fleet.ts";
import { PostgresServer } from "../../support/worlds/postgres.ts";
import { eventually } from "../../support/worlds/symphony.ts";

const servers: Record<string, EngineServer> = {};
let postgres: PostgresServer;
before(async () => {
  servers["Redis"] = await RedisServer.start();
  postgres = await PostgresServer.start();
  servers["PostgreSQL"] = postgres;
});
after(async () => {
  for (const one of Object.values(servers)) await one[Symbol.asyncDispose]();
});

/** What looks into the engine past symphony. */
const of = (name: string) => {
  const server = servers[name];
  return server instanceof RedisServer
    ? { redis: server }
    : { sql: (query: string) => postgres.sql(query) };
};
const text = (value: Buffer | null | undefined) => value?.toString() ?? null;
const up: Stream = { way: "up", worker: "w" };

async function read(reader: Reader, least: number): Promise<readonly Part[]> {
  const all: Part[] = [];
  await eventually("the parts are there", async () => {
    all.push(...(await reader.next([up])));
    await reader.done();
    return all.length >= least;
  });
  return all;
}

for (const name of ["Redis", "PostgreSQL"]) {
  test(`${name}: leads, leases, notes, letters and requests are those of one fleet, and expire by the engine's clock`, async () => {
    const open = (fleet: string): Promise<Engine> =>
      openEngine(servers[name]?.url ?? "", { fleet, tables: "make" });
    await using one = await open("one");
    await using other = await open("other");
    const lead = "7|h|/a|b|6000";
    const led = async (engine: Engine, mine: string, ms = 60_000) =>
      (await engine.observe(mine, ms, ["v", "w"])).lead;

    assert.equal(await led(one, lead), "taken");
    assert.equal(await led(one, lead), "kept");
    assert.equal(await led(one, "9|i|/a|b|6000"), `held ${lead}`);
    assert.equal(await led(one, "6|h|/a|b|6000"), `held ${lead}`);
    assert.equal(await led(one, "8|h|/a|b|9000"), "taken");
    assert.equal(await other.lead(), null);
    assert.equal(await led(other, "1|i|/|6000"), "taken");

    const lease = { worker: "w", epoch: "8", instance: "i", leaseMs: 60_000 };
    const as = (instance: string, more = {}) => ({
      ...{ ...lease, instance, presence: Buffer.from(`of ${instance}`), ...more },
    });
    assert.equal(await one.renew(as("i")), "gone");
    // With how long the lead lasts yet.
    const isGranted = (answer: string) => assert.match(answer, /^ok [3-6]\d{4}$/);
    isGranted(await one.claim(as("i"), ""));
    assert.equal(await one.claim(as("j"), ""), "held");
    isGranted(await one.claim(as("j"), "i"));
    assert.equal(await one.renew(as("i")), "held");
    isGranted(await one.renew(as("j")));
    assert.equal(await one.renew(as("j", { epoch: "7" })), "lead 8");
    assert.equal(await one.giveBack(as("i")), "held");
    assert.equal(await one.giveBack(as("j")), "ok");
    assert.equal(await one.renew(as("j")), "held");
    const { presences } = await one.observe("8|h|/a|b|9000", 60_000, ["v", "w"]);
    assert.deepEqual(presences.map(text), [null, "of j"]);
    isGranted(await one.claim(as("k", { leaseMs: 50 }), ""));
    await eventually("the lease expires", async () => {
      return (await one.observe("8|h|/a|b|9000", 60_000, ["w"])).presences[0] === null;
    });
    assert.equal(await one.renew(as("k")), "gone");
    assert.equal(await other.claim(as("i"), ""), "lead 1");

    await one.note("order", "w", "drain");
    await one.note("joined", "x", Buffer.from("yes"), 50);
    assert.deepEqual((await one.notes("order", ["v", "w"])).map(text), [null, "drain"]);
    assert.deepEqual(await other.notes("order", ["w"]), [null]);
    await eventually("it expires", async () => (await one.notes("joined", ["x"]))[0] === null);
    await one.note("order", "w", null);
    assert.deepEqual(await one.notes("order", ["w"]), [null]);

    const parts = Array.from({ length: 70 }, (_, at) => ({
      ...{ run: "r", seq: at + 1, isLast: at === 69, data: Buffer.from([0, 255, at]) },
    }));
    for (const part of parts) await one.append(up, part);
    const reader = one.reader();
    assert.deepEqual(await read(reader, 70), parts);
    assert.deepEqual(await other.reader().next([up]), []);
    assert.deepEqual(await one.reader().next([up]), [], "what was read is deleted");

    // Writers wait for a slow reader: neither the engine's memory nor the way of the others is theirs.
    let written = 0;
    const writing = (async () => {
      for (; written < 1_300; written++)
        await one.append(up, { run: "q", seq: written + 1, isLast: true, data: Buffer.from("x") });
    })();
    await eventually("it is full", async () => written >= mostParts);
    await delay(500);
    assert.ok(written <= mostParts + 100, `${written}`);
    const slow = await read(one.reader(), 1_300);
    await writing;
    assert.deepEqual(
      slow.map(({ seq }) => seq),
      slow.map((_, at) => at + 1),
    );

    const id = await one.ask("invitation", Buffer.from("sealed"));
    assert.deepEqual(await other.requests(), []);
    const [request] = await one.requests();
    assert.deepEqual(
      [request?.id, request?.invitation, text(request?.sealed)],
      [...[id, "invitation", "sealed"]],
    );
    await one.deleteRequest(id);
    assert.deepEqual(await one.requests(), []);

    const queue = one.queue("w");
    await queue.add("run", "i");
    await assert.rejects(queue.add("run", "i"), /an id came twice, which is a bug/);
    assert.equal(await one.waiting("w"), 1);
    await queue.drop("run");
    assert.equal(await one.waiting("w"), 0);
    await queue.close();

    // What jobs leave is bounded, and gone with their worker.
    const ended = new Set<string>();
    const take = async ({ id }: Job) => void ended.add(id ?? "");
    const taker = one.taker({ worker: "x", lockMs: 15_000, concurrency: 20, take });
    const taking = taker.run();
    const many = one.queue("x");
    const runs = Array.from({ length: 160 }, (_, at) => `x-${at}`);
    for (const run of runs) await many.add(run, "i");
    await eventually("they have ended", async () => ended.size === runs.length);
    await taker.close(false);
    await taking;
    const { redis, sql } = of(name);
    const events = () =>
      sql?.("SELECT count(*) FROM symphony_jobs.event WHERE queue = 'x'") ??
      redis?.cli("xlen", "{symphony:one}:x:events");
    assert.ok(Number(events()) > 0);
    // Each job has four; it is cut in portions of a hundred or so.
    assert.ok(Number(events()) < 512, events());
    await many.forget();
    await many.close();
    const left =
      sql?.(
        "SELECT queue FROM symphony_jobs.job WHERE queue = 'x' UNION ALL SELECT queue FROM symphony_jobs.meta WHERE queue = 'x' UNION ALL SELECT queue FROM symphony_jobs.event WHERE queue = 'x'",
      ) ?? redis?.cli("--scan", "--pattern", "{symphony:one}:x*");
    assert.equal(left, "");

    await other.leave(lead);
    await one.leave(lead);
    assert.equal(await one.lead(), "8|h|/a|b|9000");
    await one.leave("8|h|/a|b|9000");
    assert.deepEqual([await one.lead(), await other.lead()], [null, "1|i|/|6000"]);
    assert.equal(await one.claim(as("i"), ""), "no lead");
  });
}

test("PostgreSQL: the tables of BullMQ are brought up to date at each start, and made anew when they alone are gone; what nothing needs is swept in parts", async () => {
  postgres.sql("CREATE DATABASE older", "postgres");
  const sql = (text: string) => postgres.sql(text, "older");
  const version = () => sql("SELECT max(version) FROM symphony_jobs.migration");
  const url = postgres.url.replace("/fleet", "/older");
  const make = (as = url) => openEngine(as, { fleet: "one", tables: "make" });
  // What an earlier BullMQ makes.
  const require = createRequire(import.meta.url);
  const { MIGRATIONS: steps } = require(
    join(dirname(require.resolve("bullmq")), "postgres/migrations/index.js"),
  ) as { MIGRATIONS: unknown[] };
  const newest = steps.length;
  const later = steps.splice(9);
  await using one = await make();
  steps.push(...later);
  assert.equal(version(), "9");
  sql("CREATE ROLE plain LOGIN");
  const asWorker = openEngine(url.replace("symphony@", "plain@"), { fleet: "one" });
  await assert.rejects(asWorker, {
    code: "engine_refused",
    message: /GRANT USAGE ON SCHEMA symphony/,
  });
  sql(`GRANT USAGE ON SCHEMA symphony, symphony_jobs TO plain;
    GRANT ALL ON ALL TABLES IN SCHEMA symphony, symphony_jobs TO plain`);
  await using plain = await make(url.replace("symphony@", "plain@"));
  assert.equal(await plain.lead(), null);
  assert.equal(version(), "9");
  await using again = await make();
  assert.equal(version(), String(newest));

  sql(`INSERT INTO symphony.part (fleet, stream, run, seq, is_last, data, at)
    SELECT 'one', 'up:w', 'r', n, false, '', now() - interval '2 hours' FROM generate_series(1, 250) n`);
  for (const one of sweeps) assert.match(sql(one), /^DELETE \d+$/m, one);
  assert.equal(sql("SELECT count(*) FROM symphony.part"), String(250 - sweptAtOnce));

  sql("UPDATE symphony_jobs.migration SET min_client_version = 99");
  await assert.rejects(make(), { code: "engine_refused", message: /those of a newer symphony/ });
  sql("DROP SCHEMA symphony_jobs CASCADE");
  const queue = again.queue("w");
  await assert.rejects(queue.add("run", "i"));
  await queue.add("run", "i");
  assert.equal(await one.waiting("w"), 1);
  await queue.close();
});
