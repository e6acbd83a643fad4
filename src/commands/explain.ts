import type { Command } from "commander";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { listerOf, onIssue } from "./issue-hints.ts";
import { keptElsewhereFacts, keptFacts } from "./kept-lines.ts";
import { factLines } from "./output.ts";
import { statusStyle } from "./paint.ts";
import { plainLine } from "./terminal.ts";

export function declareExplain(command: Command, run: Run): void {
  examples(command, "symphony explain ENG-123")
    .argument("<issue>", "issue identifier, such as ENG-123")
    .action((issue: string) => run((context) => explain(issue, context)));
}

/** Every gate between an issue and an agent, and whether the issue passes it. */
export async function explain(id: string, context: CommandContext): Promise<number> {
  const client = await context.client();
  const detail = await onIssue(id, listerOf(client), () =>
    client.issues.detail({ params: { id } }),
  );
  const {
    issue_identifier,
    status,
    issue,
    explain: gates,
    last_error,
    kept,
    kept_elsewhere,
  } = detail;
  if (context.json) {
    const shown = {
      issue_identifier,
      status,
      state: issue.state,
      explain: gates,
      last_error,
      kept,
      kept_elsewhere,
    };
    context.printJson(shown);
    return exitCodes.done;
  }
  const paint = await context.paint();
  const shown = status ?? "idle";
  const rows = gates.map(({ gate, pass, detail: why }) => {
    const mark = pass ? paint.green("ok") : paint.red("no");
    return `${mark}  ${plainLine(gate)}: ${plainLine(why)}`;
  });
  const facts = factLines(
    [
      ["issue", `${issue_identifier} ${issue.title}`],
      ["status", { text: shown, style: statusStyle(shown) }],
      ["state", issue.state],
      ...(last_error === null ? [] : [["last error", last_error] as const]),
      ...keptFacts(kept),
      ...keptElsewhereFacts(kept_elsewhere),
    ],
    paint,
  );
  context.print([...facts, "", ...rows].join("\n"));
  return exitCodes.done;
}
