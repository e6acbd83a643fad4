import type { EventType, SymphonyEvent } from "../model/event.ts";
import { answerStep, type NextStep, nextCommand } from "../model/next-step.ts";
import type { OccasionName } from "../model/notice.ts";
import { oneLine } from "../text/text.ts";

/** Something that a person may want to know, once. */
export interface Occasion {
  /** The number of its event. */
  readonly seq: number;
  /** Epoch ms. */
  readonly at: number;
  /** What it is; the first one is what a message calls it. */
  readonly names: readonly OccasionName[];
  /** null: it is about no single issue. */
  readonly issueIdentifier: string | null;
  readonly title: string | null;
  /** Why, in one line, without what an agent wrote or asked. */
  readonly reason: string;
  /** The whole of it, with what was asked; for rules with `detail: full`. */
  readonly full: string;
  /** Where the work is; null: nowhere but on the page. */
  readonly url: string | null;
  /** The command that continues the issue; null: no person is needed. */
  readonly next: string | null;
}

/** What keeps new work from starting, and the event that ends it. */
const standstills: Partial<Record<EventType, EventType>> = {
  "tracker.error": "tracker.recovered",
  "storage.error": "storage.recovered",
  "host.short": "host.recovered",
  "agent.unavailable": "agent.available",
  "provider.paused": "provider.resumed",
};

/** The events that occasions are made from, and those that end questions and standstills. */
export const occasionEvents: readonly EventType[] = [
  ...(Object.entries(standstills).flat() as EventType[]),
  "server.started",
  "issue.blocked",
  "approval.resolved",
  "issue.failed",
  "issue.held",
  "issue.completed",
  "issue.review",
  "branch.pushed",
  "pull_request.opened",
  "budget.reached",
];

const maxTitleChars = 4_000;
const maxReasonChars = 300;

interface Surely {
  readonly names: readonly OccasionName[];
  readonly reason: string;
  readonly full?: string;
  readonly url?: string | null;
  readonly next?: string;
}

/** The occasion of an event; null: it is none. `title` is that of its issue, as far as it is known. Pure. */
export function occasionOf(event: SymphonyEvent, title: string | null): Occasion | null {
  const found = meaningOf(event);
  if (found === null) return null;
  const { seq, at, issueIdentifier, message } = event;
  return {
    ...{ seq, at, issueIdentifier },
    names: found.names,
    title: title === null ? null : oneLine(title, maxTitleChars),
    reason: oneLine(found.reason, maxReasonChars),
    full: found.full ?? message,
    url: found.url ?? null,
    next: found.next ?? null,
  };
}

function meaningOf({ type, message, data, issueIdentifier: issue }: SymphonyEvent): Surely | null {
  switch (type) {
    case "issue.blocked":
      return needsOf(message, data, issue);
    case "issue.failed":
      return { names: ["failed"], reason: message, ...nextIn(data, issue) };
    case "issue.held": {
      const names = isBudget(data) ? (["held", "budget"] as const) : (["held"] as const);
      return { names, reason: message, ...nextIn(data, issue) };
    }
    case "issue.completed":
      return { names: ["done"], reason: message };
    case "issue.review":
      // What is pushed is said by the events of its delivery.
      return data["delivers"] === false
        ? { names: ["delivered"], reason: message, ...nextIn(data, issue, "look") }
        : null;
    case "branch.pushed":
      // With a pull request the opening of that is the delivery.
      return data["mode"] === "branch"
        ? { names: ["delivered"], reason: message, ...nextIn(data, issue, "look") }
        : null;
    case "pull_request.opened": {
      const { number, url } = data;
      const address = typeof url === "string" && /^https?:\/\//.test(url) ? url : null;
      return { names: ["delivered"], reason: `pull request #${number} is open`, url: address };
    }
    case "budget.reached":
      return { names: ["budget"], reason: message };
    default:
      return standstills[type] === undefined
        ? null
        : { names: ["stopped"], reason: message, next: "symphony doctor" };
  }
}

/** Events of an earlier release do not name it. */
function nextIn(
  { next }: SymphonyEvent["data"],
  issue: string | null,
  step: NextStep = "requeue",
): { next?: string } {
  if (typeof next === "string") return { next };
  return issue === null ? {} : { next: nextCommand(step, issue) };
}

function isBudget({ brake }: SymphonyEvent["data"]): boolean {
  return brake === "tokens_per_issue" || brake === "tokens_per_day";
}

/** What is asked may quote files and commands, so only `full` has it. */
function needsOf(message: string, data: SymphonyEvent["data"], issue: string | null): Surely {
  const needs = data["needs"];
  const { kind, options } =
    typeof needs === "object" && needs !== null
      ? (needs as { readonly kind?: unknown; readonly options?: unknown })
      : {};
  const what = kind === "approval" ? "its agent asks for an approval" : "its agent has a question";
  const words = Array.isArray(options) ? options.filter((one) => typeof one === "string") : [];
  const choices = words.length === 0 ? "" : ` (${words.join(", ")})`;
  const next = nextIn(data, issue, answerStep(kind));
  return { names: ["needs"], reason: what, full: `${message}${choices}`, ...next };
}

/**
 * Names an occasion that may be published again for the same cause, such as the budget of a day after a restart; null: each
 * event is one of its own.
 */
export function keyOf({ type, attemptId, issueId, message, data }: SymphonyEvent): string | null {
  if (type === "budget.reached") return `budget ${String(data["until"])}`;
  if (type === "issue.blocked") return `${questionPrefix(attemptId ?? issueId)}${message}`;
  return standstills[type] === undefined ? null : standstillKey(type, data);
}

/** What an event ends. */
export interface Ended {
  /** The keys that begin with it: what they name was not reported yet, and is not any more. */
  readonly prefix: string;
  /** It is reported when it comes again; else, if it was reported, only after some hours. */
  readonly isFree: boolean;
}

/** null: the event ends nothing. A provider that is paused again and again is one standstill; a new server finds out by itself. */
export function endedBy({ type, attemptId, issueId, data }: SymphonyEvent): Ended | null {
  if (type === "approval.resolved")
    return { prefix: questionPrefix(attemptId ?? issueId), isFree: true };
  if (type === "server.started") return { prefix: standstillPrefix, isFree: true };
  const [begin] = Object.entries(standstills).find(([, end]) => end === type) ?? [];
  if (begin === undefined) return null;
  return { prefix: standstillKey(begin, data), isFree: type !== "provider.resumed" };
}

/** Every question of an attempt begins with it: an answer makes room for the same question again. */
function questionPrefix(id: string | null): string {
  return `question ${id} `;
}

const standstillPrefix = "standstill ";

function standstillKey(type: string, { agent }: SymphonyEvent["data"]): string {
  return `${standstillPrefix}${type} ${typeof agent === "string" ? agent : ""}`;
}
