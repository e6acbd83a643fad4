import type { Needs } from "../../model/attempt.ts";
import { displayText } from "../display-text.ts";
import { type JsonObject, listOf, objectOf, textOf } from "../json-value.ts";
import { optionLabels, questionOf, readInputRequired } from "./protocol.ts";

/** What to do about a request of the agent. Every request gets one of these, so none waits for ever. */
export type Verdict =
  | { readonly type: "answer"; readonly result: JsonObject; readonly decision: string }
  | { readonly type: "tool"; readonly tool: string; readonly args: unknown }
  /** A person has to say something: the run ends. */
  | {
      readonly type: "end";
      readonly code: "approval_required" | "turn_input_required";
      readonly needs: Needs;
    }
  | { readonly type: "refuse"; readonly message: string };

/**
 * The policy of requirements. Under approval policy `never` nobody is there to be asked, so
 * approvals are granted for the session and tool permissions confirmed; nothing else is ever invented.
 */
export function judge(method: string, params: JsonObject, policy: unknown): Verdict {
  const unattended = policy === "never";
  switch (method) {
    case "item/tool/call":
      return { type: "tool", tool: toolName(params), args: params["arguments"] ?? {} };
    case "item/commandExecution/requestApproval":
      return approval(unattended, "acceptForSession", commandNeeds(params));
    case "execCommandApproval":
      return approval(unattended, "approved_for_session", commandNeeds(params));
    case "item/fileChange/requestApproval":
      return approval(unattended, "acceptForSession", needs("Change files?", params));
    case "applyPatchApproval":
      return approval(unattended, "approved_for_session", needs("Change files?", params));
    case "item/permissions/requestApproval":
      return unattended ? refusal(method) : ask(needs("Grant more permissions?", params));
    case "item/tool/requestUserInput":
      return (unattended ? confirmedTools(params) : null) ?? question(params);
    case "mcpServer/elicitation/request":
      return question(params);
    default:
      return readInputRequired(method, params) ? question(params) : refusal(method);
  }
}

function toolName(params: JsonObject): string {
  return textOf(params["tool"]) ?? textOf(params["name"]) ?? "";
}

function approval(unattended: boolean, decision: string, wanted: Needs): Verdict {
  return unattended ? { type: "answer", result: { decision }, decision } : ask(wanted);
}

function ask(wanted: Needs): Verdict {
  return { type: "end", code: "approval_required", needs: wanted };
}

function question(params: JsonObject): Verdict {
  return { type: "end", code: "turn_input_required", needs: questionOf(params) };
}

function refusal(method: string): Verdict {
  return { type: "refuse", message: `${displayText(method, 100)} is not supported` };
}

function commandNeeds(params: JsonObject): Needs {
  const { command } = params;
  const line = Array.isArray(command) ? command.join(" ") : textOf(command);
  return needs(line ? `Run this command?\n${line}` : "Run a command?", params);
}

function needs(prompt: string, params: JsonObject): Needs {
  const reason = textOf(params["reason"]);
  return {
    kind: "approval",
    prompt: displayText(reason ? `${prompt}\n${reason}` : prompt, 2_000),
    options: ["accept", "decline"],
  };
}

const toolPermission = "mcp_tool_call_approval_";

/** Answers questions that only confirm a tool call; null when one of them asks anything else. */
function confirmedTools(params: JsonObject): Verdict | null {
  const answers: Record<string, JsonObject> = {};
  for (const asked of listOf(params["questions"]).map(objectOf)) {
    const id = textOf(asked["id"]);
    const label = approvingLabel(optionLabels(asked));
    if (!id?.startsWith(toolPermission) || label === null) return null;
    answers[id] = { answers: [label] };
  }
  if (Object.keys(answers).length === 0) return null;
  return { type: "answer", result: { answers }, decision: "approve" };
}

function approvingLabel(labels: readonly string[]): string | null {
  const fallback = labels.find((label) => /^\s*(approve|allow)/i.test(label));
  const preferred = ["Approve this Session", "Approve Once"].find((label) =>
    labels.includes(label),
  );
  return preferred ?? fallback ?? null;
}
