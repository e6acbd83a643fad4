import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { cpus, loadavg, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { AgentSession, SessionSpec } from "../src/core/agent/agent.ts";
import { isOfRun, liveProcesses } from "../src/core/process/table.ts";
import { codexHome } from "../test/support/makers/codex-home.ts";
import { AcpBench } from "../test/support/worlds/acp-bench.ts";
import { agentDoubles } from "../test/support/worlds/agent-doubles.ts";
import { ClaudeBench } from "../test/support/worlds/claude-bench.ts";
import { CommandBench } from "../test/support/worlds/command-bench.ts";
import { OpenaiBench } from "../test/support/worlds/openai-bench.ts";
import { realParts } from "../test/support/worlds/real-agent.ts";
import { Bench } from "../test/support/worlds/scripted-agent.ts";

/**
 * Time from dispatch (`start` of the runtime) to the first request for the prompt at the model provider, with the real programs
 * named by SYMPHONY_CODEX, SYMPHONY_CLAUDE, SYMPHONY_CLAUDE_ACP, SYMPHONY_GEMINI and SYMPHONY_OPENCODE, and the same for the bare
 * program; then the memory of a session on our side and of its processes. Programs that are not there are left out. The
 * agents run at level danger: a sandbox costs the same for each of them.
 */
const rounds = Number(process.argv[2] ?? 5);
const idleSessions = 10;
const limitMs = 120_000;
const marker = "BENCH-PROMPT-7c1f";
const prompt = `${marker}: say ok`;

/** A provider that answers nothing: only the time of the first request with the prompt counts. */
async function provider() {
  let seen = Promise.withResolvers<number>();
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk) => {
      body += chunk;
      if (body.includes(marker)) seen.resolve(performance.now());
    });
    request.on("end", () => {
      if (!body.includes(marker)) response.writeHead(404).end("{}");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    next() {
      seen = Promise.withResolvers();
      return seen.promise;
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

type Provider = Awaited<ReturnType<typeof provider>>;

interface Started extends AsyncDisposable {
  readonly runId: string;
  start(spec: Partial<SessionSpec>): Promise<AgentSession>;
}

interface Case {
  readonly name: string;
  /** The variable with the path of its program; null: it needs none. */
  readonly variable: string | null;
  make(program: string, url: string): Promise<Started>;
  /** The program without symphony. */
  bare?(program: string, url: string): Promise<ChildProcess>;
}

const key = "sk-bench-0123456789";
/** What the runs of bare programs leave. */
await using left = new AsyncDisposableStack();

async function rootOf(name: string): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), `symphony-bench-${name}-`));
  await mkdir(join(root, "ENG-1"));
  await mkdir(join(root, "home"));
  return root;
}

function startedBy(bench: Bench): Started {
  return {
    runId: bench.runId,
    start: (spec) => bench.start(spec),
    [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose](),
  };
}

function bareOf(argv: readonly string[], cwd: string, env: NodeJS.ProcessEnv): ChildProcess {
  const [file = "", ...args] = argv;
  const all = { PATH: process.env["PATH"], ...env };
  return spawn(file, args, { cwd, env: all, detached: true, stdio: "ignore" });
}

const claudeEnv = (url: string, home: string) => ({
  ...{ ANTHROPIC_API_KEY: key, ANTHROPIC_BASE_URL: url, CLAUDE_CONFIG_DIR: home },
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
});

async function acpCase(
  name: string,
  command: string,
  envOf: (home: string) => Readonly<Record<string, string>>,
  authMethod: string | null = null,
  prepare: (home: string) => Promise<void> = async () => {},
): Promise<Started> {
  const root = await rootOf(name);
  await prepare(join(root, "home"));
  const env = envOf(join(root, "home"));
  const path = `${dirname(process.execPath)}:${process.env["PATH"]}`;
  const config = { command, envPassthrough: Object.keys(env), authMethod };
  return startedBy(
    new AcpBench(root, { config, env: { PATH: path, HOME: join(root, "home"), ...env } }),
  );
}

const cases: readonly Case[] = [
  {
    name: "codex",
    variable: "SYMPHONY_CODEX",
    async make(program, url) {
      const home = await codexHome(`${url}/v1`);
      const env = { HOME: home.userHome, CODEX_HOME: home.path, FAKE_MODEL_KEY: key };
      const config = { command: `"${program}" app-server`, envPassthrough: ["FAKE_MODEL_KEY"] };
      const bench = new Bench(home.workspaces, { config, env });
      await mkdir(bench.workspace);
      return { ...startedBy(bench), [Symbol.asyncDispose]: () => home[Symbol.asyncDispose]() };
    },
    async bare(program, url) {
      const home = left.use(await codexHome(`${url}/v1`));
      const env = { HOME: home.userHome, CODEX_HOME: home.path, FAKE_MODEL_KEY: key };
      const argv = [program, "exec", "--skip-git-repo-check", prompt];
      return bareOf(argv, home.workspaces, env);
    },
  },
  {
    name: "claude",
    variable: "SYMPHONY_CLAUDE",
    async make(program, url) {
      const config = {
        ...{ command: program, login: "api_key" as const },
        envPassthrough: ["ANTHROPIC_BASE_URL"],
      };
      const env = { ANTHROPIC_BASE_URL: url };
      return startedBy(new ClaudeBench(await rootOf("claude"), { config, env }));
    },
    async bare(program, url) {
      const root = await rootOf("claude");
      left.defer(() => rm(root, { recursive: true, force: true, maxRetries: 5 }));
      const env = { HOME: root, ...claudeEnv(url, join(root, "home")) };
      return bareOf([program, "-p", prompt], join(root, "ENG-1"), env);
    },
  },
  {
    name: "acp: claude-agent-acp",
    variable: "SYMPHONY_CLAUDE_ACP",
    make: (program, url) =>
      acpCase("claude-acp", `exec "${process.execPath}" "${program}"`, (home) =>
        claudeEnv(url, home),
      ),
  },
  {
    name: "acp: gemini",
    variable: "SYMPHONY_GEMINI",
    make: (program, url) =>
      acpCase(
        "gemini",
        `exec "${process.execPath}" "${program}" --acp -m gemini-2.5-pro`,
        () => ({ GEMINI_API_KEY: key, GOOGLE_GEMINI_BASE_URL: url }),
        "gemini-api-key",
      ),
  },
  {
    name: "acp: opencode",
    variable: "SYMPHONY_OPENCODE",
    async make(program, url) {
      const { command, env, prepare } = realParts.opencode;
      return acpCase(
        "opencode",
        command(program),
        () => env(url),
        null,
        (home) => prepare(url, home),
      );
    },
  },
  {
    name: "openai",
    variable: null,
    async make(_, url) {
      const bench = await OpenaiBench.make({ base_url: `${url}/v1` });
      const { runId } = bench.spec();
      return {
        runId,
        start: (spec) => bench.start(spec),
        [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose](),
      };
    },
  },
  {
    name: "command: curl",
    variable: null,
    async make(_, url) {
      const line = `curl -s --data-binary @- ${url}/v1/anything`;
      return startedBy(new CommandBench(await rootOf("command"), { config: { line } }));
    },
  },
];

async function ours(one: Case, program: string, from: Provider): Promise<[number, number]> {
  await using made = await one.make(program, from.url);
  const first = from.next();
  const begun = performance.now();
  const session = await made.start({ level: "danger" });
  const turn = session.turn(prompt, { model: null }).catch(() => {});
  const at = await limited(first);
  const memory = await memoryOf(made.runId);
  await session[Symbol.asyncDispose]();
  await turn;
  return [at - begun, memory];
}

async function bareTime(one: Case, program: string, from: Provider): Promise<number | null> {
  if (!one.bare) return null;
  const first = from.next();
  const begun = performance.now();
  const child = await one.bare(program, from.url);
  const at = await limited(first);
  if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  return at - begun;
}

function limited(first: Promise<number>): Promise<number> {
  const { promise, reject } = Promise.withResolvers<number>();
  const timer = setTimeout(() => reject(new Error("no request reached the provider")), limitMs);
  return Promise.race([first, promise]).finally(() => clearTimeout(timer));
}

/** Resident memory of the processes of a run, in MB; pages that they share count for each. */
async function memoryOf(runId: string): Promise<number> {
  const all = await liveProcesses();
  const own = all.filter((entry) => isOfRun(entry.runId, runId));
  return own.reduce((sum, { pid }) => sum + residentMb(pid), 0);
}

function residentMb(pid: number): number {
  try {
    const [, kilobytes = "0"] =
      /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return Number(kilobytes) / 1_024;
  } catch {
    return 0;
  }
}

interface OwnMemory {
  /** Of the JavaScript heap and its buffers. */
  readonly heapMb: number;
  readonly residentMb: number;
}

/** What an open session costs this process after one turn. */
async function ownMemory(name: keyof typeof agentDoubles): Promise<OwnMemory> {
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  await using stack = new AsyncDisposableStack();
  const open = async () => {
    const stage = stack.use(await agentDoubles[name].make([[{ say: "ok" }]]));
    const session = stack.use(await stage.start({ level: "danger" }));
    await session.turn("please", { model: null });
  };
  // The first one loads the modules of its kind.
  await open();
  collect();
  const before = process.memoryUsage();
  for (let count = 0; count < idleSessions; count += 1) await open();
  collect();
  const after = process.memoryUsage();
  const grown = after.heapUsed + after.external - before.heapUsed - before.external;
  const each = (bytes: number) => bytes / idleSessions / 1_048_576;
  return { heapMb: each(grown), residentMb: each(after.rss - before.rss) };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const from = await provider();
const load = loadavg()[0] ?? 0;
const report = [
  `${cpus().length} x ${cpus()[0]?.model}, load ${load.toFixed(1)}, ${rounds} rounds`,
];
for (const one of cases) {
  const program = one.variable === null ? "" : (process.env[one.variable] ?? "");
  if (one.variable !== null && !existsSync(program)) {
    report.push(`${one.name.padEnd(24)} left out: ${one.variable} is not set`);
    continue;
  }
  const own: number[] = [];
  const memory: number[] = [];
  const bare: number[] = [];
  // The first round fills caches and is not counted; alternating spreads a change of the machine's speed evenly.
  for (let round = 0; round <= rounds; round += 1) {
    const [ms, mb] = await ours(one, program, from);
    const without = await bareTime(one, program, from);
    if (round === 0) continue;
    own.push(ms);
    memory.push(mb);
    if (without !== null) bare.push(without);
  }
  const ratio =
    bare.length > 0
      ? `${(median(own) / median(bare)).toFixed(2)} x of ${median(bare).toFixed(0)} ms bare`
      : "";
  report.push(
    `${one.name.padEnd(24)} ${median(own).toFixed(0).padStart(6)} ms  ${median(memory).toFixed(0).padStart(5)} MB  ${ratio}`,
  );
}
for (const name of ["codex", "claude", "acp", "openai", "command"] as const) {
  const { heapMb, residentMb: resident } = await ownMemory(name);
  report.push(
    `${name.padEnd(24)} a session in the server: ${heapMb.toFixed(2)} MB of heap, ${resident.toFixed(2)} MB resident`,
  );
}
from.close();
await left.disposeAsync();
process.stdout.write(`${report.join("\n")}\n`);
process.exit();
