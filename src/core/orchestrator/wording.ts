import type { AgentEvent } from "../agent/agent.ts";
import type { EventDraft } from "../model/event.ts";

type Told = Exclude<AgentEvent, { type: "activity" | "rate_limits" }>;
type Spoken = Extract<
  Told,
  { type: "approval.requested" | "approval.resolved" | "steer.delivered" | "notice" }
>;
type Wording = Required<Pick<EventDraft, "type" | "message" | "data">>;

/** How an agent's word is told as an event. */
export function wording(event: Told): Wording {
  switch (event.type) {
    case "session.started":
      return {
        type: "session.started",
        message: event.resumed ? "session resumed its thread" : "session started",
        data: { thread_id: event.threadId, resumed: event.resumed },
      };
    case "turn.started":
      return { type: "turn.started", message: "turn started", data: { turn_id: event.turnId } };
    case "turn.completed":
      return { type: "turn.completed", message: "turn completed", data: { turn_id: event.turnId } };
    case "turn.failed":
      return { type: "turn.failed", message: event.message, data: { turn_id: event.turnId } };
    case "message":
      return { type: "agent.message", message: event.text, data: { text: event.text } };
    case "command":
      return {
        type: "agent.command",
        message: `${event.status}: ${event.command}`,
        data: {
          command: event.command,
          status: event.status,
          exit_code: event.exitCode,
          output: event.output,
        },
      };
    case "file_change":
      return {
        type: "agent.file_change",
        message: event.paths.join(", "),
        data: { status: event.status, paths: event.paths },
      };
    case "tool_call":
      return {
        type: "agent.tool_call",
        message: `${event.tool} ${event.outcome}`,
        data: { tool: event.tool, outcome: event.outcome },
      };
    case "tokens":
      return {
        type: "agent.tokens",
        message: `${event.total.total} tokens in this thread`,
        data: {
          input_tokens: event.total.input,
          cached_input_tokens: event.total.cachedInput,
          output_tokens: event.total.output,
          reasoning_output_tokens: event.total.reasoningOutput,
          total_tokens: event.total.total,
        },
      };
    default:
      return spoken(event);
  }
}

/** What passes between an agent and people. */
function spoken(event: Spoken): Wording {
  switch (event.type) {
    case "approval.requested":
      return {
        type: "approval.requested",
        message: event.needs.prompt,
        data: {
          ask_id: event.ask?.id ?? null,
          kind: event.needs.kind,
          options: event.needs.options,
        },
      };
    case "approval.resolved":
      return {
        type: "approval.resolved",
        message: `${event.automatic ? "automatically " : ""}${event.decision}`,
        data: {
          ask_id: event.askId ?? null,
          decision: event.decision,
          automatic: event.automatic,
        },
      };
    case "steer.delivered":
      return {
        type: "steer.delivered",
        message: "the agent took up the guidance",
        data: { steer_id: event.steerId },
      };
    case "notice":
      return { type: "agent.notice", message: event.message, data: { malformed: event.malformed } };
  }
}
