import type { z } from "zod";
import type { Issue } from "../core/model/issue.ts";
import type { IssueView } from "./issues.ts";

/** An issue in the wire's form, for whoever answers: the server, or the embedded tracker without one. */
export function issueView(issue: Issue): z.output<typeof IssueView> {
  return {
    id: issue.id,
    native_ref: issue.nativeRef === null ? null : { ...issue.nativeRef },
    identifier: issue.identifier,
    title: issue.title,
    description: issue.description,
    priority: issue.priority,
    state: issue.state,
    branch_name: issue.branchName,
    url: issue.url,
    assignee_id: issue.assigneeId,
    labels: [...issue.labels],
    blocked_by: issue.blockedBy.map((blocker) => ({ ...blocker })),
    dispatchable: issue.dispatchable,
    created_at: instant(issue.createdAt),
    updated_at: instant(issue.updatedAt),
  };
}

function instant(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
