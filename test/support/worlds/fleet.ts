import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, readdirSync, readlinkSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { symphonyFile } from "../makers/program.ts";
import { eventually, killed, Served, ServedProject } from "./symphony.ts";

/** The workers have a key of the provider; the server has none. */
export const workerKey = "sk-worker-0123456789abcdef";

/** What stands between a server and its workers. */
export interface EngineServer extends AsyncDisposable {
  readonly url: string;
}

/** Where the programs of a fleet run. */
export interface Site {
  address(host: string): string;
  /** The command line that runs `command` on the host; the process is that of `command`. */
  on(host: string, command: readonly string[]): readonly string[];
}

export const thisMachine: Site = { address: () => "127.0.0.1", on: (_, command) => command };

/** A real redis-server on a free port of its host; `extra`: further arguments of it. */
export class RedisServer implements EngineServer {
  readonly port: number;
  readonly #dir: string;
  readonly #site: Site;
  readonly #host: string;
  readonly #extra: readonly string[];
  #child: ChildProcess | null = null;

  private constructor(
    port: number,
    dir: string,
    { site, host, extra }: { site: Site; host: string; extra: readonly string[] },
  ) {
    this.port = port;
    this.#dir = dir;
    this.#site = site;
    this.#host = host;
    this.#extra = extra;
  }

  static async start(...extra: readonly string[]): Promise<RedisServer> {
    return RedisServer.at({ site: thisMachine, host: "engine" }, ...extra);
  }

  static async at(
    { site, host }: { site: Site; host: string },
    ...extra: readonly string[]
  ): Promise<RedisServer> {
    const dir = await mkdtemp(join(tmpdir(), "symphony-redis-"));
    const server = new RedisServer(await freePort(), dir, { site, host, extra });
    await server.up();
    return server;
  }

  get address(): string {
    return this.#site.address(this.#host);
  }

  get url(): string {
    return `redis://${this.address}:${this.port}`;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** It answers there too, whatever becomes of its network. */
  get #socket(): string {
    return join(this.#dir, "socket");
  }

  /** The keys and their values are gone, as after a crash without a file. */
  async restart(): Promise<void> {
    await this.down();
    await this.up();
  }

  async up(): Promise<void> {
    // With TLS there is no other port.
    const isSecure = this.#extra.includes("--tls-cert-file");
    const ports = isSecure ? ["--port", "0", "--tls-port"] : ["--port"];
    const args = ["redis-server", ...ports, String(this.port), "--unixsocket", this.#socket];
    args.push("--dir", this.#dir, "--save", "", "--appendonly", "no");
    args.push("--bind", this.address, "--protected-mode", "no", ...this.#extra);
    const [program = "", ...rest] = this.#site.on(this.#host, args);
    this.#child = spawn(program, rest, { stdio: "ignore" });
    await eventually("redis answers", async () => this.cli("ping") === "PONG");
  }

  async down(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    await killed(child);
  }

  cli(...args: readonly string[]): string {
    try {
      const all = ["-s", this.#socket, ...args];
      const at = this.#extra.indexOf("--requirepass");
      const env = { ...process.env, ...(at >= 0 && { REDISCLI_AUTH: this.#extra[at + 1] }) };
      return execFileSync("redis-cli", all, { encoding: "utf8", stdio: "pipe", env }).trim();
    } catch {
      return "";
    }
  }

  /** Every command that it gets from now on; ends with it. */
  monitor(): { readonly text: string } {
    const seen = { text: "" };
    const child = spawn("redis-cli", ["-s", this.#socket, "monitor"]);
    child.stdout.setEncoding("latin1").on("data", (text: string) => {
      seen.text += text;
    });
    return seen;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** A worker's process, as an operator starts it. */
export class WorkerProcess implements AsyncDisposable {
  readonly name: string;
  readonly child: ChildProcess;
  readonly dir: string;
  log = "";

  constructor(
    name: string,
    dir: string,
    {
      url,
      join: joinToken,
      args = [],
      env: own = {},
      site = thisMachine,
      program: start = symphonyFile,
    }: {
      url: string;
      join: string | null;
      args?: readonly string[];
      env?: Readonly<Record<string, string>>;
      site?: Site;
      program?: string;
    },
  ) {
    this.name = name;
    this.dir = dir;
    const line = [process.execPath, start, "worker", "--join", url, "--name", name, "--dir", dir];
    const [program = "", ...all] = site.on(name, [...line, ...args]);
    const env = {
      PATH: process.env["PATH"],
      HOME: dir,
      OPENAI_API_KEY: workerKey,
      ...own,
      ...(joinToken !== null && { SYMPHONY_WORKER_TOKEN: joinToken }),
    };
    this.child = spawn(program, all, { env, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.log += chunk;
      });
    }
  }

  /** Resolves with its exit code. */
  async exited(): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null)
      await once(this.child, "exit");
    return this.child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGCONT");
    this.child.kill("SIGTERM");
    await this.exited();
  }
}

export interface FleetPlace {
  /** The directory of the world's own one. */
  readonly under: string;
  /** What else the environment of a worker has. */
  readonly workerEnv: ((name: string) => Readonly<Record<string, string>>) | undefined;
  readonly leaseMs: number;
  /** The engine refuses commands whose keys are in several slots. */
  readonly isCluster: boolean;
  /** The hosts `engine` and, by their names, those of the workers. */
  readonly site: Site;
  /** Instead of a Redis; ends with the world. */
  readonly engine: EngineServer;
}

/**
 * A project whose attempts run on workers. Its agent holds a lock while it runs, so that two of one issue at one moment are
 * seen: `wasTwice`.
 */
export class FleetWorld extends ServedProject implements AsyncDisposable {
  readonly #engine: EngineServer;
  /** What the next workers run. */
  program = symphonyFile;
  readonly #workers: WorkerProcess[] = [];
  readonly #place: Pick<FleetPlace, "workerEnv" | "site">;

  private constructor(
    dir: string,
    engine: EngineServer,
    place: Pick<FleetPlace, "workerEnv" | "site">,
  ) {
    super(dir, { FLEET_URL: engine.url });
    this.#engine = engine;
    this.#place = place;
  }

  get redis(): RedisServer {
    if (this.#engine instanceof RedisServer) return this.#engine;
    throw new Error("the engine of this world is no Redis");
  }

  /** `agent`: the shell line that the agent runs once it holds its lock. */
  static async open(
    agent: string,
    section: string | ((line: string) => string) = commandSection,
    place: Partial<FleetPlace> = {},
  ): Promise<FleetWorld> {
    const { under = tmpdir(), workerEnv, leaseMs = 15_000, isCluster = false } = place;
    const { site = thisMachine } = place;
    const dir = await mkdtemp(join(under, "symphony-fleet-"));
    const engine =
      place.engine ??
      (await RedisServer.at(
        { site, host: "engine" },
        ...(isCluster ? ["--cluster-enabled", "yes"] : []),
      ));
    const world = new FleetWorld(dir, engine, { workerEnv, site });
    if (isCluster) {
      world.redis.cli("cluster", "addslotsrange", "0", "16383");
      const isWhole = async () => /cluster_state:ok/.test(world.redis.cli("cluster", "info"));
      await eventually("the cluster takes writes", isWhole);
    }
    await mkdir(join(dir, "shared"));
    const script = `#!/bin/bash
shared='${dir}/shared'
exec 9>"$shared/lock-$(basename "$PWD")"
flock -n 9 || echo "$PWD" >> "$shared/twice"
echo "$PWD $$ $EPOCHREALTIME" >> "$shared/started"
${agent}
`;
    await writeFile(join(dir, "agent.sh"), script, { mode: 0o755 });
    await writeFile(
      world.place.workflowPath,
      workflow(typeof section === "string" ? section : section(join(dir, "agent.sh")), leaseMs),
    );
    return world;
  }

  /** Two servers on copies of one data directory; the place is that of `other`, which was started later. */
  async serveTwice(): Promise<{ readonly first: Served; readonly other: Served }> {
    await this.server?.[Symbol.asyncDispose]();
    const copy = `${this.dir}/copy`;
    cpSync(this.place.dataDir, copy, { recursive: true });
    const first = await this.serve();
    this.place.dataDir = copy;
    this.place.env["SYMPHONY_WORKSPACE__ROOT"] = `${this.dir}/copied`;
    return { first, other: await Served.start(this.place, "--i-understand") };
  }

  /** Joins a new worker, and waits until it takes attempts. */
  async worker(name: string, ...args: readonly string[]): Promise<WorkerProcess> {
    const { token: invitation } = await this.client.workers.invite({ body: {} });
    const worker = this.again(name, invitation, ...args);
    await this.isReady(name, worker);
    return worker;
  }

  /** Starts the process of a worker that has joined already. */
  again(name: string, invitation: string | null = null, ...args: readonly string[]): WorkerProcess {
    const dir = join(this.dir, "workers", name);
    const worker = new WorkerProcess(name, dir, {
      // A password is not typed.
      ...{ url: "$FLEET_URL", join: invitation, args },
      env: { FLEET_URL: this.#engine.url, ...this.#place.workerEnv?.(name) },
      site: this.#place.site,
      program: this.program,
    });
    this.#workers.push(worker);
    return worker;
  }

  async isReady(name: string, worker?: WorkerProcess): Promise<void> {
    await eventually(
      () => `${name} is ready: ${worker?.log ?? ""}`,
      async () => (await this.seen(name))?.ready === true,
      60_000,
    );
  }

  async seen(name: string) {
    const { workers } = await this.client.workers.list();
    return workers.find((one) => one.name === name);
  }

  /** Every worker that was started. */
  get started(): readonly WorkerProcess[] {
    return this.#workers;
  }

  /** What the server and the workers have logged, for a test that fails. */
  get logs(): string {
    const all = [
      ["server", this.server?.log],
      ...this.#workers.map(({ name, log }) => [name, log]),
    ];
    return all.map(([name, log]) => `${name}:\n${log ?? ""}`).join("\n");
  }

  get wasTwice(): boolean {
    return this.shared("twice").length > 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map((one) => one[Symbol.asyncDispose]()));
    await this.server?.[Symbol.asyncDispose]();
    await this.#engine[Symbol.asyncDispose]();
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** How many processes have a directory below `dir`: what is left of the agents of a worker. */
export function agentsIn(dir: string): number {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d/.test(pid) && readlinkSync(`/proc/${pid}/cwd`).startsWith(`${dir}/`);
    } catch {
      return false;
    }
  }).length;
}

function commandSection(line: string): string {
  return `agent: { kind: command, level: danger, max_turns: 1, max_retry_backoff_ms: 1000 }
command: { line: "${line}", output: text }`;
}

function workflow(section: string, leaseMs: number): string {
  return `---
tracker: { kind: local }
polling: { interval_ms: 1000 }
hooks:
  after_create: |
    git init -q -b main && git config user.email a@example.com && git config user.name A
    echo one > one && git add -A && git commit -q -m one
${section}
fleet: { url: $FLEET_URL, lease_ms: ${leaseMs} }
host: { min_memory: 0, max_load: 0 }
---
Work on {{ issue.title }}
`;
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
