import { displayTail, displayText } from "../text/text.ts";
import type { AgentEvent } from "./agent.ts";

const maxMessageChars = 32_768;
const maxCommandChars = 2_000;
const maxOutputChars = 4_000;
const maxNoticeChars = 1_000;
const maxPaths = 100;

type EventOf<Type extends AgentEvent["type"]> = Extract<AgentEvent, { type: Type }>;

/** A message that is safe to display; none when it is blank. */
export function messageEvents(text: string): EventOf<"message">[] {
  const shown = displayText(text.trim(), maxMessageChars);
  return shown === "" ? [] : [{ type: "message", text: shown }];
}

/** A command that is safe to display, with the end of its output. */
export function commandEvent(facts: Omit<EventOf<"command">, "type">): EventOf<"command"> {
  const { command, status, exitCode, output } = facts;
  return {
    type: "command",
    command: displayText(command, maxCommandChars),
    status,
    exitCode,
    output: output === null ? null : displayTail(output, maxOutputChars),
  };
}

/** Changed files, relative to the workspace if they are inside it. */
export function fileChangeEvent(
  status: string,
  paths: readonly string[],
  workspace: string,
): EventOf<"file_change"> {
  const inside = `${workspace}/`;
  return {
    type: "file_change",
    status: displayText(status, 50),
    paths: paths
      .slice(0, maxPaths)
      .map((path) => displayText(path.startsWith(inside) ? path.slice(inside.length) : path, 500)),
  };
}

export function toolCallEvent(
  tool: string,
  outcome: EventOf<"tool_call">["outcome"],
): EventOf<"tool_call"> {
  return { type: "tool_call", tool: displayText(tool, 200), outcome };
}

export function noticeEvent(message: string, malformed = false): EventOf<"notice"> {
  return { type: "notice", message: displayText(message, maxNoticeChars), malformed };
}
