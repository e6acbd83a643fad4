import type { Core } from "./core.ts";
import { messageOf, SymphonyError } from "./model/errors.ts";
import type { CommentList, Issue } from "./model/issue.ts";
import type { IssueStatusView } from "./orchestrator/snapshot.ts";
import type { Found } from "./tracker/finder.ts";

/**
 * The status of `identifier` (any case): from memory, else looked up in the tracker, whatever its state
 * and scope. Changes nothing. Rejects with `issue_not_found`, or with a tracker's code and what is last
 * known of the issue.
 */
export async function findStatus(core: Core, identifier: string): Promise<IssueStatusView> {
  const status = core.orchestrator.statusOf(identifier);
  if (status) return status;
  const found = await lookUp(core, identifier);
  if (!found) throw notFound(core, identifier);
  // It may be known by an identifier that it had before.
  const known = core.orchestrator.statusOf(found.issue.identifier);
  if (known?.issue.id === found.issue.id) return known;
  const templateId = core.templates.overrideOf(found.issue.id);
  return { ...core.orchestrator.statusOfFound(found), templateId };
}

/**
 * `status`, or what the tracker says of the issue now if memory may be older than the last poll, as of an issue that is done. A
 * tracker that does not answer leaves `status` as it is, without a time.
 */
export async function freshStatus(core: Core, status: IssueStatusView): Promise<IssueStatusView> {
  const isRead = status.review !== null || status.stopped !== null;
  const why = isRead ? (core.tracker().whyGone?.(status.issue.id) ?? null) : null;
  if (why !== null) return { ...status, explain: [goneGate(why), ...status.explain] };
  if (!isStale(core, status)) return status;
  const { id, identifier } = status.issue;
  const found = await lookUp(core, identifier).catch(() => null);
  return found?.issue.id === id ? core.orchestrator.statusWith(status, found) : status;
}

/** Work that is offered or stopped stays so, whether or not the tracker shows its issue. */
function goneGate(detail: string): IssueStatusView["explain"][number] {
  return { gate: "in_scope", pass: false, detail, opens: "its return in the tracker" };
}

/** Whether the tracker may say something newer of it: memory may be older than the last poll, and the tracker answers. */
export function isStale({ orchestrator }: Core, { read }: IssueStatusView): boolean {
  return read.atWall === null && orchestrator.trackerHealthy() === true;
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
  const found = await lookUp(core, identifier);
  if (!found) throw notFound(core, identifier);
  return found.issue;
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

/** An issue that is not in memory: an embedded one, one whose id the history knows, or any other of the tracker. */
async function lookUp(core: Core, identifier: string): Promise<Found | null> {
  const atWall = core.clock.wall();
  const local = core.localIssues();
  const embedded = local?.get(identifier);
  if (embedded) return { issue: embedded, scope: [], atWall };
  if (local) return null;
  try {
    const found = await core.finder.find(identifier);
    return found ?? (await byKnownId(core, identifier, atWall));
  } catch (error) {
    throw error instanceof SymphonyError ? notLookedUp(core, identifier, error) : error;
  }
}

/** For a tracker that cannot be asked for one issue, or has the issue under another identifier now. */
async function byKnownId(core: Core, identifier: string, atWall: number): Promise<Found | null> {
  const id = core.history.issueIdOf(identifier);
  if (id === null) return null;
  const [issue] = await core.tracker().fetchIssuesByIds([id]);
  return issue ? { issue, scope: [], atWall } : null;
}

/** The newest comments of an issue, read from its tracker; none where the tracker has no comments. */
export async function commentsOf(core: Core, issue: Issue): Promise<CommentList> {
  const local = core.localIssues();
  if (local) return local.comments(issue.identifier);
  return (await core.tracker().comments?.(issue)) ?? { comments: [], truncated: false };
}

function notFound(core: Core, identifier: string): SymphonyError {
  const { kind } = core.tracker();
  // One that was never worked on is known to the tracker alone.
  const id = core.history.issueIdOf(identifier) ?? identifier;
  const why = core.tracker().whyGone?.(id) ?? null;
  const message = `the ${kind} tracker has no issue ${identifier}${why === null ? "" : `: ${why}`}`;
  return new SymphonyError("issue_not_found", message, {
    details: { tracker: kind },
    hint: "symphony issue list",
  });
}

/** The tracker's own error, with what is last known of the issue and how old that is. */
function notLookedUp(core: Core, identifier: string, error: SymphonyError): SymphonyError {
  const known = lastKnown(core, identifier);
  const { kind } = core.tracker();
  const about = known === null ? "nothing is known of it here" : known.words;
  const message = `${identifier} is not in memory, and the ${kind} tracker cannot be asked (${messageOf(error)}); ${about}`;
  return new SymphonyError(error.code, message, {
    cause: error,
    details: { ...error.details, tracker: kind, lastKnown: known?.facts ?? null },
    hint: error.hint ?? "symphony runtime",
  });
}

/** From earlier answers of the tracker, else from the row or the last attempt of an issue that was worked on. */
function lastKnown(core: Core, identifier: string) {
  const found = core.finder.lastKnown(identifier);
  if (found) return known(core, { ...found.issue, atWall: found.atWall, what: found.issue.state });
  const id = core.history.issueIdOf(identifier);
  const latest = id === null ? null : core.history.latestAttempt(id);
  if (latest === null) return null;
  const row = core.orchestrator.remembered(latest.issueId);
  const atWall = latest.endedAt ?? latest.startedAt;
  const name = row?.identifier ?? latest.issueIdentifier;
  const state = row?.state ?? null;
  return known(core, { identifier: name, state, atWall, what: `its attempt ${latest.status}` });
}

interface LastKnown {
  readonly identifier: string;
  readonly state: string | null;
  readonly atWall: number;
  readonly what: string;
}

function known(core: Core, { identifier, state, atWall, what }: LastKnown) {
  const ageSeconds = Math.max(Math.round((core.clock.wall() - atWall) / 1_000), 0);
  const at = new Date(atWall).toISOString();
  const words = `${ageSeconds} s ago: ${state === null || what === state ? what : `${what}, in ${state}`}`;
  return { words, facts: { identifier, state, at, ageSeconds } };
}
