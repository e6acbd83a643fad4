import type { Blocker, Issue, IssueLink } from "../../model/issue.ts";
import { type BlockerRules, isOpen, waitsForBlockers } from "../blockers.ts";
import { field, isRecord, listOf, normalizeIssue } from "../normalize.ts";
import { withheldFor } from "./belonging.ts";
import type { Named } from "./scope.ts";

/** The rules that decide whether an issue may be worked on (requirement L-9). */
export interface LinearRules extends BlockerRules {
  /** The user whose issues count; null: issues of all users. */
  readonly assignee: Named | null;
}

/** A normalized issue, and what is needed to evaluate it again when one of its blockers changes state. */
export interface LinearRow {
  readonly issue: Issue;
  /** True when the assignee filter lets it through. */
  readonly routed: boolean;
  /** True when Linear has more relations than the response contains. */
  readonly moreBlockers: boolean;
}

/** A node of Linear's `issues` as a row, or null when it is malformed (T-6), or a label or blocker of it was not read. */
export function rowOf(node: unknown, rules: LinearRules): LinearRow | null {
  if (!isRecord(node) || hasHole(node["labels"]) || hasHole(node["inverseRelations"])) return null;
  const blockedBy = blockersOf(node["inverseRelations"]);
  const withheld = withheldFor(node, rules);
  const issue = normalizeIssue({
    id: node["id"],
    nativeRef: null,
    identifier: node["identifier"],
    title: node["title"],
    description: node["description"],
    priority: node["priority"],
    state: field(node["state"], "name"),
    stateType: field(node["state"], "type"),
    branchName: node["branchName"],
    url: node["url"],
    assigneeId: field(node["assignee"], "id"),
    assignee: { id: field(node["assignee"], "id"), name: field(node["assignee"], "displayName") },
    team: node["team"],
    project: {
      id: field(node["project"], "id"),
      slug: field(node["project"], "slugId"),
      name: field(node["project"], "name"),
    },
    parent: linkFields(node["parent"]),
    subIssues: nodesOf(node["children"]).map(linkFields),
    labels: nodesOf(node["labels"]).map((label) => field(label, "name")),
    blockedBy,
    dispatchable: false,
    withheld,
    withheldBy: withheld && "assignee",
    createdAt: node["createdAt"],
    updatedAt: node["updatedAt"],
  });
  if (issue === null) return null;
  const routed = issue.withheld === null;
  return judged({ issue, routed, moreBlockers: hasMore(node["inverseRelations"]) }, rules);
}

/** True when labels or relations of the node did not fit into one response. */
export function isCut(node: unknown): boolean {
  return isRecord(node) && (hasMore(node["labels"]) || hasMore(node["inverseRelations"]));
}

/**
 * The row updated with the known states of its blockers, by their ids. The same object when that changes
 * nothing.
 */
export function withBlockers(
  row: LinearRow,
  states: ReadonlyMap<string, string>,
  rules: LinearRules,
): LinearRow {
  const moved = (blocker: Blocker): string | null => {
    const state = blocker.id === null ? undefined : states.get(blocker.id);
    return state === undefined || state === blocker.state ? null : state;
  };
  if (!row.issue.blockedBy.some((blocker) => moved(blocker) !== null)) return row;
  const blockedBy = row.issue.blockedBy.map((blocker) => ({
    ...blocker,
    state: moved(blocker) ?? blocker.state,
  }));
  return judged({ ...row, issue: { ...row.issue, blockedBy } }, rules);
}

function judged(row: LinearRow, rules: LinearRules): LinearRow {
  const { issue } = row;
  const open = (blocker: Blocker) => isOpen(blocker, rules);
  const waits = waitsForBlockers(issue, rules) && (row.moreBlockers || issue.blockedBy.some(open));
  return { ...row, issue: { ...issue, dispatchable: row.routed && !waits } };
}

function blockersOf(relations: unknown): readonly unknown[] {
  return (
    nodesOf(relations)
      .filter((relation) => field(relation, "type") === "blocks")
      .map((relation) => field(relation, "issue"))
      // No person sees one that is archived or in the trash, so none would end it.
      .filter((issue) => field(issue, "archivedAt") == null)
      .map(linkFields)
  );
}

function linkFields(issue: unknown): Readonly<Record<keyof IssueLink, unknown>> {
  return {
    id: field(issue, "id"),
    identifier: field(issue, "identifier"),
    title: field(issue, "title"),
    state: field(field(issue, "state"), "name"),
    url: field(issue, "url"),
  };
}

function nodesOf(connection: unknown): readonly unknown[] {
  return listOf(field(connection, "nodes"));
}

function hasHole(connection: unknown): boolean {
  return connection === null || nodesOf(connection).includes(null);
}

function hasMore(connection: unknown): boolean {
  return field(field(connection, "pageInfo"), "hasNextPage") === true;
}
