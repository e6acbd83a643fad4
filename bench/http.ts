import { type ChildProcess, execFileSync, fork, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import autocannon from "autocannon";
import { systemClock } from "../src/core/clock.ts";
import { toConfig } from "../src/core/config/resolve.ts";
import { parseWritten } from "../src/core/config/schema.ts";
import { loadWorkflow } from "../src/core/config/workflow.ts";
import { sections } from "../src/core/kinds.ts";
import { makeDataDir } from "../src/core/store/lock.ts";
import { openLocalIssues } from "../src/core/tracker/local/issues.ts";
import { localOptions } from "../src/core/tracker/local/settings.ts";
import { fillAuditLog } from "./audit-log.ts";

// The server's figures, each against a bare node:http server that sends the same bytes in the same run: absolute ones
// depend on the machine. Measures the compiled server, from its own build.

const connections = 10;
const seconds = 2;
const secret = "bench-signing-secret";
const root = fileURLToPath(new URL("..", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "symphony-bench-"));
let missed = false;

const workflow = `---
tracker: { kind: local }
workspace: { root: workspaces }
polling: { interval_ms: 600000 }
agent: { max_concurrent_agents: 1 }
codex: { command: sleep 600, read_timeout_ms: 600000, stall_timeout_ms: 0 }
---
Work on {{ issue.title }}
`;

interface Running {
  readonly child: ChildProcess;
  readonly url: string;
  /** From the start of the process to its first 200. */
  readonly startMs: number;
}

/** A copy of the package as it is published: without sources, so that the compiled code runs. */
function built(): string {
  const dir = join(work, "package");
  mkdirSync(dir);
  execFileSync("npm", ["run", "--silent", "build"], { cwd: root });
  for (const name of ["bin", "dist", "package.json"])
    cpSync(join(root, name), join(dir, name), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(dir, "node_modules"));
  return join(dir, "bin", "symphony.js");
}

async function project(name: string, issues: number): Promise<string> {
  const dir = join(work, name);
  mkdirSync(dir);
  const file = join(dir, "WORKFLOW.md");
  writeFileSync(file, workflow);
  const dataDir = join(dir, ".symphony");
  makeDataDir(dataDir);
  fillAuditLog(dataDir, 10_000);
  const { config } = await loadWorkflow(file);
  const options = localOptions(toConfig(parseWritten(config, sections), dir, sections).tracker);
  const tracker = openLocalIssues(dataDir, options, systemClock);
  for (let at = 1; at <= issues; at++) {
    tracker.create({
      title: `Give every journal entry the identifier of request ${at}`,
      state: "Todo",
    });
  }
  tracker.close();
  return dir;
}

async function serve(bin: string, dir: string): Promise<Running> {
  const started = performance.now();
  const env = {
    ...process.env,
    LINEAR_WEBHOOK_SECRET: secret,
    XDG_CACHE_HOME: join(work, "cache"),
  };
  const child = spawn(process.execPath, [bin, "serve", "--port", "0"], {
    cwd: dir,
    env,
    stdio: "ignore",
  });
  for (;;) {
    const url = urlOf(join(dir, ".symphony", "runtime.json"), child.pid);
    const ok = url !== null && (await fetch(`${url}/api/v1/runtime`).catch(() => null))?.ok;
    if (url !== null && ok) return { child, url, startMs: performance.now() - started };
    if (child.exitCode !== null) throw new Error(`serve ended with ${child.exitCode}`);
    await delay(2);
  }
}

function urlOf(file: string, pid: number | undefined): string | null {
  try {
    const runtime = JSON.parse(readFileSync(file, "utf8"));
    return runtime.pid === pid ? runtime.url : null;
  } catch {
    return null;
  }
}

async function stopped({ child }: Running): Promise<number> {
  const asked = performance.now();
  child.kill("SIGTERM");
  await once(child, "exit");
  return performance.now() - asked;
}

function say(name: string, figure: string, [value, aim]: [number, number], atLeast: boolean): void {
  const met = atLeast ? value >= aim : value <= aim;
  missed ||= !met;
  const rule = `${atLeast ? "aim at least" : "aim below"} ${aim}`;
  process.stdout.write(`${name.padEnd(28)} ${figure.padEnd(44)} ${rule}${met ? "" : "  MISSED"}\n`);
}

/** The servers alternate, so that a change of the machine's speed affects both. */
async function compare(
  name: string,
  path: string,
  aim: number,
  [ours, bare]: readonly [string, string],
) {
  const body = await (await fetch(ours + path)).text();
  await fetch(bare + path, { method: "PUT", body });
  const rate = async (url: string) => {
    const outcome = await autocannon({ url: url + path, connections, duration: seconds });
    if (outcome.non2xx + outcome.errors > 0) throw new Error(`${path}: ${outcome.non2xx} refused`);
    return outcome.requests.average;
  };
  await rate(ours);
  const [own, base] = [
    (await rate(ours)) + (await rate(ours)),
    (await rate(bare)) + (await rate(bare)),
  ];
  const ratio = own / base;
  const figure = `${Math.round(own / 2)}/s of ${Math.round(base / 2)}/s: ${ratio.toFixed(2)}`;
  say(name, figure, [ratio, aim], true);
}

/** As many deliveries as one minute allows, each of them new and signed. */
async function webhooks(ours: string, bare: string): Promise<void> {
  const base = await deliveries(bare, 500);
  const own = await deliveries(ours, 500);
  const figure = `${Math.round(own)}/s of ${Math.round(base)}/s: ${(own / base).toFixed(2)}`;
  say("webhooks, stored", figure, [own / base, 0.5], true);
}

/** Deliveries a second over as many connections as the other cases have. */
async function deliveries(url: string, count: number): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  let made = 0;
  const one = async () => {
    const data = { id: `bench-${made++}`, identifier: "BENCH-1" };
    const event = { type: "Issue", action: "update", webhookTimestamp: Date.now(), data };
    const body = JSON.stringify(event);
    const signature = createHmac("sha256", secret).update(body).digest("hex");
    const headers = { "content-type": "application/json", "linear-signature": signature };
    const outgoing = request(`${url}/webhooks/linear`, { method: "POST", agent, headers });
    outgoing.end(body);
    const [response] = await once(outgoing, "response");
    await response.toArray();
    if (response.statusCode !== 200) throw new Error(`a delivery got ${response.statusCode}`);
  };
  const line = async () => {
    while (made < count) await one();
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: connections }, line));
  agent.destroy();
  return count / ((performance.now() - started) / 1_000);
}

function residentMb(pid: number | undefined): number {
  const kb = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kb) / 1_024;
}

async function life(bin: string): Promise<void> {
  const dir = await project("idle", 0);
  const starts: number[] = [];
  for (let round = 0; round < 6; round++) {
    const server = await serve(bin, dir);
    // The first fills the compile cache.
    if (round > 0) starts.push(server.startMs);
    await stopped(server);
  }
  const start = starts.sort((a, b) => a - b)[2] ?? Number.NaN;
  say("start to first 200", `${start.toFixed(0)} ms`, [start, 250], false);
  const server = await serve(bin, dir);
  await delay(2_000);
  const idle = residentMb(server.child.pid);
  say("resident when idle", `${idle.toFixed(0)} MB`, [idle, 90], false);
  const loaded = autocannon({ url: `${server.url}/api/v1/state`, connections, duration: 10 });
  await loaded;
  const ended = await stopped(server);
  say("SIGTERM after 10 s of load", `${ended.toFixed(0)} ms`, [ended, 1_000], false);
}

try {
  const bin = built();
  await life(bin);
  const bare = fork(fileURLToPath(new URL("bare-server.ts", import.meta.url)));
  const [bareUrl] = await once(bare, "message");
  const small = await serve(bin, await project("small", 5));
  const large = await serve(bin, await project("large", 1_000));
  try {
    await compare("state, 5 issues", "/api/v1/state", 0.35, [small.url, bareUrl]);
    await compare("state, 1,000 issues", "/api/v1/state?limit=1000", 0.35, [large.url, bareUrl]);
    await compare("one issue", "/api/v1/local-2", 0.3, [small.url, bareUrl]);
    await compare("audit, 50 of 10,000", "/api/v1/audit?limit=50", 0.2, [small.url, bareUrl]);
    await compare("metrics", "/metrics", 0.2, [small.url, bareUrl]);
    await compare("openapi.json", "/api/v1/openapi.json", 0.5, [small.url, bareUrl]);
    await webhooks(small.url, bareUrl);
  } finally {
    bare.disconnect();
    await Promise.all([stopped(small), stopped(large)]);
  }
} finally {
  rmSync(work, { recursive: true });
}
if (missed) process.exitCode = 1;
