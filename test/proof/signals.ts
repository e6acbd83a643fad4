// `npm run signals [-- PART]`: every signal in every phase of every command that runs for longer, with real processes, two at
// a time. Prints the exit code and time of each cell; ends with 1 when one ends otherwise than docs/reliability.md says, takes
// over 10 s, or leaves a process, `runtime.json` or `lock.json`.
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { loadavg, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as delay, setImmediate } from "node:timers/promises";
import { sameWithinMs } from "../../src/commands/stop.ts";
import { liveProcesses } from "../../src/core/process/table.ts";
import { eventually, isAlive, killed, launch } from "../support/worlds/symphony.ts";

const limitMs = 10_000;
const atOnce = 2;
/** Longer than equal signals count as one, also where a machine is slow. */
const twiceMs = sameWithinMs + 1_000;

const commands = {
  serve: ["serve", "--port"],
  "serve --once": ["serve", "--once", "--port"],
  run: ["run", "LOCAL-1"],
  demo: ["demo", "--port"],
  watch: ["watch"],
  launcher: ["serve", "--port"],
} as const;
type Command = keyof typeof commands;

const phases = [
  "it begins",
  "before the lock",
  "from the lock on",
  "its start fails",
  "its tracker hangs",
  "idle",
  "its agent hangs",
  "draining",
] as const;
type Phase = (typeof phases)[number];

/** What a command is not, such as an idle `run`. */
const phasesOf: Readonly<Record<Command, readonly Phase[]>> = {
  serve: phases,
  "serve --once": phases.filter((phase) => phase !== "idle"),
  run: ["it begins", "before the lock", "from the lock on", "its agent hangs", "draining"],
  demo: ["it begins", "its start fails", "idle"],
  watch: ["it begins", "idle"],
  launcher: phases,
};

const signals: Readonly<Record<string, (child: ChildProcess) => unknown>> = {
  SIGTERM: (child) => child.kill("SIGTERM"),
  SIGINT: (child) => child.kill("SIGINT"),
  SIGHUP: (child) => child.kill("SIGHUP"),
  "SIGINT to the group": interruptGroup,
  "SIGTERM twice": (child) => twice(child, "SIGTERM"),
  "SIGINT twice": (child) => twice(child, "SIGINT"),
  "SIGPIPE, its output closed": async (child) => {
    child.kill("SIGPIPE");
    for (const stream of [child.stdout, child.stderr]) stream?.destroy();
    await delay(50);
    child.kill("SIGTERM");
  },
};

/** `setsid` makes the group, some milliseconds after the process is there. */
async function interruptGroup(child: ChildProcess): Promise<void> {
  while (child.exitCode === null) {
    try {
      process.kill(-Number(child.pid), "SIGINT");
      return;
    } catch {
      await setImmediate();
    }
  }
}

async function twice(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  child.kill(signal);
  await Promise.race([delay(twiceMs), once(child, "exit")]);
  child.kill(signal);
}

/** A terminal closes with the program that shows it: that is SIGHUP. */
function signalsOf(command: Command): readonly string[] {
  const names = Object.keys(signals);
  return command === "watch" ? names.filter((name) => !name.startsWith("SIGPIPE")) : names;
}

interface Cell {
  readonly command: Command;
  readonly phase: Phase;
  readonly signal: string;
}

/** The codes and signals that a cell may end with. */
function allowed({ command, phase, signal }: Cell): readonly (number | string)[] {
  const isInterrupt = signal.startsWith("SIGINT");
  const isServer = command === "serve" || command === "launcher";
  const code = isServer || (command === "demo" && !isInterrupt) ? [0] : [130];
  const [name = ""] = signal.split(/,? /);
  const isInterruptedDemo = command === "demo" && isInterrupt;
  return [
    ...(isInterruptedDemo ? [130] : code),
    // The second one ends it at once, unless it had ended by then, or was about to: Node has given up its handlers then.
    ...(signal.endsWith("twice") || phase === "draining" ? [0, 130, name] : []),
    ...(phase === "its start fails" ? [0, 1] : []),
    // Before the first line of the program has run, the signal itself ends it.
    ...(phase === "it begins" ? [name, "SIGTERM"] : []),
  ];
}

/** It ignores every signal but SIGKILL, and so do the programs that it starts. */
const stubborn = `trap '' TERM INT HUP; echo $$ >"$HOME/pid"; while :; do sleep 1; done`;
/** It never answers; by the name of the directory, whose requests have come. */
const asked = new Set<string | undefined>();
const silent = createServer(({ url }) => asked.add(url)).listen(0, "127.0.0.1");
await once(silent, "listening");
const { port: silentPort } = silent.address() as AddressInfo;

function workflowOf(phase: Phase, name: string): string {
  const provider = `{ project_slug: x, endpoint: "http://127.0.0.1:${silentPort}/${name}" }`;
  const tracker =
    phase === "its tracker hangs" ? `{ kind: linear, provider: ${provider} }` : "{ kind: local }";
  return `---
tracker: ${tracker}
codex: { command: ${JSON.stringify(stubborn)}, read_timeout_ms: 600000 }
workspace: { root: workspaces }
storage: { min_free: 0 }
host: { min_memory: 0, max_load: 0 }
---
Work
`;
}

const root = await mkdtemp(join(tmpdir(), "symphony-signals-"));
const template = join(root, "template");
/** Makes the Node that reads it look old, so that the launcher starts another one. */
const oldNode = join(root, "old-node.cjs");

function around(cwd: string, command: Command = "serve") {
  const env = { HOME: cwd, TMPDIR: cwd, LINEAR_API_KEY: "lin_api_x", SYMPHONY_DATA_DIR: undefined };
  return {
    ...{ cwd, env: { ...env, SYMPHONY_URL: command === "watch" ? watched : undefined } },
    through([node = "", ...rest]: readonly string[]) {
      if (command === "watch") return ["setsid", "python3", "-c", onTerminal, node, ...rest];
      return ["setsid", node, ...(command === "launcher" ? ["--require", oldNode] : []), ...rest];
    },
  };
}

/** Runs a program on a terminal of its own, passes signals on to it, and ends as it ends. */
const onTerminal = `
import os, pty, signal, sys
names = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
signal.pthread_sigmask(signal.SIG_BLOCK, names)
pid, fd = pty.fork()
for one in names: signal.signal(one, signal.SIG_DFL if pid == 0 else lambda number, _: os.kill(pid, number))
signal.pthread_sigmask(signal.SIG_UNBLOCK, names)
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
open(os.environ["HOME"] + "/pid", "w").write(str(pid))
while True:
    try: part = os.read(fd, 4096)
    except OSError: break
    if not part: break
    os.write(1, part)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
if code >= 0: os._exit(code)
signal.signal(-code, signal.SIG_DFL)
os.kill(os.getpid(), -code)
`;
/** The server that `watch` shows. */
let watched: string | undefined;

async function reach(
  { command, phase }: Cell,
  dir: string,
  said: () => string,
  child: ChildProcess,
) {
  const data = join(dir, ".symphony");
  const isThere = async (name: string) => {
    while (child.exitCode === null && !existsSync(join(data, name))) await setImmediate();
  };
  if (phase === "it begins") {
    // A terminal has its program a moment later.
    while (command === "watch" && !existsSync(join(dir, "pid"))) await setImmediate();
    return;
  }
  if (phase === "before the lock") return isThere("");
  if (phase === "from the lock on") return isThere("lock.json");
  if (phase === "its start fails") {
    if (command !== "demo") return isThere("lock.json");
    // Its directory is the first that it makes.
    while (child.exitCode === null && (await demosIn(dir)).length === 0) await delay(5);
    return;
  }
  await eventually(`it is ${phase}: ${said()}`, async () => {
    if (phase === "its tracker hangs") return asked.has(`/${basename(dir)}`);
    if (phase !== "idle") return existsSync(join(dir, "pid"));
    if (command === "watch") return said().includes("LOCAL-1");
    return command === "demo" ? said().includes("http://") : existsSync(join(data, "runtime.json"));
  });
  if (phase !== "draining") return;
  child.kill("SIGTERM");
  await delay(twiceMs);
}

async function play(cell: Cell): Promise<string | null> {
  const { command, phase, signal } = cell;
  const dir = await mkdtemp(join(root, "cell-"));
  await writeFile(join(dir, "WORKFLOW.md"), workflowOf(phase, basename(dir)));
  if (command !== "demo")
    await cp(join(template, ".symphony"), join(dir, ".symphony"), { recursive: true });
  if (["it begins", "before the lock"].includes(phase))
    await rm(join(dir, ".symphony"), { recursive: true, force: true });
  const port = phase === "its start fails" ? String(silentPort) : "0";
  const listens = command !== "run" && command !== "watch";
  const args = [...commands[command], ...(listens ? [port] : [])];
  const child = launch(around(dir, command), args);
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (part) => (said += part));
  const exit = once(child, "exit");
  try {
    await reach(cell, dir, () => said, child);
    const since = performance.now();
    await signals[signal]?.(child);
    const late = delay(limitMs, ["it did not end"], { ref: false });
    const [code, by] = await Promise.race([exit, late]);
    const ms = Math.round(performance.now() - since);
    const end = code ?? by;
    const files = await readdir(join(dir, ".symphony")).catch(() => []);
    const left = files.filter((file) => ["runtime.json", "lock.json"].includes(file));
    const demo = await demosIn(dir);
    const live = (await liveProcesses()).filter(({ groupId }) => groupId === child.pid);
    const agent = Number(await readFile(join(dir, "pid"), "utf8").catch(() => "0"));
    // It was killed; the system may not have taken it away yet.
    for (let tries = 0; tries < 20 && agent > 0 && isAlive(agent); tries += 1) await delay(100);
    const isRight =
      allowed(cell).includes(end) &&
      left.length + demo.length + live.length === 0 &&
      !(agent > 0 && isAlive(agent));
    console.log(
      `${isRight ? "ok   " : "WRONG"} ${command} | ${phase} | ${signal}: ${end} after ${ms} ms`,
    );
    return isRight
      ? null
      : `${command} | ${phase} | ${signal}: ${end}, left ${[...left, ...demo, ...live.map(({ pid }) => pid)]}\n${said}`;
  } finally {
    if (child.exitCode === null) child.kill("SIGKILL");
    await rm(dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function demosIn(dir: string): Promise<readonly string[]> {
  return (await readdir(dir)).filter((name) => name.startsWith("symphony-demo"));
}

const wanted = process.argv[2] ?? "";
const cells = Object.keys(commands).flatMap((command) =>
  phasesOf[command as Command].flatMap((phase) =>
    signalsOf(command as Command).map(
      (signal): Cell => ({ command: command as Command, phase, signal }),
    ),
  ),
);
const left = cells.filter(({ command, phase, signal }) =>
  `${command} | ${phase} | ${signal}`.includes(wanted),
);
const count = left.length;
let server: ChildProcess | null = null;
async function serveWatched(): Promise<void> {
  const dir = join(root, "watched");
  await cp(template, dir, { recursive: true });
  server = launch(around(dir), ["serve", "--port", "0"]);
  const facts = join(dir, ".symphony", "runtime.json");
  watched = await eventually("the server is ready", async () => {
    return JSON.parse(await readFile(facts, "utf8")).url;
  });
}
const wrong: string[] = [];
try {
  await mkdir(template);
  await writeFile(join(template, "WORKFLOW.md"), workflowOf("idle", ""));
  const create = launch(around(template), ["issue", "create", "--title", "x", "--state", "Todo"]);
  assert.deepEqual(await once(create, "exit"), [0, null]);
  const version = "{ value: { ...process.versions, node: '20.1.0' } }";
  await writeFile(oldNode, `Object.defineProperty(process, "versions", ${version});`);
  if (left.some(({ command }) => command === "watch")) await serveWatched();
  const work = async () => {
    for (let cell = left.shift(); cell; cell = left.shift()) {
      const fault = await play(cell).catch((error: unknown) => `${JSON.stringify(cell)}: ${error}`);
      if (fault !== null) wrong.push(fault);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
} finally {
  await killed(server);
  silent.closeAllConnections();
  silent.close();
  await rm(root, { recursive: true, force: true, maxRetries: 5 });
}
console.log(`${count} cells, ${wrong.length} wrong, at a load of ${loadavg()[0]?.toFixed(1)}`);
if (wrong.length > 0) console.log(wrong.join("\n\n"));
process.exit(wrong.length === 0 ? 0 : 1);
