/** Every type of event on the stream. */
export const eventTypes = [
  "issue.queued",
  "issue.dispatched",
  "issue.retrying",
  "issue.blocked",
  "issue.review",
  "issue.held",
  "issue.failed",
  "issue.completed",
  "issue.released",
  "attempt.started",
  "attempt.phase",
  "attempt.ended",
  "session.started",
  "turn.started",
  "turn.completed",
  "turn.failed",
  "agent.message",
  "agent.command",
  "agent.file_change",
  "agent.tool_call",
  "agent.tokens",
  "agent.rate_limits",
  "agent.notice",
  "approval.requested",
  "approval.resolved",
  "steer.accepted",
  "steer.delivered",
  "config.changed",
  "config.rejected",
  "template.changed",
  "model.changed",
  "worker.chosen",
  "secret.changed",
  "work.committed",
  "branch.pushed",
  "pull_request.opened",
  "pull_request.updated",
  "pull_request.merged",
  "pull_request.closed",
  "feedback.received",
  "feedback.answered",
  "delivery.refused",
  "issue.moved",
  "conflict.found",
  "conflict.resolved",
  "workspace.created",
  "workspace.kept",
  "workspace.removed",
  "hook.failed",
  "storage.error",
  "storage.recovered",
  "tracker.error",
  "tracker.recovered",
  "tracker.pace",
  "provider.paused",
  "provider.resumed",
  "agent.unavailable",
  "agent.available",
  "dispatch.paused",
  "dispatch.resumed",
  "hours.closed",
  "hours.opened",
  "host.short",
  "host.recovered",
  "budget.reached",
  "budget.renewed",
  "notice.sent",
  "notice.failed",
  "webhook.received",
  "poll.completed",
  "server.started",
  "server.stopping",
] as const;

export type EventType = (typeof eventTypes)[number];

/** After these an issue may stand elsewhere, as people see it. */
export const standingTypes: readonly EventType[] = [
  "issue.dispatched",
  "issue.retrying",
  "issue.blocked",
  "issue.review",
  "issue.held",
  "issue.failed",
  "issue.completed",
  "issue.released",
  "attempt.ended",
  "approval.requested",
  "approval.resolved",
  "branch.pushed",
  "pull_request.opened",
  "pull_request.merged",
  "pull_request.closed",
];

/** An event before it is published; the bus adds `seq` and `at`. */
export interface EventDraft {
  readonly type: EventType;
  readonly issueId?: string | null;
  readonly issueIdentifier?: string | null;
  readonly attemptId?: string | null;
  readonly sessionId?: string | null;
  /** One line for operators: no control characters, limited to 1,000 characters. */
  readonly message: string;
  /** JSON-safe facts with snake_case keys; they are sent unchanged. */
  readonly data?: Readonly<Record<string, unknown>>;
}

/** One event of the durable series. `seq` starts at 1 and has no gaps. */
export interface SymphonyEvent {
  readonly seq: number;
  readonly type: EventType;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly issueId: string | null;
  readonly issueIdentifier: string | null;
  readonly attemptId: string | null;
  readonly sessionId: string | null;
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Keys of the configuration that a running server applies only at its next start. */
export const needsRestart: readonly string[] = ["server.auth", "server.host", "server.port"];
