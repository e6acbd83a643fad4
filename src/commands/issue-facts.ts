import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { conflictText } from "./conflicts.ts";
import { relative } from "./output.ts";

// What is said of one issue by more than one command.

type Detail = Reply<Api["issues"]["detail"]>;

/** Where offered work is and what it waits for or why not, the rounds that it took, and what came back last. */
export function reviewFacts(
  detail: Pick<Detail, "delivery" | "feedback" | "conflicts" | "issue_identifier">,
): readonly [string, string][] {
  const { delivery, feedback } = detail;
  const facts: [string, string][] = [];
  if (delivery !== null) facts.push(["delivery", delivery.summary]);
  for (const text of conflictText(detail)) facts.push(["conflicts", text]);
  if (feedback === null) return facts;
  const { rounds, max_rounds: most, last } = feedback;
  facts.push(["rounds", `${rounds} of ${most} without a word of a person`]);
  if (last === null) return facts;
  const by = last.author ?? "a check";
  return [...facts, ["feedback", `${by}, ${relative(last.at, Date.now())}: ${last.text}`]];
}

/** The template of an issue's next attempt, and why it is that one. */
export function templateText({ id, from }: Reply<Api["issues"]["detail"]>["template"]): string {
  if (from === "workflow") return id;
  return from === "state" ? `${id} (by its state)` : `${id} (chosen)`;
}
