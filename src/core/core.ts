import { assemble } from "./assemble.ts";
import { beginSealed } from "./audit-begin.ts";
import type { Bus } from "./bus.ts";
import type { Clock } from "./clock.ts";
import type { CommentSteering } from "./comments/steering.ts";
import type { Config } from "./config/config.ts";
import { checkLevel, levelWords } from "./config/level.ts";
import { openOverlay } from "./config/overlay-document.ts";
import type { ConfigFlags } from "./config/resolve.ts";
import { type ConfigService, openConfig } from "./config/service.ts";
import type { Logger } from "./logger.ts";
import { Meter } from "./meter.ts";
import type { ModelList } from "./models/model-list.ts";
import { closeAll, type Opened } from "./opened.ts";
import type { Operations } from "./orchestrator/operations.ts";
import type { Redactor } from "./redact.ts";
import { redactedStore } from "./redacted-store.ts";
import { learnEnvironment, learnTracker } from "./secret-values.ts";
import { openSecrets, type Secrets } from "./secrets/secrets.ts";
import { lockDataDir } from "./store/lock.ts";
import { openStore } from "./store/open.ts";
import type { History } from "./store/store.ts";
import type { TemplateDesk } from "./template-desk.ts";
import { checkTracker } from "./tracker/in-use.ts";
import type { LocalIssues } from "./tracker/local/issues.ts";
import type { Tracker } from "./tracker/tracker.ts";
import type { WebhookInbox } from "./webhook/inbox.ts";
import type { WorkspaceDesk } from "./workspace/desk.ts";

/** The running heart of `symphony serve`, without any HTTP. */
export interface Core {
  readonly version: string;
  readonly startedWall: number;
  readonly dataDir: string;
  readonly workflowPath: string;
  readonly config: ConfigService;
  readonly orchestrator: Operations;
  readonly bus: Bus;
  readonly meter: Meter;
  readonly history: History;
  readonly templates: TemplateDesk;
  readonly log: Logger;
  readonly webhooks: WebhookInbox;
  readonly comments: CommentSteering;
  readonly workspaces: WorkspaceDesk;
  readonly secrets: Secrets;
  readonly models: ModelList;
  /** `text` with every known secret taken out. */
  redact(text: string): string;
  /** Grows with the secrets that `redact` knows. */
  secretsKnown(): number;
  /** The tracker in use; a change of its configuration makes a new one. */
  tracker(): Tracker;
  /** The embedded tracker's issues; null with any other tracker. */
  localIssues(): LocalIssues | null;
  /** Cleans up after finished issues, then polls. Nothing is dispatched before. */
  start(): Promise<void>;
  /** Resolves when the first poll is over and all that it started has ended; nothing else is started. */
  once(): Promise<void>;
  /** Ends agents, timers and files; safe to call twice. */
  stop(): Promise<void>;
  /** After `stop`: what could not be saved, because the disk refused it to the end. */
  unsaved(): readonly string[];
}

export interface CoreOptions {
  readonly version: string;
  readonly workflowPath: string;
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags: ConfigFlags;
  readonly clock: Clock;
  readonly log: Logger;
  readonly redactor: Redactor;
  /** Aborted when the start is to be given up: it rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Rejects when this configuration is not to be served; nothing was touched by then. */
  admit?(config: Config): Promise<void>;
}

/**
 * Opens everything and recovers what a crash left, but dispatches nothing yet. Rejects with the code of what is
 * wrong (configuration, lock, storage) and then holds nothing open.
 */
export async function createCore(options: CoreOptions): Promise<Core> {
  const { clock, log, dataDir, env, redactor, signal } = options;
  learnEnvironment(env, redactor);
  const lock = await lockDataDir(dataDir);
  const opened: Opened = [() => lock.release()];
  try {
    const secrets = await openSecrets({ dir: dataDir, env, clock, redactor });
    await secrets.settle();
    const edges = {
      meter: new Meter(),
      dataDir,
      clock,
      lookup: (name: string) => secrets.lookup(name) ?? env[name],
      onMalformed: (count: number) =>
        log.warn("tracker records left out", { reason: "malformed", count }),
    };
    const { overlay, save: saveOverlay } = await openOverlay(dataDir);
    const config = await openConfig({
      workflowPath: options.workflowPath,
      env,
      flags: options.flags,
      clock,
      overlay,
      saveOverlay,
      validate(next) {
        checkLevel(next, env);
        learnTracker(next.tracker, edges.lookup, redactor);
        checkTracker(next.tracker, edges);
      },
    });
    opened.push(() => config.close());
    signal?.throwIfAborted();
    await options.admit?.(config.current.config);
    for (const warning of config.warnings) log.warn("configuration", { warning });
    const { level } = config.current.config.agent;
    if (level !== "safe") log.warn("agents are let out", { level, means: levelWords[level] });
    const opening = await openStore(dataDir, secrets.auditKeys);
    const store = redactedStore(opening, (text) => redactor.redact(text));
    opened.push(() => store.close());
    await secrets.sealAudit(() => beginSealed(store.history, clock.wall()));
    signal?.throwIfAborted();
    return await assemble(options, { config, store, secrets, edges, opened });
  } catch (error) {
    await closeAll(opened, log);
    throw error;
  }
}
