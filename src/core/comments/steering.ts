import { randomUUID } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import type { Logger } from "../logger.ts";
import { messageOf } from "../model/errors.ts";
import { oneLine } from "../one-line.ts";
import type { Orchestrator } from "../orchestrator/orchestrator.ts";
import type { History, Steer } from "../store/store.ts";
import type { Tracker, TrackerComment } from "../tracker/tracker.ts";
import { mayComment, quotedComment } from "./policy.ts";

export interface CommentParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly history: Pick<History, "addSteer" | "audit">;
  config(): Config;
  tracker(): Tracker;
  orchestrator(): Pick<Orchestrator, "state" | "apply">;
}

/** Where an issue's work is, as far as guidance goes; `turnId` is null between two turns. */
interface Place {
  readonly identifier: string;
  readonly attemptId: string;
  readonly turnId: string | null;
}

/**
 * Comments on issues at work become guidance for their agents, where the policy has it so. What is heard of is read
 * again from the tracker and steers once, whatever comes later.
 */
export class CommentSteering {
  readonly #parts: CommentParts;
  /** One after another for each issue: guidance keeps the order in which it was written. */
  readonly #turns = new Map<string, Promise<void>>();

  constructor(parts: CommentParts) {
    this.#parts = parts;
  }

  /** Somebody says that there is a new comment. Never rejects; resolves when it has been dealt with. */
  heard(commentId: string, issueId: string): Promise<void> {
    if (!this.#wanted(issueId)) return Promise.resolve();
    return this.#inTurn(issueId, async () => {
      const comment = await this.#parts.tracker().comment?.(commentId);
      if (comment && comment.id === commentId && this.#wanted(comment.issueId)) {
        await this.#take(comment);
      }
    });
  }

  /** A person wrote this comment here. Never rejects. */
  written(issueId: string, author: string, body: string): Promise<void> {
    if (!this.#wanted(issueId)) return Promise.resolve();
    const comment: TrackerComment = { id: randomUUID(), issueId, author, body, by: "person" };
    return this.#inTurn(issueId, () => this.#take(comment));
  }

  #wanted(issueId: string): boolean {
    const { commentSteering } = this.#parts.config().tracker;
    return commentSteering !== "off" && this.#place(issueId) !== null;
  }

  #inTurn(issueId: string, work: () => Promise<void>): Promise<void> {
    const before = this.#turns.get(issueId) ?? Promise.resolve();
    const next = before.then(work).catch((error) => {
      this.#parts.log.warn("comment not taken", { issue_id: issueId, reason: messageOf(error) });
    });
    this.#turns.set(issueId, next);
    return next.finally(() => {
      if (this.#turns.get(issueId) === next) this.#turns.delete(issueId);
    });
  }

  async #take(comment: TrackerComment): Promise<void> {
    const { log, history, clock, config } = this.#parts;
    const place = this.#place(comment.issueId);
    if (place === null) return;
    const verdict = mayComment(comment, config().tracker);
    if (verdict !== "yes") {
      log.debug("comment left alone", { comment_id: comment.id, reason: verdict });
      return;
    }
    const steer: Steer = {
      id: `str_${randomUUID()}`,
      issueId: comment.issueId,
      attemptId: place.attemptId,
      turnId: place.turnId ?? "",
      message: quotedComment(comment, place.identifier),
      key: `comment:${comment.id}`,
      at: clock.wall(),
      delivered: false,
    };
    if (history.addSteer(steer).duplicate) return;
    this.#audit(comment, place);
    if (place.turnId !== null) await this.#tell(steer);
  }

  /** What the turn does not take opens the next one. */
  async #tell({ id, issueId, message }: Steer): Promise<void> {
    try {
      const input = { type: "operator.steered", issueId, steerId: id, message } as const;
      await this.#parts.orchestrator().apply(input);
    } catch (error) {
      this.#parts.log.info("comment waits for the next turn", { reason: messageOf(error) });
    }
  }

  #place(issueId: string): Place | null {
    const { running, retrying } = this.#parts.orchestrator().state;
    const entry = running.get(issueId);
    if (entry) {
      const { issue, attemptId, turnId } = entry;
      return entry.stopping ? null : { identifier: issue.identifier, attemptId, turnId };
    }
    const retry = retrying.get(issueId);
    if (!retry) return null;
    const { issue, after } = retry;
    return { identifier: issue.identifier, attemptId: after?.attemptId ?? "", turnId: null };
  }

  #audit({ id, author }: TrackerComment, { identifier }: Place): void {
    this.#parts.history.audit({
      at: this.#parts.clock.wall(),
      actor: "tracker",
      action: "issues.steer",
      target: identifier,
      outcome: "ok",
      detail: { comment_id: oneLine(id, 128), author: oneLine(author, 80) },
    });
  }
}
