import type { Command } from "commander";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { listerOf, onIssue } from "./issue-hints.ts";
import { textOrStdin } from "./text-input.ts";

interface RespondOptions {
  readonly answer?: readonly string[];
}

export function declareRespond(command: Command, run: Run): void {
  examples(
    command,
    "symphony respond ENG-123 approve",
    "symphony respond ENG-123 decline",
    'symphony respond ENG-123 "Blue, and keep the old name"',
    "symphony respond ENG-123 --answer Blue --answer approve   several questions; also for such words",
  )
    .argument("<issue>", "issue identifier, such as ENG-123")
    .argument("[answer]", "approve, decline, or the answer to a question; - reads it from stdin")
    .option("--answer <text>", "one answer; repeat it for several questions, in order", append)
    .action((issue: string, said: string | undefined, options: RespondOptions) =>
      run((context) => respond({ issue, said, ...options }, context)),
    );
}

function append(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

interface Words extends RespondOptions {
  readonly issue: string;
  readonly said: string | undefined;
}

/** Hands the answer to the agent that waits for it, or to the next attempt when its run has ended. */
export async function respond(words: Words, context: CommandContext): Promise<number> {
  const { issue: id } = words;
  const body = await bodyOf(words, context);
  const client = await context.client();
  const reply = await onIssue(id, listerOf(client), () =>
    client.issues.respond({ params: { id }, body }),
  );
  if (context.json) context.printJson(reply);
  context.note(
    reply.applies === "now"
      ? `The agent on ${reply.issue_identifier} has the answer and goes on`
      : `${reply.issue_identifier} is started again and goes on with the answer`,
  );
  return exitCodes.done;
}

type Body = { readonly decision: "approve" | "decline" } | { readonly answers: string[] };

async function bodyOf({ issue, said, answer }: Words, context: CommandContext): Promise<Body> {
  if ((said === undefined) === (answer === undefined)) {
    throw new SymphonyError("usage", "give one answer, or --answer for each question", {
      hint: `symphony respond ${issue} approve`,
    });
  }
  if (answer !== undefined) return { answers: [...answer] };
  if (said === "approve" || said === "decline") return { decision: said };
  return { answers: [await textOrStdin(said ?? "", context)] };
}
