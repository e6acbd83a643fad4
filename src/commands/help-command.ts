import type { Command } from "commander";
import { SymphonyError } from "../core/model/errors.ts";
import type { Run } from "./context.ts";
import { exitCodes, exitCodeTable } from "./exit-codes.ts";
import { examples } from "./help.ts";

export function declareHelp(command: Command, run: Run): void {
  examples(command, "symphony help issue create", "symphony help exit-codes")
    .argument("[topic...]", "a command, such as `issue create`, or `exit-codes`")
    .action((topic: string[]) =>
      run(async (context) => {
        context.stdout.write(helpOn(command.parent ?? command, topic));
        return exitCodes.done;
      }),
    );
}

/** The help on a command such as `issue create`, loaded before, or on the exit codes. Throws `usage`. */
function helpOn(program: Command, topic: readonly string[]): string {
  if (topic[0] === "exit-codes") return exitCodeTable();
  const command = topic.reduce<Command | undefined>(
    (above, name) => above?.commands.find((one) => one.name() === name),
    program,
  );
  if (command !== undefined) return command.helpInformation();
  throw new SymphonyError("usage", `There is no help on "${topic.join(" ")}"`, {
    hint: "symphony help lists the commands",
  });
}
