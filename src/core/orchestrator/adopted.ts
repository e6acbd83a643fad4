import type { Attempt } from "../model/attempt.ts";
import type { Issue } from "../model/issue.ts";
import { idleOf } from "./brakes.ts";
import type { AttemptOrder } from "./messages.ts";
import type { Running } from "./state.ts";

/** What the history does not tell of an attempt that goes on. */
export interface AdoptionFacts {
  /** As it was last known. */
  readonly issue: Issue;
  /** The retry number it was born with, and the failures before. */
  readonly attempt: number | null;
  readonly failures: number;
  /** When its agent was heard last. */
  readonly heardWall: number;
  /** Tokens of the issue's earlier attempts, as far as its brake counts them. */
  readonly spentBefore: number;
}

/** The live row of an attempt that an earlier server began. Its silence counts from here. */
export function adoptedEntry(
  row: Attempt,
  { issue, attempt, failures, heardWall, spentBefore }: AdoptionFacts,
  clocks: { readonly now: number; readonly wall: number },
): Running {
  const { sessionId, threadId } = row;
  const prefix = `${threadId}-`;
  return {
    issue,
    ...{ attempt, failures, threadId, sessionId, spentBefore },
    idle: idleOf(row, issue),
    attemptId: row.id,
    number: row.number,
    agent: row.agent,
    model: row.model,
    templateId: row.templateId ?? "default",
    startedAt: clocks.now - Math.max(clocks.wall - row.startedAt, 0),
    startedWall: row.startedAt,
    phase: row.phase,
    workspaceKey: row.workspaceKey,
    workspacePath: row.workspacePath,
    turnId: sessionId?.startsWith(prefix) ? sessionId.slice(prefix.length) : null,
    turnCount: row.turnCount,
    lastEventAt: clocks.now,
    lastEventWall: heardWall,
    lastEvent: null,
    lastMessage: null,
    tokens: row.tokens,
    threadTokens: row.threadTokens,
    usedTool: false,
    asked: [],
    stopping: null,
    lasting: true,
  };
}

/** The order to go on with it. */
export function adoptionOf(entry: Running): AttemptOrder {
  const { attemptId, issue, attempt, agent, templateId, turnCount } = entry;
  const { workspaceKey: key, workspacePath: path, threadId: resumeThreadId } = entry;
  const adopt = {
    key: key ?? "",
    path: path ?? "",
    turnCount,
    sinceWall: entry.lastEventWall ?? 0,
  };
  return { attemptId, issue, attempt, resumeThreadId, agent, templateId, adopt };
}
