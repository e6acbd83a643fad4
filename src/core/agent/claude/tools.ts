import type { JsonObject } from "../../text/text.ts";
import { objectOf, oneLine, textOf } from "../../text/text.ts";
import type { AgentEvent, AgentTools } from "../agent.ts";
import { toolCallEvent } from "../event-makers.ts";
import { ownVersion } from "../json-rpc.ts";
import { answerTool } from "../tool-answer.ts";
import { mcpMessage } from "./protocol.ts";

/** The name of the MCP server whose tools are those of the tracker; it runs in symphony, on the agent's own pipe. */
export const trackerServer = "tracker";

const methodNotFound = -32_601;

interface Answer {
  /** Of the protocol MCP. */
  readonly response: JsonObject;
  readonly event: AgentEvent | null;
}

/** Answers one message of MCP from the agent. Never rejects: a failed tool is an answer for the model. */
export async function answerMcp(request: unknown, tools: AgentTools): Promise<Answer> {
  const read = mcpMessage.safeParse(request);
  if (!read.success || read.data.server_name !== trackerServer) {
    return { response: refusal(null, "there is no such server"), event: null };
  }
  const { method = "", id, params = {} } = read.data.message;
  // A notification; the agent still waits for an answer to it.
  if (id === undefined) return { response: { jsonrpc: "2.0", id: 0, result: {} }, event: null };
  const reply = (result: JsonObject) => ({ jsonrpc: "2.0", id, result });
  switch (method) {
    case "initialize":
      return {
        response: reply({
          protocolVersion: textOf(params["protocolVersion"]) ?? "2025-06-18",
          capabilities: { tools: {} },
          serverInfo: { name: "symphony", version: ownVersion() },
        }),
        event: null,
      };
    case "ping":
      return { response: reply({}), event: null };
    case "tools/list":
      return { response: reply({ tools: tools.specs.map(toolOf) }), event: null };
    case "tools/call": {
      const { result, event } = await call(
        tools,
        textOf(params["name"]) ?? "",
        params["arguments"],
      );
      return { response: reply(result), event };
    }
    default:
      return { response: refusal(id, `${oneLine(method, 100)} is not supported`), event: null };
  }
}

/** Without this mark the model sees only the tool's name, and has to load it first. */
function toolOf({ name, description, inputSchema }: AgentTools["specs"][number]): JsonObject {
  return { name, description, inputSchema, _meta: { "anthropic/alwaysLoad": true } };
}

async function call(
  tools: AgentTools,
  name: string,
  args: unknown,
): Promise<{ readonly result: JsonObject; readonly event: AgentEvent }> {
  const { success, output, outcome } = await answerTool(tools, name, objectOf(args));
  return {
    result: { content: [{ type: "text", text: output }], isError: !success },
    event: toolCallEvent(name, outcome),
  };
}

function refusal(id: string | number | null, message: string): JsonObject {
  return { jsonrpc: "2.0", id, error: { code: methodNotFound, message } };
}
