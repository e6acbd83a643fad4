import type { Command } from "commander";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { listerOf, onIssue } from "./issue-hints.ts";

interface AbortOptions {
  readonly reason?: string;
}

export function declareAbort(command: Command, run: Run): void {
  examples(command, 'symphony abort ENG-123 --reason "wrong branch"')
    .argument("<issue>", "issue identifier, such as ENG-123")
    .option("--reason <text>", "why, for the record (at most 1,000 characters)")
    .action((issue: string, options: AbortOptions) =>
      run((context) => abort(issue, options, context)),
    );
}

/** Stops the running attempt; the issue stays held until somebody moves it to `queued`. */
export async function abort(
  id: string,
  { reason }: AbortOptions,
  context: CommandContext,
): Promise<number> {
  const client = await context.client();
  const body = reason === undefined ? {} : { reason };
  const reply = await onIssue(id, listerOf(client), () =>
    client.issues.abort({ params: { id }, body }),
  );
  if (context.json) context.printJson(reply);
  const name = reply.issue_identifier;
  context.note(
    reply.already_stopping
      ? `${name} is already being stopped`
      : `${name} is being stopped and then held; symphony transition ${name} queued lets it run again`,
  );
  return exitCodes.done;
}
