// What a configuration needs of this machine and of the tracker. It can end without a change of the file, so it never refuses one.

import { type AgentKind, AgentRuntimes, commandKey, rowOf, settingsKey } from "./agent/kinds.ts";
import { ModelNames } from "./agent/model-names.ts";
import { programsOf } from "./agent/program-of.ts";
import { startProblems } from "./agent/startable.ts";
import type { Clock } from "./clock.ts";
import type { Effective } from "./config/check.ts";
import { agentsInUse, type Config, settingsOf } from "./config/config.ts";
import { type Problem, problemsOf } from "./config/finding.ts";
import type { ConfigService } from "./config/service.ts";
import type { Bus } from "./events/bus.ts";
import type { Logger } from "./events/log.ts";
import { messageOf, SymphonyError } from "./model/errors.ts";
import { noticeProgramProblems } from "./notify/checks.ts";
import { runIdOf } from "./process/table.ts";
import { missingLfs } from "./repository/lfs.ts";
import type { Redactor } from "./text/redact.ts";
import { labelsIn, nameProblems } from "./tracker/scope-names.ts";
import type { Tracker } from "./tracker/tracker.ts";

export interface MachineDeps {
  readonly kinds: readonly AgentKind[];
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly dataDir: string;
  lookup(name: string): string | undefined;
  hide(value: string): void;
  readonly version: string;
  readonly tracker: Pick<Tracker, "scopeNames"> & Partial<Pick<Tracker, "secretEnvNames">>;
  readonly signal?: AbortSignal;
  /** Remembers the lists of models between checks. */
  readonly models?: ModelNames;
}

interface WholeDeps extends MachineDeps {
  readonly workflowPath: string;
}

/**
 * Agents that cannot be started here, programs of receivers that are not here, a sandbox that does not work, names that the tracker does not know, and models that
 * their provider does not list.
 */
export async function machineProblems(
  effective: Effective,
  deps: WholeDeps,
): Promise<readonly Problem[]> {
  const { config } = effective;
  const models = deps.models ?? modelNames(deps, () => deps.tracker.secretEnvNames ?? []);
  const agents = agentsInUse(config);
  const found = await Promise.all([
    ...agents.map((agent) => agentProblems(agent, config, deps)),
    ...agents.map((agent) => readableProblems(agent, config, deps)),
    ...agents.map((agent) => models.problems(agent, config)),
    trackerProblems(effective, deps.tracker),
    lfsProblems(config, deps.env),
    noticeProgramProblems(config.notify, {
      ...{ env: deps.env, workflowPath: deps.workflowPath, platform: process.platform },
    }),
  ]);
  return found.flat();
}

/** Repositories whose contents of git LFS cannot be fetched here. */
async function lfsProblems({ git }: Config, env: MachineDeps["env"]): Promise<readonly Problem[]> {
  const named = git.repositories.filter(({ lfs }) => lfs);
  const missing = named.length === 0 ? null : await missingLfs(env);
  if (missing === null) return [];
  const path = `git.repositories.${named[0]?.name}.lfs`;
  const message = `${missing.message}, and no workspace can be made without it`;
  return [{ path, code: "git_not_found", message, next: missing.hint }];
}

/** Compares the models of a configuration with what their providers list. */
export function modelNames(
  { kinds, clock, env, version, dataDir, lookup, hide }: Omit<MachineDeps, "tracker">,
  secretEnvNames: () => readonly string[],
): ModelNames {
  return new ModelNames({
    kinds,
    ...{ clock, env, version, secretEnvNames, runId: runIdOf(dataDir, "models") },
    lookup(name) {
      const value = lookup(name);
      if (value !== undefined) hide(value);
      return value;
    },
  });
}

/** Why this agent cannot be started here. */
export async function agentProblems(
  agent: string,
  config: Config,
  deps: MachineDeps,
): Promise<readonly Problem[]> {
  const row = rowOf(deps.kinds, config, agent);
  // Its program and its login are those of the hosts.
  if (row === null || config.worker.sshHosts.length > 0) return [];
  const { level, network } = config.agent;
  return startProblems(
    {
      ...{ kind: row.kind, key: commandKey(deps.kinds, config, agent), level, network },
      settingsKey: settingsKey(config, agent),
      line: row.command(settingsOf(config, agent)),
      runtime: () => runtimesOf(config, deps).get(agent),
    },
    deps,
  );
}

function runtimesOf(config: Config, deps: MachineDeps): AgentRuntimes {
  const { kinds, clock, env, dataDir, lookup, hide } = deps;
  return new AgentRuntimes({
    ...{ clock, env, dataDir, lookup, hide, kinds, hosts: null, config: () => config },
    onTrouble() {},
  });
}

/** Credentials that this agent can read in its sandbox; none for an agent that cannot be started. */
async function readableProblems(
  agent: string,
  config: Config,
  deps: MachineDeps,
): Promise<readonly Problem[]> {
  const row = rowOf(deps.kinds, config, agent);
  const { level, network } = config.agent;
  if (row === null || row.outliving !== null || level === "danger") return [];
  const runtime = await runtimesOf(config, deps).get(agent);
  const said = await runtime.readable?.(level, network).catch(() => []);
  const next = "docs/agents/sandbox.md, the one way out";
  return (said ?? []).map((message) => {
    return { path: settingsKey(config, agent), severity: "warning", message, next };
  });
}

/** Failures that end by themselves. */
const temporary: ReadonlySet<string> = new Set([
  "tracker_request",
  "tracker_rate_limited",
  "tracker_pagination",
  "tracker_response",
]);

/** Names that the tracker does not know; a tracker that cannot be asked is a problem too. */
export async function trackerProblems(
  effective: Effective,
  tracker: MachineDeps["tracker"],
): Promise<readonly Problem[]> {
  if (!tracker.scopeNames) return [];
  try {
    const labels = labelsIn(effective).length > 0;
    const names = await tracker.scopeNames({ labels });
    return [...nameProblems(effective, names), ...(names.problems ?? [])];
  } catch (error) {
    if (!(error instanceof SymphonyError)) throw error;
    const passes = temporary.has(error.code) || error.details["renewedBy"] !== undefined;
    const severity = passes ? "warning" : "error";
    return problemsOf(error).map((one) => ({
      ...one,
      severity,
      path: one.path || "tracker",
      message: `the tracker could not be asked for its states: ${one.message}`,
    }));
  }
}

/** A state, a label or a program may be added at any time. */
const lookAgainMs = 1_800_000;
/** While something is wrong, or the tracker does not answer. */
const lookSoonMs = 60_000;

interface FollowDeps extends Omit<WholeDeps, "tracker" | "hide"> {
  readonly config: ConfigService;
  readonly trackers: { readonly tracker: MachineDeps["tracker"] & Pick<Tracker, "secretEnvNames"> };
  readonly bus: Pick<Bus, "subscribe">;
  readonly log: Logger;
  readonly redactor: Pick<Redactor, "add">;
}

export interface MachineWatch {
  /** Resolves when the checks of every change so far have ended. */
  settled(): Promise<void>;
  stop(): void;
}

/**
 * Makes the checks at the start, after each change of the configuration, when a poll leaves nothing to work on (a state or a label
 * may have another name now), and from time to time; what they find is in the configuration's warnings. It delays nothing.
 */
export function followMachine(deps: FollowDeps): MachineWatch {
  const { config, clock, log, trackers, redactor, bus } = deps;
  const hide = (value: string) => redactor.add(value);
  const models = modelNames({ ...deps, hide }, () => trackers.tracker.secretEnvNames);
  let cancel = () => {};
  let isStopped = false;
  let lookedAt = 0;
  let turn: Promise<void> = Promise.resolve();
  const look = async () => {
    if (isStopped) return;
    cancel();
    lookedAt = clock.now();
    const { current } = config;
    const found = await machineProblems(current, {
      ...deps,
      ...{ hide, models, tracker: trackers.tracker },
    });
    if (isStopped) return;
    for (const warning of config.report(found)) log.warn("configuration", { warning });
    cancel = clock.after(found.length > 0 ? lookSoonMs : lookAgainMs, again);
  };
  const again = () => {
    turn = turn.then(look).catch((error) => {
      log.error("the configuration was not checked", { reason: messageOf(error) });
    });
  };
  again();
  const unwatch = config.watch(({ type }) => {
    if (type === "changed") again();
  });
  const unsubscribe = bus.subscribe({ filter: { types: ["poll.completed"] } }, ({ data }) => {
    if (data?.["queued"] !== 0 || isStopped) return;
    cancel();
    cancel = clock.after(Math.max(lookedAt + lookSoonMs - clock.now(), 0), again);
  });
  return {
    settled: () => turn,
    stop() {
      isStopped = true;
      cancel();
      unwatch();
      unsubscribe();
    },
  };
}

/** The programs that the lines of the agents in use start, as far as these say it. */
export function agentPrograms(kinds: readonly AgentKind[], config: Config): readonly string[] {
  const lines = agentsInUse(config).map((agent) =>
    rowOf(kinds, config, agent)?.command(settingsOf(config, agent)),
  );
  return [...new Set(lines.flatMap((line) => programsOf(line ?? "")))];
}
