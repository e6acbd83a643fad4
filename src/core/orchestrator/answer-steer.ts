import type { Answer } from "../agent/agent.ts";
import type { Steer } from "../store/store.ts";
import type { Waiting } from "./snapshot.ts";

/** The answer in the words the agent is given: guidance that opens the next turn of its thread. */
export function answerAsSteer(
  { issue, needs }: Waiting,
  answer: Answer,
  { id, at }: { readonly id: string; readonly at: number },
): Steer {
  return {
    id,
    issueId: issue.id,
    attemptId: "",
    turnId: "",
    message: `You asked: ${needs.prompt}\nThe answer: ${wordsOf(answer)}`,
    key: null,
    at,
    delivered: false,
  };
}

function wordsOf(answer: Answer): string {
  if (answer.type === "answers") return answer.answers.join("\n");
  return answer.approve ? "Yes, approved." : "No, declined. Go on without it.";
}
