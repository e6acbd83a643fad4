import { sweepBridges } from "./agent/bridge.ts";
import { SharedRuns } from "./clock.ts";
import type { Core, CoreDeps, CoreOptions } from "./core.ts";
import { cleanUpFinished, followConfig, followRetention } from "./followers.ts";
import type { HostWatch } from "./host.ts";
import { followMachine } from "./machine-checks.ts";
import { messageOf } from "./model/errors.ts";
import { followNotices } from "./notifying.ts";
import type { Closers } from "./open.ts";
import { dispatchPauseText } from "./orchestrator/gates.ts";
import { openOffers } from "./orchestrator/offer.ts";
import type { Secrets } from "./secrets/secrets.ts";

interface Beginning {
  /** Whether the agents can be started. */
  readonly agents: { begin(): Promise<void> };
  readonly host: HostWatch;
  readonly closers: Closers;
  readonly webhooks: Core["webhooks"];
  readonly notices: Core["notices"];
  readonly secrets: Secrets;
  /** Aborted when the server is stopped before it has begun. */
  readonly signal: AbortSignal;
}

export interface Begun {
  /** Resolves when the cleaning up after finished issues has ended. */
  readonly over: Promise<void>;
  /** Resolves when this machine and the tracker were compared with the configuration in force. */
  checked(): Promise<void>;
}

/** Runs once, before and with the first poll: cleans up, follows the configuration, then starts the orchestrator. */
export async function begin(
  { clock, log, version, env, redactor, workflowPath }: CoreOptions,
  deps: CoreDeps,
  { agents, closers, host, signal, webhooks, secrets, notices }: Beginning,
): Promise<Begun> {
  const { config, bus, trackers } = deps;
  const { tracker } = config.current.config;
  const orchestrator = deps.orchestrator();
  const cleanup = await cleanUpFinished({
    ...deps,
    tracker: trackers.tracker,
    terminalStates: tracker.terminalStates,
    isAtWork: (id) => orchestrator.state.issues.of("running").has(id),
    signal,
  });
  closers.push(() => cleanup.over);
  if (signal.aborted) return { over: cleanup.over, checked: async () => {} };
  const swept = sweepBridges(clock.wall()).catch((error: unknown) => {
    log.warn("folders of earlier bridges were not removed", { reason: messageOf(error) });
  });
  closers.push(async () => void (await swept));
  closers.push(followRoot(deps));
  closers.push(followConfig(deps, orchestrator));
  closers.push(
    followRetention({
      ...{ history: deps.store.history, clock, log },
      days: () => config.current.config.history.retentionDays,
      state: () => orchestrator.state,
    }),
  );
  closers.push(followNotices(notices, deps));
  bus.publish({ type: "server.started", message: `symphony ${version} started` });
  // Before the first poll, which may start something.
  await host.start();
  await agents.begin();
  const { paused } = orchestrator.state;
  if (paused) log.warn("nothing new is started", { reason: dispatchPauseText(paused) });
  for (const warning of config.warnings) log.warn("configuration", { warning });
  const lookup = (name: string) => secrets.lookup(name) ?? env[name];
  const machine = followMachine({
    ...{ ...deps, env, version, kinds: deps.kinds.agents, lookup, redactor, signal, workflowPath },
  });
  closers.push(() => machine.stop());
  orchestrator.start();
  // A template that could not be rendered may have been changed in between.
  orchestrator.post({ type: "prompt.changed", templateId: null });
  for (const reason of await deps.templates.unusable()) log.warn("template", { reason });
  deps.deliveries.start(openOffers(orchestrator.state));
  webhooks.resume();
  return { over: cleanup.over, checked: () => machine.settled() };
}

/**
 * After a workspace is created: forgets what was in its place and examines earlier roots. One reading of the directories
 * serves all that were created before it.
 */
function followRoot({ bus, kept, log }: CoreDeps): () => void {
  let created = new Set<string>();
  const failed = (error: unknown) =>
    log.warn("workspaces not examined", { reason: messageOf(error) });
  const examined = new SharedRuns(async () => {
    const issueIds = created;
    created = new Set();
    await kept.findLeft({ issueIds }, (_, error) => failed(error));
  });
  return bus.subscribe({ filter: { types: ["workspace.created"] } }, ({ issueId, data }) => {
    if (issueId === null) return;
    kept.forget(String(data["path"]));
    created.add(issueId);
    examined.run().catch(failed);
  });
}
