import type { Command } from "commander";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { listerOf, onIssue } from "./issue-hints.ts";
import { ask, textOrStdin } from "./text-input.ts";

export function declareSteer(command: Command, run: Run): void {
  examples(
    command,
    'symphony steer ENG-123 "do the auth first"',
    "git diff main | symphony steer ENG-123 -",
  )
    .argument("<issue>", "issue identifier, such as ENG-123")
    .argument("[message]", "what the agent should take into account; - reads it from stdin")
    .action((issue: string, message: string | undefined) =>
      run((context) => steer(issue, message, context)),
    );
}

/** Resolves once the agent has accepted the message. */
export async function steer(
  id: string,
  given: string | undefined,
  context: CommandContext,
): Promise<number> {
  const instead = `symphony steer ${id} "the message", or - to read it from stdin`;
  const written = given ?? (await ask({ message: "Message", instead }, context));
  const message = await textOrStdin(written, context);
  const client = await context.client();
  const reply = await onIssue(id, listerOf(client), () =>
    client.issues.steer({ params: { id }, body: { message } }),
  );
  if (context.json) context.printJson(reply);
  context.note(`The agent on ${reply.issue_identifier} has the message (${reply.status})`);
  return exitCodes.done;
}
