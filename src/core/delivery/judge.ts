import { createHash } from "node:crypto";
import type { DeliveryConfig } from "../config/delivery.ts";
import type { PullRequestFacts } from "../model/delivery.ts";
import type { Rerun, Retargeted } from "./delivered.ts";
import type { Check, Observation, Remark } from "./forge.ts";
import type { Feedback } from "./store.ts";

/** The feedback that a pull request conflicts with its base. */
export const conflictSource = "conflict:base";

/** What the verdict depends on in addition to the observation. */
export interface Known {
  readonly issueId: string;
  /** The commit that symphony pushed last. */
  readonly pushed: string | null;
  /** What is evidence for an earlier base; null: it has the base that it was opened for. */
  readonly retargeted: Retargeted | null;
  /** Whether symphony itself wants it to be a draft. */
  readonly ownDraft: boolean;
  /** Whether GitHub has shown `pushed` as the head at an earlier time: another head is then another party's. */
  readonly shown: boolean;
  /** Whether symphony itself has pushed the head of the pull request at some time. */
  readonly isOwnHead?: boolean;
  /** What symphony ran again, by `rerunKey`. */
  readonly reruns: Readonly<Record<string, Rerun>>;
  /** Whether a person may write to the repository; null: not known now. */
  readonly mayWrite: ReadonlyMap<string, boolean | null>;
  /** Commits whose reviews hold for `pushed` too: only the base was merged into them since. */
  readonly carried: readonly string[];
  /** When `pushed` was pushed, ms since the epoch. */
  readonly pushedAt: number;
  /** What the last read found missing, and since when, ms since the epoch. */
  readonly waited: { readonly for: string | null; readonly since: number };
  /** Whether a check was seen on one of its commits: another will start. */
  readonly hadChecks: boolean;
  readonly rules: Pick<DeliveryConfig, "feedbackFrom" | "merge" | "mergeWithoutChecks">;
}

const summaryChars = 200;
/** A run that does not begin in this time will not: its failure counts. */
const rerunWithinMs = 10 * 60_000;
/** What no time mends, such as a check that has not started, is said to people after so long. */
const startsWithinMs = 60 * 60_000;
/** A check that says for so long that it runs, as a commit status of a service that is gone does, is said to people. */
const runsWithinMs = 24 * 60 * 60_000;
/** In this time after a push its first check may still appear. */
const appearsWithinMs = 2 * 60_000;

/** What an observation of a pull request means. Everything is judged anew each time. */
export interface Verdict {
  readonly facts: PullRequestFacts;
  /** The first requirement that is not met; null: it is over. */
  readonly waitingFor: string | null;
  /** Everything that a turn should read; what was read before is recognized by source and hash. */
  readonly feedback: readonly Feedback[];
  readonly reruns: readonly Check[];
  /** Whether it may be merged now, at exactly this head. */
  readonly mergeable: boolean;
  /** What waiting and turns will not mend; null: nothing is known to be stuck. */
  readonly stuck: string | null;
  readonly end: "merged" | "closed" | null;
}

/** Judges one observation. Pure. Unknown is never taken for yes or no. */
export function judge(seen: Observation, known: Known): Verdict {
  const { pullRequest } = seen;
  const isCurrent = pullRequest.head === known.pushed;
  const onHead = isCurrent ? seen.checks.filter(({ head }) => head === pullRequest.head) : [];
  const isStale = (check: Check) => known.retargeted?.checks.includes(runName(check)) === true;
  const checks = onHead.filter((check) => !isStale(check));
  const stale = onHead.filter(isStale);
  const facts: PullRequestFacts = {
    number: pullRequest.number,
    url: pullRequest.url,
    state: pullRequest.state,
    draft: pullRequest.draft,
    headSha: pullRequest.head,
    checks: isCurrent && stale.length === 0 ? checksIn(checks, seen) : "unknown",
    review: reviewOf(seen, known),
  };
  const nothing = { feedback: [], reruns: [], mergeable: false, stuck: null };
  const end = pullRequest.state === "open" ? null : pullRequest.state;
  if (end !== null) {
    return { facts, waitingFor: null, ...nothing, end };
  }
  const red = checks.filter(
    ({ name, state }) => state === "failure" && !seen.baseRed.includes(name),
  );
  const lost = checks.filter(({ state }) => state === "cancelled");
  const isNew = (check: Check) => known.reruns[rerunKey(check)] === undefined;
  const again = [...red, ...lost].filter((check) => check.runId !== null && isNew(check));
  const failed = red.filter((check) => !again.includes(check) && !isAwaited(check, known, seen.at));
  // A run can be started again only when all of its jobs are over.
  const isOver = ({ runId }: Check) =>
    !checks.some(
      (one) => one.runId === runId && (one.state === "running" || one.state === "waiting"),
    );
  const feedback = [
    ...remarksOf(seen, known),
    ...failed.map((check) => checkFeedback(check, known, seen.at)),
    ...conflictOf(seen, known),
  ];
  const missing = missingOf(seen, { facts, known, checks, stale, isCurrent });
  return {
    facts,
    waitingFor: missing ?? (known.rules.merge === "never" ? "a person to merge it" : "its merge"),
    feedback,
    reruns: again.filter(isOver),
    mergeable: missing === null && known.rules.merge === "when_approved",
    stuck: stuckOf(checks, { again, known, missing, at: seen.at }),
    end: null,
  };
}

interface Waiting {
  readonly again: readonly Check[];
  readonly known: Known;
  readonly missing: string | null;
  readonly at: number;
}

/** A check that was cancelled after it ran again, or that does not start. */
function stuckOf(checks: readonly Check[], { again, known, missing, at }: Waiting): string | null {
  const lost = checks.filter(
    (check) =>
      check.state === "cancelled" && !again.includes(check) && !isAwaited(check, known, at),
  );
  if (lost.length > 0)
    return `the check ${named(lost)} was cancelled or given up, and running it again did not help`;
  if (known.rules.merge !== "when_approved" || missing === null) return null;
  const isEndless = endless.test(missing);
  if (!isEndless && !missing.startsWith("the check ")) return null;
  const since = known.waited.for === missing ? Math.max(known.waited.since, known.pushedAt) : at;
  const isLate = at - since > (isEndless ? startsWithinMs : runsWithinMs);
  return isLate ? `it waits for ${missing}` : null;
}

/** The words of `missingOf` for what no time mends. */
const endless =
  /^GitHub to tell |^the check .*, which has not started$|^the check .* to run again for |^a person to allow the check |^the failed check .* too$|^a check to start, as /;

/** Whether the failed run is the one that was ordered to run again, so that its next attempt decides. */
function isAwaited(check: Check, { reruns }: Known, at: number): boolean {
  const rerun = reruns[rerunKey(check)];
  return rerun?.of === runOf(check) && at - rerun.at < rerunWithinMs;
}

/** Names one attempt of a check. */
export function runOf({ runId, attempt }: Check): string {
  return `${runId}#${attempt}`;
}

/** Names one attempt of a check among all of a pull request. */
export function runName(check: Check): string {
  return `${check.name} ${check.head} ${runOf(check)} ${check.url}`;
}

/** Names a check on one commit. */
export function rerunKey({ name, head }: Pick<Check, "name" | "head">): string {
  return `${name}@${head}`;
}

function checksIn(checks: readonly Check[], { baseRed }: Observation): PullRequestFacts["checks"] {
  if (checks.length === 0) return "none";
  const isRed = ({ name, state }: Check) =>
    (state === "failure" || state === "cancelled") && !baseRed.includes(name);
  if (checks.some(isRed)) return "failed";
  const isOpen = ({ state }: Check) =>
    state === "waiting" || state === "running" || state === "action_required";
  return checks.some(isOpen) ? "running" : "passed";
}

/**
 * The latest decisive review of each person who may write; comments clear nothing. An approval is one
 * of the commit that its person saw.
 */
function reviewOf(
  seen: Observation,
  { mayWrite, carried, retargeted }: Known,
): PullRequestFacts["review"] {
  const latest = new Map<string, "approved" | "changes_requested" | "dismissed" | "earlier">();
  let isUnknown = false;
  for (const [at, { author, own, verdict: said, head }] of seen.reviews.entries()) {
    const isOfBase = at >= (retargeted?.reviews ?? 0);
    const isCurrent = isOfBase && (head === seen.pullRequest.head || carried.includes(head));
    const verdict = said === "approved" && !isCurrent ? "earlier" : said;
    if (own || verdict === "commented") continue;
    const may = mayWrite.get(author.toLowerCase()) ?? null;
    if (may === null) isUnknown = true;
    if (may === true) latest.set(author.toLowerCase(), verdict);
  }
  const standing = [...latest.values()];
  if (standing.includes("changes_requested")) return "changes_requested";
  if (isUnknown) return "unknown";
  return standing.includes("approved") ? "approved" : "none";
}

/** The people whose change request stands. */
function requesters({ reviews }: Observation): ReadonlySet<string> {
  const latest = new Map<string, string>();
  for (const { author, own, verdict } of reviews) {
    if (!own && verdict !== "commented") latest.set(author.toLowerCase(), verdict);
  }
  return new Set([...latest].flatMap(([who, what]) => (what === "changes_requested" ? [who] : [])));
}

function remarksOf(seen: Observation, known: Known): readonly Feedback[] {
  const standing = requesters(seen);
  return seen.remarks.flatMap((remark) => {
    const author = remark.author?.toLowerCase() ?? null;
    if (author === null || remark.own) return [];
    const isBot = remark.bot && known.rules.feedbackFrom.includes(author);
    const isPerson = !remark.bot && known.mayWrite.get(author) === true;
    if (!isBot && !isPerson) return [];
    // Praise asks for nothing, and what was dismissed asks no more.
    const asks = remark.verdict !== "approved" && remark.verdict !== null;
    if (remark.kind === "review" && !asks) return [];
    const isRequest = remark.kind === "review" && remark.verdict === "changes_requested";
    if (remark.body.trim() === "" && !isRequest) return [];
    if (remark.resolved === true && !standing.has(author)) return [];
    return [remarkFeedback(remark, known, isPerson)];
  });
}

function remarkFeedback(remark: Remark, { issueId }: Known, byPerson: boolean): Feedback {
  const place =
    remark.path === null ? "" : `${remark.path}${remark.line === null ? "" : `:${remark.line}`}`;
  const notes = [
    place,
    remark.resolved === true ? "resolved meanwhile" : "",
    remark.outdated ? "the line has changed since" : "",
    remark.verdict === "changes_requested" ? "requests changes" : "",
  ].filter((note) => note !== "");
  const body = remark.body.trim() === "" ? "(changes requested without a text)" : remark.body;
  const head = notes.length === 0 ? "" : `(${notes.join("; ")})\n`;
  return {
    issueId,
    source: remark.id,
    hash: hashOf(remark.body),
    text: `${head}${body}`,
    author: remark.author,
    url: remark.url,
    byPerson,
    replyTo: remark.id,
    at: remark.at,
  };
}

function checkFeedback(check: Check, { issueId }: Known, at: number): Feedback {
  const excerpt = check.excerpt === null ? "" : `\n\n${check.excerpt}`;
  return {
    issueId,
    source: `check:${check.name}`,
    hash: hashOf(`${check.head} ${check.attempt}`),
    text: `The check "${check.name}" failed on ${check.head.slice(0, 10)}.${excerpt}`,
    author: null,
    url: check.url,
    byPerson: false,
    replyTo: null,
    at,
  };
}

/** One turn for each pair of head and base: a conflict seen twice is one conflict. */
function conflictOf(seen: Observation, { issueId, pushed }: Known): readonly Feedback[] {
  const { pullRequest, baseHead, at } = seen;
  if (pullRequest.mergeable !== "no" || baseHead === null || pullRequest.head !== pushed) return [];
  return [
    {
      issueId,
      source: conflictSource,
      hash: hashOf(`${pullRequest.head} ${baseHead}`),
      text: `The branch conflicts with ${pullRequest.base} (${baseHead.slice(0, 10)}).`,
      author: null,
      url: pullRequest.url,
      byPerson: false,
      replyTo: null,
      at,
    },
  ];
}

interface Judged {
  readonly facts: PullRequestFacts;
  readonly known: Known;
  readonly checks: readonly Check[];
  /** Checks that ran for an earlier base. */
  readonly stale: readonly Check[];
  readonly isCurrent: boolean;
}

/** The first requirement that is not met, in words. */
function missingOf(
  seen: Observation,
  { facts, known, checks, stale, isCurrent }: Judged,
): string | null {
  const { pullRequest, requiredChecks, baseRed } = seen;
  if (!isCurrent && known.shown && known.isOwnHead) {
    return `a person: ${pullRequest.branch} was set back to ${pullRequest.head.slice(0, 10)}, which symphony does not undo by itself; merge it as it is, or deliver the newer work by hand`;
  }
  if (!isCurrent && known.shown) {
    return `a person: ${pullRequest.head.slice(0, 10)} was pushed to ${pullRequest.branch}, and not by symphony, which overwrites nothing; merge it as it is, or bring it into the workspace`;
  }
  if (!isCurrent) return "GitHub to show the pushed commit";
  if (facts.draft && !known.ownDraft) return "a person to mark it as ready";
  if (facts.draft) return "a person to mark the draft as ready";
  if (pullRequest.mergeable === "no") return `its conflict with ${pullRequest.base} to be resolved`;
  const open = checks.filter(({ state }) => state === "waiting" || state === "running");
  const failed = checks.filter(({ state }) => state === "failure" || state === "cancelled");
  if (failed.length > 0) {
    const isAll = failed.every(({ name }) => baseRed.includes(name));
    const why = isAll ? `, which is red on ${pullRequest.base} too` : "";
    return `the failed check ${named(failed)}${why}`;
  }
  const stuck = checks.filter(({ state }) => state === "action_required");
  if (stuck.length > 0) return `a person to allow the check ${named(stuck)}`;
  if (open.length > 0) {
    const isStarted = open.some(({ state }) => state === "running");
    return `the check ${named(open)}${isStarted ? "" : ", which has not started"}`;
  }
  const silent = (requiredChecks ?? []).filter((name) => !checks.some((one) => one.name === name));
  if (silent.length > 0) return `the check ${silent.join(", ")}, which has not started`;
  if (stale.length > 0)
    return `the check ${named(stale)} to run again for ${pullRequest.base}, which was made its base later`;
  if (facts.review === "changes_requested") return "a new review: changes were requested";
  if (facts.review === "unknown") return "the rights of its reviewers to be known";
  if (facts.review === "none") {
    const isEarlier = seen.reviews.some(({ own, verdict }) => !own && verdict === "approved");
    if (isEarlier && known.retargeted !== null)
      return `a review of its change to ${pullRequest.base}`;
    return isEarlier ? "a review of its new commit" : "a review";
  }
  if (pullRequest.mergeable === "unknown") return "GitHub to tell whether it can be merged";
  // Nothing has run: an empty list is not a green one.
  const { merge, mergeWithoutChecks } = known.rules;
  if (merge === "when_approved" && checks.length === 0) {
    if (requiredChecks === null) return "a person to merge it: it has no checks";
    if (!mergeWithoutChecks)
      return "a check to start, or a person to merge it (delivery.merge_without_checks)";
    if (known.hadChecks) return "a check to start, as on its earlier commits";
    if (seen.at - known.pushedAt < appearsWithinMs) return "a check that may be about to start";
  }
  return null;
}

function named(checks: readonly Check[]): string {
  return checks.map(({ name }) => name).join(", ");
}

export function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 24);
}

/** What came back, in one line. */
export function summaryOf(all: readonly Feedback[]): string {
  const [first] = all;
  const more = all.length > 1 ? ` and ${all.length - 1} more` : "";
  const text = (first?.text ?? "").replaceAll(/\s+/g, " ").slice(0, summaryChars);
  return `${first?.author ? `${first.author}: ` : ""}${text}${more}`;
}
