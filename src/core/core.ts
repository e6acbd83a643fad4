import { createHash } from "node:crypto";
import { createCodexRuntime } from "./agent/codex/session.ts";
import { agentEnvironment } from "./agent/environment.ts";
import { Attempts } from "./attempt/attempts.ts";
import { type Bus, createBus } from "./bus.ts";
import { cleanUpFinished } from "./cleanup.ts";
import type { Clock } from "./clock.ts";
import type { Config } from "./config/config.ts";
import { openOverlay } from "./config/overlay-document.ts";
import type { ConfigFlags } from "./config/resolve.ts";
import { type ConfigService, openConfig } from "./config/service.ts";
import { followConfig } from "./follow-config.ts";
import type { Logger } from "./logger.ts";
import { messageOf } from "./model/errors.ts";
import type { EventDraft } from "./model/event.ts";
import { Operations } from "./orchestrator/operations.ts";
import { Orchestrator } from "./orchestrator/orchestrator.ts";
import { restoredState } from "./orchestrator/records.ts";
import { inForce, portsOf, type RealParts } from "./ports.ts";
import { recoverAttempts } from "./recovery.ts";
import type { Redactor } from "./redact.ts";
import { openSecrets, type Secrets } from "./secrets/secrets.ts";
import { lockDataDir } from "./store/lock.ts";
import { openStore } from "./store/open.ts";
import type { History, Store } from "./store/store.ts";
import { checkTracker, type TrackerEdges, TrackerInUse } from "./tracker/in-use.ts";
import type { LocalIssues } from "./tracker/local/issues.ts";
import type { Tracker } from "./tracker/tracker.ts";
import { createWorkspaces, type HookFailure } from "./workspace/workspaces.ts";

/** The running heart of `symphony serve`, without any HTTP. */
export interface Core {
  readonly version: string;
  readonly startedWall: number;
  readonly dataDir: string;
  readonly workflowPath: string;
  readonly config: ConfigService;
  readonly orchestrator: Operations;
  readonly bus: Bus;
  readonly history: History;
  readonly log: Logger;
  readonly secrets: Secrets;
  /** `text` with every known secret taken out. */
  redact(text: string): string;
  /** The tracker in use; a change of its configuration makes a new one. */
  tracker(): Tracker;
  /** The embedded tracker's issues; null with any other tracker. */
  localIssues(): LocalIssues | null;
  /** Cleans up after finished issues, then polls. Nothing is dispatched before. */
  start(): Promise<void>;
  /** Resolves when the first poll is over and all that it started has ended; nothing else is started. */
  once(): Promise<void>;
  /** Ends agents, timers and files; safe to call twice. */
  stop(): Promise<void>;
}

export interface CoreOptions {
  readonly version: string;
  readonly workflowPath: string;
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags: ConfigFlags;
  readonly clock: Clock;
  readonly log: Logger;
  readonly redactor: Redactor;
}

/**
 * Opens everything and recovers what a crash left, but dispatches nothing yet. Rejects with the code of what is
 * wrong (configuration, lock, storage) and then holds nothing open.
 */
export async function createCore(options: CoreOptions): Promise<Core> {
  const { clock, log, dataDir, env } = options;
  const lock = await lockDataDir(dataDir);
  const opened: Opened = [() => lock.release()];
  try {
    const secrets = await openSecrets({ dir: dataDir, env, clock, redactor: options.redactor });
    const edges: TrackerEdges = {
      dataDir,
      clock,
      lookup: (name) => secrets.lookup(name) ?? env[name],
      onMalformed: (count) => log.warn("tracker records left out", { reason: "malformed", count }),
    };
    const { overlay, save: saveOverlay } = await openOverlay(dataDir);
    const config = await openConfig({
      workflowPath: options.workflowPath,
      env,
      flags: options.flags,
      clock,
      overlay,
      saveOverlay,
      validate: (next) => checkTracker(next.tracker, edges),
    });
    opened.push(() => config.close());
    for (const warning of config.warnings) log.warn("configuration", { warning });
    const store = await openStore(dataDir);
    opened.push(() => store.close());
    return await assemble(options, { config, store, secrets, edges, opened });
  } catch (error) {
    await closeAll(opened, log);
    throw error;
  }
}

/** How long hooks of ending attempts may go on while the server stops. */
const hookGraceMs = 10_000;

/** How to close what was opened, in the order of opening. */
type Opened = (() => unknown)[];

interface Foundations {
  readonly config: ConfigService;
  readonly store: Store;
  readonly secrets: Secrets;
  readonly edges: TrackerEdges;
  readonly opened: Opened;
}

async function assemble(options: CoreOptions, base: Foundations): Promise<Core> {
  const { clock, log, env } = options;
  const { config, store, opened } = base;
  const { history, records } = store;
  const bus = createBus({
    history,
    clock,
    redact: (text) => options.redactor.redact(text),
    onError: (error) => log.error("event series", { reason: messageOf(error) }),
  });
  opened.push(() => bus.close());
  const current = () => config.current.config;
  const trackers = new TrackerInUse(current().tracker, base.edges, () =>
    orchestrator.post({ type: "tracker.changed" }),
  );
  opened.push(() => trackers.close());
  const leaving = new AbortController();
  const parts: RealParts = {
    clock,
    log,
    config,
    store,
    bus,
    trackers,
    attempts: new Attempts(),
    runtime: createCodexRuntime({ config: () => current().codex, clock, env }),
    workspaces: createWorkspaces({
      settings: () => ({ root: current().workspace.root, hooks: current().hooks }),
      env: () => hookEnvironment(options, current(), trackers.tracker),
      clock,
      log,
      onHookFailed: (failure) => bus.publish(hookFailed(failure)),
      signal: leaving.signal,
    }),
    orchestrator: () => orchestrator,
  };
  const hookRun = hookRunId(options.dataDir);
  const interrupted = await recoverAttempts({ history, bus, clock, hookRun });
  if (interrupted > 0) log.warn("recovered from a crash", { interrupted });
  const restored = restoredState(
    { records: records.all(), totals: history.totals(), lastAttemptId: history.lastAttemptId() },
    { now: clock.now(), wall: clock.wall() },
  );
  const orchestrator: Orchestrator = new Orchestrator(portsOf(parts), restored);
  return heart(options, parts, { orchestrator, secrets: base.secrets, opened, leaving });
}

interface Ending {
  readonly orchestrator: Orchestrator;
  readonly secrets: Secrets;
  readonly opened: Opened;
  /** Ends the hooks that still run. */
  readonly leaving: AbortController;
}

function heart(
  options: CoreOptions,
  parts: RealParts,
  { orchestrator, secrets, opened, leaving }: Ending,
): Core {
  const { clock, log, version, dataDir } = options;
  const { config, trackers, workspaces, bus } = parts;
  const { history } = parts.store;
  let stopped: Promise<void> | null = null;
  const stop = async () => {
    bus.publish({ type: "server.stopping", message: "the server is stopping" });
    const cancel = clock.after(hookGraceMs, () => leaving.abort());
    await orchestrator.drain();
    cancel();
    await closeAll(opened, log);
  };
  return {
    version,
    dataDir,
    startedWall: clock.wall(),
    workflowPath: options.workflowPath,
    config,
    bus,
    history,
    log,
    secrets,
    redact: (text) => options.redactor.redact(text),
    orchestrator: new Operations({
      orchestrator,
      history,
      clock,
      tracker: () => trackers.tracker,
      config: () => inForce(config),
    }),
    tracker: () => trackers.tracker,
    localIssues: () => trackers.localIssues,
    async start() {
      const { terminalStates } = config.current.config.tracker;
      await cleanUpFinished({ tracker: trackers.tracker, terminalStates, workspaces, log });
      opened.push(followConfig(parts, orchestrator));
      bus.publish({ type: "server.started", message: `symphony ${version} started` });
      orchestrator.start();
    },
    once: () => orchestrator.once(),
    stop() {
      stopped ??= stop();
      return stopped;
    },
  };
}

function hookFailed({ hook, issue, error }: HookFailure): EventDraft {
  return {
    type: "hook.failed",
    issueId: issue?.id ?? null,
    issueIdentifier: issue?.identifier ?? null,
    message: error.message,
    data: { hook, code: error.code, ...error.details },
  };
}

/** Hooks see what an agent sees: the allow-list, without any credential of the tracker. */
function hookEnvironment(
  { env, dataDir }: CoreOptions,
  config: Config,
  tracker: Tracker,
): Record<string, string> {
  return agentEnvironment({
    env,
    passthrough: config.codex.envPassthrough,
    secretNames: tracker.secretEnvNames,
    runId: hookRunId(dataDir),
  });
}

/** The cookie of every hook of this data directory, by which one that outlived a crash is found. */
function hookRunId(dataDir: string): string {
  return `hook-${createHash("sha256").update(dataDir).digest("hex").slice(0, 16)}`;
}

/** Last opened, first closed; one that fails does not keep the others open. */
async function closeAll(opened: Opened, log: Logger): Promise<void> {
  for (const close of opened.splice(0).reverse()) {
    try {
      await close();
    } catch (error) {
      log.error("closing failed", { reason: messageOf(error) });
    }
  }
}
