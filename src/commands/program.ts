import { Argument, Command, Option } from "commander";
import { version } from "../core/package.ts";
import { catalogue } from "./catalogue.ts";
import type { Run } from "./context.ts";
import { commandHelp, noCommand, rootHelp } from "./help.ts";
import {
  type ArgumentRow,
  type CommandRow,
  flagsOf,
  type Given,
  globalOptions,
  keyOf,
  loadRow,
  type NamedRow,
  type OptionRow,
  readValue,
  runRow,
  subcommandsOf,
  termOf,
} from "./table.ts";

/** The program with its own options and the names of its commands, none of which is loaded yet. */
export function createProgram(argv: readonly string[] = []): Command {
  // A group without one of its commands is answered with its help, and under --json with the error alone.
  const silent = argv.includes("--json") ? { writeErr: () => {} } : {};
  const program = new Command("symphony")
    .exitOverride()
    .helpCommand(false)
    .configureOutput({ ...silent, outputError: () => {} })
    .configureHelp({ formatHelp: (_, { helpWidth }) => rootHelp(catalogue, helpWidth) });
  for (const one of globalOptions) {
    if (one.name === "help") program.helpOption(flagsOf(one), one.summary);
    else if (one.name === "version") program.version(version(), flagsOf(one), one.summary);
    else program.addOption(optionOf(one));
  }
  for (const { name, summary } of catalogue) program.command(name).description(summary);
  return program;
}

/** Loads the command that `argv` names, so that it can be parsed. */
export async function loadNamed(
  program: Command,
  argv: readonly string[],
  run: Run,
): Promise<void> {
  const [name] = operandsOf(argv);
  if (name === undefined) return;
  const entry = catalogue.find((one) => one.name === name);
  const command = program.commands.find((one) => one.name() === name);
  if (entry === undefined || command === undefined) throw noCommand([name], catalogue);
  const row = await loadRow(entry);
  requireNames([name], row, operandsOf(argv, [...globalOptions, ...(row.options ?? [])]).slice(1));
  declare(command, { path: `symphony ${name}`, row, run });
}

/** The parser answers `--help` before it looks at the names. Throws `usage` for a name below `row` that does not exist. */
function requireNames(path: readonly string[], row: NamedRow, typed: readonly string[]): void {
  const below = subcommandsOf(row);
  const [name, ...rest] = typed;
  // Without names of its own the next word is an argument, as it may be where a command also works by itself.
  if (name === undefined || below.length === 0) return;
  const found = below.find((one) => one.name === name);
  if (found !== undefined) {
    // `help` takes the name of one of its neighbours.
    const isHelp = found.name === "help";
    return requireNames(isHelp ? path : [...path, name], isHelp ? row : found, rest);
  }
  if (row.call === undefined && row.stream === undefined) throw noCommand([...path, name], below);
  if ((row.arguments ?? []).length === 0) throw noCommand([...path, name], below);
}

/** The arguments that are neither options nor the values of `options`. */
function operandsOf(
  argv: readonly string[],
  options: readonly OptionRow[] = globalOptions,
): readonly string[] {
  const withValue = options.flatMap(({ name, short, value }) =>
    value === undefined ? [] : [`--${name}`, `-${short ?? name}`],
  );
  return argv.filter(
    (one, index) => !one.startsWith("-") && !withValue.includes(argv[index - 1] ?? ""),
  );
}

interface Declaration {
  /** How it is typed, such as `symphony issue create`. */
  readonly path: string;
  readonly row: NamedRow;
  readonly run: Run;
}

/** Declares the row to the parser. */
function declare(command: Command, { path, row, run }: Declaration): void {
  const formatHelp = (_: Command, { helpWidth }: { readonly helpWidth?: number | undefined }) =>
    commandHelp(path, row, helpWidth);
  command.description(row.summary).configureHelp({ formatHelp });
  // The failure names this command's help.
  command.exitOverride((error) => {
    throw Object.assign(error, { path });
  });
  for (const one of row.arguments ?? []) command.addArgument(argumentOf(one));
  for (const one of row.options ?? []) command.addOption(optionOf(one));
  for (const one of row.commands ?? []) {
    declare(command.command(one.name), { path: `${path} ${one.name}`, row: one, run });
  }
  if (row.refuseExcess !== undefined) command.allowExcessArguments();
  if (row.call === undefined && row.stream === undefined) return;
  command.action(() =>
    run((context) => {
      const given = givenOf(command, row);
      const excess = command.args.length > (row.arguments ?? []).length;
      if (excess && row.refuseExcess !== undefined) throw row.refuseExcess(given);
      return runRow(row, given, context);
    }),
  );
}

function argumentOf(one: ArgumentRow): Argument {
  const argument = new Argument(termOf(one), one.summary);
  return one.choices === undefined ? argument : argument.choices(one.choices);
}

function optionOf(one: OptionRow): Option {
  const option = new Option(flagsOf(one), one.summary)
    .makeOptionMandatory(one.required === true)
    .hideHelp(one.hidden === true);
  if (one.choices !== undefined) option.choices(one.choices);
  if (one.default !== undefined) option.default(one.default);
  if (one.repeats) option.argParser(append);
  return option;
}

function append(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** The parsed arguments and options by name, each option converted by its reader. Throws `usage`. */
function givenOf(
  command: Command,
  { arguments: positional = [], options = [] }: CommandRow,
): Given {
  const values = command.opts();
  return Object.fromEntries([
    ...positional.map(({ name, key = name }, index) => [key, command.processedArgs[index]]),
    ...options.map((one) => [keyOf(one), readValue(one, values[keyOf(one)])]),
  ]);
}
