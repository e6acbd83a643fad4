import type { Argument, Command, Option } from "commander";
import { eventTypes } from "../core/model/event.ts";
import { statuses } from "../core/model/status.ts";

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
