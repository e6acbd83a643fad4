import type { EventType } from "../core/model/event.ts";
import { isObject } from "../core/text/text.ts";
import { type Paint, plainLine } from "./output.ts";

/** What is shown of an event, from the bus or from the stream of a server. */
export interface ShownEvent {
  readonly type: string;
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

type Style = "cyan" | "green" | "yellow" | "red" | "dim";

/** The events that a person is shown as they happen, and how; the frequent ones are left to `events --follow`. */
const styles: Partial<Record<EventType, Style>> = {
  "issue.dispatched": "cyan",
  "issue.held": "cyan",
  "issue.review": "cyan",
  "steer.delivered": "cyan",
  "feedback.received": "cyan",
  "issue.completed": "green",
  "branch.pushed": "green",
  "pull_request.opened": "green",
  "pull_request.merged": "green",
  "tracker.recovered": "green",
  "storage.recovered": "green",
  "host.recovered": "green",
  "provider.resumed": "green",
  "dispatch.resumed": "green",
  "pull_request.closed": "yellow",
  "conflict.found": "yellow",
  "provider.paused": "yellow",
  "agent.unavailable": "yellow",
  "dispatch.paused": "yellow",
  "hours.closed": "yellow",
  "budget.reached": "yellow",
  "host.short": "yellow",
  "issue.failed": "red",
  "delivery.refused": "red",
  "config.rejected": "red",
  "hook.failed": "red",
  "notice.failed": "red",
  "tracker.error": "red",
  "storage.error": "red",
  "config.changed": "dim",
  "work.committed": "dim",
  "agent.tool_call": "dim",
};

/** One line for a person about what happened, with its issue; null for what is not shown. */
export function eventLine(
  event: ShownEvent & { readonly issueIdentifier: string | null },
  paint: Paint,
): string | null {
  const { issueIdentifier: issue } = event;
  const text = lineOf(event, paint);
  if (text === null) return null;
  if (issue === null) return text;
  // An event of an earlier release does not name it.
  const { next: command = `symphony respond ${issue}` } = event.data;
  const next = event.type === "issue.blocked" ? `  ${paint.dim(plainLine(String(command)))}` : "";
  return `${paint.bold(issue)}  ${text}${next}`;
}

/** The same without the issue. */
export function lineOf({ type, data, message }: ShownEvent, paint: Paint): string | null {
  const text = plainLine(type.startsWith("agent.m") ? message : timesHere(message));
  const status = data["status"];
  switch (type) {
    case "issue.retrying":
      return data["error"] === null
        ? null
        : paint.yellow(text.replace(/^(retry \d+: )worker exited: /, "$1"));
    case "issue.blocked":
      return paint.yellow(`${text}${optionsText(data["needs"])}`);
    case "agent.command":
      return status === "started" ? null : paint.dim(`$ ${plainLine(String(data["command"]))}`);
    case "agent.file_change":
      return status === "completed" ? paint.dim(`edited ${text}`) : null;
    case "agent.message":
      // The scripted agent repeats what its tools answer; the call itself is shown already.
      return / answered: /.test(text) ? null : text;
    default: {
      const style = styles[type as EventType];
      return style === undefined ? null : paint[style](text);
    }
  }
}

/** Moments as a clock on the wall here shows them, with the day where it is another one: the API's are in UTC. */
function timesHere(text: string): string {
  const today = new Date().toDateString();
  return text.replaceAll(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, (whole) => {
    const at = new Date(whole);
    const time = at.toTimeString().slice(0, 5);
    // Of Sweden: 2026-11-28.
    return at.toDateString() === today ? time : `${at.toLocaleDateString("sv")} ${time}`;
  });
}

/** The answers that the agent names for its question. */
function optionsText(needs: unknown): string {
  // An approval is answered with approve or decline, by whatever names the agent has.
  const options = isObject(needs) && needs["kind"] === "question" ? needs["options"] : null;
  if (!Array.isArray(options) || options.length === 0) return "";
  return `  ${plainLine(`[${options.join(" | ")}]`)}`;
}
