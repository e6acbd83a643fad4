// A running core: what a server may use of it, its start and its stop.

import { rowOf } from "./agent/kinds.ts";
import type { ModelList } from "./agent/models.ts";
import type { openAgentChecks } from "./agent-checks.ts";
import { Attachments } from "./attach.ts";
import { type Begun, begin } from "./begin.ts";
import type { CommentSteering } from "./comments.ts";
import { kindOf, settingsOf } from "./config/config.ts";
import type { Core, CoreDeps, CoreOptions } from "./core.ts";
import { inForce } from "./effects.ts";
import { followDiskUse } from "./followers.ts";
import type { HostWatch } from "./host.ts";
import { type Closers, closeAll } from "./open.ts";
import { DispatchSwitch } from "./orchestrator/dispatch-switch.ts";
import { Operations } from "./orchestrator/operations.ts";
import type { Orchestrator } from "./orchestrator/orchestrator.ts";
import type { Secrets } from "./secrets/secrets.ts";
import { IssueFinder } from "./tracker/finder.ts";
import { WorkspaceOverview } from "./workspace/overview.ts";
import { followWorkspaceRetention } from "./workspace/retention.ts";

/** How long the hooks of ending attempts may run while the server stops. */
const hookGraceMs = 10_000;

interface RunningDeps {
  readonly agents: ReturnType<typeof openAgentChecks>;
  readonly host: HostWatch;
  readonly fleet: Core["fleet"];
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

export function runningCore(options: CoreOptions, deps: CoreDeps, used: RunningDeps): Core {
  const { orchestrator, models, secrets, closers, leaving } = used;
  const { webhooks, comments, unsaved } = used;
  const { clock, log, version, dataDir } = options;
  const { config, trackers, bus } = deps;
  const { history, tokens } = deps.store;
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
    ...{ config, bus, history, log, webhooks, comments, secrets, tokens, models },
    ...{ meter: deps.meter, recorder: deps.recorder, templates: deps.templates },
    ...{ notices: used.notices, fleet: used.fleet, ssh: deps.ssh },
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
    finder: openFinder(deps),
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

/** What it answered before an issue changed is asked for again. */
function openFinder({ bus, clock, trackers }: CoreDeps): IssueFinder {
  const finder = new IssueFinder({ clock, tracker: () => trackers.tracker });
  const types = ["webhook.received", "issue.moved", "issue.released"] as const;
  bus.subscribe({ filter: { types } }, ({ issueIdentifier }) => {
    if (issueIdentifier !== null) finder.forget(issueIdentifier);
  });
  return finder;
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
    redact: (text) => deps.made.redact(text),
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
