// The core without HTTP: scheduler, attempts, trackers, agents and storage, connected here.

import { join } from "node:path";
import { openAgentChecks } from "./agent-checks.ts";
import { Attempts } from "./attempt/attempts.ts";
import { endedOf, recoverAttempts } from "./attempt/recovery.ts";
import { openCommentPoll } from "./comment-poll.ts";
import { CommentSteering } from "./comments.ts";
import { levelWords } from "./config/config.ts";
import { sectionsOf } from "./config/sections.ts";
import { type ConfigService, openConfig, openOverlay } from "./config/service.ts";
import { Conversations } from "./conversations.ts";
import type { Core, CoreDeps, CoreOptions } from "./core.ts";
import { forgeKinds } from "./delivery/kinds.ts";
import { deliveryMigrations } from "./delivery/store.ts";
import { portsOf } from "./effects.ts";
import { Meter } from "./events/meter.ts";
import { fileChecks } from "./file-checks.ts";

import { keepCompleted } from "./followers.ts";
import { openHost } from "./host.ts";

import { openInboxes } from "./inboxes.ts";
import { type Kinds, kinds as ownKinds } from "./kinds.ts";
import { openFleet, openSsh } from "./machines.ts";
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
import { Orchestrator } from "./orchestrator/orchestrator.ts";
import { restoredState } from "./orchestrator/records.ts";
import type { State } from "./orchestrator/state.ts";
import { registerDataDir } from "./process/data-dirs.ts";
import { runIdOf } from "./process/table.ts";
import { Templates } from "./prompt/templates.ts";
import { runningCore } from "./running.ts";
import { learnEnvironment } from "./secrets/learn.ts";
import { openSecrets, type Secrets } from "./secrets/secrets.ts";
import { beginSealed } from "./store/audit.ts";
import { refuseLater } from "./store/database.ts";
import { lockDataDir } from "./store/lock.ts";
import { acceptLoss, notePresent, requireKept } from "./store/manifest.ts";
import { redactedStore } from "./store/redacted.ts";
import type { Store } from "./store/store.ts";
import { webhookMigrations } from "./tracker/deliveries.ts";
import { TrackerInUse } from "./tracker/in-use.ts";
import { issueMigrations } from "./tracker/local/table.ts";
import type { TrackerDeps } from "./tracker/tracker.ts";
import { openWorkDelivery } from "./work-delivery.ts";
import { KeptWorkspaces } from "./workspace/kept.ts";
import { isAtWork, userOf } from "./workspace/owner.ts";

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
      onMalformed: (count: number, names?: readonly string[]) =>
        log.warn("tracker records left out", { reason: "malformed", count, names: names?.join() }),
      onLeftOut: (what: string) => log.info("items of the board left out", { what }),
      keeper: {
        keep: async (name: string, value: string) => void (await secrets.put(name, value)),
        learn: (value: string) => redactor.add(value),
        failed: (message: string) => log.error("credential not kept", { reason: message }),
      },
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
    const opening = await openStore(dataDir, secrets.auditKeys, clock);
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
  const { clock, log, dataDir, env } = options;
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
  const { deliveries, made, remotes } = openWorkDelivery(options, {
    ...common,
    workspaces: () => workspaces,
    orchestrator: () => orchestrator,
    users: () => users,
    mayWrite: () => fleet?.leads !== false,
  });
  const { workspaces, copies } = openWorkspaces(options, {
    ...{ ...common, branches: deliveries, roots, remotes, signal: leaving.signal },
    onSetAside: (aside) => kept.wasSetAside(aside),
    isAtWork: (path) => isAtWork(orchestrator.state, path),
    away: (run) => deps.ssh()?.workspaces.hook(run) ?? null,
    isDelivered: (path, issueId) => deliveries.isDelivered(path, issueId),
  });
  await roots.ownPresent(workspaces.root());
  const isInUse = (path: string) =>
    userOf(orchestrator.state, path, (issue) => workspaces.placeOf(issue)) !== null;
  const kept = new KeptWorkspaces({ workspaces, bus, history, clock, isInUse });
  const deps: CoreDeps = {
    ...{ clock, log, dataDir, env, kinds, config, store, bus, recorder },
    recordsAtOnce: base.store.records,
    ...{ trackers, meter: base.trackerDeps.meter },
    attempts: new Attempts(clock, dataDir),
    templates: new Templates({ ...options, ...base, bus, orchestrator: () => orchestrator }),
    recovery,
    runtimes: openRuntimes(options, {
      ...{ kinds: kinds.agents, config: current, lookup, hosts: recovery.hosts, onTrouble },
    }),
    ...{ workspaces, kept, copies, deliveries, made },
    ...{ fleet: () => fleet, ssh: () => ssh(), orchestrator: () => orchestrator },
  };
  const first = await recovered(deps, base, options.signal);
  const orchestrator: Orchestrator = new Orchestrator(portsOf(deps), first);
  const fleet = await openFleet(options, {
    ...{ current, lookup, secrets, closers, orchestrator, kinds: kinds.agents },
  });
  const ssh = await openSsh(options, { config, kinds: kinds.agents, closers, orchestrator });
  // Earlier changes are read by the first poll.
  trackers.watch(() => orchestrator.post({ type: "tracker.changed" }));
  saves.follow((trouble) => orchestrator.post({ type: "storage.changed", trouble }));
  const operations = () => core.orchestrator;
  const users = openOrchestratorUsers(options, deps, { ...base, operations });
  const used = { ...users, fleet, orchestrator, secrets, closers, leaving, unsaved };
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
      hasFleet: config.current.config.fleet.url !== null,
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
    mayWrite: () => deps.fleet()?.leads !== false,
    commands: {
      ...{ deliveries: deps.deliveries, operations },
      reply: (id, key, body) => conversations.reply(id, key, body),
    },
  });
  const conversations = new Conversations({
    ...{ clock, log, bus, comments, operations, config: current },
    deliveries: deps.deliveries,
    tracker: () => trackers.tracker,
    orchestrator: deps.orchestrator,
    redact: (text) => options.redactor.redact(text),
  });
  conversations.start();
  closers.push(() => conversations.close());
  const poll = openCommentPoll(deps, { comments, lookup: trackerDeps.lookup });
  closers.push(() => poll.close());
  const webhooks = openInboxes({
    ...options,
    ...deps,
    ...{ comments, conversations },
    lookup: trackerDeps.lookup,
    tracker: () => trackers.tracker,
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
  return { agents, comments, conversations, webhooks, models, host, notices };
}
