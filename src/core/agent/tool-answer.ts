import { messageOf } from "../model/errors.ts";
import type { AgentTools, ToolResult } from "./agent.ts";

const maxOutputChars = 1_000_000;

export interface ToolAnswer extends ToolResult {
  readonly outcome: "completed" | "failed" | "unsupported";
}

/**
 * Runs one tool on the server. Every outcome, errors included, is an answer for the model (A-19,
 *
 */
export async function answerTool(
  tools: AgentTools,
  name: string,
  args: unknown,
): Promise<ToolAnswer> {
  const answer = await called(tools, name, args);
  const output = answer.output.slice(0, maxOutputChars);
  if (!tools.specs.some((spec) => spec.name === name)) {
    return { success: false, output, outcome: "unsupported" };
  }
  const { success } = answer;
  return { success, output, outcome: success ? "completed" : "failed" };
}

async function called(tools: AgentTools, name: string, args: unknown): Promise<ToolResult> {
  try {
    const { success, output } = await tools.call(name, args);
    return { success, output: typeof output === "string" ? output : JSON.stringify(output) };
  } catch (error) {
    return { success: false, output: JSON.stringify({ error: { message: messageOf(error) } }) };
  }
}
