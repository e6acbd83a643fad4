import type { LinearDocument } from "@linear/sdk";
import { SymphonyError } from "../../model/errors.ts";
import { nearest } from "../../text/nearest.ts";
import { isRecord } from "../normalize.ts";

type Field = keyof LinearDocument.IssueFilter;

/** Every field of Linear's IssueFilter: the compiler compares the list with the SDK's own type. */
const fields: Readonly<Record<Field, true>> = {
  accumulatedStateUpdatedAt: true,
  activity: true,
  addedToCycleAt: true,
  addedToCyclePeriod: true,
  ageTime: true,
  and: true,
  archivedAt: true,
  assignee: true,
  attachments: true,
  autoArchivedAt: true,
  autoClosedAt: true,
  canceledAt: true,
  children: true,
  comments: true,
  completedAt: true,
  createdAt: true,
  creator: true,
  customerCount: true,
  customerImportantCount: true,
  cycle: true,
  cycleTime: true,
  delegate: true,
  description: true,
  dueDate: true,
  estimate: true,
  hasActiveAgentSessions: true,
  hasBlockedByRelations: true,
  hasBlockingRelations: true,
  hasDismissedAgentSessions: true,
  hasDuplicateRelations: true,
  hasErroredAgentSessions: true,
  hasMergedAgentPullRequests: true,
  hasRelatedRelations: true,
  hasSharedUsers: true,
  hasSuggestedAssignees: true,
  hasSuggestedLabels: true,
  hasSuggestedProjects: true,
  hasSuggestedRelatedIssues: true,
  hasSuggestedSimilarIssues: true,
  hasSuggestedTeams: true,
  id: true,
  labels: true,
  lastAppliedTemplate: true,
  leadTime: true,
  needs: true,
  number: true,
  or: true,
  parent: true,
  priority: true,
  project: true,
  projectMilestone: true,
  reactions: true,
  recurringIssueTemplate: true,
  releases: true,
  searchableContent: true,
  sharedWith: true,
  slaBreachesAt: true,
  slaStatus: true,
  snoozedBy: true,
  snoozedUntilAt: true,
  sourceMetadata: true,
  startedAt: true,
  state: true,
  subscribers: true,
  suggestions: true,
  team: true,
  title: true,
  triageTime: true,
  triagedAt: true,
  updatedAt: true,
};

const path = "tracker.provider.filter";

/**
 * `tracker.provider.filter`: an IssueFilter of Linear, sent as a variable. Its own fields are checked, those below them
 * by Linear at the first read. Throws `invalid_tracker_config`. null: it is not set.
 */
export function filterOf(value: unknown): Readonly<Record<string, unknown>> | null {
  if (value === undefined) return null;
  check(value, path);
  return isRecord(value) ? value : null;
}

function check(filter: unknown, at: string): void {
  if (!isRecord(filter) || Object.keys(filter).length === 0) {
    throw invalid(
      at,
      "must be a map, an IssueFilter of Linear such as {labels: {name: {eq: agent}}}",
    );
  }
  for (const [key, value] of Object.entries(filter)) {
    if (!Object.hasOwn(fields, key))
      throw invalid(`${at}.${key}`, `is no field of Linear's IssueFilter${guess(key)}`);
    if (key === "and" || key === "or") checkAll(value, `${at}.${key}`);
    else if (!isRecord(value)) throw invalid(`${at}.${key}`, "must be a map, such as {eq: …}");
  }
}

function checkAll(list: unknown, at: string): void {
  if (!Array.isArray(list)) throw invalid(at, "must be a list of filters");
  for (const [index, one] of list.entries()) check(one, `${at}.${index}`);
}

function guess(key: string): string {
  const meant = nearest(key, Object.keys(fields));
  return meant === null ? "" : `; did you mean ${meant}?`;
}

function invalid(at: string, rule: string): SymphonyError {
  return new SymphonyError("invalid_tracker_config", `${at} ${rule}`, { details: { path: at } });
}
