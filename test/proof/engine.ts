// `npm run engine`: an engine that is full, cannot save, has lost its scripts or takes no more connections; two projects on it; a
// server that stands still.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { agentsIn, FleetWorld, type WorkerProcess } from "../support/worlds/fleet.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

let world: FleetWorld;
let worker: WorkerProcess;
let made = 0;
before(async () => {
  world = await FleetWorld.open(
    `case $SYMPHONY_ISSUE_TITLE in Talks) for ((i = 0; i < 600; i++)); do echo "line $i"; sleep 0.01; done;; esac
until [ -e "$shared/go" ]; do sleep 0.1; done
echo done > result; echo done`,
    undefined,
    { leaseMs: 6_000 },
  );
  await world.serve();
  worker = await world.worker("build-1", "--capacity", "2");
});
after(() => world[Symbol.asyncDispose]());

const config = (name: string, value: string) =>
  assert.equal(world.redis.cli("config", "set", name, value), "OK");
const agents = () => agentsIn(join(worker.dir, "workspaces"));

async function running(title = "One") {
  world.stop();
  made += 1;
  const before = world.shared("started").length;
  await world.issue(title);
  await eventually(
    () => `it runs\n${world.logs.slice(-3_000)}`,
    async () => world.shared("started").length > before,
  );
  return `LOCAL-${made}`;
}

async function succeeded(id: string) {
  world.go();
  const attempts = await eventually(
    () => `${id} has succeeded\n${world.logs.slice(-3_000)}`,
    async () => {
      const { attempts: all } = await world.client.issues.attempts({ params: { id } });
      return all.some(({ status }) => status === "succeeded") && all;
    },
    90_000,
  );
  assert.equal(world.wasTwice, false, world.shared("twice").join("\n"));
  return attempts;
}

/** What the engine refuses in mid-attempt: the agent ends in time, one line says so, and all continues by itself. */
async function refuses(begin: () => Promise<void>, end: () => Promise<void>, says: RegExp) {
  const id = await running();
  const from = world.server?.log.length ?? 0;
  await begin();
  await eventually("no agent is left", async () => agents() === 0);
  await eventually("it is said", async () =>
    /does not answer/.test((await world.seen("build-1"))?.why ?? ""),
  );
  const said = (world.server?.log.slice(from) ?? "").match(
    /the engine of the fleet does not answer.*/g,
  );
  assert.equal(said?.length, 1, said?.join("\n"));
  assert.match(said[0] ?? "", says);
  await end();
  await succeeded(id);
}

test("10: an engine that is full ends the agents in time, is told once with its own words, and all continues by itself when it has room", () =>
  refuses(
    async () => config("maxmemory", "1"),
    async () => config("maxmemory", "0"),
    /OOM|maxmemory/,
  ));

test("10: an engine that cannot save what it has (MISCONF) does the same", async () => {
  const isSaved = () => /rdb_last_bgsave_status:ok/.test(world.redis.cli("info", "persistence"));
  const saves = (well: boolean) =>
    eventually("it has tried to save", async () => {
      world.redis.cli("bgsave");
      return isSaved() === well;
    });
  const [, dir = ""] = world.redis.cli("config", "get", "dir").split("\n");
  const inTheWay = join(dir, "dump.rdb");
  mkdirSync(join(inTheWay, "x"), { recursive: true });
  await refuses(
    async () => {
      config("save", "3600 1");
      await saves(false);
    },
    async () => {
      rmSync(inTheWay, { recursive: true });
      await saves(true);
      config("save", "");
    },
    /MISCONF|RDB/,
  );
});

test("9: an engine that has lost its scripts (SCRIPT FLUSH), or reads its data anew (DEBUG RELOAD), disturbs nothing", async () => {
  const id = await running();
  assert.equal(world.redis.cli("script", "flush"), "OK");
  const [attempt, ...more] = await succeeded(id);
  assert.deepEqual([attempt?.status, more], ["succeeded", []]);
  const next = await running();
  world.redis.cli("debug", "reload");
  assert.equal((await succeeded(next)).at(-1)?.status, "succeeded");
});

test("13: a server that stands still while an agent talks loses nothing of what it said, and no order of it", async () => {
  const id = await running("Talks");
  world.server?.child.kill("SIGSTOP");
  await eventually(
    "the engine has what the agent says",
    async () => Number(world.redis.cli("xlen", upOf())) > 20,
  );
  world.server?.child.kill("SIGCONT");
  const attempts = await succeeded(id);
  assert.equal(attempts.length, 1);
  const detail = await world.client.attempts.detail({
    params: { aid: attempts[0]?.id ?? "" },
    query: { limit: 1_000 },
  });
  const said = JSON.stringify(detail.events);
  const lines = [...said.matchAll(/line (\d+)/g)].map(([, at]) => Number(at));
  assert.deepEqual(
    lines.slice(-600),
    Array.from({ length: 600 }, (_, at) => at),
  );
  await eventually("the engine keeps none of it", async () =>
    ["0", ""].includes(world.redis.cli("xlen", upOf())),
  );
});

function upOf(): string {
  return world.redis.cli("keys", "*:up:*").split("\n")[0] ?? "";
}

test("19: another project on the same engine sees no worker and no attempt of this one, and disturbs neither", async () => {
  const id = await running();
  const place = {
    ...world.place,
    dataDir: join(world.dir, "other"),
    env: { ...world.place.env, SYMPHONY_WORKSPACE__ROOT: join(world.dir, "others") },
  };
  await using other = await Served.start(place, "--i-understand");
  assert.deepEqual((await other.client.workers.list()).workers, []);
  const issue = await symphony(place, "issue", "create", "--title", "Other");
  assert.equal(issue.code, 0, issue.stderr);
  const told = await symphony(place, "explain", "LOCAL-1");
  assert.match(told.stdout, /no worker has joined the fleet/);
  assert.equal((await world.seen("build-1"))?.running, 1);
  await succeeded(id);
});

test("20: an engine that takes no further connection is named, keeps nothing from working, and the same token joins later", async () => {
  const id = await running();
  const held = connect(world.redis.port, "127.0.0.1");
  await once(held, "connect");
  held.resume();
  const count = () =>
    Number(/connected_clients:(\d+)/.exec(world.redis.cli("info", "clients"))?.[1]);
  const before = count();
  // All of them are taken, ours is kept.
  config("maxclients", String(before - 1));
  const { token } = await world.client.workers.invite({ body: {} });
  const late = world.again("build-2", token);
  await eventually(
    () => `it is said\n${late.log}`,
    async () => /does not answer: .*maxclients/.test(late.log),
  );
  await late.exited();
  assert.equal((await world.seen("build-1"))?.ready, true);
  held.end("CONFIG SET maxclients 10000\r\n");
  await eventually("there is room", async () => world.redis.cli("ping") === "PONG");
  await world.isReady("build-2", world.again("build-2", token));
  await succeeded(id);
});
