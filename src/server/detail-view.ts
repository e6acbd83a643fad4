import type { z } from "zod";
import { issueView } from "../contract/issue-view.ts";
import type { IssueDetail } from "../contract/issues.ts";
import type { Attempt } from "../core/model/attempt.ts";
import type { SymphonyEvent } from "../core/model/event.ts";
import type { Sight } from "../core/orchestrator/snapshot.ts";
import type { Kept } from "../core/workspace/kept.ts";
import { attemptView, keptView, needsView, runningRow, time } from "./views.ts";

/** What the history knows of one issue, newest first. */
interface Past {
  readonly attempts: readonly Attempt[];
  readonly attemptCount: number;
  readonly events: readonly SymphonyEvent[];
  /** Where the issue's workspace is or would be made now. */
  readonly place: { readonly key: string; readonly path: string } | null;
  /** Every directory of the issue that stays. */
  readonly kept: readonly Kept[];
}

/** One issue as an operator sees it: what memory has of it now, and its past (H-5). */
export function detailView(sight: Sight, past: Past): z.output<typeof IssueDetail> {
  const { issue, retry, running } = sight;
  const retryAttempt = retry?.attempt ?? 0;
  const workspace = workspaceOf(sight, past);
  return {
    issue_identifier: issue.identifier,
    issue_id: issue.id,
    status: sight.status,
    issue: issueView(issue),
    workspace,
    ...keptOf(workspace.path, past.kept),
    attempts: {
      count: past.attemptCount,
      restart_count: Math.max(retryAttempt - 1, 0),
      current_retry_attempt: retryAttempt,
      latest: past.attempts.map(attemptView),
    },
    running: running && runningRow(running),
    retry: retry && { attempt: retry.attempt, due_at: time(retry.dueWall), error: retry.error },
    needs: sight.blocked && needsView(sight.blocked),
    overrides: {
      model: sight.override?.model ?? null,
      reasoning_effort: sight.override?.effort ?? null,
      agent: sight.override?.kind ?? null,
      template_id: sight.templateId,
    },
    recent_events: past.events.map((event) => ({
      at: time(event.at),
      event: event.type,
      message: event.message,
      seq: event.seq,
      attempt_id: event.attemptId,
    })),
    last_error: lastErrorOf(sight, past),
    explain: sight.explain.map((gate) => ({ ...gate })),
    logs: { codex_session_logs: [] },
    tracked: {},
  };
}

function workspaceOf({ issue, running, retry, blocked }: Sight, { attempts, place }: Past) {
  const latest = attempts.find(({ workspacePath }) => workspacePath !== null);
  const recorded = running ?? retry ?? blocked;
  return {
    key: running?.workspaceKey ?? latest?.workspaceKey ?? place?.key ?? null,
    path: recorded?.workspacePath ?? latest?.workspacePath ?? place?.path ?? null,
    host: latest?.workerHost ?? null,
    branch: latest?.git?.branch ?? issue.branchName,
  };
}

/** The issue's own workspace apart from what stays of it elsewhere. */
function keptOf(path: string | null, all: readonly Kept[]) {
  const own = all.find((kept) => kept.path === path);
  const others = all.filter((kept) => kept !== own);
  return { kept: own ? keptView(own) : null, kept_elsewhere: others.map(keptView) };
}

/** What stands in the way now comes before what ended an earlier attempt. */
function lastErrorOf({ stopped, retry, running }: Sight, { attempts }: Past): string | null {
  const now = stopped?.error ?? retry?.error;
  if (now != null) return now;
  const ended = attempts.find(({ id }) => id !== running?.attemptId);
  return ended?.error?.message ?? null;
}
