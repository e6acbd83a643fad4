import type { Attempt, AttemptGit, AttemptStatus } from "../model/attempt.ts";
import type { Running } from "./state.ts";

export interface AttemptEnd {
  readonly status: AttemptStatus;
  readonly endedWall: number;
  readonly error: Attempt["error"];
  readonly git: AttemptGit | null;
}

/** The history's form of a live attempt, or of one that just ended. */
export function attemptOf(entry: Running, end: AttemptEnd | null = null): Attempt {
  return {
    id: entry.attemptId,
    issueId: entry.issue.id,
    issueIdentifier: entry.issue.identifier,
    number: entry.number,
    status: end?.status ?? (entry.threadId === null ? "preparing" : "running"),
    phase: entry.phase,
    agent: entry.agent,
    model: entry.model,
    templateId: entry.templateId,
    workerHost: null,
    threadId: entry.threadId,
    sessionId: entry.sessionId,
    turnCount: entry.turnCount,
    startedAt: entry.startedWall,
    endedAt: end?.endedWall ?? null,
    tokens: entry.tokens,
    threadTokens: entry.threadTokens,
    error: end?.error ?? null,
    workspaceKey: entry.workspaceKey,
    workspacePath: entry.workspacePath,
    git: end?.git ?? null,
    idle: entry.idle,
  };
}
