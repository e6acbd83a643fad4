import type { Command, Help } from "commander";
import { SymphonyError } from "../core/model/errors.ts";
import type { Run } from "./context.ts";
import { exitCodes, exitCodeTable } from "./failure.ts";
import { helpText, type Item } from "./output.ts";

const examplesOf = new WeakMap<Command, readonly string[]>();

/** Examples are what a reader of a help text looks for first, so they stand first. */
export function examples(command: Command, ...lines: readonly string[]): Command {
  examplesOf.set(command, lines);
  return command;
}

/** A command's help, in the layout of the program's own. */
export function commandHelp(command: Command, help: Help): string {
  const globals = new Set(command.parent?.options.map(({ long }) => long));
  const subcommands = help
    .visibleCommands(command)
    .map((one): Item => [help.subcommandTerm(one), help.subcommandDescription(one)]);
  const positional = help
    .visibleArguments(command)
    .map((one): Item => [help.argumentTerm(one), help.argumentDescription(one)]);
  const own = help
    .visibleOptions(command)
    .filter(({ long }) => !globals.has(long))
    .map((one): Item => [help.optionTerm(one), help.optionDescription(one)]);
  const shared = help
    .visibleGlobalOptions(command)
    .map((one): Item => [help.optionTerm(one), one.description]);
  return helpText({
    summary: sentence(command.description()),
    examples: examplesOf.get(command) ?? [],
    usage: help.commandUsage(command),
    sections: [
      ["Commands", subcommands],
      ["Arguments", positional],
      ["Options", own],
      ["Options of every command", shared],
    ],
    width: help.helpWidth ?? 80,
  });
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

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
