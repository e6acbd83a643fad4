import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ModelList } from "../../../src/core/agent/models.ts";
import { Attachments } from "../../../src/core/attach.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { CommentSteering } from "../../../src/core/comments.ts";
import type { Config } from "../../../src/core/config/config.ts";
import { Conversations } from "../../../src/core/conversations.ts";
import type { Core } from "../../../src/core/core.ts";
import { Deliveries, type DeliveriesDeps } from "../../../src/core/delivery/delivery.ts";
import { forgeKinds } from "../../../src/core/delivery/kinds.ts";
import { openDeliveryStore } from "../../../src/core/delivery/store.ts";
import { type Bus, createBus } from "../../../src/core/events/bus.ts";
import { createLogger } from "../../../src/core/events/log.ts";
import { type Cleanup, cleanUpFinished } from "../../../src/core/followers.ts";
import { openInboxes } from "../../../src/core/inboxes.ts";
import { kinds } from "../../../src/core/kinds.ts";
import type { Attempt } from "../../../src/core/model/attempt.ts";
import type { EventDraft } from "../../../src/core/model/event.ts";
import type { Issue } from "../../../src/core/model/issue.ts";
import { Notices } from "../../../src/core/notify/notices.ts";
import { openStore } from "../../../src/core/open.ts";
import { DispatchSwitch } from "../../../src/core/orchestrator/dispatch-switch.ts";
import { Operations } from "../../../src/core/orchestrator/operations.ts";
import { Templates } from "../../../src/core/prompt/templates.ts";
import { openSecrets } from "../../../src/core/secrets/secrets.ts";
import type { Store, Used } from "../../../src/core/store/store.ts";
import { IssueFinder } from "../../../src/core/tracker/finder.ts";
import { openLocalIssues } from "../../../src/core/tracker/local/issues.ts";
import { localOptions } from "../../../src/core/tracker/local/settings.ts";
import type { Tracker, TrackerConversations } from "../../../src/core/tracker/tracker.ts";
import { KeptCopies } from "../../../src/core/workspace/copies.ts";
import { keepApart } from "../../../src/core/workspace/fill.ts";
import { KeptWorkspaces } from "../../../src/core/workspace/kept.ts";
import { WorkspaceOverview } from "../../../src/core/workspace/overview.ts";
import { isAtWork, recordedPlaces, userOf } from "../../../src/core/workspace/owner.ts";
import { createWorkspaces, type Workspaces } from "../../../src/core/workspace/workspaces.ts";
import { config as defaultConfig } from "../makers/issue.ts";
import { recorderFor } from "../makers/record.ts";
import { Scheduler } from "./scheduler.ts";

/** The scheduler of `support/worlds/scheduler.ts` with a real bus and a real history for its events and attempts. */
class RecordedScheduler extends Scheduler {
  bus: Bus | null = null;
  store: Store | null = null;
  kept: KeptWorkspaces | null = null;

  override async removeWorkspace(issue: Issue, path: string | null): Promise<void> {
    await super.removeWorkspace(issue, path);
    await this.kept?.clear(issue, path);
  }

  override async examineWorkspace(issue: Issue, path: string | null): Promise<void> {
    await this.kept?.report(issue, path);
  }

  override publish(event: EventDraft): void {
    super.publish(event);
    this.bus?.publish(event);
  }

  override saveUsed(used: Used): void {
    super.saveUsed(used);
    this.store?.history.saveUsed(used);
  }

  override saveAttempt(attempt: Attempt): boolean {
    super.saveAttempt(attempt);
    return this.store?.history.saveAttempt(attempt) ?? true;
  }
}

export interface World extends AsyncDisposable {
  readonly core: Core;
  readonly scheduler: Scheduler;
  /** The scripted one; a test may give it more. */
  readonly tracker: Tracker;
  readonly workspaces: Workspaces;
  /** null: the tracker has none. */
  readonly conversations: Conversations | null;
  /** Where a pause of all dispatch is stored. */
  readonly pause: Store["pause"];
  readonly dataDir: string;
  /** Symphony's own comments in the tracker, by key. */
  readonly said: ReadonlyMap<string, string>;
  /** Every line of the log, as JSON. */
  readonly logged: string[];
  /** The configuration in force; a test may replace it. */
  config: Config;
}

interface WorldOptions {
  readonly issues?: readonly Issue[];
  readonly config?: Config;
  /** The value of `$NAME`. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The data directory of an earlier world, to continue with; the caller removes it. */
  readonly dataDir?: string;
  /** Gives the core an embedded tracker in addition to the scripted one. */
  readonly local?: boolean;
  readonly conversations?: TrackerConversations;
  /** Work is copied before its workspace is removed; by default such a workspace stays. */
  readonly keepsCopies?: boolean;
}

/** A core of real parts over a scripted tracker and scripted agents, in a fresh directory; its first poll is done. */
export async function createWorld(options: WorldOptions = {}): Promise<World> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), "symphony-core-")));
  const settings = options.config ?? defaultConfig();
  const scheduler = new RecordedScheduler(options.issues ?? [], settings);
  const { clock } = scheduler;
  const store = await openStore(dataDir, undefined, clock);
  const redact = (text: string) => text;
  const logged: string[] = [];
  const sinks = [{ name: "test", write: (line: string) => void logged.push(line) }];
  const log = createLogger({ level: "debug", format: "json", sinks, clock, redact });
  const { history } = store;
  const bus = createBus({ history, clock, redact, onError: (error) => logged.push(String(error)) });
  scheduler.bus = bus;
  const recorder = recorderFor(join(dataDir, "record.db"), {
    clock,
    version: "1.2.3",
    lastEvent: () => bus.lastSeq,
    shown: () => ({ config: { polling: { ...world.config.polling } }, origins: {} }),
  });
  scheduler.decides = (state, input, context) => recorder.decide(state, input, context);
  scheduler.store = store;
  const said = new Map<string, string>();
  const port = options.conversations;
  const tracker = { ...scriptedTracker(scheduler, said), ...(port && { conversations: port }) };
  const local = options.local
    ? openLocalIssues(dataDir, localOptions(settings.tracker), clock)
    : null;
  const copies = new KeptCopies({
    dir: join(dataDir, "kept"),
    clock,
    maxBytes: () => world.config.workspace.keepMaxBytes,
  });
  const workspaces = keepApart(
    createWorkspaces({
      settings: () => ({ root: world.config.workspace.root, hooks: world.config.hooks }),
      env: () => ({ PATH: process.env["PATH"] ?? "", HOME: dataDir }),
      clock,
      log,
      onHookFailed: (failure) => logged.push(failure.error.message),
      onSetAside: (aside) => kept.wasSetAside(aside),
      isAtWork: (path) => isAtWork(scheduler.orchestrator.state, path),
      recordedPlaces: (id) => recordedPlaces(history, id),
      ...(options.keepsCopies && { copies }),
    }),
  );
  const kept: KeptWorkspaces = new KeptWorkspaces({
    workspaces,
    bus,
    history,
    clock,
    isInUse: (path) =>
      userOf(scheduler.orchestrator.state, path, (issue) => workspaces.placeOf(issue)) !== null,
  });
  scheduler.kept = kept;
  const overview = new WorkspaceOverview({
    repositories: () => world.config.git.repositories,
    redact: (text) => text,
    state: () => scheduler.orchestrator.state,
    ...{ workspaces, kept, copies, history, bus, clock },
  });
  const orchestrator = new Operations({
    orchestrator: scheduler.orchestrator,
    history,
    clock,
    tracker: () => tracker,
    config: () => ({ config: world.config, problem: scheduler.problem, warnings: [] }),
    handOver: (issue) => attachments.handOver(issue),
  });
  const comments = new CommentSteering({
    ...{ clock, log, history, config: () => world.config, tracker: () => tracker },
    orchestrator: () => scheduler.orchestrator,
    commands: {
      deliveries: {
        order: (issue, entry) => deliveries.order(issue, entry),
        of: (issueId) => deliveries.of(issueId),
        isOrdered: (key) => deliveries.isOrdered(key),
        get conversations() {
          return deliveries.conversations;
        },
      },
      reply: (...answer) => conversations?.reply(...answer),
      operations: () => orchestrator,
    },
  });
  const deliveries: Deliveries = undelivered(dataDir, {
    ...{ scheduler, clock, bus, log, config: () => world.config, tracker: () => tracker },
    runCommand: (entry) => comments.run(entry),
    runConversation: async (entry) => (await conversations?.run(entry)) ?? { outcome: "dropped" },
    conversationWritten: (entry, written) => conversations?.written(entry, written),
  });
  const conversations = port
    ? new Conversations({
        ...{ clock, log, bus, comments, deliveries, redact, config: () => world.config },
        tracker: () => tracker,
        orchestrator: () => scheduler.orchestrator,
        operations: () => orchestrator,
      })
    : null;
  conversations?.start();
  const attachments = new Attachments({
    ...{ orchestrator: scheduler.orchestrator, history, clock, workspaces: overview },
    ...{ deliveries, redact },
    sessionsOf: async (agent) => ({ kind: agent, home: null }),
  });
  const webhooks = openInboxes({
    trackers: kinds.trackers,
    forges: forgeKinds,
    tracker: () => tracker,
    deliveries,
    comments,
    conversations: { received() {} },
    dataDir,
    clock,
    log,
    bus,
    config: { current: { config: settings } as Core["config"]["current"] },
    store,
    redactor: { add() {} },
    orchestrator: () => scheduler.orchestrator,
    lookup: (name) => options.env?.[name],
    meter: scheduler.meter,
  });
  const notices = new Notices({
    ...{ clock, log, bus, dataDir, platform: "linux", runId: `notify-${process.pid}` },
    ...{ env: { PATH: process.env["PATH"] }, workflowPath: join(dataDir, "WORKFLOW.md") },
    redactor: { add() {}, redact },
    lookup: (name) => options.env?.[name],
    base: () => null,
    secretNames: () => [],
    rules: () => world.config.notify,
    titleOf: (id) => scheduler.orchestrator.state.issues.get(id)?.issue.title ?? null,
  });
  const world: World = {
    scheduler,
    tracker,
    pause: store.pause,
    workspaces,
    conversations,
    dataDir,
    logged,
    said,
    config: settings,
    core: {
      version: "1.2.3",
      startedWall: clock.wall(),
      clock,
      fleet: null,
      ssh: () => null,
      tokens: store.tokens,
      checkAgents: async () => {},
      dataDir,
      workflowPath: join(dataDir, "WORKFLOW.md"),
      kinds,
      config: {
        get current() {
          return { config: world.config };
        },
      } as Core["config"],
      orchestrator,
      dispatch: new DispatchSwitch({
        orchestrator: scheduler.orchestrator,
        stored: store.pause,
        clock,
      }),
      attachments,
      bus,
      meter: scheduler.meter,
      recorder,
      history,
      templates: new Templates({
        store,
        clock,
        bus,
        config: {
          current: {
            promptAt: { file: "/srv/WORKFLOW.md", line: 1, column: 1 },
            promptTemplate: "Work on {{ issue.identifier }}",
            prompts: new Map(),
          },
        },
        redactor: { redact: (text) => text.replaceAll("canary-secret", "[redacted]") },
        orchestrator: () => scheduler.orchestrator,
      }),
      log,
      webhooks,
      comments,
      notices,
      workspaces: overview,
      deliveries,
      redact,
      secretsKnown: () => 0,
      secrets: await openSecrets({
        ...{ dir: dataDir, env: {}, clock },
        redactor: { add() {}, redact, known: () => 0, secretIn: () => null },
      }),
      models: new ModelList({
        kinds: kinds.agents,
        ...{ clock, env: { PATH: process.env["PATH"], HOME: dataDir } },
        ...{ version: "1.2.3", runId: `models-${process.pid}` },
        config: () => world.config,
        lookup: (name) => options.env?.[name],
        secretEnvNames: () => [],
      }),
      tracker: () => tracker,
      // Nothing advances the clock of a test while a request waits for its turn.
      finder: new IssueFinder({ clock: systemClock, tracker: () => tracker }),
      localIssues: () => local,
      start: async () => {},
      checked: async () => {},
      once: async () => {},
      stop: async () => {},
      unsaved: () => [],
    },
    async [Symbol.asyncDispose]() {
      conversations?.close();
      await overview.close();
      await recorder.close();
      bus.close();
      local?.close();
      await store.close();
      webhooks.close();
      if (options.dataDir === undefined) await rm(dataDir, { recursive: true });
    },
  };
  await scheduler.begin();
  return world;
}

function scriptedTracker(scheduler: Scheduler, said: Map<string, string>): Tracker {
  return {
    kind: "local",
    fetchIssuesByStates: async (states) =>
      [...scheduler.issues.values()].filter(({ state }) => states.includes(state)),
    fetchIssuesByIds: (ids) => scheduler.fetchIssues(ids),
    find: (identifier) => scheduler.find(identifier),
    bindTools: () => ({
      specs: [],
      call: async () => ({ success: false, output: "no tools" }),
    }),
    secretEnvNames: [],
    workflow: {
      states: async () => [
        { name: "Todo", terminal: false },
        { name: "Done", terminal: true },
      ],
      move: async (issue, state) => scheduler.set({ ...issue, state }),
      comment: async (_issue, { key, body }) => void said.set(key, body),
    },
    watch: () => () => {},
    close() {},
  };
}

/** Does for this world what a start does before its first poll. */
export function cleanUp({ scheduler, core, config, workspaces }: World): Promise<Cleanup> {
  return cleanUpFinished({
    tracker: core.tracker(),
    terminalStates: config.tracker.terminalStates,
    workspaces,
    kept: core.workspaces.kept,
    clock: scheduler.clock,
    log: core.log,
    signal: new AbortController().signal,
    isAtWork: (id) => scheduler.orchestrator.state.issues.of("running").has(id),
  });
}

/** The deliveries of a world without remotes: nothing is pushed anywhere. */
function undelivered(
  dataDir: string,
  {
    scheduler,
    ...deps
  }: Pick<
    DeliveriesDeps,
    | ("clock" | "bus" | "log" | "config" | "tracker")
    | ("runCommand" | "runConversation" | "conversationWritten")
  > & { readonly scheduler: Scheduler },
): Deliveries {
  return new Deliveries({
    ...deps,
    store: openDeliveryStore(dataDir, () => deps.clock.wall()),
    forgeFor: () => null,
    push: async () => ({ outcome: "refused", final: false, reason: "no remote" }),
    isContained: async () => null,
    headOf: async () => null,
    defaultBranch: async () => null,
    isAttached: () => false,
    isEnded: () => false,
    keep: async () => Promise.reject(new Error("no remote")),
    release: async () => {},
    diff: async () => Promise.reject(new Error("no remote")),
    isIncluded: async () => null,
    newestOf: async () => null,
    pullRequestFrame: async () => null,
    post: (input) => scheduler.orchestrator.post(input),
    rests: (input) => scheduler.orchestrator.applySaved(input.issueId, input),
    redact: (text) => text,
    lastMessage: () => null,
    isRunning: () => false,
  });
}
