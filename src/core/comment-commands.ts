import { createHash } from "node:crypto";
import type { Answer } from "./agent/agent.ts";
import type { Deliveries } from "./delivery/delivery.ts";
import type { Written } from "./delivery/outbox.ts";
import type { Entry } from "./delivery/store.ts";
import { adviceOf, type ErrorCode, SymphonyError } from "./model/errors.ts";
import type { Issue } from "./model/issue.ts";
import type { Operations } from "./orchestrator/operations.ts";
import { defuse } from "./text/defuse.ts";
import { oneLine } from "./text/text.ts";
import { type Command, commandList, meaningOf } from "./tracker/commands.ts";
import { ownMarker, type TrackerComment } from "./tracker/tracker.ts";

export interface CommandDeps {
  readonly deliveries: Pick<Deliveries, "order" | "of" | "isOrdered" | "conversations">;
  /** Answers in a conversation; omitted: there are none. */
  reply?(conversation: string, key: string, body: string): void;
  prefix(): string;
  wall(): number;
  /** How far this machine's clock is ahead of the tracker's, ms. */
  aheadMs(): number;
  operations(): Pick<Operations, "respond" | "statusOf" | "transition">;
  issueOf(issueId: string): Issue | null;
  /** Guidance for the agent; throws `no_active_turn` when none works on the issue. */
  steer(comment: TrackerComment, key: string): Promise<unknown>;
  audit(entry: {
    readonly action: string;
    readonly comment: TrackerComment;
    readonly outcome: string;
  }): void;
}

/** What stays as it is when the command is tried again: the person gets it as a reply. */
const finalCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "transition_not_allowed",
  "nothing_asked",
  "no_active_turn",
  "invalid_request",
  "issue_not_found",
  "rate_limited",
]);

const actions: Readonly<Record<string, string>> = {
  steer: "issues.steer",
  answer: "issues.respond",
  retry: "issues.transition",
  hold: "issues.transition",
};

/** Commands of comments: recorded before they are carried out, so that each is carried out once, also over restarts. */
export class CommentCommands {
  readonly #deps: CommandDeps;

  constructor(deps: CommandDeps) {
    this.#deps = deps;
  }

  /** Orders those of the comment that were not ordered before: an edit adds only what is new in it. */
  order(issue: Issue, comment: TrackerComment, commands: readonly Command[]): void {
    const { createdAt } = comment;
    const at = createdAt ? createdAt + this.#deps.aheadMs() : this.#deps.wall();
    for (const command of commands) {
      const hash = hashOf(meaningOf(command));
      // Earlier versions told commands apart by words that do nothing.
      if (this.#deps.deliveries.isOrdered(`command:${comment.id}:${hashOf(command)}`)) continue;
      // What a plain text means depends on the moment, and it has one meaning.
      const mark = command.plain ? "plain" : hash;
      this.#deps.deliveries.order(issue, {
        kind: "command",
        key: `command:${comment.id}:${mark}`,
        target: `command:${issue.id}`,
        payload: { ...command, comment, at },
      });
    }
  }

  /** Whether this comment is also a text of a conversation that was taken there. */
  isTaken(commentId: string): boolean {
    return this.#deps.deliveries.isOrdered(`command:${commentId}:plain`);
  }

  /** Whether people talk about the issue in a conversation, whose texts are comments of the issue too. */
  isTalkedAbout(issueId: string): boolean {
    return this.#deps.deliveries.conversations.live().some((one) => one.issueId === issueId);
  }

  /** Carries it out. Rejects with what may pass. */
  async run({ issueId, key, payload }: Entry): Promise<Written> {
    // As `order` wrote it.
    const { verb, text, plain, comment, at } = payload as unknown as Command & Ordered;
    const issue = this.#deps.issueOf(issueId);
    if (issue === null) return { outcome: "dropped" };
    let outcome = "ok";
    let reply: string | null = null;
    try {
      // The same text may also be reported as a comment.
      const once = plain ? `comment:${comment.id}` : key;
      reply = await this.#do({ verb, text }, { issue, comment, key: once, at });
    } catch (error) {
      if (!(error instanceof SymphonyError) || !finalCodes.has(error.code)) throw error;
      outcome = error.code;
      reply = `\`${verb}\` had no effect: ${shown(adviceOf(error))}`;
      if (plain && error.code === "no_active_turn")
        reply = `No agent works on this issue now. \`${this.#deps.prefix()} retry\` starts it again.`;
    }
    const action = actions[verb];
    if (action !== undefined) this.#deps.audit({ action, comment, outcome });
    // A reply for each comment, not for each unknown word in it.
    if (reply !== null)
      this.#reply({ issue, comment }, action === undefined ? `unknown:${comment.id}` : key, reply);
    return { outcome: "done" };
  }

  /** Text for the person; null: nothing to say. */
  async #do({ verb, text }: Command, at: At): Promise<string | null> {
    const { issue, comment } = at;
    const { steer, operations, prefix } = this.#deps;
    const by = `by a comment of ${oneLine(comment.author, 80)}`;
    const status = operations().statusOf(issue.identifier)?.status ?? null;
    switch (verb) {
      case "steer":
        if (text === "") throw new SymphonyError("invalid_request", "there is no text after it");
        await steer({ ...comment, body: text }, at.key);
        return comment.conversation === undefined || comment.opens ? null : "The agent gets this.";
      case "answer":
        await operations().respond(issue.identifier, this.#answer(at, text));
        return null;
      case "retry":
        // A crash may have come after it was done.
        if (status !== "running" && status !== "queued")
          await operations().transition(issue, "queued", `queued ${by}`);
        return null;
      case "hold":
        if (status !== "held") await operations().transition(issue, "held", `held ${by}`);
        return null;
      default:
        return `These commands are known:\n\n${commandList(prefix())}`;
    }
  }

  #answer({ issue: { identifier }, at }: At, text: string): Answer {
    const blocked = this.#deps.operations().statusOf(identifier)?.blocked ?? null;
    // Meant for an earlier question.
    if (blocked && at !== undefined && at + clockMs < blocked.sinceWall) {
      throw new SymphonyError("nothing_asked", "the agent asked after this comment was written", {
        hint: "read the question with symphony issue show, and answer in a new comment",
      });
    }
    const needs = blocked?.needs ?? null;
    if (text === "") throw new SymphonyError("invalid_request", "there is no text after it");
    if (needs?.kind !== "approval") return { type: "answers", answers: [text] };
    const word = text.toLowerCase();
    if (word === "approve" || word === "decline") {
      return { type: "decision", approve: word === "approve" };
    }
    throw new SymphonyError("invalid_request", "the agent asks for an approval", {
      hint: `answer approve, or answer decline`,
    });
  }

  #reply({ issue, comment }: Omit<At, "key">, key: string, body: string): void {
    const { conversation } = comment;
    if (conversation !== undefined) {
      this.#deps.reply?.(conversation, key, body);
      return;
    }
    this.#deps.deliveries.order(issue, {
      ...{ kind: "say", key: `say:${key}`, target: `say:${issue.id}` },
      payload: { body: `${body}\n\n${ownMarker}` },
    });
  }
}

function hashOf(command: Command): string {
  return createHash("sha256").update(JSON.stringify(command)).digest("hex").slice(0, 32);
}

/** Trackers count in seconds. */
const clockMs = 1_000;

interface Ordered {
  readonly comment: TrackerComment;
  /** When it was written, ms since the epoch; omitted by earlier versions. */
  readonly at?: number | undefined;
}

interface At extends Ordered {
  readonly issue: Issue;
  readonly key: string;
}

function shown(text: string): string {
  return defuse(text, { maxChars: 500 });
}
