import type { Core } from "./core.ts";
import { SymphonyError } from "./model/errors.ts";
import type { CommentList, Issue } from "./model/issue.ts";
import type { IssueStatusView } from "./orchestrator/snapshot.ts";

/**
 * The status of `identifier` (any case): from memory, else read from the tracker. Rejects with
 * `issue_not_found`.
 */
export async function findStatus(core: Core, identifier: string): Promise<IssueStatusView> {
  const status = core.orchestrator.statusOf(identifier);
  if (status) return status;
  const issue = await findIssue(core, identifier);
  if (!issue) throw notFound(identifier);
  return unseen(issue, core.templates.overrideOf(issue.id));
}

/**
 * The issue's id for queries of the history; the tracker is read only when the history does not
 * know it either.
 */
export async function findIssueId(
  core: Core,
  identifier: string,
): Promise<{ readonly id: string; readonly identifier: string }> {
  const issue = core.orchestrator.statusOf(identifier)?.issue;
  if (issue) return issue;
  const id = core.history.issueIdOf(identifier);
  const latest = id === null ? null : core.history.latestAttempt(id);
  if (latest) return { id: latest.issueId, identifier: latest.issueIdentifier };
  const found = await findIssue(core, identifier);
  if (!found) throw notFound(identifier);
  return found;
}

/**
 * The issue's id, and every identifier that it has or had, for records that only have identifiers;
 * just this identifier if no such issue is known.
 */
export function namesOf(core: Core, identifier: string): IssueNames {
  const now = core.orchestrator.statusOf(identifier)?.issue;
  const id = now?.id ?? core.history.issueIdOf(identifier);
  if (id === null) return { id, identifiers: [identifier] };
  const known = [identifier, now?.identifier ?? identifier, ...core.history.identifiersOf(id)];
  return { id, identifiers: [...new Set(known)] };
}

interface IssueNames {
  readonly id: string | null;
  readonly identifiers: readonly string[];
}

/** An issue that is not in memory: an embedded one, or one whose id the history knows. */
export async function findIssue(core: Core, identifier: string): Promise<Issue | null> {
  const local = core.localIssues()?.get(identifier);
  if (local) return local;
  const id = core.history.issueIdOf(identifier);
  if (id === null) return null;
  const [issue] = await core.tracker().fetchIssuesByIds([id]);
  return issue ?? null;
}

/** The newest comments of an issue, read from its tracker; none where the tracker has no comments. */
export async function commentsOf(core: Core, issue: Issue): Promise<CommentList> {
  const local = core.localIssues();
  if (local) return local.comments(issue.identifier);
  return (await core.tracker().comments?.(issue)) ?? { comments: [], truncated: false };
}

function unseen(issue: Issue, templateId: string | null): IssueStatusView {
  const detail = `not among the issues of the last poll; its state is ${issue.state}`;
  return {
    issue,
    status: null,
    running: null,
    retry: null,
    blocked: null,
    review: null,
    stopped: null,
    completed: null,
    offer: null,
    override: null,
    templateId,
    overlaps: [],
    explain: [{ gate: "candidate", pass: false, detail, opens: "the next poll that lists it" }],
  };
}

function notFound(identifier: string): SymphonyError {
  const message = `no issue ${identifier} is known here`;
  return new SymphonyError("issue_not_found", message, { hint: "symphony state" });
}
