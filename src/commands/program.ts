import { Command, type Help, Option } from "commander";
import { catalogue, globalOptions } from "./catalogue.ts";
import type { Run } from "./context.ts";
import { commandHelp } from "./help.ts";
import { rootHelp } from "./root-help.ts";
import { version } from "./version.ts";

const builtIn = new Set(["-h, --help", "-V, --version"]);
const optionsWithValue = globalOptions
  .filter(({ flags }) => flags.includes("<"))
  .map(({ flags }) => flags.split(" ")[0]);

/** The program with its own options and the names of its commands, none of which is loaded yet. */
export function createProgram(): Command {
  const program = new Command("symphony")
    .exitOverride()
    .helpCommand(false)
    .configureOutput({ outputError: () => {} })
    .configureHelp({ formatHelp, showGlobalOptions: true })
    .helpOption("-h, --help", "print this help")
    .version(version(), "-V, --version", "print the version");
  for (const { flags, description, choices } of globalOptions) {
    if (!builtIn.has(flags)) {
      const option = new Option(flags, description);
      program.addOption(choices === undefined ? option : option.choices(choices).default("auto"));
    }
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
  const [name, topic] = operandsOf(argv);
  await load(program, name, run);
  if (name === "help" && topic !== name) await load(program, topic, run);
  // Its script has every command in it.
  if (name === "completion" && topic !== undefined) {
    for (const entry of catalogue) if (entry.name !== name) await load(program, entry.name, run);
  }
}

async function load(program: Command, name: string | undefined, run: Run): Promise<void> {
  const entry = catalogue.find((one) => one.name === name);
  const command = program.commands.find((one) => one.name() === name);
  if (entry === undefined || command === undefined) return;
  const declare = await entry.load();
  declare(command, run);
}

/** The arguments that are no options of the program and no values of them. */
function operandsOf(argv: readonly string[]): string[] {
  const operands: string[] = [];
  for (let index = 0; index < argv.length; index += 1) {
    const one = argv[index] ?? "";
    if (optionsWithValue.includes(one)) index += 1;
    else if (!one.startsWith("-")) operands.push(one);
  }
  return operands;
}

function formatHelp(command: Command, help: Help): string {
  return command.parent === null ? rootHelp(help.helpWidth ?? 80) : commandHelp(command, help);
}
