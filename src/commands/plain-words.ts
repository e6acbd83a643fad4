import type { GlobalOptions } from "./context.ts";
import {
  type CommandEntry,
  type CommandRow,
  type Given,
  globalOptions,
  keyOf,
  loadRow,
  type OptionRow,
  readValue,
} from "./table.ts";

/** A command line that was understood. */
interface Understood {
  readonly row: CommandRow;
  readonly given: Given;
  readonly options: GlobalOptions;
}

/** The options that were typed, by name; true for a switch. */
type Typed = Map<string, string | true>;

/**
 * Reads a command line of plain words by the rows that the parser reads: commands, arguments, `--switch` and `--name value`. Null
 * for all else, such as help, short options or whatever is wrong: the parser answers that, and takes longer to load than most
 * commands take to answer. Throws `usage` as the parser's way does, for a value that its option cannot read.
 */
export async function readPlainly(
  argv: readonly string[],
  catalogue: readonly CommandEntry[],
): Promise<Understood | null> {
  const operands: string[] = [];
  const typed: Typed = new Map();
  let row: CommandRow | null = null;
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? "";
    if (word.startsWith("--")) {
      const took = readOption(argv.slice(at), [...globalOptions, ...(row?.options ?? [])], typed);
      if (took === 0) return null;
      at += took - 1;
      continue;
    }
    if (word === "" || word.startsWith("-")) return null;
    if (row === null) {
      const entry = catalogue.find(({ name }) => name === word);
      if (entry === undefined) return null;
      row = await loadRow(entry);
    } else if (row.commands !== undefined) {
      row = row.commands.find(({ name }) => name === word) ?? null;
      if (row === null || [...typed.keys()].some((name) => !isGlobal(name))) return null;
    } else operands.push(word);
  }
  const given = row && givenOf(row, operands, typed);
  return row && given && { row, given, options: optionsOf(typed) };
}

function isGlobal(name: string): boolean {
  return globalOptions.some((one) => one.name === name);
}

/** How many words the option took that `words` begins with; 0 where the parser has to read it. */
function readOption(
  [word, text]: readonly string[],
  known: readonly OptionRow[],
  typed: Typed,
): number {
  const [option, ...others] = known.filter(({ name }) => word === `--${name}`);
  if (option === undefined || others.length > 0 || typed.has(option.name)) return 0;
  const { name, value, choices, repeats } = option;
  if (repeats || /^(?:no-|help$|version$)/.test(name)) return 0;
  if (value === undefined) {
    typed.set(name, true);
    return 1;
  }
  if (text === undefined || text.startsWith("-")) return 0;
  if (choices !== undefined && !choices.includes(text)) return 0;
  typed.set(name, text);
  return 2;
}

/** Null where something is missing, too much or only known to the parser. */
function givenOf(row: CommandRow, operands: readonly string[], typed: Typed): Given | null {
  const { arguments: positional = [], options = [], call, stream } = row;
  if ((call ?? stream) === undefined || operands.length > positional.length) return null;
  const isUnread = positional.some(({ repeats, optional, choices }, at) => {
    const word = operands[at];
    if (word === undefined) return repeats === true || optional !== true;
    return repeats === true || choices?.includes(word) === false;
  });
  const isMissing = options.some(
    ({ name, required }) => name.startsWith("no-") || (required === true && !typed.has(name)),
  );
  if (isUnread || isMissing) return null;
  return Object.fromEntries([
    ...positional.map(({ name, key = name }, at) => [key, operands[at]]),
    ...options.map((one) => [keyOf(one), readValue(one, typed.get(one.name) ?? one.default)]),
  ]);
}

function optionsOf(typed: Typed): GlobalOptions {
  const given = globalOptions.flatMap((one) => {
    const value = typed.get(one.name);
    return value === undefined ? [] : [[keyOf(one), value]];
  });
  return { color: "auto", input: true, ...Object.fromEntries(given) };
}
