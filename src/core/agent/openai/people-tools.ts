import type { Needs } from "../../model/attempt.ts";
import type { Answer } from "../agent.ts";
import type { Asks } from "../asks.ts";
import { displayText } from "../display-text.ts";
import { listOf } from "../json-value.ts";
import { argumentsSchema, type Tool, textArgument } from "./tool.ts";

/** Asks a person. Rejects as `Asks.ask` does, or with the signal's reason when that comes first. */
export type Asking = (needs: Needs, questions: number, signal: AbortSignal) => Promise<Answer>;

const maxPromptChars = 2_000;
const maxOptions = 20;

export function askingOf(asks: Asks): Asking {
  return async (needs, questions, signal) => {
    signal.throwIfAborted();
    const given = Promise.withResolvers<Answer>();
    const stop = () => given.reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    asks.ask(needs, questions).then(given.resolve, given.reject);
    return given.promise.finally(() => signal.removeEventListener("abort", stop));
  };
}

/** `ask_user`: a question to a person, for what nobody else can know. */
export function askTool(asking: Asking): Tool {
  return {
    readsOnly: false,
    spec: {
      name: "ask_user",
      description:
        "Asks a person, and waits. Only for what the work cannot go on without and what cannot be found out.",
      inputSchema: argumentsSchema(
        {
          question: { type: "string" },
          options: { type: "array", items: { type: "string" }, description: "likely answers" },
        },
        ["options"],
      ),
    },
    async run(args, signal) {
      const prompt = displayText(textArgument(args, "question"), maxPromptChars);
      const options = listOf(args["options"])
        .filter((option) => typeof option === "string")
        .slice(0, maxOptions)
        .map((option) => displayText(option, 200));
      const answer = await asking({ kind: "question", prompt, options }, 1, signal);
      return answer.type === "answers" ? answer.answers.join("\n") : "no answer was given";
    },
  };
}
