import { Argument, type Command, Option } from "commander";
import { SymphonyError } from "../core/model/errors.ts";
import { eventTypes } from "../core/model/event.ts";
import { statuses } from "../core/model/issue.ts";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./failure.ts";
import { examples } from "./help.ts";

const shells = ["bash", "zsh", "fish"] as const;
/** A person waits for it in the middle of a line. */
const patienceMs = 300;
const maxIssues = 1_000;
/** A shell would expand others, or take them apart. */
const plainWord = /^[A-Za-z0-9][A-Za-z0-9._#/-]{0,199}$/;

export function declareCompletion(command: Command, run: Run): void {
  examples(
    command,
    'eval "$(symphony completion bash)"                      in ~/.bashrc',
    "source <(symphony completion zsh)                       in ~/.zshrc, after compinit",
    "symphony completion fish > ~/.config/fish/completions/symphony.fish",
  )
    .addArgument(new Argument("[shell]", "which shell to print a script for").choices(shells))
    .addOption(new Option("--issues", "print the issues that the server knows").hideHelp())
    .action((shell: string | undefined, { issues }: { readonly issues?: boolean }) =>
      run((context) =>
        issues ? printIssues(context) : printScript(shell, command.parent ?? command, context),
      ),
    );
}

async function printScript(
  shell: string | undefined,
  program: Command,
  context: CommandContext,
): Promise<number> {
  if (shell === undefined) {
    throw new SymphonyError("usage", "name a shell: bash, zsh or fish", {
      hint: "symphony completion --help says how to install it",
    });
  }
  const { commandSpecs } = await import("./completion.ts");
  const specs = commandSpecs(program);
  const script = await scriptOf(shell, specs);
  if (context.json) context.printJson({ shell, script });
  else context.stdout.write(script);
  return exitCodes.done;
}

async function scriptOf(
  shell: string,
  specs: Parameters<typeof import("./shells.ts").fishScript>[0],
): Promise<string> {
  if (shell === "fish") return (await import("./shells.ts")).fishScript(specs);
  const { bashScript, zshScript } = await import("./shells.ts");
  return shell === "bash" ? bashScript(specs) : zshScript(specs);
}

/** From the server's memory, so that no tracker is asked; nothing at all when it takes too long or fails. */
async function printIssues(context: CommandContext): Promise<number> {
  // What is still open then ends with the process.
  const timer = setTimeout(() => process.exit(exitCodes.done), patienceMs);
  const names = await knownIssues(context).catch(() => []);
  clearTimeout(timer);
  if (context.json) context.printJson({ issues: names });
  else if (names.length > 0) context.print(names.join("\n"));
  return exitCodes.done;
}

async function knownIssues(context: CommandContext): Promise<string[]> {
  const discovered = await context.discovery();
  if (!discovered.certain) return [];
  const client = await context.client();
  const { queued, running, retrying, blocked, held, failed, completed } = await client.system.state(
    { query: { limit: maxIssues } },
    { timeoutMs: patienceMs },
  );
  const rows = [running, blocked, retrying, held, failed, queued, completed].flat();
  const names = rows.map((row) => row.issue_identifier);
  return [...new Set(names)].filter((name) => plainWord.test(name));
}

/** What may stand in a place: fixed words, or something that is looked up when it is asked for. */
export type Place =
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "issues" | "files" | "directories" | "nothing" };

export interface OptionSpec {
  /** Such as `-h` and `--help`. */
  readonly flags: readonly string[];
  readonly description: string;
  /** null: it takes no value. */
  readonly value: Place | null;
}

export interface CommandSpec {
  /** Such as `issue create`; the program itself is the empty path. */
  readonly path: string;
  readonly description: string;
  /** Its own; those of the program are every command's. */
  readonly options: readonly OptionSpec[];
  readonly positions: readonly Place[];
  /** Whether the last position repeats. */
  readonly variadic: boolean;
}

/** Names of arguments and of the values of options that say what stands there. */
const byName: Readonly<Record<string, Place>> = {
  issue: { kind: "issues" },
  file: { kind: "files" },
  workflow: { kind: "files" },
  "workflow.md": { kind: "files" },
  dir: { kind: "directories" },
  status: { kind: "words", words: statuses },
  type: { kind: "words", words: eventTypes },
};
const nothing: Place = { kind: "nothing" };

/** Every command of the program, which must be loaded, with what it takes. */
export function commandSpecs(program: Command): CommandSpec[] {
  const names = program.commands.map((one) => one.name());
  const places = { ...byName, topic: { kind: "words" as const, words: [...names, "exit-codes"] } };
  const shared = new Set(visible(program).map(({ long }) => long));
  const walk = (command: Command, above: string): CommandSpec[] => {
    const path = command === program ? "" : `${above} ${command.name()}`.trim();
    const { registeredArguments: positional } = command;
    const spec = {
      path,
      description: command.description(),
      options: visible(command)
        .filter(({ long }) => command === program || !shared.has(long))
        .map((one) => optionSpec(one, places)),
      positions: positional.map((one) => placeOf(one.name(), one, places)),
      variadic: positional.at(-1)?.variadic === true,
    };
    return [spec, ...command.commands.flatMap((one) => walk(one, path))];
  };
  return walk(program, "");
}

function visible(command: Command): Option[] {
  return [...command.createHelp().visibleOptions(command)];
}

function optionSpec(option: Option, places: Readonly<Record<string, Place>>): OptionSpec {
  const { short, long, flags, description } = option;
  const name = /[<[]([^>\]]+)[>\]]/.exec(flags)?.[1] ?? "";
  const issue = long === "--issue" ? "issue" : name;
  const takesValue = option.required || option.optional;
  return {
    flags: [short, long].filter((flag) => flag !== undefined),
    description,
    value: takesValue ? placeOf(issue, option, places) : null,
  };
}

function placeOf(
  name: string,
  { argChoices }: Argument | Option,
  places: Readonly<Record<string, Place>>,
): Place {
  if (argChoices) return { kind: "words", words: argChoices };
  return places[name.replace(/\.\.\.$/, "").toLowerCase()] ?? nothing;
}
