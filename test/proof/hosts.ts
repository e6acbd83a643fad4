// `npm run hosts [-- --short|--split] [--rounds N] [--seed N]`: a server, an engine (redis-server) and workers, each a host of its own
// (a network namespace), whose links fail: cut, deaf, mute or slow. Ends with 1 when two agents of an issue ran at one moment, an
// agent outlived its lease, work was lost, or a host that is back did not work on; with 2 where no namespaces can be made.
// With `--split` the engine is a master with a replica and sentinels, and the network falls apart into two halves.
import assert from "node:assert/strict";
import { cpSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { inspect, parseArgs } from "node:util";
import { agentsIn, FleetWorld } from "../support/worlds/fleet.ts";
import { type Fault, faults, Hosts, isInside, runInside } from "../support/worlds/hosts.ts";
import { Sentinels } from "../support/worlds/sentinels.ts";
import { randomFrom } from "../support/worlds/simulation.ts";
import { eventually } from "../support/worlds/symphony.ts";

const { values: given } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    split: { type: "boolean", default: false },
    rounds: { type: "string", default: "6" },
    seed: { type: "string", default: "1" },
  },
});
const [rounds, seed] = [Number(given.rounds), Number(given.seed)];
assert.ok(Number.isInteger(rounds) && Number.isInteger(seed), "--rounds and --seed are counts");
if (!isInside) {
  const file = fileURLToPath(import.meta.url);
  process.exit(await runInside([file, ...process.argv.slice(2)]));
}
// The process that made the network has ended: everything in it ends.
process.stdin.on("end", () => process.exit(1)).resume();

const leaseMs = given.short ? 6_000 : 15_000;
const limitMs = 120_000;
const kinds = Object.keys(faults) as Fault[];
/** Each has one place, so that as many issues run on as many of them; `spare` takes what they lose. */
const names = ["build-1", "build-2", "build-3"];
const hosts = Hosts.add("engine", "replica", ...names, "spare", "clone");
const agent = `(setsid bash -c 'while :; do sleep 1; done' &)
until [ -e "$shared/go" ]; do sleep 0.1; done
hostname > result; echo done`;
const sentinels = given.split
  ? await Sentinels.start({
      site: hosts,
      hosts: ["engine", "replica", "replica", "spare", "server"],
    })
  : null;
await using world = await FleetWorld.open(agent, undefined, {
  ...{ leaseMs, site: hosts },
  ...(sentinels && { engine: sentinels }),
});
process.stdout.write(`hosts: server, engine, ${names.join(", ")}, spare\n`);
await world.serve();
await Promise.all([
  ...names.map((name) => world.worker(name, "--capacity", "1")),
  world.worker("spare", "--capacity", "6"),
]);
let made = 0;

await step("each worker is known by the name of its host", async () => {
  const { workers } = await world.client.workers.list();
  assert.deepEqual(workers.map(({ host }) => host).sort(), [...names, "spare"].sort());
});
if (given.short) {
  await step("a worker unplugged, one deaf, one mute", () =>
    isolated(["unplugged", "deaf", "mute"]),
  );
  await step("the server cut off", () => withoutMiddle("server", "unplugged"));
} else if (sentinels) {
  for (let at = 1; at <= rounds; at++) await step("two halves, each with a master", halves);
} else {
  await step("links away for a third of the lease", blink);
  for (const kind of kinds) await step(`a worker ${kind}`, () => isolated([kind]));
  await step("every worker but one cut off", () => isolated(["unplugged", "down", "mute"]));
  for (const kind of kinds) {
    await step(`the server ${kind}`, () => withoutMiddle("server", kind));
    await step(`the engine ${kind}`, () => withoutMiddle("engine", kind));
  }
  await step("a slow link", slow);
  await step("a copy of a worker's directory on another host", cloned);
  for (let at = 1; at <= rounds; at++) await step(`round ${at} of seed ${seed}`, () => round(at));
}
assert.equal(world.wasTwice, false);
process.exit(0);

async function step(name: string, work: () => Promise<unknown>): Promise<void> {
  const from = performance.now();
  try {
    const said = await work();
    const seconds = ((performance.now() - from) / 1_000).toFixed(1);
    process.stdout.write(`ok ${name} (${seconds} s)${said ? `: ${said}` : ""}\n`);
  } catch (error) {
    const logs = world.started.map((one) => `${one.name}:\n${one.log.slice(-1_500)}`);
    process.stdout.write(`FAILED ${name}: ${inspect(error)}\n`);
    process.stdout.write(`${logs.join("\n")}\nserver:\n${world.server?.log.slice(-3_000)}\n`);
    process.exit(1);
  }
}

/** What an agent wrote when it started. */
interface Started {
  readonly issue: string;
  readonly pid: number;
  readonly atMs: number;
  readonly host: string;
}

function started(): readonly Started[] {
  return world.shared("started").map((line) => {
    const [path = "", pid, at] = line.split(" ");
    const [, host = "", issue = ""] = /workers\/(.*)\/workspaces\/(.*)$/.exec(path) ?? [];
    return { issue, pid: Number(pid), atMs: Number(at) * 1_000, host };
  });
}

/** One issue on each worker of `on`, whose agents wait; resolves with what they wrote. */
async function runningOn(on: readonly string[]): Promise<readonly Started[]> {
  world.stop();
  const others = [...names, "spare"].filter((name) => !on.includes(name));
  for (const name of others) await cordon(name, true);
  const before = started().length;
  await issues(on.length);
  const found = await eventually(
    `agents run on ${on}`,
    async () => {
      const all = started().slice(before);
      return all.length >= on.length ? all : null;
    },
    limitMs,
  );
  for (const name of others) await cordon(name, false);
  assert.deepEqual(found.map(({ host }) => host).sort(), [...on].sort());
  return found;
}

async function issues(count: number): Promise<readonly { readonly issue: string }[]> {
  const all: { issue: string }[] = [];
  for (let at = 0; at < count; at++) {
    made += 1;
    await world.client.issues.create({ body: { title: `Issue ${made}` } });
    all.push({ issue: `LOCAL-${made}` });
  }
  await world.client.system.refresh();
  return all;
}

async function cordon(name: string, cordoned: boolean): Promise<void> {
  await world.client.workers.cordon({ params: { name }, body: { cordoned } });
}

/** The key of the worker's lease, which ends with it. */
function leaseKey(host: string): string {
  const file = join(world.dir, "workers", host, "worker.json");
  const { fleet, id } = JSON.parse(readFileSync(file, "utf8")) as { fleet: string; id: string };
  return `{symphony:${fleet}}:worker:${id}`;
}

/** The agents of these workers end while the lease of each lasts; resolves with the shortest rest of a lease, ms. */
async function endedInTime(on: readonly Started[]): Promise<ReadonlyMap<string, number>> {
  const ended = new Map<string, number>();
  let rest = Number.POSITIVE_INFINITY;
  const keys = new Map(on.map(({ host }) => [host, leaseKey(host)]));
  await eventually(
    "the agents have ended",
    async () => {
      for (const { host, issue } of on) {
        if (ended.has(issue)) continue;
        const left = Number(world.redis.cli("pttl", keys.get(host) ?? ""));
        if (agentsIn(`${world.dir}/workers/${host}/workspaces`) > 0) continue;
        ended.set(issue, Date.now());
        rest = Math.min(rest, left);
      }
      return ended.size === on.length;
    },
    limitMs,
  );
  assert.ok(rest > 0, `the last agent ended after its lease (${rest})`);
  ended.set("rest", rest);
  return ended;
}

/** Workers are cut off in mid-attempt, each by its own fault. */
async function isolated(of: readonly Fault[]): Promise<string> {
  const cutOff = names.slice(0, of.length);
  const running = await runningOn(cutOff);
  const before = started().length;
  for (const [at, host] of cutOff.entries()) hosts.cut(host, of[at] ?? "unplugged");
  const ended = await endedInTime(running);
  // Any of them may have been what its worker died of, so `spare` takes one after another.
  world.go();
  const again = await eventually(
    "the issues run elsewhere",
    async () => {
      const all = started().slice(before);
      return running.every(({ issue }) => all.some((one) => one.issue === issue)) ? all : null;
    },
    limitMs,
  );
  const gaps = again.map(({ issue, atMs }) => atMs - (ended.get(issue) ?? Number.NaN));
  for (const gap of gaps) assert.ok(gap > 0, "the second agent started before the first ended");
  assert.deepEqual(
    again.filter(({ host }) => cutOff.includes(host)),
    [],
  );
  await allSucceeded(running);
  for (const host of cutOff) hosts.mend(host);
  for (const name of cutOff) await world.isReady(name);
  // Those that are back work on, all at once.
  const back = await runningOn(cutOff);
  world.go();
  await allSucceeded(back);
  const rest = ((ended.get("rest") ?? 0) / 1_000).toFixed(1);
  const gap = (Math.min(...gaps) / 1_000).toFixed(1);
  return `agents ended ${rest} s before their lease, the next ones began ${gap} s later`;
}

/** The server or the engine is cut off: workers end their agents by themselves, and all of it continues by itself. */
async function withoutMiddle(host: "server" | "engine", fault: Fault): Promise<string> {
  const running = await runningOn(names);
  hosts.cut(host, fault);
  const ended = await endedInTime(running);
  await delay(leaseMs / 2);
  hosts.mend(host);
  world.go();
  await allSucceeded(running);
  for (const name of names) await world.isReady(name);
  const rest = ((ended.get("rest") ?? 0) / 1_000).toFixed(1);
  return `agents ended ${rest} s before their lease`;
}

/** An absence of a third of the lease ends nothing. */
async function blink(): Promise<void> {
  const running = await runningOn(names);
  for (const host of [...names, "server", "engine"]) {
    hosts.cut(host, "unplugged");
    await delay(leaseMs / 3);
    hosts.mend(host);
    await delay(leaseMs / 2);
  }
  world.go();
  for (const attempts of await allSucceeded(running)) assert.equal(attempts.length, 1);
}

/** The old master and a worker on the one side; on the other the sentinels make the replica a master. */
async function halves(): Promise<string> {
  assert.ok(sentinels);
  const [old, next] =
    sentinels.master === sentinels.first.port && sentinels.first.address === hosts.address("engine")
      ? ["engine", "replica"]
      : ["replica", "engine"];
  const running = await runningOn(["build-1"]);
  const before = started().length;
  const minority = [old ?? "", "build-1"];
  hosts.split(minority);
  const from = Date.now();
  let ended = Number.NaN;
  const again = await eventually(
    "the issue runs elsewhere",
    async () => {
      const isOver = agentsIn(`${world.dir}/workers/build-1/workspaces`) === 0;
      if (isOver && Number.isNaN(ended)) ended = Date.now();
      return started()
        .slice(before)
        .find(({ issue }) => issue === running[0]?.issue);
    },
    limitMs,
  );
  const gap = again.atMs - ended;
  assert.ok(gap > 0, "the second agent started before the first ended");
  world.go();
  await allSucceeded(running);
  hosts.join(minority);
  for (const name of [...names, "spare"]) await world.isReady(name);
  await eventually("the old master follows", async () =>
    [sentinels.first, sentinels.second].some((one) =>
      /master_link_status:up/.test(one.cli("info", "replication")),
    ),
  );
  const seconds = [ended - from, gap].map((ms) => (ms / 1_000).toFixed(1));
  return `${next} took over; the agent ended after ${seconds[0]} s, the next one began ${seconds[1]} s later`;
}

async function slow(): Promise<string> {
  for (const host of names) hosts.slow(host, "48kbit");
  const from = performance.now();
  const running = await runningOn(names);
  const seconds = ((performance.now() - from) / 1_000).toFixed(1);
  await delay(leaseMs * 2);
  world.go();
  const attempts = await allSucceeded(running);
  for (const host of names) hosts.quicken(host);
  const tries = attempts.map((all) => all.length).join(", ");
  return `48 kbit/s each way: running after ${seconds} s, attempts ${tries}`;
}

/** Row 17 of what went wrong elsewhere: the copy is refused, the first is not disturbed. */
async function cloned(): Promise<void> {
  const running = await runningOn(names);
  cpSync(join(world.dir, "workers", "build-1"), join(world.dir, "workers", "clone"), {
    recursive: true,
    filter: (path) => !/\/workspaces|\.lock/.test(path),
  });
  const copy = world.again("clone");
  assert.notEqual(await copy.exited(), 0);
  assert.match(copy.log, /another process is the worker build-1 already/);
  rmSync(copy.dir, { recursive: true });
  world.go();
  for (const attempts of await allSucceeded(running)) assert.equal(attempts.length, 1);
}

/** Any hosts fail in any way for up to two leases and a half, while there is work for all. */
async function round(number: number): Promise<string> {
  const random = randomFrom(seed * 1_000 + number);
  const pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)] as T;
  world.go();
  const all = [...names, "spare", "engine", "server"];
  const chosen = all.filter(() => random() < 0.35);
  if (chosen.length === 0) chosen.push(pick(all));
  const work = await issues(8);
  const said = await Promise.all(
    chosen.map(async (host) => {
      const [fault, waitMs, forMs] = [pick(kinds), random() * 3_000, random() * leaseMs * 2.5];
      await delay(waitMs);
      hosts.cut(host, fault);
      await delay(forMs);
      hosts.mend(host);
      return `${host} ${fault} ${(forMs / 1_000).toFixed(0)} s`;
    }),
  );
  await allSucceeded(work);
  for (const name of [...names, "spare"]) await world.isReady(name);
  return said.join(", ");
}

/** Every attempt of each issue: the last succeeded, and each one before it was lost with its worker. */
async function allSucceeded(of: readonly Pick<Started, "issue">[]) {
  const found = await Promise.all(
    of.map(({ issue }) =>
      eventually(
        `${issue} succeeded`,
        async () => {
          const { attempts } = await world.client.issues.attempts({ params: { id: issue } });
          return attempts.some(({ status }) => status === "succeeded") ? attempts : null;
        },
        limitMs,
      ),
    ),
  );
  for (const { status, error } of found.flat())
    assert.equal(error?.code ?? status, status === "succeeded" ? "succeeded" : "worker_lost");
  for (const { issue } of of) {
    const detail = await world.client.issues.detail({ params: { id: issue } });
    const result = readFileSync(join(detail.workspace.path ?? "", "result"), "utf8").trim();
    const { attempts } = await world.client.issues.attempts({ params: { id: issue } });
    const done = attempts.filter(({ status }) => status === "succeeded");
    assert.deepEqual(
      done.map(({ worker_host: worker }) => worker),
      [result],
    );
  }
  assert.equal(world.wasTwice, false, world.shared("twice").join("\n"));
  return found;
}
