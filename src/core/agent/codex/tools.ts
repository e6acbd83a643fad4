import { messageOf } from "../../model/errors.ts";
import type { AgentTools, ToolResult } from "../agent.ts";
import type { JsonObject } from "../json-value.ts";

const maxOutputChars = 1_000_000;

export interface ToolAnswer {
  readonly result: JsonObject;
  readonly outcome: "completed" | "failed" | "unsupported";
}

/** Runs one tool host-side. Whatever happens there is an answer for the model. */
export async function answerTool(
  tools: AgentTools,
  name: string,
  args: unknown,
): Promise<ToolAnswer> {
  const { success, output } = await called(tools, name, args);
  if (!tools.specs.some((spec) => spec.name === name))
    return { result: resultOf(false, output), outcome: "unsupported" };
  return { result: resultOf(success, output), outcome: success ? "completed" : "failed" };
}

async function called(tools: AgentTools, name: string, args: unknown): Promise<ToolResult> {
  try {
    const { success, output } = await tools.call(name, args);
    return { success, output: typeof output === "string" ? output : JSON.stringify(output) };
  } catch (error) {
    return { success: false, output: JSON.stringify({ error: { message: messageOf(error) } }) };
  }
}

function resultOf(success: boolean, output: string): JsonObject {
  const text = output.slice(0, maxOutputChars);
  return { success, output: text, contentItems: [{ type: "inputText", text }] };
}
