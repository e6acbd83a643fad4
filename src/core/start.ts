// The core without HTTP: scheduler, attempts, trackers, agents and storage, connected here.

import { join } from "node:path";
import { rowOf } from "./agent/kinds.ts";
import type { ModelList } from "./agent/models.ts";
import { openAgentChecks } from "./agent-checks.ts";
import { Attachments } from "./attach.ts";
import { Attempts } from "./attempt/attempts.ts";
import { endedOf, recoverAttempts } from "./attempt/recovery.ts";
import { type Begun, begin } from "./begin.ts";
import { openCommentPoll } from "./comment-poll.ts";
import { CommentSteering } from "./comments.ts";
import { kindOf, levelWords, settingsOf } from "./config/config.ts";
import { sectionsOf } from "./config/sections.ts";
import { type ConfigService, openConfig, openOverlay } from "./config/service.ts";
import type { Core, CoreDeps, CoreOptions } from "./core.ts";
import { forgeKinds } from "./delivery/kinds.ts";
import { deliveryMigrations } from "./delivery/store.ts";
import { inForce, portsOf } from "./effects.ts";
import { Meter } from "./events/meter.ts";
import { fileChecks } from "./file-checks.ts";
import { followDiskUse, keepCompleted } from "./followers.ts";
import { type HostWatch, openHost } from "./host.ts";
import { openInboxes } from "./inboxes.ts";
import { type Kinds, kinds as ownKinds } from "./kinds.ts";
import { messageOf } from "./model/errors.ts";
import { notifyMigrations } from "./notify/store.ts";
import { openNotices } from "./notifying.ts";
import {
  type Closers,
  closeAll,
  openAudit,
  openBus,
  openHosts,
  openMirrors,
  openModels,
  openRecorder,
  openRoots,
  openRuntimes,
  openSaves,
  openStore,
  openWorkspaces,
} from "./open.ts";
import { DispatchSwitch } from "./orchestrator/dispatch-switch.ts";
import { Operations } from "./orchestrator/operations.ts";
import { Orchestrator } from "./orchestrator/orchestrator.ts";
import { restoredState } from "./orchestrator/records.ts";
import type { State } from "./orchestrator/state.ts";
import { registerDataDir } from "./process/data-dirs.ts";
import { runIdOf } from "./process/table.ts";
import { Templates } from "./prompt/templates.ts";
import { learnEnvironment } from "./secrets/learn.ts";
import { openSecrets, type Secrets } from "./secrets/secrets.ts";
import { beginSealed } from "./store/audit.ts";
import { refuseLater } from "./store/database.ts";
import { lockDataDir } from "./store/lock.ts";
import { acceptLoss, notePresent, requireKept } from "./store/manifest.ts";
import { redactedStore } from "./store/redacted.ts";
import type { Store } from "./store/store.ts";
import { webhookMigrations } from "./tracker/deliveries.ts";
import { IssueFinder } from "./tracker/finder.ts";
import { TrackerInUse } from "./tracker/in-use.ts";
import { issueMigrations } from "./tracker/local/table.ts";
import type { TrackerDeps } from "./tracker/tracker.ts";
import { openWorkDelivery } from "./work-delivery.ts";
import { KeptWorkspaces } from "./workspace/kept.ts";
import { WorkspaceOverview } from "./workspace/overview.ts";
import { isAtWork, userOf } from "./workspace/owner.ts";
import { followWorkspaceRetention } from "./workspace/retention.ts";

/**
 * Opens everything and recovers from a crash, but dispatches nothing yet. Rejects with the code of
 * the fault (configuration, lock, storage) and then holds nothing open.
 */
export async function createCore(options: CoreOptions): Promise<Core> {
  const { clock, log, dataDir, env, redactor, signal, kinds = ownKinds } = options;
  learnEnvironment(env, redactor);
  const lock = await lockDataDir(dataDir);
  const closers: Closers = [() => lock.release()];
  try {
    const lost = acceptLoss(dataDir, options.acceptLoss ?? []);
    if (lost.length > 0) log.warn("files are lost, as accepted", { files: lost.join(", ") });
    requireKept(dataDir);
    const secrets = await openSecrets({ dir: dataDir, env, clock, redactor });
    await secrets.settle();
    const trackerDeps = {
      meter: new Meter(),
      ...{ dataDir, clock, env, workflowPath: options.workflowPath },
      lookup: (name: string) => secrets.lookup(name) ?? env[name],
      onMalformed: (count: number) =>
        log.warn("tracker records left out", { reason: "malformed", count }),
    };
    const trackers = new TrackerInUse(kinds.trackers, trackerDeps);
    const { overlay, save: saveOverlay } = await openOverlay(dataDir);
    const config = await openConfig({
      sections: sectionsOf(kinds),
      workflowPath: options.workflowPath,
      env,
      flags: options.flags,
      clock,
      overlay,
      saveOverlay,
      allowUnknown: options.allowUnknown ?? false,
      checks: fileChecks({
        ...{ env, redactor, lookup: trackerDeps.lookup },
        checkTracker: (next) => trackers.check(next),
      }),
    });
    closers.push(() => config.close());
    signal?.throwIfAborted();
    await options.admit?.(config.current.config);
    const { level } = config.current.config.agent;
    if (level !== "safe") log.warn("agents are less confined", { level, means: levelWords[level] });
    refuseLater(join(dataDir, "issues.db"), issueMigrations);
    refuseLater(join(dataDir, "webhooks.db"), webhookMigrations);
    refuseLater(join(dataDir, "delivery.db"), deliveryMigrations);
    refuseLater(join(dataDir, "notify.db"), notifyMigrations);
    const opening = await openStore(dataDir, secrets.auditKeys);
    const store = redactedStore(opening, (text) => redactor.redact(text));
    closers.push(() => store.close());
    await secrets.sealAudit(() => beginSealed(store.history, clock.wall()));
    signal?.throwIfAborted();
    const parts = { kinds, trackers, config, store, secrets, trackerDeps, closers };
    const core = await assemble(options, parts);
    // After everything was opened: a refusal changes no file.
    notePresent(dataDir);
    const { root: workspaceRoot } = config.current.config.workspace;
    await registerDataDir({ dataDir, workspaceRoot }, env).catch((error: unknown) =>
      log.warn("data directory not known to other projects", { reason: messageOf(error) }),
    );
    return core;
  } catch (error) {
    await closeAll(closers, log);
    throw error;
  }
}

/** How long the hooks of ending attempts may run while the server stops. */
const hookGraceMs = 10_000;

export interface StartDeps {
  readonly kinds: Kinds;
  /** Has checked the configuration in force. */
  readonly trackers: TrackerInUse;
  readonly config: ConfigService;
  readonly store: Store;
  readonly secrets: Secrets;
  readonly trackerDeps: TrackerDeps & { readonly meter: Meter };
  readonly closers: Closers;
}

/** Wires the parts and recovers from a crash; dispatches nothing. */
export async function assemble(options: CoreOptions, base: StartDeps): Promise<Core> {
  const { clock, log } = options;
  const { kinds, config, trackers, secrets, closers } = base;
  const { saves, store, unsaved } = openSaves(options, base);
  const { history } = store;
  const bus = openBus(options, history, saves);
  closers.push(() => bus.close());
  openAudit({ bus, history, log, wall: clock.wall() });
  const recorder = openRecorder(options, { config, bus, closers });
  const current = () => config.current.config;
  trackers.follow(current().tracker);
  closers.push(() => trackers.close());
  const leaving = new AbortController();
  const onTrouble = (message: string) => log.warn("shared agent", { message });
  const recovery = await openHosts(options, { kinds: kinds.agents, closers, onTrouble });
  const roots = openRoots(options, base);
  const mirrors = openMirrors(options);
  const { lookup } = base.trackerDeps;
  const tracker = () => trackers.tracker;
  const common = { bus, history, mirrors, closers, config: current, tracker, lookup };
  const { deliveries, made } = openWorkDelivery(options, {
    ...common,
    workspaces: () => workspaces,
    orchestrator: () => orchestrator,
    runCommand: (entry) => users.comments.run(entry),
  });
  const { workspaces, copies } = openWorkspaces(options, {
    ...{ ...common, branches: deliveries, roots, signal: leaving.signal },
    onSetAside: (aside) => kept.wasSetAside(aside),
    isAtWork: (path) => isAtWork(orchestrator.state, path),
    isDelivered: (path, issueId) => deliveries.isDelivered(path, issueId),
  });
  await roots.ownPresent(workspaces.root());
  const isInUse = (path: string) =>
    userOf(orchestrator.state, path, (issue) => workspaces.placeOf(issue)) !== null;
  const kept = new KeptWorkspaces({ workspaces, bus, history, clock, isInUse });
  const deps: CoreDeps = {
    ...{ clock, log, dataDir: options.dataDir, kinds, config, store, bus, recorder },
    recordsAtOnce: base.store.records,
    meter: base.trackerDeps.meter,
    trackers,
    attempts: new Attempts(clock),
    templates: new Templates({ ...options, ...base, bus, orchestrator: () => orchestrator }),
    recovery,
    runtimes: openRuntimes(options, {
      ...{ kinds: kinds.agents, config: current, lookup, hosts: recovery.hosts, onTrouble },
    }),
    ...{ workspaces, kept, copies, deliveries, made },
    orchestrator: () => orchestrator,
  };
  const orchestrator: Orchestrator = new Orchestrator(
    portsOf(deps),
    await recovered(deps, base, options.signal),
  );
  // Earlier changes are read by the first poll.
  trackers.watch(() => orchestrator.post({ type: "tracker.changed" }));
  saves.follow((trouble) => orchestrator.post({ type: "storage.changed", trouble }));
  const operations = () => core.orchestrator;
  const users = openOrchestratorUsers(options, deps, { ...base, operations });
  const used = { ...users, orchestrator, secrets, closers, leaving, unsaved };
  const core = runningCore(options, deps, used);
  return core;
}

/** The initial state: what continues and what waits. All else that a crash left is ended first. */
async function recovered(
  deps: CoreDeps,
  { store }: StartDeps,
  signal?: AbortSignal,
): Promise<State> {
  const { clock, log, dataDir, bus, config, recovery } = deps;
  // Writes are not repeated here: if one fails, the start fails before anything has begun.
  const { history, records } = store;
  const { current } = config;
  const adopted = await recovery.restore({ history, records, config: current.config, signal });
  const spared = new Set(adopted.map(({ attemptId }) => attemptId));
  const runId = (name: string) => runIdOf(dataDir, name);
  const interrupted = await recoverAttempts({ history, bus, clock, runId, spared });
  if (interrupted > 0) log.warn("recovered from a crash", { interrupted });
  if (adopted.length > 0) log.info("attempts continue", { attempts: adopted.length });
  return restoredState(
    {
      records: records.all(),
      totals: history.totals(),
      lastAttemptId: history.lastAttemptId(),
      completed: history.completed(),
      last(issueId) {
        const latest = history.latestAttempt(issueId);
        return latest && endedOf(latest);
      },
      tokensToday: history.tokensOfDay(clock.wall()),
      adopted,
      paused: store.pause.current(),
      pauses: store.agentPauses.current(),
      offered: deps.deliveries.offered((id) => history.latestAttempt(id)?.id ?? null),
    },
    { now: clock.now(), wall: clock.wall() },
  );
}

/** Parts that use the orchestrator; it does not use them. */
function openOrchestratorUsers(
  options: CoreOptions,
  deps: CoreDeps,
  { trackerDeps, closers, operations }: StartDeps & { operations(): Core["orchestrator"] },
) {
  const { clock, log, trackers, bus } = deps;
  const current = () => deps.config.current.config;
  const { history } = deps.store;
  keepCompleted({ bus, history, log, state: () => deps.orchestrator().state });
  const comments = new CommentSteering({
    ...{ clock, log, history, config: current },
    tracker: () => trackers.tracker,
    orchestrator: deps.orchestrator,
    commands: { deliveries: deps.deliveries, operations },
  });
  const poll = openCommentPoll(deps, { comments, lookup: trackerDeps.lookup });
  closers.push(() => poll.close());
  const webhooks = openInboxes({
    ...options,
    ...deps,
    comments,
    lookup: trackerDeps.lookup,
    trackers: deps.kinds.trackers,
    forges: forgeKinds,
  });
  closers.push(() => webhooks.close());
  const models = openModels(options, {
    kinds: deps.kinds.agents,
    config: current,
    lookup: trackerDeps.lookup,
    secretEnvNames: () => trackers.tracker.secretEnvNames,
  });
  closers.push(() => models.close());
  const host = openHost(options, deps);
  closers.push(() => host.close());
  const agents = openAgentChecks(options, deps, trackerDeps.lookup);
  closers.push(() => agents.close());
  const notices = openNotices(options, deps, trackerDeps.lookup);
  closers.push(() => notices.close());
  return { agents, comments, webhooks, models, host, notices };
}

interface RunningDeps {
  readonly agents: ReturnType<typeof openAgentChecks>;
  readonly host: HostWatch;
  readonly orchestrator: Orchestrator;
  readonly models: ModelList;
  readonly secrets: Secrets;
  readonly closers: Closers;
  /** Aborting it ends the hooks that still run. */
  readonly leaving: AbortController;
  readonly webhooks: Core["webhooks"];
  readonly notices: Core["notices"];
  readonly comments: CommentSteering;
  unsaved(): readonly string[];
}

function runningCore(options: CoreOptions, deps: CoreDeps, used: RunningDeps): Core {
  const { orchestrator, models, secrets, closers, leaving, webhooks, comments, unsaved } = used;
  const { clock, log, version, dataDir } = options;
  const { config, trackers, bus } = deps;
  const { history } = deps.store;
  const overview = openOverview(options, deps, used);
  const stopping = new AbortController();
  let begun: Promise<Begun> | null = null;
  let stopped: Promise<void> | null = null;
  const stop = async () => {
    stopping.abort();
    const cancel = clock.after(hookGraceMs, () => leaving.abort());
    try {
      bus.publish({ type: "server.stopping", message: "the server is stopping" });
      await Promise.all([begun?.catch(() => {}), orchestrator.drain()]);
    } finally {
      cancel();
      // All attempts have ended; examinations and cleanups that still run are not waited for.
      leaving.abort();
      await closeAll(closers, log);
    }
  };
  const attachments = attachmentsOf(options, deps, overview);
  return {
    version,
    dataDir,
    startedWall: clock.wall(),
    clock,
    workflowPath: options.workflowPath,
    kinds: deps.kinds,
    ...{ config, bus, history, log, webhooks, comments, secrets, models },
    ...{ meter: deps.meter, recorder: deps.recorder, templates: deps.templates },
    notices: used.notices,
    ...{ workspaces: overview, deliveries: deps.deliveries },
    redact: (text) => options.redactor.redact(text),
    secretsKnown: () => options.redactor.known(),
    attachments,
    dispatch: new DispatchSwitch({ orchestrator, stored: deps.store.pause, clock }),
    orchestrator: new Operations({
      ...{ orchestrator, history, clock },
      tracker: () => trackers.tracker,
      config: () => inForce(config),
      handOver: (issue) => attachments.handOver(issue),
    }),
    tracker: () => trackers.tracker,
    finder: new IssueFinder({ clock, tracker: () => trackers.tracker }),
    localIssues: () => trackers.localIssues,
    checkAgents: () => used.agents.look(),
    async start() {
      begun = begin(options, deps, { ...used, signal: stopping.signal });
      await begun;
    },
    async checked() {
      await (await begun)?.checked();
    },
    async once() {
      await orchestrator.once();
      await (await begun)?.over;
      await deps.deliveries.idle();
    },
    unsaved,
    stop() {
      stopped ??= stop();
      return stopped;
    },
  };
}

/** What the workspaces hold, measured again after changes, and the removal of old ones. */
function openOverview(
  { log }: CoreOptions,
  deps: CoreDeps,
  { orchestrator, closers }: Pick<RunningDeps, "orchestrator" | "closers">,
): WorkspaceOverview {
  const { config, bus } = deps;
  const { history } = deps.store;
  const state = () => orchestrator.state;
  const overview = new WorkspaceOverview({
    pushedOf: (issueId) => deps.deliveries.of(issueId)?.pushed ?? null,
    repositories: () => config.current.config.git.repositories,
    ...{ ...deps, history, state },
  });
  closers.push(() => overview.close());
  closers.push(followDiskUse(bus, overview, log));
  closers.push(followWorkspaceRetention({ ...deps, history, state, overview }));
  return overview;
}

function attachmentsOf(
  { clock, redactor, env, dataDir }: CoreOptions,
  { orchestrator, store: { history }, deliveries, kinds, config }: CoreDeps,
  workspaces: WorkspaceOverview,
): Attachments {
  return new Attachments({
    ...{ orchestrator: orchestrator(), history, clock, workspaces, deliveries },
    async sessionsOf(agent, workspace) {
      const { config: current } = config.current;
      const row = rowOf(kinds.agents, current, agent);
      const home = await row?.homeOf?.(settingsOf(current, agent), { env, dataDir, workspace });
      return { kind: kindOf(current, agent), home: home ?? null };
    },
    redact: (text) => redactor.redact(text),
  });
}
