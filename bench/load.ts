import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { cpuMs, foreignCpu, report, residentMb } from "./kit.ts";
import { type Running, stopped, Workshop } from "./served.ts";

// A server with 100, 500 and 1,000 agents that say ten messages a second each: what is stored, how long its event loop is
// held, and how long it takes to stop. The agents are programs in C. `node bench/load.ts [AGENTS…]`

const perSecond = 10;
const seconds = Number(process.env["SYMPHONY_BENCH_SECONDS"] ?? 15);
const sizes = process.argv.slice(2).map(Number).filter(Boolean);
/** Of the event loop and of SIGTERM, in ms. */
const aims = new Map([
  [100, { lag: null, stop: 2_000 }],
  [500, { lag: 10, stop: 3_000 }],
  [1_000, { lag: 30, stop: 5_000 }],
]);
/** The delay of the loop is sampled every 10 ms, which the figure includes. */
const samplingMs = 10;

interface State {
  readonly seq: number;
  readonly counts: { readonly running: number };
}

/** Each over a connection of its own: one that is kept may be closed at the moment of the next request. */
async function read(path: string, { url, headers }: Running): Promise<Response> {
  return fetch(url + path, { headers: { ...headers, connection: "close" } });
}

async function stateOf(server: Running): Promise<State> {
  return (await (await read("/api/v1/state?limit=1", server)).json()) as State;
}

async function metricsOf(server: Running): Promise<string> {
  return (await read("/metrics", server)).text();
}

/** The p99 of the event loop's delay since the last call, in ms. */
async function lagOf(server: Running): Promise<number> {
  const text = await metricsOf(server);
  const seen = /^nodejs_eventloop_lag_p99_seconds ([\d.e-]+)/m.exec(text)?.[1];
  return Number(seen) * 1_000 - samplingMs;
}

async function measured(workshop: Workshop, bin: string, agents: number): Promise<void> {
  const program = join(workshop.dir, "agent");
  const dir = await workshop.project(`load-${agents}`, {
    ...{ agents, issues: agents },
    command: `exec ${program} ${perSecond}`,
  });
  const server = await workshop.serve(bin, dir);
  const started = performance.now();
  for (;;) {
    const text = await metricsOf(server);
    const turns = /^symphony_dispatch_latency_seconds_count (\d+)/m.exec(text)?.[1];
    if (Number(turns) >= agents) break;
    if (performance.now() - started > 300_000) throw new Error(`${turns} agents have started`);
    await delay(250);
  }
  const startMs = performance.now() - started;
  const startCpu = cpuMs(server.pid);
  await delay(2_000);
  await lagOf(server);
  const before = await stateOf(server);
  const cpuBefore = cpuMs(server.pid);
  const from = performance.now();
  const { percent } = await foreignCpu([server.pid], () => delay(seconds * 1_000));
  const after = await stateOf(server);
  const took = (performance.now() - from) / 1_000;
  const lag = await lagOf(server);
  const cpu = (cpuMs(server.pid) - cpuBefore) / took / 10;
  const { lag: lagAim = null, stop: stopAim = null } = aims.get(agents) ?? {};
  const rate = (after.seq - before.seq) / took;
  const name = `${agents} agents`;
  report({
    name: `${name}: events stored a second`,
    value: rate,
    unit: "/s",
    aim: { atLeast: agents * perSecond * 0.98 },
    note: `server ${cpu.toFixed(0)} % of a processor, others ${percent.toFixed(0)} % of all`,
  });
  report({
    name: `${name}: event loop p99`,
    value: lag,
    unit: "ms",
    ...(lagAim !== null && { aim: { atMost: lagAim } }),
    note: `${residentMb(server.pid).toFixed(0)} MB, all started in ${(startMs / 1_000).toFixed(1)} s, ${startCpu} ms of CPU`,
  });
  const cpuAtStop = cpuMs(server.pid);
  let last = cpuAtStop;
  const watch = setInterval(() => {
    try {
      last = cpuMs(server.pid);
    } catch {
      // It has ended.
    }
  }, 50);
  const stopMs = await stopped(server);
  clearInterval(watch);
  report({
    name: `${name}: SIGTERM to exit`,
    value: stopMs,
    unit: "ms",
    ...(stopAim !== null && { aim: { atMost: stopAim } }),
    note: `${last - cpuAtStop} ms of CPU`,
  });
}

using workshop = new Workshop();
const source = fileURLToPath(new URL("agent.c", import.meta.url));
execFileSync("cc", ["-O2", "-o", join(workshop.dir, "agent"), source]);
const bin = workshop.built();
// The first one fills the compile cache when it ends.
await stopped(await workshop.serve(bin, await workshop.project("first")));
for (const agents of sizes.length > 0 ? sizes : aims.keys()) await measured(workshop, bin, agents);
