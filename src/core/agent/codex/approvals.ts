import type { Approvals } from "../../config/agents.ts";
import type { Needs } from "../../model/attempt.ts";
import { displayText, type JsonObject, listOf, objectOf, textOf } from "../../text/text.ts";
import type { Answer } from "../agent.ts";
import { optionLabels, questionOf, readInputRequired } from "./protocol.ts";

/**
 * What to do about a request of the agent. Every request gets one of these, so none waits
 * indefinitely.
 */
export type Verdict =
  | { readonly type: "answer"; readonly result: JsonObject; readonly decision: string }
  | { readonly type: "tool"; readonly tool: string; readonly args: unknown }
  /** A person has to answer: without an answer the run ends. */
  | {
      readonly type: "end";
      readonly code: "approval_required" | "turn_input_required";
      readonly needs: Needs;
      /** The number of questions that each need an answer; 0 for an approval. */
      readonly questions: number;
      /** The reply to codex after a person's answer; null when the run has to end. */
      readonly reply: ((answer: Answer) => JsonObject) | null;
    }
  | { readonly type: "refuse"; readonly message: string };

/**
 * The policy of requirements. With automatic approvals no person is asked: approvals
 * are granted for the session and tool permissions are confirmed; no other answer is ever made up.
 */
export function judge(method: string, params: JsonObject, approvals: Approvals): Verdict {
  switch (method) {
    case "item/tool/call":
      return { type: "tool", tool: toolName(params), args: params["arguments"] ?? {} };
    case "item/commandExecution/requestApproval":
      return approval(approvals, current, commandNeeds(params));
    case "execCommandApproval":
      return approval(approvals, legacy, commandNeeds(params));
    case "item/fileChange/requestApproval":
      return approval(approvals, current, needs("Change files?", params));
    case "applyPatchApproval":
      return approval(approvals, legacy, needs("Change files?", params));
    case "item/permissions/requestApproval":
      return approvals === "ask" ? end(needs("Grant more permissions?", params)) : refusal(method);
    case "item/tool/requestUserInput":
      return (approvals === "auto" ? confirmedTools(params) : null) ?? question(params);
    case "mcpServer/elicitation/request":
      return end(questionOf(params));
    default:
      return readInputRequired(method, params) ? end(questionOf(params)) : refusal(method);
  }
}

/** The two names that the protocol's two generations have for the same decisions. */
interface DecisionNames {
  readonly always: string;
  readonly once: string;
  readonly no: string;
}

const current: DecisionNames = { always: "acceptForSession", once: "accept", no: "decline" };
const legacy: DecisionNames = { always: "approved_for_session", once: "approved", no: "denied" };

function toolName(params: JsonObject): string {
  return textOf(params["tool"]) ?? textOf(params["name"]) ?? "";
}

function approval(approvals: Approvals, names: DecisionNames, wanted: Needs): Verdict {
  switch (approvals) {
    case "auto":
      return { type: "answer", result: { decision: names.always }, decision: names.always };
    case "decline":
      return { type: "answer", result: { decision: names.no }, decision: names.no };
    case "ask":
      return {
        ...end(wanted),
        reply: (answer) => ({
          decision: answer.type === "decision" && answer.approve ? names.once : names.no,
        }),
      };
  }
}

/**
 * A question whose parts have ids can be answered; for any other form the protocol has no answer.
 */
function question(params: JsonObject): Verdict {
  const ids = listOf(params["questions"]).map((question) => textOf(objectOf(question)["id"]));
  const named = ids.filter((id) => id !== null);
  const verdict = end(questionOf(params));
  if (named.length === 0 || named.length !== ids.length) return verdict;
  return {
    ...verdict,
    questions: named.length,
    reply: (answer) => ({
      answers: Object.fromEntries(
        named.map((id, at) => [
          id,
          { answers: answer.type === "answers" ? [answer.answers[at] ?? ""] : [] },
        ]),
      ),
    }),
  };
}

function end(wanted: Needs): Extract<Verdict, { type: "end" }> {
  const code = wanted.kind === "approval" ? "approval_required" : "turn_input_required";
  return { type: "end", code, needs: wanted, questions: 0, reply: null };
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

/**
 * Answers questions that only confirm a tool call; null when one of them asks for anything else
 * (A-16).
 */
function confirmedTools(params: JsonObject): Verdict | null {
  const answers: Record<string, JsonObject> = {};
  for (const question of listOf(params["questions"]).map(objectOf)) {
    const id = textOf(question["id"]);
    const label = approvingLabel(optionLabels(question));
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
