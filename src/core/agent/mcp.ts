import { version } from "../package.ts";
import { isObject, type JsonObject, objectOf, oneLine, textOf } from "../text/text.ts";
import type { AgentEvent, AgentTools } from "./agent.ts";
import { toolCallEvent } from "./event-makers.ts";
import { answerTool } from "./tool-answer.ts";

/** The name of the MCP server whose tools are those of the tracker. */
export const trackerServer = "tracker";

const protocolVersions = ["2025-06-18", "2024-11-05", "2025-03-26", "2025-11-25"];
const methodNotFound = -32_601;
const invalidRequest = -32_600;

interface McpAnswer {
  /** null for a notification, which has no answer. */
  readonly response: JsonObject | null;
  readonly event: AgentEvent | null;
}

/**
 * Answers one message of the Model Context Protocol with the tools of one attempt. Never rejects: a
 * failed tool is an answer for the model. @modelcontextprotocol/server is not used here: symphony
 * has to answer four requests, and the package takes half a second to load.
 */
export async function answerMcp(message: unknown, tools: AgentTools): Promise<McpAnswer> {
  const { id, method, params: given } = objectOf(message);
  if (id === undefined) return { response: null, event: null };
  if (!isId(id)) return answered(refusal(null, invalidRequest, "the id is no text and no number"));
  const params = objectOf(given);
  const reply = (result: JsonObject) => answered({ jsonrpc: "2.0", id, result });
  switch (method) {
    case "initialize":
      return reply({
        protocolVersion: versionFor(params["protocolVersion"]),
        capabilities: { tools: {} },
        serverInfo: { name: "symphony", version: version() },
      });
    case "ping":
      return reply({});
    case "tools/list":
      return reply({ tools: tools.specs.map(toolOf) });
    case "tools/call": {
      const name = textOf(params["name"]) ?? "";
      const args = params["arguments"];
      const { success, output, outcome } = await answerTool(
        tools,
        name,
        // Anything else is passed on, so that the tool's schema refuses it.
        isObject(args) ? args : (args ?? {}),
      );
      const content = [{ type: "text", text: output }];
      const { response } = reply({ content, isError: !success });
      return { response, event: toolCallEvent(name, outcome) };
    }
    default: {
      const name = oneLine(textOf(method) ?? "a message without a method", 100);
      return answered(refusal(id, methodNotFound, `${name} is not supported`));
    }
  }
}

/** The error of an answer to a message that cannot be read. */
export function refusal(id: string | number | null, code: number, message: string): JsonObject {
  return { jsonrpc: "2.0", id, error: { code, message } };
}

function answered(response: JsonObject): McpAnswer {
  return { response, event: null };
}

function isId(id: unknown): id is string | number {
  return typeof id === "string" || typeof id === "number";
}

/** The client's version if it is known here. */
function versionFor(asked: unknown): string {
  return protocolVersions.find((version) => version === asked) ?? "2025-06-18";
}

/** With this mark Claude Code shows its model the whole tool; otherwise only its name. */
function toolOf({ name, description, inputSchema }: AgentTools["specs"][number]): JsonObject {
  return { name, description, inputSchema, _meta: { "anthropic/alwaysLoad": true } };
}
