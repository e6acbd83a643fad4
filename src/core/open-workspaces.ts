import { agentEnvironment } from "./agent/environment.ts";
import type { Bus } from "./bus.ts";
import type { Config } from "./config/config.ts";
import { gitSecretNames } from "./config/git-section.ts";
import type { CoreOptions } from "./core.ts";
import type { EventDraft } from "./model/event.ts";
import { runIdOf } from "./run-id.ts";
import type { History } from "./store/store.ts";
import type { Tracker } from "./tracker/tracker.ts";
import { fillWorkspace } from "./workspace/fill-workspace.ts";
import { keepApart } from "./workspace/keep-apart.ts";
import type { OwnRoots } from "./workspace/roots.ts";
import {
  createWorkspaces,
  type HookFailure,
  type SetAside,
  type Workspaces,
} from "./workspace/workspaces.ts";

interface Edges {
  config(): Config;
  tracker(): Tracker;
  lookup(name: string): string | undefined;
  readonly bus: Bus;
  /** Ends the hooks that still run. */
  readonly signal: AbortSignal;
  onSetAside(aside: SetAside): void;
  isAtWork(path: string): boolean;
  readonly history: Pick<History, "workspacePlaceAt">;
  readonly roots: OwnRoots;
}

/** The workspaces as the configuration of the moment wants them, filled by its repositories and hooks. */
export function openWorkspaces(options: CoreOptions, edges: Edges): Workspaces {
  const { clock, log, env, dataDir, redactor } = options;
  const { config, tracker, lookup, bus, signal } = edges;
  return keepApart(
    createWorkspaces({
      settings: () => ({ root: config().workspace.root, hooks: config().hooks }),
      env: () => hookEnvironment(options, config(), tracker()),
      clock,
      log,
      onHookFailed: (failure) => bus.publish(hookFailed(failure)),
      onSetAside: (aside) => edges.onSetAside(aside),
      isAtWork: (path) => edges.isAtWork(path),
      recordedOwner: (path) => edges.history.workspacePlaceAt(path)?.issueId ?? null,
      own: (root) => edges.roots.own(root),
      fill: fillWorkspace({
        git: () => config().git,
        ...{ env, clock, lookup },
        learn: (secret) => redactor.add(secret),
        runId: runIdOf(dataDir, "hook"),
      }),
      signal,
    }),
  );
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
    secretNames: [...tracker.secretEnvNames, ...gitSecretNames(config.git)],
    runId: runIdOf(dataDir, "hook"),
  });
}
