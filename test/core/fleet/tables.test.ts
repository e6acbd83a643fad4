// What a process of a fleet finds in a PostgreSQL as it starts: tables of an earlier or of a newer version, and a database that it
// can read but not work with.

import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { after, before, beforeEach, test } from "node:test";
import { PostgresEngine } from "../../../src/core/fleet/postgres.ts";
import { ownTables, type Tables } from "../../../src/core/fleet/tables.ts";
import { Pooler } from "../../support/worlds/pooler.ts";
import { PostgresServer } from "../../support/worlds/postgres.ts";

let postgres: PostgresServer;
before(async () => {
  postgres = await PostgresServer.start();
});
after(() => postgres[Symbol.asyncDispose]());
beforeEach(() => void postgres.sql("DROP SCHEMA IF EXISTS symphony, symphony_jobs CASCADE"));

const open = (own: Tables, tables: "make" | "need" | "any" = "make", url = postgres.url) =>
  PostgresEngine.open(url, { address: "db", fleet: "f", tables, own });
/** What a later release might have: the first step is for everyone, the second one renames what earlier ones call. */
const second: Tables = {
  ...{ version: 2, usableFrom: 1, make: ownTables.make },
  steps: ["CREATE TABLE symphony.step (at text); INSERT INTO symphony.step VALUES ('second')"],
};
const third: Tables = {
  ...{ version: 3, usableFrom: 3, make: ownTables.make },
  steps: [
    ...second.steps,
    "ALTER FUNCTION symphony.hold RENAME TO hold_3; INSERT INTO symphony.step VALUES ('third')",
  ],
};
const lead = "1|h|/a|5000";
const lease = {
  ...{ worker: "w", epoch: "1", instance: "i", leaseMs: 60_000, presence: Buffer.from("p") },
};
const steps = () => postgres.sql("SELECT string_agg(at, ' ' ORDER BY at) FROM symphony.step");
const version = () =>
  postgres.sql("SELECT obj_description('symphony'::regnamespace, 'pg_namespace')");

test("of servers that start at once on earlier tables one migrates them, once; a worker and a server of the earlier version work on", async () => {
  await using earlier = await open(ownTables);
  await using worker = await open(ownTables, "need");
  assert.equal((await earlier.observe(lead, 60_000, ["w"])).lead, "taken");
  assert.match(await worker.claim(lease, ""), /^ok/);
  await assert.rejects(open(second, "need"), {
    ...{
      code: "engine_unavailable",
      message: "the engine at db has tables of an earlier symphony",
    },
    hint: /where the server of the fleet runs and start that first/,
  });
  // It makes nothing and asks for nothing.
  await (await open(second, "any"))[Symbol.asyncDispose]();
  assert.equal(version(), "1");
  const servers = await Promise.all([1, 2, 3, 4].map(() => open(second)));
  for (const one of servers) await one[Symbol.asyncDispose]();
  assert.equal(steps(), "second");
  assert.equal(version(), "2 1");
  assert.match(await worker.renew(lease), /^ok/);
  const seen = await earlier.observe(lead, 60_000, ["w"]);
  assert.deepEqual([seen.lead, seen.presences.map(String)], ["kept", ["p"]]);
  // The way back: a server and a worker of the earlier version may start again.
  for (const how of ["make", "need"] as const)
    await (await open(ownTables, how))[Symbol.asyncDispose]();
  assert.equal(version(), "2 1");
});

test("servers that start at once on an empty database make its tables once", async () => {
  const servers = await Promise.all([1, 2, 3, 4].map(() => open(ownTables)));
  for (const one of servers) await one[Symbol.asyncDispose]();
  assert.equal(version(), "1");
});

test("newer tables that an earlier version may not use stop it in words, while it runs and at its start", async () => {
  await using server = await open(ownTables);
  await using worker = await open(ownTables, "need");
  await server.observe(lead, 60_000, ["w"]);
  await worker.claim(lease, "");
  // Over two versions at once.
  await using newer = await open(third);
  assert.equal(steps(), "second third");
  const says = /has tables of a newer symphony \(their version is 3, and this one knows 1\)/;
  await assert.rejects(worker.renew(lease), says);
  // It stays so, although other commands are answered.
  await worker.notes("order", ["w"]);
  assert.match(worker.trouble ?? "", says);
  for (const how of ["make", "need", "any"] as const)
    await assert.rejects(open(ownTables, how), {
      ...{ code: "engine_refused", message: says },
      hint: /install the version of symphony that the server of this fleet has/,
    });
  assert.equal(version(), "3");
  assert.equal(newer.trouble, null);
});

test("a migration that fails, or that its user may not do, changes nothing", async () => {
  await (await open(ownTables))[Symbol.asyncDispose]();
  const broken = { ...third, steps: [...second.steps, "SELECT 1 / 0"] };
  await assert.rejects(open(broken), { message: /division by zero/ });
  assert.equal(version(), "1");
  assert.equal(postgres.sql("SELECT to_regclass('symphony.step') IS NULL"), "t");
  postgres.sql(
    "CREATE ROLE other LOGIN; GRANT ALL ON SCHEMA symphony, symphony_jobs TO other; GRANT ALL ON ALL TABLES IN SCHEMA symphony, symphony_jobs TO other",
  );
  const renames = { ...second, steps: ["ALTER TABLE symphony.note RENAME TO notes"] };
  const as = postgres.url.replace("symphony@", "other@");
  await assert.rejects(open(renames, "make", as), {
    ...{ code: "engine_refused", message: /start the server once as the user that made them/ },
  });
  assert.equal(version(), "1");
  // A schema that something else has made is left alone.
  postgres.sql("COMMENT ON SCHEMA symphony IS 'songs'");
  await assert.rejects(open(ownTables), {
    ...{ code: "engine_refused", message: /has a schema symphony that is not of symphony/ },
    hint: /another database/,
  });
});

test("a database that takes no writes is refused at the start, for what it is, and changes nothing", async () => {
  const refused = async (says: RegExp) => {
    for (const how of ["make", "need", "any"] as const)
      await assert.rejects(open(ownTables, how), { code: "engine_refused", message: says });
  };
  postgres.sql("ALTER DATABASE fleet SET default_transaction_read_only = on");
  await refused(/it is read-only: set default_transaction_read_only to off/);
  postgres.sql("ALTER DATABASE fleet RESET default_transaction_read_only", "postgres");
  await (await open(ownTables))[Symbol.asyncDispose]();
  const signal = `${postgres.sql("SHOW data_directory")}/standby.signal`;
  await postgres.down();
  writeFileSync(signal, "");
  await postgres.up();
  assert.equal(postgres.sql("SELECT pg_is_in_recovery()"), "t");
  await refused(/it is a replica, which takes no writes: name its primary/);
  await postgres.down();
  rmSync(signal);
  await postgres.up();
});

test("a pooler whose clients share sessions is refused at the start", async () => {
  await (await open(ownTables))[Symbol.asyncDispose]();
  await using pooler = await Pooler.start(postgres.port);
  const through = postgres.url.replace(/:\d+\//, `:${pooler.port}/`);
  for (const how of ["make", "need"] as const)
    await assert.rejects(open(ownTables, how, through), {
      ...{
        code: "engine_refused",
        message: /pooler whose clients share sessions: name PostgreSQL/,
      },
    });
});
