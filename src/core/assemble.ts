import { agentEnvironment } from "./agent/environment.ts";
import { AgentRuntimes } from "./agent/runtimes.ts";
import { Attempts } from "./attempt/attempts.ts";
import { auditDecisions } from "./audit-decisions.ts";
import { createBus } from "./bus.ts";
import { cleanUpFinished } from "./cleanup.ts";
import { CommentSteering } from "./comments/steering.ts";
import type { Config } from "./config/config.ts";
import type { ConfigService } from "./config/service.ts";
import type { Core, CoreOptions } from "./core.ts";
import { followConfig } from "./follow-config.ts";
import { type Lasting, openLasting } from "./lasting.ts";
import type { Meter } from "./meter.ts";
import { messageOf } from "./model/errors.ts";
import type { EventDraft } from "./model/event.ts";
import { closeAll, type Opened } from "./opened.ts";
import { Operations } from "./orchestrator/operations.ts";
import { Orchestrator } from "./orchestrator/orchestrator.ts";
import { restoredState } from "./orchestrator/records.ts";
import type { State } from "./orchestrator/state.ts";
import { inForce, portsOf, type RealParts } from "./ports.ts";
import { recoverAttempts } from "./recovery.ts";
import { runIdOf } from "./run-id.ts";
import type { Secrets } from "./secrets/secrets.ts";
import type { Store } from "./store/store.ts";
import { TemplateDesk } from "./template-desk.ts";
import { type TrackerEdges, TrackerInUse } from "./tracker/in-use.ts";
import type { Tracker } from "./tracker/tracker.ts";
import type { WebhookInbox } from "./webhook/inbox.ts";
import { openInbox } from "./webhook/open-inbox.ts";
import { WorkspaceDesk } from "./workspace/desk.ts";
import { followDiskUse } from "./workspace/follow-disk-use.ts";
import { keepApart } from "./workspace/keep-apart.ts";
import { createWorkspaces, type HookFailure } from "./workspace/workspaces.ts";

/** How long hooks of ending attempts may go on while the server stops. */
const hookGraceMs = 10_000;

export interface Foundations {
  readonly config: ConfigService;
  readonly store: Store;
  readonly secrets: Secrets;
  readonly edges: TrackerEdges & { readonly meter: Meter };
  readonly opened: Opened;
}

/** Wires the parts and recovers what a crash left; dispatches nothing. */
export async function assemble(options: CoreOptions, base: Foundations): Promise<Core> {
  const { clock, log, env } = options;
  const { config, store, opened } = base;
  const { history } = store;
  const bus = createBus({
    history,
    clock,
    redact: (text) => options.redactor.redact(text),
    onError: (error) => log.error("event series", { reason: messageOf(error) }),
  });
  opened.push(() => bus.close());
  auditDecisions({ bus, history, log });
  const current = () => config.current.config;
  const trackers = new TrackerInUse(current().tracker, base.edges, () =>
    orchestrator.post({ type: "tracker.changed" }),
  );
  opened.push(() => trackers.close());
  const leaving = new AbortController();
  const onTrouble = (message: string) => log.warn("shared agent", { message });
  const lasting = openLasting({ dataDir: options.dataDir, clock, onTrouble });
  opened.push(() => lasting.close());
  const parts: RealParts = {
    clock,
    log,
    dataDir: options.dataDir,
    config,
    store,
    bus,
    meter: base.edges.meter,
    trackers,
    attempts: new Attempts(clock),
    templates: new TemplateDesk({ ...options, ...base, bus, orchestrator: () => orchestrator }),
    lasting,
    runtimes: new AgentRuntimes({
      config: current,
      lookup: base.edges.lookup,
      ...{ clock, env, dataDir: options.dataDir, daemons: lasting.daemons, onTrouble },
    }),
    workspaces: keepApart(
      createWorkspaces({
        settings: () => ({ root: current().workspace.root, hooks: current().hooks }),
        env: () => hookEnvironment(options, current(), trackers.tracker),
        clock,
        log,
        onHookFailed: (failure) => bus.publish(hookFailed(failure)),
        signal: leaving.signal,
      }),
    ),
    orchestrator: () => orchestrator,
  };
  const restored = await recovered(parts, lasting);
  const orchestrator: Orchestrator = new Orchestrator(portsOf(parts), restored);
  const comments = new CommentSteering({
    ...{ clock, log, history, config: current },
    tracker: () => trackers.tracker,
    orchestrator: () => orchestrator,
  });
  const webhooks = openInbox({ ...options, ...parts, comments, lookup: base.edges.lookup });
  opened.push(() => webhooks.close());
  return heart(options, parts, {
    orchestrator,
    secrets: base.secrets,
    opened,
    leaving,
    webhooks,
    comments,
  });
}

/** The state to begin with: what waits, what was decided, and what goes on; all else of a crash is cleared away. */
async function recovered(parts: RealParts, lasting: Lasting): Promise<State> {
  const { clock, log, bus, dataDir, config } = parts;
  const { history, records } = parts.store;
  const isShared = config.current.config.codex.process === "shared";
  const adopted = await lasting.restore({ history, records, isShared });
  const spared = new Set(adopted.map(({ attemptId }) => attemptId));
  const runId = (name: string) => runIdOf(dataDir, name);
  const interrupted = await recoverAttempts({ history, bus, clock, runId, spared });
  if (interrupted > 0) log.warn("recovered from a crash", { interrupted });
  if (adopted.length > 0) log.info("attempts go on", { attempts: adopted.length });
  const kept = { totals: history.totals(), lastAttemptId: history.lastAttemptId() };
  const clocks = { now: clock.now(), wall: clock.wall() };
  return restoredState({ records: records.all(), ...kept, adopted }, clocks);
}

interface Ending {
  readonly orchestrator: Orchestrator;
  readonly secrets: Secrets;
  readonly opened: Opened;
  /** Ends the hooks that still run. */
  readonly leaving: AbortController;
  readonly webhooks: WebhookInbox;
  readonly comments: CommentSteering;
}

function heart(
  options: CoreOptions,
  parts: RealParts,
  { orchestrator, secrets, opened, leaving, webhooks, comments }: Ending,
): Core {
  const { clock, log, version, dataDir } = options;
  const { config, trackers, workspaces, bus } = parts;
  const { history } = parts.store;
  const desk = new WorkspaceDesk({
    root: () => config.current.config.workspace.root,
    state: () => orchestrator.state,
    ...{ workspaces, history, bus, clock },
  });
  opened.push(() => desk.close());
  opened.push(followDiskUse(bus, desk, log));
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
    meter: parts.meter,
    history,
    templates: parts.templates,
    log,
    webhooks,
    comments,
    workspaces: desk,
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
      const isAtWork = (id: string) => orchestrator.state.running.has(id);
      await cleanUpFinished({
        ...{ tracker: trackers.tracker, terminalStates, workspaces, log, isAtWork },
      });
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
    runId: runIdOf(dataDir, "hook"),
  });
}
