import type { Clock } from "./clock.ts";
import type { CommentSteering } from "./comments.ts";
import type { Config } from "./config/config.ts";
import type { CoreDeps } from "./core.ts";
import type { Deliveries } from "./delivery/delivery.ts";
import type { Logger } from "./events/log.ts";
import { messageOf } from "./model/errors.ts";
import type { Issue } from "./model/issue.ts";
import type { Claim } from "./orchestrator/issues.ts";
import type { State } from "./orchestrator/state.ts";
import type { Lookup, TimedComment, Tracker } from "./tracker/tracker.ts";

interface CommentPollDeps {
  readonly clock: Clock;
  readonly log: Pick<Logger, "debug">;
  readonly steering: Pick<CommentSteering, "found" | "again">;
  readonly deliveries: Pick<Deliveries, "commentsFrom" | "keepComments">;
  config(): Config;
  tracker(): Tracker;
  state(): State;
  /** Whether the tracker reports comments by itself. */
  hasWebhook(): boolean;
}

const leastIntervalMs = 1_000;
/** Where a webhook reports comments: a delivery may be lost, or its comment not read. */
const besideWebhookMs = 600_000;
/** Issues that are read in one pass, the longest unread ones first. */
const mostAtOnce = 4;
/** Below this share of the tracker's budget comments are not read. */
const leastShare = 0.5;
/** How well the tracker's clock is known. */
const skewMs = 60_000;

/** A person may want to say something about these. */
const claims: ReadonlySet<Claim["claim"]> = new Set([
  "running",
  "retrying",
  "blocked",
  "review",
  "held",
  "failed",
]);

/** Reads the comments of claimed issues, one pass for each interval of the polls; with a webhook each issue at once, then rarely. */
export class CommentPoll {
  readonly #deps: CommentPollDeps;
  /** What was read of each issue the last time. */
  readonly #read = new Map<string, Read>();
  #cancel = () => {};
  #passing: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(deps: CommentPollDeps) {
    this.#deps = deps;
  }

  start(): void {
    if (this.#isClosed) return;
    const ms = Math.max(this.#deps.config().polling.intervalMs, leastIntervalMs);
    this.#cancel = this.#deps.clock.after(ms, () => {
      this.#passing = this.pass().finally(() => this.start());
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel();
    await this.#passing;
  }

  /** Never rejects. */
  async pass(): Promise<void> {
    const { config, tracker, hasWebhook, log, steering } = this.#deps;
    const asked = tracker();
    const left = asked.budgetLeft?.() ?? 1;
    if (config().tracker.commentSteering === "off" || left < leastShare) return;
    await steering.again();
    if (asked.newComments === undefined) return;
    for (const issue of this.#next(hasWebhook() ? besideWebhookMs : 0)) {
      try {
        const wall = this.#deps.clock.wall();
        const since = this.#read.get(issue.id)?.since ?? this.#from(issue, asked);
        const comments = await asked.newComments(issue, since);
        await this.#take(issue, comments, { asked, wall, since });
      } catch (error) {
        log.debug("comments not read", { issue: issue.identifier, reason: messageOf(error) });
      }
    }
  }

  #next(leastAgeMs: number): readonly Issue[] {
    const { issues } = this.#deps.state();
    const rows = [...issues.values()].filter(({ claim }) => claims.has(claim));
    const ids = new Set(rows.map(({ issue }) => issue.id));
    // After a restart an issue whose agent was interrupted is free until it is claimed again.
    const isResting = (id: string) => issues.get(id)?.claim === "free" && !this.#read.has(id);
    this.#deps.deliveries.keepComments((id) => ids.has(id) || isResting(id));
    for (const id of this.#read.keys()) if (!ids.has(id)) this.#read.delete(id);
    const readAt = ({ id }: Issue) => this.#read.get(id)?.at ?? Number.NEGATIVE_INFINITY;
    return rows
      .map(({ issue }) => issue)
      .filter((issue) => readAt(issue) + leastAgeMs <= this.#deps.clock.now())
      .sort((a, b) => readAt(a) - readAt(b))
      .slice(0, mostAtOnce);
  }

  #from(issue: Issue, asked: Tracker): number {
    return theirs(asked, this.#deps.deliveries.commentsFrom(issue)) - skewMs;
  }

  async #take(
    issue: Issue,
    comments: readonly TimedComment[],
    { asked, wall, since: askedSince }: Pass,
  ): Promise<void> {
    const { clock, steering } = this.#deps;
    // By the gap that these answers have told, which an earlier request may not have known.
    const from = this.#from(issue, asked);
    const next = theirs(asked, wall) - skewMs;
    const known = this.#read.get(issue.id);
    const since = known === undefined ? Math.min(askedSince, from) : askedSince;
    const before = known?.seen ?? new Set();
    const keyOf = ({ id, body }: TimedComment) => `${id} ${body}`;
    const seen = new Set<string>();
    this.#read.set(issue.id, { at: clock.now(), since, seen });
    for (const comment of comments) {
      const isOld = comment.createdAt === null || comment.createdAt < from;
      const isDone = isOld || before.has(keyOf(comment)) || (await steering.found(comment));
      if (isDone) seen.add(keyOf(comment));
    }
    // Those that are not done are asked for again, however many come after them.
    const isAllDone = comments.every((comment) => seen.has(keyOf(comment)));
    // So is what a first request left out, because its time was too late by the tracker's clock.
    if (!isAllDone || since < askedSince) return;
    this.#read.set(issue.id, { at: clock.now(), since: next, seen });
  }
}

/** A time of this machine by the tracker's clock. */
function theirs(tracker: Tracker, wall: number): number {
  return wall - (tracker.aheadMs?.() ?? 0);
}

interface Pass {
  readonly asked: Tracker;
  /** When it began, by this machine's clock. */
  readonly wall: number;
  readonly since: number;
}

interface Read {
  readonly at: number;
  /** Every comment that was written before this time is done, ms since the epoch. */
  readonly since: number;
  /** What was read: the same text is handled once. */
  readonly seen: ReadonlySet<string>;
}

/** A webhook that reports comments makes their reads rare. */
export function openCommentPoll(
  { clock, log, config, trackers, kinds, deliveries, orchestrator }: CoreDeps,
  { comments, lookup }: { readonly comments: CommentSteering; readonly lookup: Lookup },
): CommentPoll {
  const current = () => config.current.config;
  const poll = new CommentPoll({
    ...{ clock, log, deliveries, steering: comments, config: current },
    tracker: () => trackers.tracker,
    state: () => orchestrator().state,
    hasWebhook() {
      const { kind, provider } = current().tracker;
      const row = kinds.trackers.find((one) => one.kind === kind);
      return row?.webhook != null && row.webhook.secret(provider, lookup) !== null;
    },
  });
  poll.start();
  return poll;
}
