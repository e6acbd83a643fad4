import { createHash } from "node:crypto";
import { dirname } from "node:path";
import type { Clock } from "../../../clock.ts";
import { SymphonyError } from "../../../model/errors.ts";
import { boundLines } from "../../../process/bounds.ts";
import {
  agentEnvironment,
  daemonMark,
  launchLine,
  openProxies,
} from "../../../process/environment.ts";
import { type Environment, loginEnvironment } from "../../../process/login.ts";
import { killRun, runIdOf } from "../../../process/table.ts";
import { isObject, parseJson } from "../../../text/text.ts";
import {
  type AgentRuntime,
  type HostsDeps,
  type OutlivingHosts,
  openOrClose,
  type SessionSpec,
} from "../../agent.ts";
import { noticeEvent } from "../../event-makers.ts";
import { environmentOf } from "../../stored-values.ts";
import type { AgentHost, Transport } from "../connection.ts";
import { type CodexHome, CodexHomes } from "../home.ts";
import { requireProviderKey } from "../provider.ts";
import { createCodexRuntime, hiding, onceFor } from "../runtime.ts";
import { CodexSession } from "../session.ts";
import type { CodexConfig } from "../settings.ts";
import { type Daemon, Daemons, daemonGone, type Launch } from "./daemons.ts";
import { requireSocketPlace, sharedDir } from "./restart-safe.ts";
import { openSocket, type Socket, silenceThread, versionOf } from "./socket.ts";

const connectLimitMs = 5_000;
/** codex keeps only the denials of its profile for such a command; a mount around codex makes up for it, where there is one. */
const approvedElsewhere =
  "a command that you approve starts in your home and does not see the workspace (docs/agents/codex.md, approvals and questions)";

export interface SharedRuntimeOptions {
  readonly daemons: Daemons;
  /** Read at each start. */
  config(): CodexConfig;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  readonly homes: CodexHomes;
  /** As for a codex of one attempt. */
  environment?(config: CodexConfig): Promise<Environment>;
  onTrouble(message: string): void;
}

/** Runs threads in codex processes that many threads share and that outlive this server. */
export function createSharedRuntime(options: SharedRuntimeOptions): AgentRuntime {
  const probed = new Map<string, Promise<void>>();
  const probedOnce = (key: string, probe: () => Promise<void>) => onceFor(probed, key, probe);
  return {
    kind: "codex",
    async start(spec, signal) {
      signal.throwIfAborted();
      const config = options.config();
      const home = await options.homes.prepare(config, spec);
      const launch = await launchOf({ spec, config, home }, options);
      const { configHash } = launch;
      const daemon = await hostFor(launch, { spec, config }, options);
      const host = new SharedHost(daemon, configHash, { spec, options });
      try {
        await host.open();
        const { hidden, socket } = daemon.record;
        const own = {
          ...{ ...options, spec, config, home, host, probedOnce, scratch: null },
          ...{ hidden, denied: hidden.length > 0 ? [dirname(socket)] : [] },
        };
        const session = await openOrClose(new CodexSession(own), signal);
        options.daemons.remember(session.threadId, daemon);
        const isAsked = config.approvalPolicy !== "never" && spec.level !== "danger";
        if (isAsked && home !== null && hidden.length === 0)
          spec.onEvent(noticeEvent(approvedElsewhere));
        return session;
      } catch (error) {
        await host.release();
        throw error;
      }
    },
  };
}

/** Ends what still runs on a thread; when that fails, ends the whole agent. */
async function endThread(
  daemon: Daemon,
  { threadId, runId }: { threadId: string; runId: string },
  { daemons, clock, onTrouble }: Pick<SharedRuntimeOptions, "daemons" | "clock" | "onTrouble">,
): Promise<void> {
  const { id, socket } = daemon.record;
  const quiet = await silenceThread(socket, threadId, clock);
  if (!quiet) {
    onTrouble(
      `a thread of the shared codex ${id} could not be ended, so the whole process is ended`,
    );
    await daemons.end(daemon);
  }
  await killRun(runId);
}

/** The shared agents of a data directory, as recovery needs them. */
export class CodexHosts implements OutlivingHosts {
  readonly daemons: Daemons;
  readonly #deps: HostsDeps;

  constructor(deps: HostsDeps) {
    const { dataDir, clock, onTrouble } = deps;
    this.#deps = deps;
    const markOf = (id: string) => runIdOf(dataDir, `codex-${id}`);
    this.daemons = new Daemons({ dir: sharedDir(dataDir), clock, markOf, onTrouble });
  }

  has(host: string): boolean {
    return this.daemons.find(host) !== null;
  }

  remember(host: string, threadId: string): void {
    const daemon = this.daemons.find(host);
    if (daemon) this.daemons.remember(threadId, daemon);
  }

  hold(host: string, runId: string): void {
    this.daemons.find(host)?.runs.add(runId);
  }

  async endThread(
    host: string,
    run: { readonly threadId: string; readonly runId: string },
  ): Promise<void> {
    const daemon = this.daemons.find(host);
    if (!daemon) return;
    await endThread(daemon, run, { ...this.#deps, daemons: this.daemons });
    await this.daemons.release(daemon, run.runId, daemon.record.config_hash);
  }

  async restore(isOn: boolean, signal: AbortSignal | undefined): Promise<void> {
    const { daemons } = this;
    await daemons.restore(signal);
    if (!isOn) await Promise.all(daemons.all.map((daemon) => daemons.end(daemon)));
  }

  async close(): Promise<void> {
    this.daemons.close();
    await this.daemons.endUnused();
  }
}

interface Wish {
  readonly spec: SessionSpec;
  readonly config: CodexConfig;
}

async function hostFor(
  launch: Launch,
  { spec, config }: Wish,
  { daemons, clock }: SharedRuntimeOptions,
): Promise<Daemon> {
  const { adoption, runId, resumeThreadId: threadId } = spec;
  if (adoption) {
    const daemon = daemons.find(adoption.host);
    if (!daemon) throw daemonGone(adoption.host);
    daemon.runs.add(runId);
    return daemon;
  }
  const daemon = await daemons.acquire(launch, {
    runId,
    threadId,
    capacity: config.threadsPerProcess,
  });
  if (daemon.record.codex_version === null) {
    const version = await versionOf(daemon.record.socket, clock).catch(() => null);
    if (version !== null) await daemons.learned(daemon, version);
  }
  return daemon;
}

/**
 * The command that starts each of these agents. Where commands may be approved, and a mount around codex is possible, it
 * belongs to one workspace; else no part of it belongs to one issue.
 */
async function launchOf(
  { spec, config, home }: Wish & { readonly home: CodexHome | null },
  { env: outer, homes, environment = loginEnvironment.bind(null, outer) }: SharedRuntimeOptions,
): Promise<Launch> {
  const { secretEnvNames: secretNames } = spec;
  const passthrough = [...config.envPassthrough, ...openProxies(outer)];
  const own = home ? { CODEX_HOME: home.path, TMPDIR: await home.sharedScratch() } : {};
  const login = await environment(config);
  const env = agentEnvironment({
    ...{ secretNames, passthrough, runId: "" },
    env: { ...login, ...own },
  });
  const limits = spec.bounds ? boundLines(spec.bounds).join("\n") : ":";
  const hidden = await homes.hiddenAround(config, spec, home);
  const lineWith = async (mark: string, socket: string) => {
    const keep = home && [dirname(home.path), dirname(socket)];
    const command = `${config.command} --listen 'unix://${socket}'`;
    return launchLine(
      `${limits}\nexport ${daemonMark}='${mark}'\n${await hiding(command, { hidden, spec, keep })}`,
      secretNames,
      { path: login["PATH"], passthrough },
    );
  };
  const rules = [await lineWith("", "/"), Object.entries(env).sort(), home?.fingerprint ?? null];
  const configHash = createHash("sha256").update(JSON.stringify(rules)).digest("hex");
  return { lineWith, configHash, env, hidden, orphanLimitMs: config.orphanLimitMs };
}

interface SharedDeps {
  readonly spec: SessionSpec;
  readonly options: SharedRuntimeOptions;
}

/** One run's connection to its agent; it receives messages of its own thread only. */
class SharedHost implements AgentHost {
  readonly id: string;
  readonly #daemon: Daemon;
  readonly #configHash: string;
  readonly #deps: SharedDeps;
  #socket: Socket | null = null;
  #threadId: string | null;
  #deliver: (line: string) => void = () => {};
  /** Requests that arrived before the session can answer them; null once it can. */
  #held: string[] | null;

  constructor(daemon: Daemon, configHash: string, deps: SharedDeps) {
    this.id = daemon.record.id;
    this.#daemon = daemon;
    this.#configHash = configHash;
    this.#deps = deps;
    const adopts = deps.spec.adoption !== undefined;
    this.#threadId = adopts ? deps.spec.resumeThreadId : null;
    this.#held = adopts ? [] : null;
  }

  async open(): Promise<void> {
    this.#socket = await openSocket(this.#daemon.record.socket, connectLimitMs);
  }

  connect(events: Parameters<AgentHost["connect"]>[0]): Transport {
    const socket = this.#socket;
    if (!socket) throw new Error("the host is not open");
    this.#deliver = events.onLine;
    socket.listen({ onLine: (line) => this.#receive(line), onEnd: events.onEnd });
    return {
      pid: this.#daemon.record.pid,
      write: (line) => socket.send(line),
      stop: () => this.release(),
    };
  }

  ready(threadId: string): void {
    this.#threadId = threadId;
    const held = this.#held ?? [];
    this.#held = null;
    for (const line of held) this.#deliver(line);
  }

  async leave(threadId: string): Promise<void> {
    const { spec, options } = this.#deps;
    await endThread(this.#daemon, { threadId, runId: spec.runId }, options);
  }

  detach(): void {
    this.#socket?.close();
  }

  async release(): Promise<void> {
    this.#socket?.close();
    const { spec, options } = this.#deps;
    await options.daemons.release(this.#daemon, spec.runId, this.#configHash);
  }

  #receive(line: string): void {
    // The agent reports the status of each thread to every connection; the status of another thread
    // is no sign of life.
    const foreign = this.#threadId !== null && !line.includes(this.#threadId);
    if (foreign && line.slice(0, methodAt).includes('"method":"thread/')) return;
    if (this.#held && isRequest(line)) this.#held.push(line);
    else this.#deliver(line);
  }
}

const methodAt = 200;

function isRequest(line: string): boolean {
  const message = parseJson(line);
  return isObject(message) && "method" in message && "id" in message;
}

export interface CodexKindOptions {
  /** Read at each start of a session. */
  settings(): CodexConfig;
  workspaceRoot(): string;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  readonly dataDir: string;
  lookup(name: string): string | undefined;
  /** Registers a value that must never be shown. */
  hide(value: string): void;
  /** null: each attempt has a process of its own, whatever the settings say. */
  readonly daemons: Daemons | null;
  onTrouble(message: string): void;
}

/** Uses one process for each attempt, or a shared one; an attempt continues where it began. */
export function createCodexKind(options: CodexKindOptions): AgentRuntime {
  const { settings: config, workspaceRoot, clock, env, dataDir, daemons, onTrouble } = options;
  const homes = new CodexHomes({ env, dataDir, workspaceRoot });
  const environment = (settings: CodexConfig) => environmentOf(settings, options);
  const common = { config, homes, clock, env, environment };
  const perIssue = createCodexRuntime(common);
  const shared = daemons && createSharedRuntime({ ...common, daemons, onTrouble });
  return {
    kind: "codex",
    async check(level, network) {
      requireNoList({ level, network });
      if (config().process === "shared") requireSocketPlace(dataDir);
      await requireProviderKey(config(), options);
    },
    // A command that is approved runs outside of codex's sandbox.
    writesGit: () => config().allowGit || config().approvalPolicy !== "never",
    async start(spec, signal) {
      // A turn that outlived a restart was begun by other settings.
      if (!spec.adoption) {
        requireNoList(spec);
        if (shared && config().process === "shared") requireSocketPlace(dataDir);
        await requireProviderKey(config(), options);
      }
      const isShared = config().process === "shared" || spec.adoption !== undefined;
      return ((isShared && shared) || perIssue).start(spec, signal);
    },
  };
}

/** codex confines its commands itself, with the network or without it. */
function requireNoList({ level, network }: Pick<SessionSpec, "level" | "network">): void {
  if (level !== "networked" || (network ?? null) === null) return;
  const message = "codex cannot limit the network of its commands to the hosts of agent.network";
  throw new SymphonyError("agent_unavailable", message, {
    hint: "use agent.level safe, or another kind of agent, or remove agent.network",
  });
}
