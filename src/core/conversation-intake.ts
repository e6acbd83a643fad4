import type { Clock } from "./clock.ts";
import type { CommentSteering } from "./comments.ts";
import type { Config } from "./config/config.ts";
import { saidOf, stoppedText } from "./conversation-text.ts";
import { type Conversation, conversationKind } from "./delivery/conversation-table.ts";
import type { Deliveries } from "./delivery/delivery.ts";
import type { Written } from "./delivery/outbox.ts";
import type { NewEntry } from "./delivery/store.ts";
import { type Issue, normalState } from "./model/issue.ts";
import type { Operations } from "./orchestrator/operations.ts";
import type { Orchestrator } from "./orchestrator/orchestrator.ts";
import { oneLine } from "./text/text.ts";
import type {
  Activity,
  ConversationLink,
  ConversationPrompt,
  Tracker,
  TrackerConversation,
  TrackerConversations,
} from "./tracker/tracker.ts";

/** What is done in a conversation, as the outbox has it. */
export type Step =
  | { readonly step: "ack" | "opened" }
  | { readonly step: "prompted"; readonly prompt: string }
  | { readonly step: "reply"; readonly activity: Activity }
  /** `said` tells one standing from another. */
  | { readonly step: "say"; readonly activity: Activity; readonly said: string | null }
  | { readonly step: "link"; readonly links: readonly ConversationLink[] };

export interface IntakeDeps {
  readonly clock: Clock;
  readonly deliveries: Pick<Deliveries, "conversations" | "orderNow" | "remember">;
  readonly comments: Pick<CommentSteering, "prompted">;
  tracker(): Tracker;
  orchestrator(): Pick<Orchestrator, "state" | "post">;
  config(): Config;
  operations(): Pick<Operations, "hold">;
  /** Answers a person in a conversation, once for each key; without a type, as the standing of the issue asks. */
  reply(id: string, key: string, body: string, type?: Activity["type"]): void;
}

/** What people do in conversations: they open them, write in them, and stop the work. Each step may be repeated after a crash. */
export class ConversationIntake {
  readonly #deps: IntakeDeps;

  constructor(deps: IntakeDeps) {
    this.#deps = deps;
  }

  /** A conversation was opened. Rejects with what may pass. */
  async opened(port: TrackerConversations, id: string): Promise<Written> {
    const { deliveries, tracker, orchestrator, comments } = this.#deps;
    const found = await port.read(id);
    // Own writes open nothing: a conversation would breed the next one.
    if (found === null || found.by === "own") return { outcome: "dropped" };
    const about = { issueId: found.issue?.id ?? "", id };
    const end = (body: string): Written => {
      const step: Step = { step: "reply", activity: { type: "response", body } };
      deliveries.orderNow([entryOf(about, `end:${id}`, step)]);
      return done;
    };
    if (!found.mayWrite) return end("Guests of the workspace cannot start or steer work here.");
    if (found.issue === null) return end("symphony works on issues only, and here is none.");
    const [issue] = await tracker().fetchIssuesByIds([found.issue.id]);
    if (issue === undefined) {
      const why = tracker().whyGone?.(found.issue.id) ?? null;
      return end(`symphony does not work on this issue${why === null ? "" : `: it is ${why}`}.`);
    }
    // One that was reported before is not the newest.
    if (deliveries.conversations.of(id) === null) this.#begin({ ...found, id }, issue);
    deliveries.remember(issue);
    orchestrator().post({ type: "issue.hinted", issueId: issue.id });
    const { comment } = found;
    if (comment?.by === "person" && comment.mayWrite !== false)
      comments.prompted(issue, comment, { id, opens: true });
    return done;
  }

  /** A person wrote in a conversation. Rejects with what may pass. */
  async prompted(port: TrackerConversations, promptId: string): Promise<Written> {
    const { deliveries, comments, tracker } = this.#deps;
    const prompt = await port.prompt(promptId);
    if (prompt === null || prompt.comment.by !== "person") return { outcome: "dropped" };
    const { conversationId: id, comment } = prompt;
    if (comment.mayWrite === false) {
      this.#deps.reply(id, promptId, "Guests of the workspace cannot steer work here.");
      return done;
    }
    // The delivery that opened it was lost, or is still to come.
    if (deliveries.conversations.of(id) === null) await this.opened(port, id);
    const known = deliveries.conversations.of(id);
    if (known === null) return { outcome: "dropped" };
    const { issueId } = known;
    if (!deliveries.conversations.live().some((one) => one.issueId === issueId))
      this.#change(id, { live: true, saidAt: this.#deps.clock.wall() });
    const issue = await this.#issueOf(known, tracker());
    if (issue === null) {
      this.#deps.reply(id, promptId, "symphony does not work on this issue any more.");
      return done;
    }
    if (prompt.stop)
      this.#deps.reply(id, promptId, await this.#stop(known, issue, prompt), "response");
    else comments.prompted(issue, comment, { id, opens: false });
    return done;
  }

  /** Its report may come after that of a newer one, which then stays. */
  #begin({ id, openedAt }: Pick<TrackerConversation, "id" | "openedAt">, issue: Issue): void {
    const { conversations } = this.#deps.deliveries;
    const wall = this.#deps.clock.wall();
    const fresh: Conversation = {
      ...{ id, issueId: issue.id, issueIdentifier: issue.identifier, live: true },
      ...{ at: wall, openedAt, said: null, saidAt: wall, links: "", stopped: false },
    };
    const others = conversations.live().filter((one) => one.issueId === issue.id);
    const isOlder = others.some(
      (other) => openedAt !== null && other.openedAt != null && openedAt < other.openedAt,
    );
    if (isOlder) return this.#retire(fresh);
    for (const other of others) this.#retire(other);
    conversations.save(fresh);
  }

  /** One conversation of an issue is live: the newest. */
  #retire(other: Conversation): void {
    const body = "A newer conversation about this issue continues.";
    const step: Step = { step: "reply", activity: { type: "response", body } };
    const { conversations } = this.#deps.deliveries;
    conversations.save({ ...other, live: false }, [entryOf(other, `end:${other.id}`, step)]);
  }

  async #issueOf({ issueId }: Conversation, tracker: Tracker): Promise<Issue | null> {
    const row = this.#deps.orchestrator().state.issues.get(issueId);
    return row?.issue ?? (await tracker.fetchIssuesByIds([issueId]))[0] ?? null;
  }

  /** Nothing more is done for the issue until a person says so. Resolves with what the person is told. */
  async #stop(known: Conversation, issue: Issue, { comment }: ConversationPrompt): Promise<string> {
    const { operations, orchestrator, config } = this.#deps;
    const { commandPrefix, terminalStates } = config().tracker;
    const claim = orchestrator().state.issues.get(issue.id)?.claim ?? "free";
    const retry = `\`${commandPrefix} retry\` starts it again.`;
    const isOver = terminalStates.some((state) => normalState(state) === normalState(issue.state));
    if (claim === "completed" || (claim === "free" && isOver))
      return "This issue is done: nothing runs that could be stopped.";
    if (claim === "failed") return `Nothing runs: the last try has failed. ${retry}`;
    const text = stoppedText(commandPrefix);
    if (claim === "held" && !known.stopped) return `This issue is on hold: nothing runs. ${retry}`;
    // It is said as an answer, and not as a standing once more.
    this.#change(known.id, { stopped: true, said: saidOf({ type: "response", body: text }) });
    if (claim !== "held")
      await operations().hold(issue, `stopped in the tracker by ${oneLine(comment.author, 80)}`);
    return text;
  }

  /** As it is now, which may be later than what the caller has read. */
  #change(id: string, change: Partial<Conversation>): void {
    const { conversations } = this.#deps.deliveries;
    const now = conversations.of(id);
    if (now !== null) conversations.save({ ...now, ...change });
  }
}

const done: Written = { outcome: "done" };

/** What is said in one conversation keeps its order; what comes from it waits for its own turn. */
export function entryOf(
  { id, issueId }: { readonly id: string; readonly issueId: string },
  key: string,
  step: Step,
): NewEntry {
  const isIncoming = step.step === "opened" || step.step === "prompted";
  return {
    kind: conversationKind,
    key: `${conversationKind}:${key}`,
    target: `${isIncoming ? "from" : "to"}:${id}`,
    issueId,
    payload: { id, ...step },
  };
}
