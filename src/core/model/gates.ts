// Why nothing new is started, for any issue, or the server is not: facts that the scheduler, the store and the views share.

/** An operator paused the start of new work. */
export interface DispatchPause {
  /** null: none was given. */
  readonly reason: string | null;
  /** How it was requested, such as `cli`. */
  readonly by: string;
  readonly sinceWall: number;
}

/** The host has too little of something, as it was when that began or changed. */
export interface HostTrouble {
  /** A sentence with the figures. */
  readonly detail: string;
  readonly sinceWall: number;
}

/** Why nothing can be started with an agent, as found without starting it. */
export interface AgentTrouble {
  readonly code: string;
  /** A sentence that also says what mends it. */
  readonly detail: string;
  readonly sinceWall: number;
}

/** Codes of attempts whose agent was not started. */
export const startFaults: ReadonlySet<string> = new Set([
  "agent_not_found",
  "agent_unavailable",
  "codex_not_found",
]);

/** A provider's limit that would last longer is a slip of its pen: quotas are renewed at least each month. */
export const maxNamedMs = 32 * 86_400_000;

/** The provider of one agent accepts no turns. */
export interface AgentPause {
  readonly agent: string;
  readonly untilWall: number;
  readonly reason: string;
  /** The agent could not be started: its program, not its provider, is at fault. */
  readonly isStart?: boolean | undefined;
  /** The provider named the time; otherwise an operator's refresh ends the pause. */
  readonly isNamed: boolean;
  /** Consecutive refusals without a completed turn: each makes the next pause longer. */
  readonly hits: number;
  /** False once it is over; kept until a turn completes, so that the next pause counts it. */
  readonly active: boolean;
}

/** Why some writes are not on disk, and how many there are. */
export interface StorageTrouble {
  readonly reason: string;
  readonly waiting: number;
  readonly sinceWall: number;
}

/** The same as text for operators, used wherever it is shown. */
export function unsavedText({ reason, waiting }: Omit<StorageTrouble, "sinceWall">): string {
  if (waiting === 0) return `cannot save: ${reason}`;
  return `cannot save: ${reason}; ${waiting} ${waiting === 1 ? "write waits" : "writes wait"}`;
}

/** Files of a data directory that hold what cannot be made again: none of them may start empty unnoticed. */
export const keptFiles = [
  "issues.db",
  "history.db",
  "webhooks.db",
  "delivery.db",
  "notify.db",
  "issue-records.json",
  "templates.json",
  "overlay.json",
  "pause.json",
  "agent-pauses.json",
  "secrets.json",
  "tokens.json",
  "fleet.json",
] as const;
