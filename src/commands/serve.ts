import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { requireRestartSafe } from "../core/agent/kinds.ts";
import { systemClock } from "../core/clock.ts";
import {
  type Config,
  type ServerConfig,
  understandVariable,
  wantsToken,
} from "../core/config/config.ts";
import type { Core } from "../core/core.ts";
import {
  createLogger,
  type Logger,
  logEvents,
  rotatingFileSink,
  streamSink,
} from "../core/events/log.ts";
import { type Kinds, kinds } from "../core/kinds.ts";
import { messageOf } from "../core/model/errors.ts";
import { workInWords } from "../core/model/work.ts";
import { version } from "../core/package.ts";
import { giveBackWhenIdle, ownMemory } from "../core/process/idle-memory.ts";
import { registerWebhook } from "../core/register-webhook.ts";
import { createCore } from "../core/start.ts";
import { createRedactor, type Redactor } from "../core/text/redact.ts";
import { shellQuoted } from "../core/text/text.ts";
import type { Kept } from "../core/workspace/kept.ts";
import { isLoopback } from "../server/access.ts";
import { createApp } from "../server/app.ts";
import { type Listening, listen } from "../server/listen.ts";
import { reportPeers } from "../server/peers.ts";
import { type CommandContext, type CommandIo, findProject, servedProject } from "./context.ts";
import { exitCodes } from "./failure.ts";
import { keptLines } from "./kept.ts";
import { jsonText, paintFor } from "./output.ts";
import { serveTerminal } from "./serve-terminal.ts";
import { Spinner } from "./spinner.ts";
import { aborted, leaveSoon, StopRequest, stopCode, stopSignal } from "./stop.ts";

/** A running core and its server; disposing stops both. */
export interface Daemon extends AsyncDisposable {
  readonly core: Core;
  readonly listening: Listening;
  /** Ends the agents, stops taking requests and closes the files. Safe to call twice. */
  stop(): Promise<void>;
}

interface DaemonOptions {
  readonly workflowPath: string;
  readonly dataDir: string;
  readonly port: number | undefined;
  readonly host: string | undefined;
  readonly env: CommandIo["env"];
  readonly log: Logger;
  readonly redactor: Redactor;
  /** Refuse to serve where a restart would end turns. */
  readonly restartSafe?: boolean;
  /** Start although a key that narrows what runs, caps it or chooses an agent is not known. */
  readonly allowUnknown?: boolean;
  /** Missing files of the data directory that are made anew. */
  readonly acceptLoss?: readonly string[];
  /** What the configuration may choose from; by default symphony's own kinds. */
  readonly kinds?: Kinds;
  /** Aborts the start, which then rejects with the signal's reason. */
  readonly signal: AbortSignal;
  /** As `CoreOptions` has it. */
  readonly onOvertaken?: () => void;
  /** Shows on a terminal what takes long. */
  readonly spinner?: Spinner;
}

/**
 * Builds the core and binds its server; dispatches nothing before `core.start()`. Rejects with the code of the fault,
 * and then leaves nothing open, bound or running.
 */
export async function openDaemon(options: DaemonOptions): Promise<Daemon> {
  const { workflowPath, dataDir, port, host, env, log, redactor, signal } = options;
  const clock = systemClock;
  const flags = { ...(port !== undefined && { port }), ...(host !== undefined && { host }) };
  let url: string | null = null;
  const core = await createCore({
    version: version(),
    url: () => url,
    workflowPath,
    dataDir,
    env,
    flags,
    clock,
    log,
    redactor,
    signal,
    allowUnknown: options.allowUnknown ?? false,
    acceptLoss: options.acceptLoss ?? [],
    ...(options.kinds && { kinds: options.kinds }),
    ...(options.onOvertaken && { onOvertaken: options.onOvertaken }),
    onClone: (clone) => options.spinner?.clone(clone),
    ...(options.restartSafe && {
      admit: (config: Config) => requireRestartSafe(kinds.agents, config, { dataDir, env, signal }),
    }),
  });
  try {
    const { server } = core.config.current.config;
    const token = tokenFor(server, env);
    if (token !== null) redactor.add(token);
    const app = createApp(core, { clock, host: server.host, token });
    const listening = await listen(app, {
      host: server.host,
      port: server.port,
      dataDir,
      token,
      version: core.version,
      workflowPath,
      clock,
      signal,
    });
    url = listening.url;
    const { level } = core.config.current.config.agent;
    if (listening.peerTables !== null && !wantsToken({ auth: server.auth, level })) {
      reportPeers(listening.peerTables, log);
    }
    const stop = () => stopDaemon(core, listening);
    return { core, listening, stop, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await core.stop();
    throw error;
  }
}

/** Agents first, so that the API still answers while they end. */
async function stopDaemon(core: Core, listening: Listening): Promise<void> {
  try {
    await core.stop();
  } finally {
    await listening.close();
  }
}

/** The operator's token, else a random one on loopback or for `auth: token`: a change of `agent.level` may require it. */
/** The token that callers of a server with these settings need; null: none. */
export function tokenFor({ auth, host }: ServerConfig, env: CommandIo["env"]): string | null {
  const given = env["SYMPHONY_TOKEN"];
  if (given) return given;
  return auth === "token" || isLoopback(host) ? randomBytes(32).toString("base64url") : null;
}

/** What `symphony serve` was given; undefined means "not given": the configuration decides. */
interface ServeOptions {
  readonly workflow: string | undefined;
  /** 0 means any free port. */
  readonly port: number | undefined;
  readonly host: string | undefined;
  /** One poll and its runs, then exit by outcome. */
  readonly once: boolean;
  /** Accepts `agent.level: danger`, where agents may do everything. */
  readonly iUnderstand: boolean;
  /** By default `text` on a terminal, else `logfmt`. */
  readonly logFormat: "text" | "logfmt" | "json" | undefined;
  /** The address to register with the tracker. */
  readonly webhookUrl: string | undefined;
  /** Refuse to serve unless turns outlive a restart. */
  readonly restartSafe: boolean;
  readonly allowUnknown: boolean;
  readonly acceptLoss: readonly string[];
}

/** `symphony serve`: runs until SIGINT or SIGTERM, or with `--once` until its runs have ended. */
export async function serve(options: ServeOptions, context: CommandContext): Promise<number> {
  const project = servedProject(options.workflow, context);
  const overtaken = new AbortController();
  const stop = AbortSignal.any([stopSignal(), overtaken.signal]);
  const onOvertaken = () => overtaken.abort(new StopRequest(exitCodes.failed, "overtaken"));
  try {
    return await run({ ...project, stop, onOvertaken }, options, context);
  } catch (error) {
    // The start was aborted, and nothing of it is left.
    if (error === stop.reason) return options.once ? exitCodes.interrupted : endOf(stop);
    throw error;
  } finally {
    leaveSoon();
  }
}

interface Place {
  readonly workflowPath: string;
  readonly dataDir: string;
  readonly stop: AbortSignal;
  readonly onOvertaken: () => void;
}

async function run(
  { workflowPath, dataDir, stop, onOvertaken }: Place,
  options: ServeOptions,
  io: CommandIo,
): Promise<number> {
  const redactor = createRedactor();
  const format = options.logFormat ?? (io.stderr.isTTY ? "text" : "logfmt");
  const terminal = format === "text" ? await serveTerminal(io) : null;
  const sinks = [terminal?.sink ?? streamSink("stderr", io.stderr)];
  // Also where the log is for machines: a terminal shows it, nothing else does.
  using spinner = new Spinner(io);
  spinner.set("start", "starting: reading the configuration, looking for agents");
  const log = createLogger({
    level: io.debug ? "debug" : io.quiet ? "warn" : "info",
    format: format === "json" ? "json" : "logfmt",
    sinks,
    clock: systemClock,
    redact: (text) => redactor.redact(text),
  });
  await using daemon = await openDaemon({
    workflowPath,
    dataDir,
    port: options.port,
    host: options.host,
    restartSafe: options.restartSafe,
    allowUnknown: options.allowUnknown,
    acceptLoss: options.acceptLoss,
    env: options.iUnderstand ? { ...io.env, [understandVariable]: "1" } : io.env,
    log,
    redactor,
    signal: stop,
    onOvertaken,
    spinner,
  });
  // Only the server that holds the data directory writes its log file.
  sinks.push(rotatingFileSink({ file: join(dataDir, "log", "symphony.log") }));
  logEvents(daemon.core.bus, log);
  const { core, listening } = daemon;
  using memory = new DisposableStack();
  memory.defer(giveBackWhenIdle(ownMemory(systemClock)));
  spinner.end("start");
  core.bus.subscribe({}, (event) => spinner.event(event));
  terminal?.follow(core, listening.url, (text) => redactor.redact(text));
  if (terminal !== null) stop.addEventListener("abort", () => terminal.stopping(core));
  const { webhookUrl } = options;
  // In parallel with the start: a tracker that is slow to answer does not delay it.
  if (webhookUrl !== undefined) void registerWebhook(webhookDeps(daemon.core, io.env), webhookUrl);
  const code = await untilStopped(daemon, stop, { once: options.once, spinner });
  if (stop.aborted) terminal?.stopped();
  if (options.once) await printKept(daemon.core.workspaces.kept.list(), dataDir, io);
  return code;
}

function webhookDeps(core: Core, env: CommandIo["env"]) {
  const lookup = (name: string) => core.secrets.lookup(name) ?? env[name];
  const { kinds, config, secrets, bus, log, history, tracker } = core;
  return { kinds, config, secrets, bus, log, history, lookup, clock: systemClock, tracker };
}

async function untilStopped(
  daemon: Daemon,
  stop: AbortSignal,
  { once, spinner }: { readonly once: boolean; readonly spinner: Spinner },
): Promise<number> {
  const { core } = daemon;
  const outcome = onceOutcome(core, stop);
  const stopped = aborted(stop);
  // A tracker that does not answer delays the start, but not the end.
  spinner.set("poll", firstPollText(core));
  await Promise.race([core.start(), stopped]);
  spinner.end("poll");
  // Compiled code for the next start: at its end a server has forgotten the code of this one, and one that is killed keeps nothing.
  process.getBuiltinModule("node:module").flushCompileCache();
  if (!stop.aborted) {
    await (once ? Promise.race([core.once().then(outcome.examine), stopped]) : stopped);
  }
  const { aborted: wasStopped } = stop;
  outcome.notePushed();
  await daemon.stop();
  if (once) await outcome.examineLast();
  if (core.unsaved().length > 0) return exitCodes.failed;
  if (once && wasStopped) return exitCodes.interrupted;
  return once ? outcome.exitCode() : endOf(stop);
}

/** What the start waits for once the server answers. */
export function firstPollText({ config }: Core): string {
  return `first read of the ${config.current.config.tracker.kind} tracker`;
}

/** An interrupt is the normal end of a server (C-5). */
function endOf(stop: AbortSignal): number {
  const code = stopCode(stop);
  return code === exitCodes.interrupted ? exitCodes.done : code;
}

/** How long the end of the server waits for workspaces that were not examined yet. */
const lastExamineMs = 2_000;

/** How the attempts of a `--once` run ended. */
interface OnceOutcome {
  exitCode(): number;
  /** Examines the workspaces that they used: no server can report later what is left there. */
  examine(): Promise<void>;
  /** Before the server stops: afterwards it does not know what was pushed. */
  notePushed(): void;
  /** The same after the server has stopped, for those that it had no time for. */
  examineLast(): Promise<void>;
}

interface Worked {
  readonly id: string;
  readonly identifier: string;
  readonly path: string | null;
  /** The commit that the remote has of its branch. */
  readonly pushed: string | null;
}

/** `stop` is aborted when the server is to end before its runs have. */
function onceOutcome(
  { bus, workspaces, deliveries, history, log }: Core,
  stop: AbortSignal,
): OnceOutcome {
  const { kept } = workspaces;
  let failed = 0;
  let blocked = 0;
  const unseen = new Map<string, Worked>();
  const pushedOf = (id: string) => deliveries.of(id)?.pushed ?? null;
  bus.subscribe({ filter: { types: ["attempt.ended", "issue.blocked"] } }, (event) => {
    const { issueId: id, issueIdentifier: identifier } = event;
    if (id !== null && identifier !== null) {
      const path = history.latestAttempt(id)?.workspacePath ?? null;
      unseen.set(id, { id, identifier, path, pushed: pushedOf(id) });
    }
    if (event.type === "issue.blocked") blocked++;
    else if (event.data["outcome"] !== "succeeded") failed++;
  });
  return {
    exitCode() {
      if (blocked > 0) return exitCodes.needsPerson;
      return failed > 0 ? exitCodes.failed : exitCodes.done;
    },
    async examine() {
      bus.flush();
      for (const one of [...unseen.values()]) {
        if (stop.aborted) return;
        try {
          await kept.report(one, null);
          unseen.delete(one.id);
        } catch (error) {
          if (stop.aborted) return;
          const reason = messageOf(error);
          log.warn("workspace not examined", { issue_identifier: one.identifier, reason });
        }
      }
    },
    notePushed() {
      for (const [id, one] of unseen) unseen.set(id, { ...one, pushed: pushedOf(id) });
    },
    async examineLast() {
      const enough = AbortSignal.timeout(lastExamineMs);
      for (const { path, pushed, ...one } of unseen.values()) {
        if (path !== null) await kept.examineLast(one, { path, pushed }, enough);
      }
    },
  };
}

/** Prints where the remaining work is when `--once` has ended: no server can be asked afterwards. */
async function printKept(all: readonly Kept[], dataDir: string, io: CommandIo): Promise<void> {
  const isFound =
    findProject({ dataDir: undefined, env: io.env, cwd: io.cwd })?.dataDir === dataDir;
  const where = isFound ? "" : ` --data-dir ${shellQuoted(dataDir)}`;
  const newest = all.toSorted((a, b) => b.since - a.since);
  const shown = newest.map((kept) => {
    const { issueIdentifier: issue_identifier, key, path, work } = kept;
    const [show] = kept.next;
    return { issue_identifier, key, path, summary: workInWords(work), next: [`${show}${where}`] };
  });
  if (io.json) io.stdout.write(`${jsonText({ kept: shown })}\n`);
  else {
    const lines = keptLines(shown, await paintFor(io.colour));
    if (lines.length > 0) io.stdout.write(`${lines.join("\n")}\n`);
  }
}
