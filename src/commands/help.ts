import type { Command, Help } from "commander";
import { helpText, type Item } from "./help-layout.ts";

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
