import type { Command } from "commander";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./failure.ts";
import { examples } from "./help.ts";

interface StateOptions {
  readonly watch?: boolean;
}

export function declareState(command: Command, run: Run): void {
  examples(
    command,
    "symphony state",
    "symphony state --watch",
    "symphony state --json | jq '.running[].issue_identifier'",
  )
    .option("--watch", "keep showing it as it changes; not on a terminal: one JSON line a change")
    .action((options: StateOptions) => run((context) => state(options, context)));
}

/** Prints the snapshot once, or follows it. */
export async function state(options: StateOptions, context: CommandContext): Promise<number> {
  if (options.watch) {
    const { watchState } = await import("./watch.ts");
    return watchState(context);
  }
  const client = await context.client();
  const snapshot = await client.system.state();
  if (context.json) {
    context.printJson(snapshot);
    return exitCodes.done;
  }
  const { stateLines } = await import("./snapshot.ts");
  const view = { width: context.width, paint: await context.paint(), nowMs: Date.now() };
  const { head, rows } = stateLines(snapshot, view);
  context.print([...head, ...rows].join("\n"));
  return exitCodes.done;
}
