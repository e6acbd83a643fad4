import { AgentRuntimes } from "./agent/runtimes.ts";
import { Attempts } from "./attempt/attempts.ts";
import { auditDecisions } from "./audit-decisions.ts";
import { type Bus, createBus } from "./bus.ts";
import { type Cleanup, cleanUpFinished } from "./cleanup.ts";
import { CommentSteering } from "./comments/steering.ts";
import type { ConfigService } from "./config/service.ts";
import type { Core, CoreOptions } from "./core.ts";
import { followConfig } from "./follow-config.ts";
import { keepCompleted } from "./keep-completed.ts";
import { keptStore } from "./kept-store.ts";
import { openLasting } from "./lasting.ts";
import type { Meter } from "./meter.ts";
import { adviceOf, messageOf } from "./model/errors.ts";
import type { ModelList } from "./models/model-list.ts";
import { openModels } from "./models/open-models.ts";
import { openWorkspaces } from "./open-workspaces.ts";
import { closeAll, type Opened } from "./opened.ts";
import { Operations } from "./orchestrator/operations.ts";
import { Orchestrator } from "./orchestrator/orchestrator.ts";
import { restoredState } from "./orchestrator/records.ts";
import type { State } from "./orchestrator/state.ts";
import { inForce, portsOf, type RealParts } from "./ports.ts";
import { recoverAttempts } from "./recovery.ts";
import { followRetention } from "./retention.ts";
import { runIdOf } from "./run-id.ts";
import type { Secrets } from "./secrets/secrets.ts";
import { SaveQueue } from "./store/save-queue.ts";
import type { Store } from "./store/store.ts";
import { TemplateDesk } from "./template-desk.ts";
import { type TrackerEdges, TrackerInUse } from "./tracker/in-use.ts";
import type { WebhookInbox } from "./webhook/inbox.ts";
import { openInbox } from "./webhook/open-inbox.ts";
import { WorkspaceDesk } from "./workspace/desk.ts";
import { followDiskUse } from "./workspace/follow-disk-use.ts";
import { KeptWorkspaces } from "./workspace/kept.ts";
import { isAtWork, userOf } from "./workspace/owner.ts";
import { OwnRoots } from "./workspace/roots.ts";

/** How long hooks of ending attempts may go on while the server stops. */
const hookGraceMs = 10_000;
/** How many writes that could not be saved the log names. */
const unsavedNamed = 20;

export interface Foundations {
  readonly config: ConfigService;
  readonly store: Store;
  readonly secrets: Secrets;
  readonly edges: TrackerEdges & { readonly meter: Meter };
  readonly opened: Opened;
}

interface AuditDeps {
  readonly bus: Bus;
  readonly history: Store["history"];
  readonly log: CoreOptions["log"];
  readonly wall: number;
}

/** Wires the parts and recovers what a crash left; dispatches nothing. */
export async function assemble(options: CoreOptions, base: Foundations): Promise<Core> {
  const { clock, log, env } = options;
  const { config, opened } = base;
  const { saves, store, unsaved } = openSaves(options, base);
  const { history } = store;
  const bus = openBus(options, history, saves);
  opened.push(() => bus.close());
  openAudit({ bus, history, log, wall: clock.wall() });
  const current = () => config.current.config;
  // What changes before there is an orchestrator is read by its first poll.
  let onChange = () => {};
  const trackers = new TrackerInUse(current().tracker, base.edges, () => onChange());
  opened.push(() => trackers.close());
  const leaving = new AbortController();
  const onTrouble = (message: string) => log.warn("shared agent", { message });
  const lasting = openLasting({ dataDir: options.dataDir, clock, onTrouble });
  opened.push(() => lasting.close());
  const roots = openRoots(options, base);
  const workspaces = openWorkspaces(options, {
    config: current,
    tracker: () => trackers.tracker,
    bus,
    lookup: base.edges.lookup,
    signal: leaving.signal,
    onSetAside: (aside) => kept.wasSetAside(aside),
    isAtWork: (path) => isAtWork(orchestrator.state, path),
    ...{ history, roots },
  });
  await roots.ownPresent(workspaces.root());
  const isInUse = (path: string) =>
    userOf(orchestrator.state, path, (name) => workspaces.pathOf(name)) !== null;
  const kept = new KeptWorkspaces({ workspaces, bus, history, clock, isInUse });
  const parts: RealParts = {
    clock,
    log,
    dataDir: options.dataDir,
    config,
    store,
    recordsAtOnce: base.store.records,
    bus,
    meter: base.edges.meter,
    trackers,
    attempts: new Attempts(clock),
    templates: new TemplateDesk({ ...options, ...base, bus, orchestrator: () => orchestrator }),
    lasting,
    runtimes: new AgentRuntimes({
      config: current,
      lookup: base.edges.lookup,
      hide: (value) => options.redactor.add(value),
      ...{ clock, env, dataDir: options.dataDir, daemons: lasting.daemons, onTrouble },
    }),
    workspaces,
    kept,
    orchestrator: () => orchestrator,
  };
  const orchestrator: Orchestrator = new Orchestrator(
    portsOf(parts),
    await recovered(parts, base, options.signal),
  );
  onChange = () => orchestrator.post({ type: "tracker.changed" });
  saves.follow((trouble) => orchestrator.post({ type: "storage.changed", trouble }));
  const rooms = openRooms(options, parts, base);
  const { secrets } = base;
  return heart(options, parts, { ...rooms, orchestrator, secrets, opened, leaving, unsaved });
}

function openRoots(options: CoreOptions, { opened }: Foundations): OwnRoots {
  const roots = new OwnRoots(options);
  opened.push(() => roots.release());
  return roots;
}

function openBus(
  { clock, log, redactor }: CoreOptions,
  history: Store["history"],
  saves: SaveQueue,
) {
  return createBus({
    history,
    clock,
    redact: (text) => redactor.redact(text),
    onError: (error) => log.error("event series", { reason: messageOf(error) }),
    onOutage: (error) => saves.tell("events", error),
  });
}

/** Ends what a crash cut off in the audit log, then has it follow what symphony decides. */
function openAudit({ bus, history, log, wall }: AuditDeps): void {
  const unended = history.endAuditIntents(wall);
  if (unended > 0) log.warn("a crash interrupted requests", { interrupted: unended });
  auditDecisions({ bus, history, log });
}

/** The store whose refused writes are repeated. What the last try of all does not save is named in the log. */
function openSaves({ clock, log }: CoreOptions, { store, opened }: Foundations) {
  const saves = new SaveQueue(clock);
  let lost: readonly string[] = [];
  opened.push(async () => {
    lost = await saves.close();
    if (lost.length === 0) return;
    const unsaved = lost.slice(0, unsavedNamed).join(", ");
    log.error("the disk took no more: not saved", { count: lost.length, unsaved });
  });
  return { saves, store: keptStore(store, saves), unsaved: () => lost };
}

/** The state to begin with: what goes on, and what waits; all else of a crash is ended first. */
async function recovered(
  parts: RealParts,
  { store }: Foundations,
  signal?: AbortSignal,
): Promise<State> {
  const { clock, log, dataDir, bus, config, lasting } = parts;
  // What this cannot write is not repeated: the start fails, and nothing has begun.
  const { history, records } = store;
  const isShared = config.current.config.codex.process === "shared";
  const adopted = await lasting.restore({ history, records, isShared, signal });
  const spared = new Set(adopted.map(({ attemptId }) => attemptId));
  const runId = (name: string) => runIdOf(dataDir, name);
  const interrupted = await recoverAttempts({ history, bus, clock, runId, spared });
  if (interrupted > 0) log.warn("recovered from a crash", { interrupted });
  if (adopted.length > 0) log.info("attempts go on", { attempts: adopted.length });
  return restoredState(
    {
      records: records.all(),
      totals: history.totals(),
      lastAttemptId: history.lastAttemptId(),
      completed: history.completed(),
      tokensToday: history.tokensOfDay(clock.wall()),
      adopted,
    },
    { now: clock.now(), wall: clock.wall() },
  );
}

/** What hangs on the orchestrator: it may be asked for late, and is not needed by it. */
function openRooms(options: CoreOptions, parts: RealParts, { edges, opened }: Foundations) {
  const { clock, log, trackers, bus } = parts;
  const current = () => parts.config.current.config;
  const { history } = parts.store;
  keepCompleted({ bus, history, log, state: () => parts.orchestrator().state });
  const comments = new CommentSteering({
    ...{ clock, log, history, config: current },
    tracker: () => trackers.tracker,
    orchestrator: parts.orchestrator,
  });
  const webhooks = openInbox({ ...options, ...parts, comments, lookup: edges.lookup });
  opened.push(() => webhooks.close());
  const models = openModels(options, {
    config: current,
    lookup: edges.lookup,
    secretEnvNames: () => trackers.tracker.secretEnvNames,
  });
  opened.push(() => models.close());
  return { comments, webhooks, models };
}

interface Ending {
  readonly orchestrator: Orchestrator;
  readonly models: ModelList;
  readonly secrets: Secrets;
  readonly opened: Opened;
  /** Ends the hooks that still run. */
  readonly leaving: AbortController;
  readonly webhooks: WebhookInbox;
  readonly comments: CommentSteering;
  unsaved(): readonly string[];
}

interface Beginning {
  readonly opened: Opened;
  /** Aborted when the server is to stop before it has begun. */
  readonly signal: AbortSignal;
}

/** What happens once, before and with the first poll. */
async function begin(
  { clock, log, version }: CoreOptions,
  parts: RealParts,
  { opened, signal }: Beginning,
): Promise<Cleanup> {
  const { config, bus, trackers, runtimes } = parts;
  const { tracker } = config.current.config;
  const orchestrator = parts.orchestrator();
  const cleanup = await cleanUpFinished({
    ...parts,
    tracker: trackers.tracker,
    terminalStates: tracker.terminalStates,
    isAtWork: (id) => orchestrator.state.running.has(id),
    signal,
  });
  opened.push(() => cleanup.over);
  if (signal.aborted) return cleanup;
  opened.push(followRoot(parts));
  opened.push(followConfig(parts, orchestrator));
  opened.push(
    followRetention({
      ...{ history: parts.store.history, clock, log },
      days: () => config.current.config.history.retentionDays,
      state: () => orchestrator.state,
    }),
  );
  bus.publish({ type: "server.started", message: `symphony ${version} started` });
  runtimes.check().catch((error) => log.warn("no agent can start", { reason: adviceOf(error) }));
  orchestrator.start();
  return cleanup;
}

/** What was in a new workspace's place is gone; the last one of its issue may be in an earlier root, and is looked at. */
function followRoot({ bus, kept, log }: RealParts): () => void {
  return bus.subscribe({ filter: { types: ["workspace.created"] } }, ({ issueId, data }) => {
    if (issueId === null) return;
    kept.forget(String(data["path"]));
    const failed = (error: unknown) =>
      log.warn("workspaces not looked at", { reason: messageOf(error) });
    kept.findLeft({ issueId }, (_, error) => failed(error)).catch(failed);
  });
}

function heart(
  options: CoreOptions,
  parts: RealParts,
  { orchestrator, models, secrets, opened, leaving, webhooks, comments, unsaved }: Ending,
): Core {
  const { clock, log, version, dataDir } = options;
  const { config, trackers, workspaces, bus } = parts;
  const { history } = parts.store;
  const desk = new WorkspaceDesk({
    repositories: () => config.current.config.git.repositories,
    state: () => orchestrator.state,
    ...{ workspaces, kept: parts.kept, history, bus, clock },
  });
  opened.push(() => desk.close());
  opened.push(followDiskUse(bus, desk, log));
  const stopping = new AbortController();
  let begun: Promise<Cleanup> | null = null;
  let stopped: Promise<void> | null = null;
  const stop = async () => {
    stopping.abort();
    const cancel = clock.after(hookGraceMs, () => leaving.abort());
    try {
      bus.publish({ type: "server.stopping", message: "the server is stopping" });
      await Promise.all([begun?.catch(() => {}), orchestrator.drain()]);
    } finally {
      cancel();
      // No attempt is left; what is still looked at or cleaned up is not waited for.
      leaving.abort();
      await closeAll(opened, log);
    }
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
    models,
    redact: (text) => options.redactor.redact(text),
    secretsKnown: () => options.redactor.known(),
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
      begun = begin(options, parts, { opened, signal: stopping.signal });
      await begun;
    },
    async once() {
      await orchestrator.once();
      await (await begun)?.over;
    },
    unsaved,
    stop() {
      stopped ??= stop();
      return stopped;
    },
  };
}
