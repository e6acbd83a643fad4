import { sweepRuns } from "./agent/process.ts";
import type { Bus } from "./bus.ts";
import type { Clock } from "./clock.ts";
import type { Attempt } from "./model/attempt.ts";
import type { Prior } from "./orchestrator/decision.ts";
import type { History } from "./store/store.ts";

interface Parts {
  readonly history: History;
  readonly bus: Bus;
  readonly clock: Clock;
  /** The cookie of an attempt's processes, or of those of a `hook`. */
  runId(name: string): string;
  /** Attempts that go on: an agent outlived the server. */
  readonly spared?: ReadonlySet<string>;
}

/**
 * What a crash left behind, before anything is dispatched: every process of an attempt without an end, and of a hook, is killed,
 * then the attempt is marked interrupted. Resolves with the number of attempts.
 */
export async function recoverAttempts(parts: Parts): Promise<number> {
  const { history, bus, clock } = parts;
  const open = history.openAttempts().filter(({ id }) => !parts.spared?.has(id));
  const left = new Set(open.map((attempt) => parts.runId(attempt.id)));
  const hook = parts.runId("hook");
  await sweepRuns((runId) => left.has(runId) || runId.startsWith(hook));
  for (const attempt of open) {
    const error = { code: "interrupted", message: "the server ended while it ran" };
    history.saveAttempt({ ...attempt, status: "interrupted", endedAt: clock.wall(), error });
    bus.publish({
      type: "attempt.ended",
      issueId: attempt.issueId,
      issueIdentifier: attempt.issueIdentifier,
      attemptId: attempt.id,
      sessionId: attempt.sessionId,
      message: "attempt interrupted: the server ended while it ran",
      data: { outcome: "interrupted", agent: attempt.agent },
    });
  }
  return open.length;
}

/**
 * Cut off by the end of the server or of a shared agent or by a provider's limit, or ended with a question that may
 * be answered by now.
 */
function goesOn({ status, error }: Attempt): boolean {
  return status === "interrupted" || cutOff.has(error?.code ?? "");
}

const cutOff: ReadonlySet<string> = new Set([
  "approval_required",
  "turn_input_required",
  "codex_daemon_lost",
  "provider_limited",
]);

/** What the history says of an issue's earlier attempts. */
export function priorOf(history: History, issueId: string, after: string): Prior {
  const last = history.latestAttempt(issueId);
  const resume =
    last && last.threadId !== null && goesOn(last)
      ? { threadId: last.threadId, tokens: last.threadTokens, agent: last.agent }
      : null;
  const idle = last && last.id > after ? last.idle : null;
  return { count: last?.number ?? 0, resume, tokens: history.tokensSince(issueId, after), idle };
}
