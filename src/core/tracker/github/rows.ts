import { z } from "zod";
import { issueIdOf } from "../../github/settings.ts";
import {
  type Blocker,
  type Issue,
  type IssueLink,
  normalState,
  type WithheldBy,
} from "../../model/issue.ts";
import { isOpen, waitsForBlockers } from "../blockers.ts";
import { maxSubIssues, normalizeIssue } from "../normalize.ts";
import type { Card } from "./board.ts";
import {
  closedNames,
  type GithubTrackerSettings,
  type ScopeRepository,
  type StateRules,
} from "./settings.ts";

/** The fields of GitHub's issue that are read. */
const issueRow = z.object({
  id: z.number(),
  number: z.int().positive(),
  node_id: z.string().nullish(),
  url: z.string(),
  html_url: z.string(),
  title: z.string(),
  body: z.string().nullish(),
  state: z.enum(["open", "closed"]),
  state_reason: z.string().nullish(),
  labels: z.array(
    z.union([
      z.string(),
      z.object({ name: z.string().nullish() }).transform((one) => one.name ?? ""),
    ]),
  ),
  assignees: z
    .array(z.object({ login: z.string() }).transform(({ login }) => login))
    .nullish()
    .transform((all) => all ?? []),
  comments: z.number().nullish(),
  milestone: z.object({ number: z.number(), title: z.string() }).nullish(),
  type: z.object({ name: z.string() }).nullish(),
  parent_issue_url: z.string().nullish(),
  sub_issues_summary: z.object({ total: z.number() }).nullish(),
  issue_dependencies_summary: z.object({ total_blocked_by: z.number() }).nullish(),
  created_at: z.string(),
  updated_at: z.string(),
  pull_request: z.object({}).nullish(),
});

export type IssueRow = z.output<typeof issueRow>;

/** One issue as it is read by itself. */
export const oneRow = issueRow;
/** An issue of a list; null: it does not have its form. */
export const listedRow = issueRow.nullable().catch(null);

/** What an issue is part of, and what it waits for. */
export interface Relations {
  readonly blockedBy: readonly IssueRow[];
  readonly subIssues: readonly IssueRow[];
}

export function nodeIdsOf(rows: readonly IssueRow[]): readonly string[] {
  return rows.flatMap((row) => row.node_id ?? []);
}

export function hasRelations(row: IssueRow): boolean {
  const { issue_dependencies_summary: blocked, sub_issues_summary: subs } = row;
  return (blocked?.total_blocked_by ?? 0) > 0 || (subs?.total ?? 0) > 0;
}

export const noRelations: Relations = { blockedBy: [], subIssues: [] };

export interface RowContext {
  readonly settings: GithubTrackerSettings;
  readonly repository: ScopeRepository & { readonly id: number };
  /** Whether it is the repository, by its configured or its present name. */
  readonly isOwn: (place: { readonly owner: string; readonly repo: string }) => boolean;
  /** The login of `assignee`; null: issues of all people. */
  readonly assignee: string | null;
  /** The parent of an issue, where it is known. */
  readonly parentOf: (row: IssueRow) => IssueRow | null;
  /** What the board has of an issue; null: nothing, or there is no board. */
  readonly cardOf: (row: IssueRow) => Card | null;
}

/** Names of the states of closed issues: GitHub's reasons for closing, as its pages write them. */
const closedName: Readonly<Record<string, string>> = {
  not_planned: "Not planned",
  duplicate: "Duplicate",
};

/** The reason to close with for a state of closed issues; undefined: it is a state of open ones. */
export function closingReason(state: string): string | undefined {
  const reasons = ["completed", "not_planned", "duplicate"];
  return reasons[closedNames.findIndex((one) => normalState(one) === normalState(state))];
}

/** Every state that a repository has without labels and projects. */
export const plainStates: readonly string[] = ["Open", ...closedNames];

/** The state of an open issue on the board without a status, as GitHub's pages write it. */
const noStatus = "No Status";

/**
 * A closed issue is `Closed`, or has the name of its reason where the configuration has that; an open one is `Open`, unless a
 * label or the board says more. Of a closed issue the board counts only where it names a terminal state.
 */
export function stateOf(row: IssueRow, rules: StateRules, card: Card | null): string {
  const { configured, terminal } = rules;
  if (row.state === "closed") {
    if (card?.status && terminal.has(normalState(card.status))) return card.status;
    const reason = closedName[row.state_reason ?? ""];
    return reason && configured.has(normalState(reason)) ? reason : "Closed";
  }
  if (card !== null) return card.status ?? noStatus;
  if (rules.from !== "labels") return "Open";
  const found = row.labels.map((one) => statusIn(one, rules) ?? "");
  const order = [...configured.keys()].toReversed();
  const at = (state: string) => (order.indexOf(normalState(state)) + 1 || order.length + 1) - 1;
  const [first] = found.filter(Boolean).sort((a, b) => at(a) - at(b));
  return first === undefined ? "Open" : (configured.get(normalState(first)) ?? first);
}

/** The state that a label is; null: it is none. */
export function statusIn(label: string, { from, prefix }: StateRules): string | null {
  if (from !== "labels" || !label.toLowerCase().startsWith(prefix.toLowerCase())) return null;
  return label.slice(prefix.length).trim() || null;
}

/** The normalized issue; null: it has no title (T-6). */
export function issueOf(row: IssueRow, relations: Relations, context: RowContext): Issue | null {
  const { settings, repository } = context;
  const { owner, repo, id: repositoryId } = repository;
  const [first = null] = row.assignees;
  const { milestone } = row;
  const card = context.cardOf(row);
  const link = (other: IssueRow) => linkOf(other, context);
  const withheld = withheldFor(row, context);
  const issue = normalizeIssue({
    id: issueIdOf(repositoryId, row.number),
    nativeRef: {
      ...{ owner, repo, number: row.number, id: row.id, node_id: row.node_id ?? null },
      milestone: milestone?.title ?? null,
      type: row.type?.name ?? null,
      assignees: row.assignees,
      ...(card && { project_item_id: card.itemId, estimate: card.estimate }),
    },
    identifier: `${repository.prefix}-${row.number}`,
    title: row.title,
    description: row.body,
    priority: priorityOf(row, card, settings),
    state: stateOf(row, settings.states, card),
    stateType: null,
    branchName: null,
    url: row.html_url,
    assigneeId: first,
    assignee: { id: first, name: first },
    team: { id: String(repositoryId), key: repo, name: `${owner}/${repo}` },
    project: milestone && { id: String(milestone.number), slug: null, name: milestone.title },
    parent: parentLinkOf(row, context),
    subIssues: relations.subIssues.slice(0, maxSubIssues).map(link),
    labels: row.labels,
    blockedBy: relations.blockedBy.map(link),
    dispatchable: false,
    ...withheld,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  });
  if (issue === null) return null;
  const { blockers } = settings;
  const waits =
    waitsForBlockers(issue, blockers) && issue.blockedBy.some((one) => isOpen(one, blockers));
  return { ...issue, dispatchable: issue.withheld === null && !waits };
}

/** Of the board's field, else the most urgent of the labels. */
function priorityOf(
  { labels }: IssueRow,
  card: Card | null,
  { priorities }: GithubTrackerSettings,
): number | null {
  const named = (one: string) => priorities.get(one.trim().toLowerCase());
  const ofBoard = typeof card?.priority === "string" ? named(card.priority) : card?.priority;
  const all =
    ofBoard === null || ofBoard === undefined
      ? labels.flatMap((one) => named(one) ?? [])
      : [ofBoard];
  return all.length === 0 ? null : Math.min(...all);
}

/** By names, which GitHub compares without case. */
function withheldFor(
  { assignees, type, milestone }: IssueRow,
  { assignee, settings: { types, milestones } }: RowContext,
): Pick<Issue, "withheld" | "withheldBy"> {
  const by = (withheldBy: WithheldBy, withheld: string) => ({ withheld, withheldBy });
  const isOf = (all: ReadonlySet<string>, one: string | undefined) =>
    one !== undefined && all.has(one.toLowerCase());
  if (assignee !== null && !assignees.some((one) => one.toLowerCase() === assignee.toLowerCase())) {
    const owners = assignees.join(", ") || "nobody";
    return by("assignee", `assigned to ${owners}, not to ${assignee} (tracker.provider.assignee)`);
  }
  if (types !== null && !isOf(types, type?.name)) {
    const wanted = [...types].join(" or ");
    const words = `its type is ${type?.name ?? "none"}, not ${wanted} (tracker.provider.types)`;
    return by("type", words);
  }
  if (milestones !== null && !isOf(milestones, milestone?.title)) {
    const wanted = [...milestones].join(" or ");
    const words = `its milestone is ${milestone?.title ?? "none"}, not ${wanted} (tracker.provider.milestones)`;
    return by("milestone", words);
  }
  return { withheld: null, withheldBy: null };
}

/** A blocker of another repository has the states of an issue without labels: whether it is closed. */
function linkOf(row: IssueRow, context: RowContext): Blocker {
  const { settings, cardOf } = context;
  const place = placeIn(row.url) ?? { owner: "", repo: "" };
  return {
    ...nameOf(place, row.number, context),
    title: row.title,
    state: stateOf(row, settings.states, cardOf(row)),
    url: row.html_url,
  };
}

/** One that is closed, or of another repository, is known by its identifier only: it would cost a request for each issue. */
function parentLinkOf(row: IssueRow, context: RowContext): IssueLink | null {
  const known = context.parentOf(row);
  if (known !== null) return linkOf(known, context);
  const place = placeIn(row.parent_issue_url ?? "");
  if (place === null) return null;
  return { ...nameOf(place, place.number, context), title: null, state: null, url: null };
}

interface Place {
  readonly owner: string;
  readonly repo: string;
}

/** The repository and number in an address of the API; null: it is none of an issue. */
export function placeIn(url: string): (Place & { readonly number: number }) | null {
  const [, owner, repo, number] = /\/repos\/([^/]+)\/([^/]+)\/issues\/(\d+)$/.exec(url) ?? [];
  return owner && repo ? { owner, repo, number: Number(number) } : null;
}

export function isSamePlace(a: Place, b: Place): boolean {
  return `${a.owner}/${a.repo}`.toLowerCase() === `${b.owner}/${b.repo}`.toLowerCase();
}

function nameOf(place: Place, number: number, { settings, repository, isOwn }: RowContext) {
  if (isOwn(place)) {
    return { id: issueIdOf(repository.id, number), identifier: `${repository.prefix}-${number}` };
  }
  const known = settings.repositories.find((one) => isSamePlace(one, place));
  const identifier = known ? `${known.prefix}-${number}` : `${place.owner}/${place.repo}#${number}`;
  return { id: null, identifier };
}
