import { randomBytes } from "node:crypto";
import { stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { requireRestartSafe } from "../core/agent/codex/shared/restart-safe.ts";
import { systemClock } from "../core/clock.ts";
import { agentCommand } from "../core/config/agent-command.ts";
import type { Config, ServerConfig } from "../core/config/config.ts";
import { levelWords, understandVariable, wantsToken } from "../core/config/level.ts";
import { type Core, createCore } from "../core/core.ts";
import { rotatingFileSink, streamSink } from "../core/log-sinks.ts";
import { createLogger, type Logger, logEvents } from "../core/logger.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { createRedactor, type Redactor } from "../core/redact.ts";
import { registerWebhook } from "../core/webhook/register.ts";
import { createApp } from "../server/app.ts";
import { isLoopback } from "../server/auth.ts";
import { type Listening, listen } from "../server/listen.ts";
import { reportPeers } from "../server/peer-user.ts";
import { exitCodes } from "./exit-codes.ts";
import { onceOutcome, printKept } from "./once.ts";
import { factLines } from "./output.ts";
import { paintFor } from "./paint.ts";
import type { CommandIo, ServeOptions } from "./serve-options.ts";
import { aborted, leaveSoon, stopSignal } from "./stop-signal.ts";
import { version } from "./version.ts";

/** A core that listens, and how to end both; disposing stops it. */
export interface Daemon extends AsyncDisposable {
  readonly core: Core;
  readonly listening: Listening;
  /** No more requests, agents ended, files closed. Safe to call twice. */
  stop(): Promise<void>;
}

interface DaemonOptions {
  readonly workflowPath: string;
  readonly dataDir: string;
  readonly port: number | null;
  readonly host: string | null;
  readonly env: CommandIo["env"];
  readonly log: Logger;
  readonly redactor: Redactor;
  /** Refuse to serve where a restart would end turns. */
  readonly restartSafe?: boolean;
  /** Gives the start up: it rejects with the signal's reason. */
  readonly signal: AbortSignal;
}

/** Where a workflow file keeps its data unless told otherwise. */
export function dataDirBeside(workflowPath: string): string {
  return join(dirname(workflowPath), ".symphony");
}

/**
 * Builds the core and binds its server; dispatches nothing before `core.start()`. Rejects with the code of
 * what is wrong, and then nothing is left open, bound or running.
 */
export async function openDaemon(options: DaemonOptions): Promise<Daemon> {
  const { workflowPath, dataDir, port, host, env, log, redactor, signal } = options;
  const clock = systemClock;
  const flags = { ...(port !== null && { port }), ...(host !== null && { host }) };
  const core = await createCore({
    version: version(),
    workflowPath,
    dataDir,
    env,
    flags,
    clock,
    log,
    redactor,
    signal,
    ...(options.restartSafe && {
      admit: (config: Config) => requireRestartSafe(config, { dataDir, env, signal }),
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

/** Agents first: while they end, the API still says so. */
async function stopDaemon(core: Core, listening: Listening): Promise<void> {
  try {
    await core.stop();
  } finally {
    await listening.close();
  }
}

/** The operator's own, else a fresh one: a change of `agent.level` may ask for it at any time. Beyond loopback only by wish. */
function tokenFor({ auth, host }: ServerConfig, env: CommandIo["env"]): string | null {
  const given = env["SYMPHONY_TOKEN"];
  if (given) return given;
  return auth === "token" || isLoopback(host) ? randomBytes(32).toString("base64url") : null;
}

/** `symphony serve`: runs until SIGINT or SIGTERM, or with `--once` until its runs have ended. */
export async function serve(options: ServeOptions, io: CommandIo): Promise<number> {
  const workflowPath = await requireWorkflow(
    resolve(io.cwd, options.workflowPath ?? "WORKFLOW.md"),
  );
  const chosenDir = options.dataDir ?? (io.env["SYMPHONY_DATA_DIR"] || null);
  const dataDir = chosenDir ? resolve(io.cwd, chosenDir) : dataDirBeside(workflowPath);
  if (options.dryRun) {
    const { dryRun } = await import("./dry-run.ts");
    return dryRun({ workflowPath, dataDir }, io);
  }
  const stop = stopSignal();
  try {
    return await run({ workflowPath, dataDir, stop }, options, io);
  } catch (error) {
    // The start was given up, and nothing of it is left.
    if (error === stop.reason) return options.once ? exitCodes.interrupted : exitCodes.done;
    throw error;
  } finally {
    leaveSoon();
  }
}

interface Place {
  readonly workflowPath: string;
  readonly dataDir: string;
  readonly stop: AbortSignal;
}

async function run(
  { workflowPath, dataDir, stop }: Place,
  options: ServeOptions,
  io: CommandIo,
): Promise<number> {
  const redactor = createRedactor();
  const sinks = [streamSink("stderr", io.stderr)];
  const log = createLogger({
    level: io.debug ? "debug" : io.quiet ? "warn" : "info",
    format: options.logFormat,
    sinks,
    clock: systemClock,
    redact: (text) => redactor.redact(text),
  });
  const { port, host, restartSafe } = options;
  await using daemon = await openDaemon({
    ...{ workflowPath, dataDir, port, host, restartSafe },
    env: options.understood ? { ...io.env, [understandVariable]: "1" } : io.env,
    log,
    redactor,
    signal: stop,
  });
  // Only the server that holds the data directory writes its log file.
  sinks.push(rotatingFileSink({ file: join(dataDir, "log", "symphony.log") }));
  logEvents(daemon.core.bus, log);
  await announce(daemon, io);
  const { webhookUrl } = options;
  // Beside the start: a tracker that is slow to answer holds nothing up.
  if (webhookUrl !== null) void registerWebhook(webhookParts(daemon.core, io.env), webhookUrl);
  const code = await untilStopped(daemon, stop, options.once);
  if (options.once) await printKept(daemon.core.workspaces.kept.list(), dataDir, io);
  return code;
}

function webhookParts(core: Core, env: CommandIo["env"]) {
  const lookup = (name: string) => core.secrets.lookup(name) ?? env[name];
  const { config, secrets, bus, log, history } = core;
  return { config, secrets, bus, log, history, lookup, clock: systemClock, tracker: core.tracker };
}

async function untilStopped(daemon: Daemon, stop: AbortSignal, once: boolean): Promise<number> {
  const { core } = daemon;
  const outcome = onceOutcome(core, stop);
  const stopped = aborted(stop);
  // A tracker that does not answer holds up the start, but not the end.
  await Promise.race([core.start(), stopped]);
  if (!stop.aborted) {
    await (once ? Promise.race([core.once().then(outcome.look), stopped]) : stopped);
  }
  const { aborted: wasStopped } = stop;
  await daemon.stop();
  if (once) await outcome.lookLast();
  if (core.unsaved().length > 0) return exitCodes.failed;
  if (once && wasStopped) return exitCodes.interrupted;
  return once ? outcome.exitCode() : exitCodes.done;
}

/** Rejects with `missing_workflow_file`, naming the absolute path (C-2). */
async function requireWorkflow(path: string): Promise<string> {
  const found = await stat(path).catch(() => null);
  if (found?.isFile()) return path;
  const why = found === null ? "does not exist" : "is not a file";
  throw new SymphonyError("missing_workflow_file", `workflow file ${path} ${why}`, {
    details: { path },
    hint: "write one (docs/workflow.md), or try symphony demo",
  });
}

async function announce({ core, listening }: Daemon, io: CommandIo): Promise<void> {
  if (io.quiet || !io.stderr.isTTY) return;
  const { config } = core.config.current;
  const paint = await paintFor(io.colour);
  const lines = factLines(
    [
      ["symphony", { text: `${core.version}  ${listening.url}`, style: "bold" }],
      ["workflow", core.workflowPath],
      ["tracker", config.tracker.kind],
      ["agent", `${config.agent.kind}  ${agentCommand(config)}${modeOf(config)}`],
      ["level", `${config.agent.level}: ${levelWords[config.agent.level]}`],
      ["data", core.dataDir],
    ],
    paint,
  );
  io.stderr.write(`${lines.join("\n")}\n\n`);
}

function modeOf({ agent, codex }: Config): string {
  if (agent.kind !== "codex" || codex.process !== "shared") return "";
  return "  shared: turns outlive a restart";
}
