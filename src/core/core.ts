import type { AgentRuntimes } from "./agent/kinds.ts";
import type { ModelList } from "./agent/models.ts";
import type { Attachments } from "./attach.ts";
import type { Attempts } from "./attempt/attempts.ts";
import type { Recovery } from "./attempt/recovery.ts";
import type { Clock } from "./clock.ts";
import type { CommentSteering } from "./comments.ts";
import type { Config } from "./config/config.ts";
import type { ConfigFlags } from "./config/resolve.ts";
import type { ConfigService } from "./config/service.ts";
import type { Deliveries } from "./delivery/delivery.ts";
import type { MadeDeps } from "./delivery/made.ts";
import type { Bus } from "./events/bus.ts";
import type { Logger } from "./events/log.ts";
import type { Meter } from "./events/meter.ts";
import type { Fleet } from "./fleet/fleet.ts";
import type { Recorder } from "./journal/recorder.ts";
import type { Kinds } from "./kinds.ts";
import type { Notices } from "./notify/notices.ts";
import type { DispatchSwitch } from "./orchestrator/dispatch-switch.ts";
import type { Operations } from "./orchestrator/operations.ts";
import type { Orchestrator } from "./orchestrator/orchestrator.ts";
import type { Templates } from "./prompt/templates.ts";
import type { Secrets } from "./secrets/secrets.ts";
import type { Ssh } from "./ssh/ssh.ts";
import type { NamedTokens } from "./store/named-tokens.ts";
import type { History, IssueRecords, Store } from "./store/store.ts";
import type { Redactor } from "./text/redact.ts";
import type { IssueFinder } from "./tracker/finder.ts";
import type { TrackerInUse } from "./tracker/in-use.ts";
import type { WebhookInboxes } from "./tracker/inbox.ts";
import type { LocalIssues } from "./tracker/local/issues.ts";
import type { Tracker } from "./tracker/tracker.ts";
import type { KeptCopies } from "./workspace/copies.ts";
import type { CloneState } from "./workspace/fill.ts";
import type { KeptWorkspaces } from "./workspace/kept.ts";
import type { WorkspaceOverview } from "./workspace/overview.ts";
import type { Workspaces } from "./workspace/workspaces.ts";

/** The running core of `symphony serve`, without any HTTP. */
export interface Core {
  readonly version: string;
  readonly startedWall: number;
  readonly clock: Clock;
  readonly dataDir: string;
  readonly workflowPath: string;
  /** The tables that the configuration chooses from. */
  readonly kinds: Kinds;
  readonly config: ConfigService;
  readonly orchestrator: Operations;
  readonly dispatch: DispatchSwitch;
  readonly attachments: Attachments;
  readonly bus: Bus;
  readonly meter: Meter;
  /** The scheduler's inputs and decisions, for questions about earlier moments. */
  readonly recorder: Recorder;
  readonly history: History;
  readonly templates: Templates;
  readonly log: Logger;
  readonly webhooks: WebhookInboxes;
  readonly notices: Notices;
  readonly comments: CommentSteering;
  readonly deliveries: Deliveries;
  readonly workspaces: WorkspaceOverview;
  readonly secrets: Secrets;
  readonly tokens: NamedTokens;
  /** null: attempts run on this machine. */
  readonly fleet: Fleet | null;
  /** The hosts of `worker.ssh_hosts`; null: there are none. */
  ssh(): Ssh | null;
  readonly models: ModelList;
  /** `text` with every known secret redacted. */
  redact(text: string): string;
  /** Grows with the secrets that `redact` knows. */
  secretsKnown(): number;
  /** The tracker in use; a change of its configuration creates a new one. */
  tracker(): Tracker;
  /** Looks issues up that are not in memory. */
  readonly finder: IssueFinder;
  /** The embedded tracker's issues; null with any other tracker. */
  localIssues(): LocalIssues | null;
  /** Cleans up after finished issues, then polls. Nothing is dispatched before. */
  start(): Promise<void>;
  /**
   * Resolves when this machine, the tracker and the provider were compared with the configuration in force: what they miss is
   * then in its warnings. May take some seconds.
   */
  checked(): Promise<void>;
  /** Checks anew whether the agents can be started; resolves when each has answered. Never rejects. */
  checkAgents(): Promise<void>;
  /** Resolves when the first poll and everything it started have ended; starts nothing else. */
  once(): Promise<void>;
  /** Ends agents, timers and files; safe to call twice. */
  stop(): Promise<void>;
  /** After `stop`: the writes that were not saved, because the disk refused them until the end. */
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
  /** What the configuration may choose from; by default symphony's own kinds. */
  readonly kinds?: Kinds;
  /** Start although a key that narrows what runs, caps it or chooses an agent is not read by anything. */
  readonly allowUnknown?: boolean;
  /** Files of the data directory that are made anew if they are missing, such as `history.db`. */
  readonly acceptLoss?: readonly string[];
  /** Aborted to cancel the start, which then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Where the API answers; null before it listens. By default there is none. */
  url?(): string | null;
  /** Rejects when this configuration must not be served; nothing has been changed by then. */
  admit?(config: Config): Promise<void>;
  /** Called when another server leads the fleet that this one led: this one has to end. */
  onOvertaken?(): void;
  /** Receives the progress of clones, of which nothing is kept. */
  onClone?(clone: CloneState): void;
}

/** The real parts behind the scheduler's interfaces. */
export interface CoreDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly dataDir: string;
  readonly env: NodeJS.ProcessEnv;
  readonly kinds: Kinds;
  readonly config: ConfigService;
  readonly store: Store;
  /** The records of `store` without repeated writes: a refused write fails at once. */
  readonly recordsAtOnce: IssueRecords;
  readonly bus: Bus;
  readonly recorder: Recorder;
  readonly meter: Meter;
  readonly trackers: TrackerInUse;
  readonly workspaces: Workspaces;
  readonly kept: KeptWorkspaces;
  readonly deliveries: Deliveries;
  readonly made: MadeDeps;
  readonly copies: KeptCopies;
  readonly attempts: Attempts;
  readonly templates: Templates;
  readonly runtimes: AgentRuntimes;
  readonly recovery: Recovery;
  /** null: attempts run on this machine. */
  fleet(): Fleet | null;
  /** null: there are no hosts. */
  ssh(): Ssh | null;
  /** A function, because the orchestrator is created from these parts. */
  orchestrator(): Orchestrator;
}
