import { type Paint, plainLine } from "./output.ts";

/** What is told of an event, from the bus or from the stream of a server. */
export interface ToldEvent {
  readonly type: string;
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** The line for an event that a person follows; null for the frequent ones that are not shown. */
export function lineOf(event: ToldEvent, paint: Paint): string | null {
  const text = plainLine(event.message);
  const status = event.data["status"];
  switch (event.type) {
    case "issue.dispatched":
    case "issue.held":
    case "steer.delivered":
      return paint.cyan(text);
    case "issue.completed":
    case "branch.pushed":
      return paint.green(text);
    case "delivery.refused":
      return paint.red(text);
    case "work.committed":
      return paint.dim(text);
    case "issue.failed":
      return paint.red(text);
    case "issue.retrying":
      return event.data["error"] === null ? null : paint.yellow(text);
    case "agent.command":
      return status === "started"
        ? null
        : paint.dim(`$ ${plainLine(String(event.data["command"]))}`);
    case "agent.file_change":
      return status === "completed" ? paint.dim(`edited ${text}`) : null;
    case "agent.tool_call":
      return paint.dim(text);
    case "agent.message":
      // The stand-in repeats what its tools answer; the call itself is shown already.
      return / answered: /.test(text) ? null : text;
    default:
      return null;
  }
}
