import type { Needs } from "../../model/attempt.ts";
import { displayText, type JsonObject, textOf } from "../../text/text.ts";
import { type ToolPermission, userQuestions } from "./protocol.ts";

/** What the agent wants to know or do, for a person. */
export type Wanted =
  | { readonly type: "approval"; readonly needs: Needs }
  /** `questions` are the texts that the agent expects its answers by. */
  | { readonly type: "question"; readonly needs: Needs; readonly questions: readonly string[] };

const questionTool = "AskUserQuestion";
const maxPromptChars = 2_000;
const maxOptions = 20;

/** A question is never an approval: without the answers of a person the agent would read that there were none. */
export function wantedOf(request: ToolPermission): Wanted {
  const asked = userQuestions.safeParse(request.input);
  const isQuestion = request.tool_name === questionTool || request.requires_user_interaction;
  if (!isQuestion) return { type: "approval", needs: approvalNeeds(request) };
  if (!asked.success) {
    const what = request.display_name ?? request.tool_name;
    const prompt = displayText(`The agent asks for a decision: ${what}`, maxPromptChars);
    return { type: "approval", needs: { kind: "approval", prompt, options: decisions } };
  }
  const { questions } = asked.data;
  const labels = questions.flatMap(({ options }) => options.map(({ label }) => label));
  return {
    type: "question",
    questions: questions.map(({ question }) => question),
    needs: {
      kind: "question",
      prompt: displayText(
        questions.map(({ question }) => question).join("\n") || "The agent asks for input.",
        maxPromptChars,
      ),
      options: labels.slice(0, maxOptions).map((label) => displayText(label, 200)),
    },
  };
}

const decisions = ["accept", "decline"];

function approvalNeeds({ tool_name: tool, input, decision_reason: reason }: ToolPermission): Needs {
  const command = textOf(input["command"]);
  const path = textOf(input["file_path"]) ?? textOf(input["notebook_path"]);
  const what =
    command !== null
      ? `Run this command?\n${command}`
      : path !== null
        ? `Change this file? (${tool})\n${path}`
        : `Use the tool ${tool}?\n${displayText(JSON.stringify(input), 1_000)}`;
  const prompt = displayText([what, reason].filter(Boolean).join("\n"), maxPromptChars);
  return { kind: "approval", prompt, options: decisions };
}

/** The answers to `can_use_tool`. */
export function allow(input: JsonObject): JsonObject {
  return { behavior: "allow", updatedInput: input };
}

export function deny(message: string): JsonObject {
  return { behavior: "deny", message };
}

/** The answers of a person, by the question's text. */
export function answered(
  input: JsonObject,
  questions: readonly string[],
  answers: readonly string[],
): JsonObject {
  const entries = questions.map((question, at) => [question, answers[at] ?? ""] as const);
  return allow({ ...input, answers: Object.fromEntries(entries) });
}
