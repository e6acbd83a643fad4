import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openEngine } from "../src/core/fleet/opening.ts";
import { FleetWorld } from "../test/support/worlds/fleet.ts";
import { PostgresServer } from "../test/support/worlds/postgres.ts";
import { cpuMs, quantile, report, residentMb } from "./kit.ts";

// A server, its engine and workers on one machine, with agents in C that say ten messages a second each: dispatch, guidance
// and abort through the engine, what is stored, what it costs, and how long a worker's death takes.
// `node bench/fleet.ts [WORKERS AGENTS [redis|postgres]]`; what takes longer than its limit ends it with how far it came.

const [workers = 2, agents = 40] = process.argv.slice(2, 4).map(Number);
const postgres =
  process.argv[4] === "postgres" ? await PostgresServer.start({ fsync: "on" }) : null;
const perSecond = 10;
const seconds = 15;
const rounds = 30;
const waitMs = 60_000;
/** Of a new workspace, its copy and its agent, on two busy cores. */
const startMs = 3_000;
const program = join(process.env["TMPDIR"] ?? "/tmp", `symphony-bench-agent-${process.pid}`);
const source = fileURLToPath(new URL("agent.c", import.meta.url));

execFileSync("cc", ["-O2", "-o", program, source]);
await using world = await FleetWorld.open(
  "exit 0",
  `agent: { kind: codex, level: danger, max_concurrent_agents: ${agents} }
codex: { command: "exec ${program} ${perSecond}", read_timeout_ms: 600000, stall_timeout_ms: 0 }`,
  postgres === null ? {} : { engine: postgres },
);
const server = await world.serve();
const { client } = server;
for (let at = 1; at <= workers; at++)
  await world.worker(`build-${at}`, "--capacity", String(Math.ceil(agents / workers)));
const engine = postgres === null ? "Redis" : "PostgreSQL";
const name = (what: string) => `${engine}, ${workers} workers, ${agents} agents: ${what}`;
await dispatches();

const began = performance.now();
for (let at = 1; at <= agents; at++)
  await client.issues.create({ body: { title: `Give request ${at} an identifier` } });
await client.system.refresh();
const starting = Math.max(agents * startMs, waitMs);
await until(starting, async () => {
  const begun = await turnsBegun();
  return begun >= agents || `${begun} of ${agents} turns have begun`;
});
const allMs = performance.now() - began;
report({ name: name("all turns begun"), value: allMs, unit: "ms" });
report({ name: name("turns begun a second"), value: (agents * 1_000) / allMs, unit: "/s" });

const ids = Array.from({ length: agents }, (_, at) => `LOCAL-${at + 1}`);
const guided = await timed(rounds, (at) =>
  client.issues.steer({
    params: { id: ids[at % agents] ?? "" },
    body: { message: `Look at the second test, ${at}` },
  }),
);
report({
  name: name("guidance to the agent and its answer back"),
  value: quantile(guided, 0.5),
  unit: "ms",
  aim: { atMost: 50 },
  note: `p99 ${quantile(guided, 0.99).toFixed(1)} ms of ${rounds}`,
});

const pids = [server.child.pid ?? 0, ...world.started.map(({ child }) => child.pid ?? 0)];
const before = { seq: await lastSeq(), calls: calls(), cpu: pids.map(cpuMs) };
await delay(seconds * 1_000);
const stored = (await lastSeq()) - before.seq;
const said = agents * perSecond * seconds;
report({
  name: name("messages that are stored"),
  value: (100 * stored) / said,
  unit: "%",
  note: `${stored} events of ${said} messages in ${seconds} s`,
});
report({
  name: name("calls of the engine"),
  value: (calls() - before.calls) / seconds,
  unit: "/s",
  note: `${memoryMb()} MB of it used`,
});
const [ofServer = 0, ...ofWorkers] = pids.map(
  (pid, at) => (cpuMs(pid) - (before.cpu[at] ?? 0)) / (seconds * 10),
);
report({
  name: name("processor of the server"),
  value: ofServer,
  unit: "%",
  note: `workers ${ofWorkers.map((one) => one.toFixed(0)).join(", ")} %; resident ${pids.map((pid) => residentMb(pid).toFixed(0)).join(", ")} MB`,
});

const ended = await timed(Math.min(agents, rounds), async (at) => {
  const id = ids[at] ?? "";
  await client.issues.abort({ params: { id }, body: {} });
  await until(waitMs, async () => {
    const { status } = await client.issues.detail({ params: { id } });
    return status !== "running" || `${id} still runs`;
  });
});
report({
  name: name("abort to the end of the attempt"),
  value: quantile(ended, 0.5),
  unit: "ms",
  note: `p99 ${quantile(ended, 0.99).toFixed(0)} ms of ${ended.length}`,
});

// A worker dies with all of its agents; how long until the server knows that none of them can be alive.
const [dead] = world.started;
const killedAt = performance.now();
dead?.child.kill("SIGKILL");
await until(waitMs, async () => {
  const why = (await world.seen(dead?.name ?? ""))?.why;
  return why === "lost" || `the list says of the worker that was killed: ${why}`;
});
report({
  name: name("kill -9 of a worker until it counts as lost"),
  value: performance.now() - killedAt,
  unit: "ms",
  note: "with a lease of 15 s",
});

async function timed(times: number, work: (at: number) => Promise<unknown>): Promise<number[]> {
  const all: number[] = [];
  for (let at = 0; at < times; at++) {
    const from = performance.now();
    await work(at);
    all.push(performance.now() - from);
  }
  return all;
}

/** Asks again until the answer is true; after `ms` it throws the last one. */
async function until(ms: number, ask: () => Promise<true | string>): Promise<void> {
  const end = performance.now() + ms;
  for (;;) {
    const answer = await ask();
    if (answer === true) return;
    if (performance.now() > end) throw new Error(`not within ${ms / 1_000} s: ${answer}`);
    await delay(2);
  }
}

async function turnsBegun(): Promise<number> {
  const { running } = await client.system.state();
  // The phase comes first, and the turn when its agent has said so.
  return running.filter(({ phase, turn_count: turns }) => phase === "streaming_turn" && turns > 0)
    .length;
}

async function lastSeq(): Promise<number> {
  return (await client.system.state()).seq;
}

/** From the engine's queue to the worker that takes it, alone. */
async function dispatches(): Promise<void> {
  const url = postgres?.url ?? world.redis.url;
  await using open = await openEngine(url, { fleet: "bench" });
  const taken = new Map<string, number>();
  const taker = open.taker({
    worker: "bench",
    lockMs: 15_000,
    concurrency: 1,
    take: async ({ id }) => {
      taken.set(String(id), performance.now());
    },
  });
  void taker.run();
  const queue = open.queue("bench");
  const all: number[] = [];
  for (let at = 0; at < 200; at++) {
    const from = performance.now();
    await queue.add(`r-${at}`, "one");
    await until(waitMs, async () => taken.has(`r-${at}`) || `job ${at} was not taken`);
    all.push((taken.get(`r-${at}`) ?? 0) - from);
  }
  report({
    name: name("a job from the server to the worker"),
    value: quantile(all, 0.5),
    unit: "ms",
    note: `p99 ${quantile(all, 0.99).toFixed(1)} ms of ${all.length}`,
  });
  await Promise.all([taker.close(true), queue.close()]);
}

function calls(): number {
  if (postgres !== null)
    return Number(postgres.sql("SELECT xact_commit FROM pg_stat_database WHERE datname = 'fleet'"));
  return Number(/total_commands_processed:(\d+)/.exec(world.redis.cli("info", "stats"))?.[1]);
}

function memoryMb(): string {
  if (postgres !== null)
    return (Number(postgres.sql("SELECT pg_database_size('fleet')")) / 2 ** 20).toFixed(1);
  const used = /used_memory:(\d+)/.exec(world.redis.cli("info", "memory"))?.[1];
  return (Number(used) / 2 ** 20).toFixed(1);
}
