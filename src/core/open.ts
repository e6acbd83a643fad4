import { join } from "node:path";
import { ModelList } from "./agent/models.ts";
import type { CommentSteering } from "./comments.ts";
import type { Config } from "./config/config.ts";
import { gitSecretNames } from "./config/git.ts";
import type { CoreDeps, CoreOptions } from "./core.ts";
import type { Bus } from "./events/bus.ts";
import type { Logger } from "./events/log.ts";
import { messageOf } from "./model/errors.ts";
import type { EventDraft } from "./model/event.ts";
import { agentEnvironment } from "./process/environment.ts";
import { runIdOf } from "./process/table.ts";
import { noAuditKeys } from "./store/audit.ts";
import { openIssueRecords } from "./store/documents.ts";
import { openHistory } from "./store/history.ts";
import type { History, Store } from "./store/store.ts";
import { openTemplates } from "./store/templates.ts";
import type { Redactor } from "./text/redact.ts";
import { type Deliveries, openDeliveries, WebhookInbox } from "./tracker/inbox.ts";
import { webhookSecret } from "./tracker/linear/settings.ts";
import type { Tracker } from "./tracker/tracker.ts";
import { fillWorkspace, keepApart } from "./workspace/fill.ts";
import { issueAt } from "./workspace/kept.ts";
import type { OwnRoots } from "./workspace/roots.ts";
import {
  createWorkspaces,
  type HookFailure,
  type SetAside,
  type Workspaces,
} from "./workspace/workspaces.ts";

interface OpenWorkspacesDeps {
  config(): Config;
  tracker(): Tracker;
  lookup(name: string): string | undefined;
  readonly bus: Bus;
  /** Ends the hooks that still run. */
  readonly signal: AbortSignal;
  onSetAside(aside: SetAside): void;
  isAtWork(path: string): boolean;
  readonly history: Pick<History, "workspacePlaces">;
  readonly roots: OwnRoots;
}

/** The workspaces as the configuration of the moment wants them, filled by its repositories and hooks. */
export function openWorkspaces(options: CoreOptions, edges: OpenWorkspacesDeps): Workspaces {
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
      recordedOwner: (path) => issueAt(path, edges.history),
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

/** How to close what was opened, in the order of opening. */
export type Closers = (() => unknown)[];

/** Last opened, first closed; one that fails does not keep the others open. */
export async function closeAll(opened: Closers, log: Logger): Promise<void> {
  for (const close of opened.splice(0).reverse()) {
    try {
      await close();
    } catch (error) {
      log.error("closing failed", { reason: messageOf(error) });
    }
  }
}

interface OpenModelsDeps {
  config(): Config;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
  secretEnvNames(): readonly string[];
}

/** The list of a running server; a key that it uses is from then on shown nowhere. */
export function openModels(options: CoreOptions, edges: OpenModelsDeps): ModelList {
  const { clock, env, version, redactor, dataDir } = options;
  return new ModelList({
    ...{ clock, env, version, runId: runIdOf(dataDir, "models") },
    ...edges,
    lookup(name) {
      const value = edges.lookup(name);
      if (value !== undefined) redactor.add(value);
      return value;
    },
  });
}

interface OpenInboxDeps extends Pick<CoreDeps, "clock" | "log" | "bus" | "meter"> {
  readonly dataDir: string;
  readonly redactor: Pick<Redactor, "add">;
  readonly config: { readonly current: Pick<CoreDeps["config"]["current"], "config"> };
  readonly store: Pick<CoreDeps["store"], "history">;
  orchestrator(): Pick<ReturnType<CoreDeps["orchestrator"]>, "post">;
  readonly comments: Pick<CommentSteering, "heard">;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
}

/** The inbox over `webhooks.db`, which is made once there is a secret to check deliveries with. */
export function openInbox(edges: OpenInboxDeps): WebhookInbox {
  const { dataDir, clock, log, bus, config, store, redactor, lookup } = edges;
  let opened: Deliveries | null = null;
  const deliveries = () => {
    opened ??= openDeliveries(dataDir);
    return opened;
  };
  let known: string | null = null;
  const secret = () => {
    const { provider } = config.current.config.tracker;
    const value = webhookSecret(provider["webhook_secret"], lookup);
    if (value !== null && value !== known) redactor.add(value);
    known = value;
    return value;
  };
  // Made before the first delivery, which is to be answered at once.
  if (secret() !== null) deliveries();
  return new WebhookInbox({
    clock,
    log,
    meter: edges.meter,
    secret,
    deliveries,
    publish: (event) => bus.publish(event),
    audit: (entries) => store.history.auditAll(entries),
    hint: (issueId) => edges.orchestrator().post({ type: "issue.hinted", issueId }),
    comment: (id, issueId) => void edges.comments.heard(id, issueId),
    close: () => opened?.close(),
  });
}

/**
 * Opens what is durable in `dir`, which exists and which this process has locked (`lockDataDir`). Rejects with
 * `storage_corrupt` or `storage_unavailable`, and then holds nothing open.
 */
export async function openStore(dir: string, auditKeys = noAuditKeys): Promise<Store> {
  const records = await openIssueRecords(dir);
  const templates = await openTemplates(dir);
  const history = openHistory(join(dir, "history.db"), auditKeys);
  return {
    records,
    history,
    templates,
    async close() {
      await records.settled();
      await templates.settled();
      history.close();
    },
  };
}
