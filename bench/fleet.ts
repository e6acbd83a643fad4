import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { FleetWorld } from "../test/support/worlds/fleet.ts";
import { cpuMs, quantile, report, residentMb } from "./kit.ts";

// A server, its engine (redis-server) and workers on one machine, with agents in C that say ten messages a second each:
// dispatch, guidance and abort through the engine, what is stored, and what it costs. `node bench/fleet.ts [WORKERS AGENTS]`

const [workers = 2, agents = 40] = process.argv.slice(2).map(Number);
const perSecond = 10;
const seconds = 15;
const rounds = 30;
const program = join(process.env["TMPDIR"] ?? "/tmp", `symphony-bench-agent-${process.pid}`);
const source = fileURLToPath(new URL("agent.c", import.meta.url));

execFileSync("cc", ["-O2", "-o", program, source]);
await using world = await FleetWorld.open(
  "exit 0",
  `agent: { kind: codex, level: danger, max_concurrent_agents: ${agents} }
codex: { command: "exec ${program} ${perSecond}", read_timeout_ms: 600000, stall_timeout_ms: 0 }`,
);
const server = await world.serve();
const { client } = server;
for (let at = 1; at <= workers; at++)
  await world.worker(`build-${at}`, "--capacity", String(Math.ceil(agents / workers)));
const name = (what: string) => `${workers} workers, ${agents} agents: ${what}`;

const began = performance.now();
for (let at = 1; at <= agents; at++)
  await client.issues.create({ body: { title: `Give request ${at} an identifier` } });
await client.system.refresh();
while ((await turnsBegun()) < agents) await delay(20);
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
  while ((await client.issues.detail({ params: { id } })).status === "running") await delay(2);
});
report({
  name: name("abort to the end of the attempt"),
  value: quantile(ended, 0.5),
  unit: "ms",
  note: `p99 ${quantile(ended, 0.99).toFixed(0)} ms of ${ended.length}`,
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

async function turnsBegun(): Promise<number> {
  const { running } = await client.system.state();
  return running.filter(({ phase }) => phase === "streaming_turn").length;
}

async function lastSeq(): Promise<number> {
  return (await client.system.state()).seq;
}

function calls(): number {
  return Number(/total_commands_processed:(\d+)/.exec(world.redis.cli("info", "stats"))?.[1]);
}

function memoryMb(): string {
  const used = /used_memory:(\d+)/.exec(world.redis.cli("info", "memory"))?.[1];
  return (Number(used) / 2 ** 20).toFixed(1);
}
