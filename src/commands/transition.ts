import type { Command } from "commander";
import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { listerOf, onIssue, withHint } from "./issue-hints.ts";
import { tableLines } from "./output.ts";
import { closest } from "./suggest.ts";

interface TransitionOptions {
  readonly reason?: string;
}

export function declareTransition(command: Command, run: Run): void {
  examples(
    command,
    "symphony transition ENG-123                  where it can go",
    "symphony transition ENG-123 queued           let it run (again)",
    'symphony transition ENG-123 held --reason "waits for the release"',
    'symphony transition ENG-123 "Human Review"   a state of the tracker',
  )
    .argument("<issue>", "issue identifier, such as ENG-123")
    .argument("[to]", "queued, held, completed, or a state of the tracker; left out: list them")
    .option("--reason <text>", "why, for the record (at most 1,000 characters)")
    .action((issue: string, to: string | undefined, options: TransitionOptions) =>
      run((context) =>
        to === undefined
          ? listTargets(issue, context)
          : transition({ issue, to, ...options }, context),
      ),
    );
}

interface Move extends TransitionOptions {
  readonly issue: string;
  readonly to: string;
}

export async function transition(
  { issue: id, to, reason }: Move,
  context: CommandContext,
): Promise<number> {
  const client = await context.client();
  const body = { to, ...(reason !== undefined && { reason }) };
  const moved = await onIssue(id, listerOf(client), () =>
    client.issues
      .transition({ params: { id }, body })
      .catch((error: unknown) => refuse(error, { id, to, client })),
  );
  if (context.json) context.printJson(moved);
  context.note(`${moved.issue_identifier}: ${moved.from} → ${moved.to}`);
  return exitCodes.done;
}

/** Says where the issue may go instead. */
async function refuse(
  error: unknown,
  { id, to, client }: { id: string; to: string; client: Client<Api> },
): Promise<never> {
  if (!(error instanceof SymphonyError) || error.code !== "transition_not_allowed") throw error;
  const names = await targetsOf(id, client).then(
    (targets) => targets.map((target) => target.to),
    () => [],
  );
  const meant = closest(to, names);
  if (meant !== null) throw withHint(error, `did you mean "${meant}"?`);
  throw names.length === 0 ? error : withHint(error, `it can go to ${names.join(", ")}`);
}

async function targetsOf(id: string, client: Client<Api>) {
  const { issues } = await client.system.transitions({ query: { issue: id } });
  return Object.values(issues)[0]?.transitions ?? [];
}

/** Prints where the issue may go. */
export async function listTargets(id: string, context: CommandContext): Promise<number> {
  const client = await context.client();
  const reply = await onIssue(id, listerOf(client), () =>
    client.system.transitions({ query: { issue: id } }),
  );
  if (context.json) {
    context.printJson(reply);
    return exitCodes.done;
  }
  const targets = Object.values(reply.issues)[0]?.transitions ?? [];
  const rows = targets.map(({ to, kind }) => [
    to,
    kind === "status" ? "status of symphony" : "state of the tracker",
  ]);
  const columns = [{ title: "TO" }, { title: "KIND" }];
  const paint = await context.paint();
  context.print(tableLines({ columns, rows, width: context.width, paint }).join("\n"));
  return exitCodes.done;
}
