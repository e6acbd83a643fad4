// A worker on the machine of the server, with a real redis-server between them.

import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { after, before, test } from "node:test";
import { FleetWorld } from "../../support/worlds/fleet.ts";
import { isAlive, symphony, eventually as until } from "../../support/worlds/symphony.ts";

// A second agent, whose program one of the workers has: `~` is the home of the worker.
const section = (line: string) => `agent:
  { kind: command, level: danger, max_turns: 1, max_retry_backoff_ms: 1000, by_label: { special: { use: special } } }
agents: { special: { kind: command, provider: { line: ~/special-agent, output: text } } }
command: { line: "${line}", output: text }`;

let world: FleetWorld;
const eventually = <T>(what: string, ask: () => Promise<T | null | undefined | false>) =>
  until(() => `${what}\n${world.logs}`, ask);
before(async () => {
  // It works until it may go; what it was told is in its file.
  world = await FleetWorld.open(
    `hostname > host; cat > "$shared/prompt" <&0
until [ -e "$shared/go" ]; do sleep 0.1; done
pwd > where; echo two >> one; echo done`,
    section,
    { isCluster: true },
  );
  await world.serve();
});
after(() => world[Symbol.asyncDispose]());

test("30: without a worker an issue waits, no attempt is counted, and explain says what it waits for", async () => {
  await world.issue();
  const told = await symphony(world.place, "explain", "LOCAL-1");
  assert.match(told.stdout, /no worker has joined the fleet/);
  const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-1" } });
  assert.deepEqual(attempts, []);
});

test("30: the agent runs on the worker that the record names, in the worker's own directory, and its work comes back", async () => {
  const worker = await world.worker("build-1", "--label", "gpu", "--capacity", "2");
  await eventually("the agent has started", async () => world.shared("started").length > 0);
  const { running } = await world.client.system.state();
  assert.equal(running[0]?.worker_host, "build-1", worker.log);
  const state = await symphony(world.place, "state");
  assert.match(state.stdout, /1 of 1 workers ready, 1 of 2 slots in use/);
  const list = await symphony(world.place, "workers", "list");
  assert.match(list.stdout, /build-1 .*1 of 2 .*gpu .*ready/);
  const [line = ""] = world.shared("started");
  assert.ok(line.startsWith(`${worker.dir}/workspaces/LOCAL-1 `), line);
  const told = await symphony(world.place, "metrics");
  for (const [name, value] of [
    ["ready", 1],
    ["slots", 2],
    ["attempts", 1],
  ]) {
    assert.ok(
      told.stdout.includes(`symphony_worker_${name}{worker="build-1"} ${value}\n`),
      name as string,
    );
  }
  world.go();
  const [attempt] = await eventually("it has ended", async () => {
    const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-1" } });
    return attempts.at(-1)?.ended_at == null ? null : attempts;
  });
  assert.equal(attempt?.status, "succeeded", `${world.server?.log}\n${worker.log}`);
  assert.equal(attempt?.worker_host, "build-1");
  const { workspace } = await world.client.issues.detail({ params: { id: "LOCAL-1" } });
  const { path } = workspace;
  const read = (name: string) => readFileSync(`${path}/${name}`, "utf8");
  assert.equal(read("host").trim(), hostname());
  assert.equal(read("where").trim(), `${worker.dir}/workspaces/LOCAL-1`);
  assert.equal(read("one"), "one\ntwo\n");
  assert.equal(world.wasTwice, false);
});

test("30: what a person does with a running agent reaches it on the worker: abort ends every process of it", async () => {
  world.stop();
  await world.issue("Two");
  const line = await eventually(
    "the second agent has started",
    async () => world.shared("started")[1],
  );
  const pid = Number(line.split(" ")[1]);
  const aborted = await symphony(world.place, "abort", "LOCAL-2", "--reason", "enough");
  assert.equal(aborted.code, 0, aborted.stderr);
  await eventually("its processes are gone", async () => !isAlive(pid));
  await eventually("it is held", async () => {
    const { status } = await world.client.issues.detail({ params: { id: "LOCAL-2" } });
    return status === "held";
  });
  const { running } = await world.client.system.state();
  assert.deepEqual(running, []);
});

test("6: a worker that is cordoned gets nothing new, is told apart from a lost one, and takes up work again", async () => {
  world.go();
  const cordoned = await symphony(world.place, "workers", "cordon", "build-1");
  assert.equal(cordoned.code, 0, cordoned.stderr);
  await world.issue("Three");
  const state = await symphony(world.place, "state");
  assert.match(state.stdout, /0 of 1 workers ready, 0 of 0 slots in use; build-1: cordoned/);
  const explained = await symphony(world.place, "explain", "LOCAL-3");
  assert.match(explained.stdout, /build-1 takes nothing: cordoned/);
  await symphony(world.place, "workers", "cordon", "build-1", "--off");
  await eventually("it has ended", async () => {
    const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-3" } });
    return attempts.at(-1)?.status === "succeeded";
  });
});

test("30: an attempt whose letters are broken on the server's side alone is ended on the worker, and tried again", async () => {
  world.stop();
  const before = world.shared("started").length;
  await world.issue("Four");
  const line = await eventually(
    "the agent has started",
    async () => world.shared("started")[before],
  );
  const [running] = (await world.client.system.state()).running;
  // A part with a number that does not follow: what came in between is lost.
  const [stream = ""] = world.redis.cli("--scan", "--pattern", "*:up:*").split("\n");
  const [lead = ""] = world.redis.cli("--scan", "--pattern", "*:lead").split("\n");
  const [epoch] = world.redis.cli("get", lead).split("|");
  const lost = ["r", `${running?.attempt_id}-${epoch}`, "s", "9999", "l", "1", "d", "x"];
  world.redis.cli("xadd", stream, "*", ...lost);
  await eventually("its processes are gone", async () => !isAlive(Number(line.split(" ")[1])));
  world.go();
  const attempts = await eventually("it has succeeded", async () => {
    const page = await world.client.issues.attempts({ params: { id: "LOCAL-4" } });
    return page.attempts.some(({ status }) => status === "succeeded") ? page.attempts : null;
  });
  assert.deepEqual(
    attempts.map(({ error }) => error?.code ?? null).sort(),
    ["worker_lost", null].sort(),
  );
  assert.equal(world.wasTwice, false);
});

test("18: a token works once; a used, a wrong and a missing one end the process with the command that mends it", async () => {
  const { token } = await world.client.workers.invite({ body: {} });
  const first = world.again("build-2", token);
  await world.isReady("build-2", first);
  for (const [join, says] of [
    [token, /the token was used already/],
    ["swt_nothing", /not one that symphony wrote/],
    [null, /has not joined a fleet/],
  ] as const) {
    await using other = world.again("build-3", join);
    assert.notEqual(await other.exited(), 0);
    assert.match(other.log, says);
    assert.match(other.log, /next: symphony workers invite/);
  }
  assert.doesNotMatch(`${world.server?.log}${first.log}`, new RegExp(token));
});

test("30: an agent whose program one worker has runs there alone, the other works on, and with neither able its issues wait and say why", async () => {
  const special = `${world.dir}/workers/build-2/special-agent`;
  writeFileSync(special, "#!/bin/sh\nhostname > special; echo done\n", { mode: 0o755 });
  const agentsOf = async (name: string) => {
    const found = (await world.seen(name))?.agents ?? [];
    return found.map(({ agent, trouble }) => [agent, trouble === null]);
  };
  await symphony(world.place, "refresh");
  await eventually("each worker has told", async () => {
    const told = [await agentsOf("build-1"), await agentsOf("build-2")];
    return JSON.stringify(told).match(/\["special",false\].*\["special",true\]/);
  });
  const list = await symphony(world.place, "workers", "list");
  assert.match(list.stdout, /build-1 .*ready, but not for special: .*there is no such program/);
  assert.match(list.stdout, /build-2 .*ready\n/);
  const { stdout: metrics } = await symphony(world.place, "metrics");
  assert.match(metrics, /symphony_worker_agent\{worker="build-1",agent="command"\} 1\n/);
  assert.match(metrics, /symphony_worker_agent\{worker="build-1",agent="special"\} 0\n/);
  await world.issue("Five", "--label", "special");
  const attempt = await eventually("it has ended", async () => {
    const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-5" } });
    return attempts.find(({ ended_at: end }) => end !== null);
  });
  assert.deepEqual([attempt.status, attempt.worker_host], ["succeeded", "build-2"]);
  rmSync(special);
  await symphony(world.place, "refresh");
  await eventually("build-2 has told", async () => {
    return (await agentsOf("build-2")).some(([agent, able]) => agent === "special" && !able);
  });
  await world.issue("Six", "--label", "special");
  const told = await symphony(world.place, "explain", "LOCAL-6");
  assert.match(told.stdout, /no worker can run it: build-1: .*; build-2: /);
  await world.issue("Seven");
  await eventually("the other agent works on", async () => {
    const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-7" } });
    return attempts.at(-1)?.status === "succeeded";
  });
  const { attempts } = await world.client.issues.attempts({ params: { id: "LOCAL-6" } });
  assert.deepEqual(attempts, []);
});

test("an issue is moved in mid-attempt: it runs on the other worker alone", async () => {
  world.stop();
  const before = world.shared("started").length;
  await world.issue("Eight");
  await eventually("the agent has started", async () => world.shared("started").length > before);
  const from = (await world.client.system.state()).running[0]?.worker_host ?? "";
  const to = from === "build-1" ? "build-2" : "build-1";
  const wrong = await symphony(world.place, "move", "LOCAL-8", "--to", "build-9");
  assert.match(wrong.stderr, /there is no worker build-9/);
  const moved = await symphony(world.place, "move", "LOCAL-8", "--to", to);
  assert.equal(moved.code, 0, moved.stderr);
  const says = `LOCAL-8 runs on ${to}, once the attempt on ${from} has ended`;
  assert.ok(moved.stderr.includes(says), moved.stderr);
  await eventually("it runs there", async () => {
    return (await world.client.system.state()).running[0]?.worker_host === to;
  });
  world.go();
  const attempts = await eventually("it has ended", async () => {
    const page = await world.client.issues.attempts({ params: { id: "LOCAL-8" } });
    return page.attempts.some(({ status }) => status === "succeeded") ? page.attempts : null;
  });
  assert.deepEqual(
    attempts.map(({ worker_host: host, status }) => [host, status]).sort(),
    [
      [from, "interrupted"],
      [to, "succeeded"],
    ].sort(),
  );
  assert.equal(world.wasTwice, false);
  const { workspace } = await world.client.issues.detail({ params: { id: "LOCAL-8" } });
  assert.equal(readFileSync(`${workspace.path}/one`, "utf8"), "one\ntwo\n");
  const audit = await symphony(world.place, "audit", "--json");
  assert.match(audit.stdout, /issues\.move/);
});

test("every key of a fleet is in one slot of a cluster, and a worker has four connections, whatever it runs", async () => {
  const keys = world.redis.cli("--scan").split("\n").filter(Boolean);
  assert.ok(keys.length > 3);
  const [tag] = /^\{symphony:[0-9a-f]+\}:/.exec(keys[0] ?? "") ?? [];
  assert.ok(tag);
  assert.deepEqual(
    keys.filter((key) => !key.startsWith(tag)),
    [],
  );
  const count = () => world.redis.cli("client", "list").split("\n").length;
  await eventually("nothing runs", async () => {
    return (await world.client.system.state()).running.length === 0;
  });
  const idle = count();
  world.stop();
  const before = world.shared("started").length;
  for (const title of ["Nine", "Ten", "Eleven"]) await world.issue(title);
  await eventually("they run", async () => world.shared("started").length >= before + 3);
  assert.equal(count(), idle);
  // Of each worker four, of the server two and one for each queue, and the one that asks.
  assert.equal(idle, 2 * 4 + 2 + 2 + 1, world.redis.cli("client", "list"));
  world.go();
  await eventually("they have ended", async () => {
    return (await world.client.system.state()).running.length === 0;
  });
  // What ended attempts leave has an end.
  const left = world.redis
    .cli("--scan")
    .split("\n")
    .filter((key) => /att_/.test(key));
  assert.deepEqual(
    left.filter((key) => world.redis.cli("ttl", key) === "-1"),
    [],
  );
});

test("a drained worker ends by itself, and a removed one with the reason", async () => {
  const [second] = world.started.filter(({ name }) => name === "build-2");
  await symphony(world.place, "workers", "drain", "build-2");
  assert.equal(await second?.exited(), 0, second?.log);
  await eventually("it is listed as drained", async () => {
    return (await world.seen("build-2"))?.why === "drained";
  });
  assert.doesNotMatch(world.server?.log ?? "", /a worker is lost.*build-2/);
  const [first] = world.started.filter(({ name }) => name === "build-1");
  await symphony(world.place, "workers", "remove", "build-1");
  assert.notEqual(await first?.exited(), 0);
  assert.match(first?.log ?? "", /build-1 was removed from the fleet/);
});

test("10, 18: doctor says what the engine keeps, and why it refuses", async () => {
  const { redis, place } = world;
  const checked = async (url = redis.url) => {
    const env = { ...place.env, FLEET_URL: url };
    const { stdout, stderr } = await symphony({ ...place, env }, "doctor", "--json");
    assert.notEqual(stdout, "", stderr);
    const { checks } = JSON.parse(stdout) as { checks: Record<string, string>[] };
    return checks.find(({ name }) => name === "fleet") ?? {};
  };
  const bare = await checked();
  assert.equal(bare["status"], "warn", bare["message"]);
  assert.match(bare["message"] ?? "", /keeps nothing on disk/);
  assert.equal(bare["next"], "redis-cli config set appendonly yes");
  redis.cli("config", "set", "appendonly", "yes");
  const kept = await checked();
  assert.equal(kept["status"], "ok", kept["message"]);
  assert.match(
    kept["message"] ?? "",
    /^Redis \d+\.\d+\.\d+ at redis:\/\/127\.0\.0\.1:\d+ answers$/,
  );
  redis.cli("config", "set", "requirepass", "right");
  const refused = await checked(redis.url.replace("redis://", "redis://:a-wrong-password@"));
  assert.deepEqual([refused["status"], refused["code"]], ["fail", "engine_refused"]);
  assert.match(refused["message"] ?? "", /the user or the password of its URL is wrong/);
  assert.doesNotMatch(JSON.stringify(refused), /a-wrong-password/);
});
