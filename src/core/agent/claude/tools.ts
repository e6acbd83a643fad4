import type { JsonObject } from "../../text/text.ts";
import type { AgentEvent, AgentTools } from "../agent.ts";
import { answerMcp, refusal, trackerServer } from "../mcp.ts";
import { mcpMessage } from "./protocol.ts";

const methodNotFound = -32_601;

interface Answer {
  /** Of the protocol MCP. */
  readonly response: JsonObject;
  readonly event: AgentEvent | null;
}

/**
 * Answers one MCP message from the agent, which carries them on its own pipe. Never rejects: a
 * failed tool is an answer for the model.
 */
export async function answerTracker(request: unknown, tools: AgentTools): Promise<Answer> {
  const read = mcpMessage.safeParse(request);
  if (!read.success || read.data.server_name !== trackerServer) {
    return { response: refusal(null, methodNotFound, "there is no such server"), event: null };
  }
  const { response, event } = await answerMcp(read.data.message, tools);
  // The agent waits for an answer to a notification as well.
  return { response: response ?? { jsonrpc: "2.0", id: 0, result: {} }, event };
}
