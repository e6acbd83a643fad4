import { randomUUID } from "node:crypto";
import { type EventType, type SymphonyEvent, standingTypes } from "../model/event.ts";
import type { Issue } from "../model/issue.ts";
import type { IssueRow } from "../orchestrator/issues.ts";
import { defuse } from "../text/defuse.ts";
import { redactDeep } from "../text/redact.ts";
import { ownMarker, writeReserve } from "../tracker/tracker.ts";
import type { Delivered, Reach } from "./delivered.ts";
import type { Written } from "./outbox.ts";
import type { DeliveryStore, NewEntry } from "./store.ts";

/** What the comment is about. */
export interface CommentPorts {
  rows(): ReadonlyMap<string, IssueRow>;
  /** Tokens that the issue's attempts used. */
  tokensOf(issueId: string): number;
  subscribe(
    subscription: { readonly filter: { readonly types: readonly EventType[] } },
    listener: (event: SymphonyEvent) => void,
  ): () => void;
}

interface Deps
  extends CommentPorts,
    Pick<Reach, "clock" | "log" | "bus" | "config" | "tracker" | "redact"> {
  readonly store: Pick<DeliveryStore, "all" | "of" | "waitingOf">;
  save(delivery: Delivered): void;
  order(issue: Issue, entry: Omit<NewEntry, "issueId">): void;
}

/** After these the comment may say something else. */
const types: readonly EventType[] = [...standingTypes, "attempt.started"];

/** The shortest time between two edits of one comment. */
const editIntervalMs = 30_000;

export const commentKind = "comment";

/**
 * `tracker.updates: all`: orders the one comment of each issue to be written when it may say something else. What it says is
 * made when it is written, so one waiting write is enough.
 */
export class LivingComments {
  readonly #deps: Deps;
  readonly #changed = new Set<string>();
  /** Why the last write was refused. */
  #refusal: string | null = null;
  #stop = () => {};

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /** A crash may have come before the last order. */
  start(): void {
    this.#stop = this.#deps.subscribe({ filter: { types } }, ({ issueId }) => {
      if (issueId !== null) this.#look(issueId);
    });
    const begun = this.#deps.store.all().filter(({ comment }) => comment !== undefined);
    const ids = [...this.#deps.rows().keys(), ...begun.map(({ issueId }) => issueId)];
    for (const id of new Set(ids)) this.#look(id);
  }

  close(): void {
    this.#stop();
  }

  /** Writes the newest text, if it is its time. Rejects with a tracker's code. */
  async write(known: Delivered): Promise<Written> {
    const { tracker, config, clock, save, store } = this.#deps;
    const { issueId, comment: last } = known;
    const { comment } = tracker().workflow;
    if (comment === undefined || config().tracker.updates !== "all") return { outcome: "dropped" };
    const text = this.#textFor(issueId);
    if (text === null || text === last?.text) return { outcome: "dropped" };
    const wall = clock.wall();
    const due = (last?.at ?? 0) + editIntervalMs;
    // A clock that was set back delays it no longer than this.
    if (last && wall >= last.at && wall < due) return later(due, "it was edited just now");
    const left = tracker().budgetLeft?.() ?? null;
    if (left !== null && left < writeReserve) {
      return later(wall + 2 * editIntervalMs, "the rest of the tracker's budget is kept for moves");
    }
    await comment(known.issue, { key: `${commentKind}:${issueId}`, body: text });
    save({ ...(store.of(issueId) ?? known), comment: { text, at: clock.wall() } });
    return { outcome: "done" };
  }

  /** A write has ended. A refusal that holds for every issue, such as of the credential, is said once. */
  written({ issueId, issueIdentifier }: Delivered, written: Written): void {
    const { bus, log } = this.#deps;
    if (written.outcome === "done") this.#refusal = null;
    if (written.outcome === "final" || written.outcome === "failed") {
      const isNews = this.#refusal !== written.reason;
      this.#refusal = written.reason;
      const message = `the tracker took no comment: ${written.reason}`;
      const data = { step: commentKind, final: written.outcome === "final" };
      if (isNews) {
        log.warn(message);
        bus.publish({ type: "delivery.refused", issueId, issueIdentifier, message, data });
      }
    }
    // Something may have changed meanwhile.
    if (this.#changed.has(issueId)) this.#look(issueId);
  }

  /** The text now; null: there is nothing to say, and no comment yet. */
  #textFor(issueId: string): string | null {
    this.#changed.delete(issueId);
    const { rows, config, tokensOf, store, redact } = this.#deps;
    const tokens = config().tracker.comment.cost ? tokensOf(issueId) : null;
    const row = rows().get(issueId);
    return progressText(row && redactDeep(row, redact), store.of(issueId), tokens);
  }

  #look(issueId: string): void {
    const { config, tracker, rows, store, order } = this.#deps;
    if (config().tracker.updates !== "all" || tracker().workflow.comment === undefined) return;
    const known = store.of(issueId);
    const issue = rows().get(issueId)?.issue ?? known?.issue;
    if (issue === undefined) return;
    this.#changed.add(issueId);
    if (store.waitingOf(issueId).some(({ kind }) => kind === commentKind)) return;
    const text = this.#textFor(issueId);
    // It is there already.
    if (text === null || text === known?.comment?.text) return;
    const target = `${commentKind}:${issueId}`;
    order(issue, { kind: commentKind, key: `${target}:${randomUUID()}`, target, payload: {} });
  }
}

function later(at: number, reason: string): Written {
  return { outcome: "later", at, reason };
}

const longestReason = 300;
const longestText = 8_000;

/** What the comment says: symphony's own words, and no text of the agent. null: nothing, and nothing was said before. */
export function progressText(
  row: IssueRow | undefined,
  known: Delivered | null,
  tokens: number | null,
): string | null {
  if (statusOf(row) === null && known?.comment === undefined) return null;
  const lines = [
    standingText(row, known),
    tokens !== null && tokens > 0 && row?.claim !== "running"
      ? `Used so far: ${tokens.toLocaleString("en-US")} tokens.`
      : null,
    ownMarker,
  ];
  return lines
    .filter((line) => line !== null)
    .join("\n\n")
    .slice(0, longestText);
}

/** Where the issue stands and where its result is, without a mark and without the question of an agent. */
export function standingText(row: IssueRow | undefined, known: Delivered | null): string {
  const status = statusOf(row) ?? "**symphony** does not work on this now.";
  return [status, resultOf(known)].filter((line) => line !== null).join("\n\n");
}

export const underWay = "**symphony: under way.**";

function statusOf(row: IssueRow | undefined): string | null {
  switch (row?.claim) {
    case "running": {
      const [question] = row.questions;
      if (question) return needsText(question.needs.kind);
      return underWay;
    }
    case "retrying":
      // A recheck right after a turn is no news to people.
      if (row.after !== null && row.waits === null) return underWay;
      return row.waits === null
        ? `**symphony: waits for its next try**, at ${time(row.dueWall)}.`
        : `**symphony: waits**: ${shown(row.waits.gate.replaceAll("_", " "))}.`;
    case "blocked":
      return needsText(row.needs.kind);
    case "review":
      return "**symphony: ready for review.** A comment on the pull request, a review or a move of this issue starts the next round.";
    case "held":
      return `**symphony: on hold**: ${withoutPlaces(row.reason)}`;
    case "failed":
      return "**symphony: failed**, and tries no more until a person queues it again.";
    case "completed":
      return "**symphony: done.**";
    default:
      return null;
  }
}

function needsText(kind: string): string {
  const what = kind === "approval" ? "an approval" : "an answer";
  return `**symphony: needs ${what} of a person.** \`symphony issue show\` has the question.`;
}

function resultOf(known: Delivered | null): string | null {
  if (known?.pullRequest) {
    const { number, url, state } = known.pullRequest;
    return `Result: [pull request #${number}](${url}), ${state}.`;
  }
  return known?.branch && known.pushed ? `Result: branch \`${known.branch}\`.` : null;
}

function shown(text: string): string {
  return defuse(text.replaceAll(/\s+/g, " "), { maxChars: longestReason });
}

/** Begins with a slash, also after `~`: an address or the name of a branch does not. */
const path = /(?<![\w:/.-])~?\/\S/;

/** Commands to type and paths of the server are for its operator, not for everyone who reads the tracker. */
function withoutPlaces(reason: string): string {
  const [what = ""] = reason.split("; next: ");
  return path.test(what) ? "`symphony issue show` has the reason." : shown(what);
}

/** To the minute. */
function time(wall: number): string {
  return `${new Date(wall).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}
