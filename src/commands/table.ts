import { type ErrorCode, SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { aboutIssue, asTyped, exitCodes } from "./failure.ts";
import { sinceTime, whenForms } from "./when.ts";

/** What completes a word: fixed words, or something that is looked up on demand. */
export type Completion = readonly string[] | "issues" | "files" | "directories" | "commands";

/** Converts the typed text before the command does anything. Throws `usage`, naming the option. */
type Reader = (text: string, flag: string) => unknown;

export interface ArgumentRow {
  readonly name: string;
  /** Its name in `Given`, when an option has the same name. */
  readonly key?: string;
  readonly summary: string;
  readonly optional?: boolean;
  /** Any number of them; only the last one may repeat. */
  readonly repeats?: boolean;
  /** Any other word is refused; completion offers these. */
  readonly choices?: readonly string[];
  readonly completion?: Completion;
}

export interface OptionRow {
  /** Without the dashes, such as `data-dir`. */
  readonly name: string;
  /** One letter. */
  readonly short?: string;
  readonly summary: string;
  /** What the help calls its value; without one it is a switch. */
  readonly value?: string;
  /** Turns the text into the value; without it the text is the value. */
  readonly read?: Reader;
  /** Any other word is refused; completion offers these. */
  readonly choices?: readonly string[];
  readonly completion?: Completion;
  readonly default?: string;
  readonly required?: boolean;
  readonly repeats?: boolean;
  /** Neither in the help nor completed. */
  readonly hidden?: boolean;
}

/** What was typed, by the names of arguments and options, `blocked-by` as `blockedBy`. */
export type Given = Readonly<Record<string, unknown>>;

/** Name and summary of a command; the summary begins in lower case and ends without a full stop. */
export interface Head {
  readonly name: string;
  readonly summary: string;
}

/** A command without its name and summary: what it takes, what it does, and how the result is shown. */
export interface CommandRow {
  readonly examples?: readonly string[];
  readonly arguments?: readonly ArgumentRow[];
  readonly options?: readonly OptionRow[];
  readonly commands?: readonly NamedRow[];
  /** Does the work. The result is printed unchanged under `--json`, and by `print` for a person. */
  call?(given: Given, context: CommandContext): Promise<unknown>;
  /** The document of `--json`, when it is not the whole result of `call`. */
  document?(value: unknown): unknown;
  print?(value: unknown, context: CommandContext, given: Given): void | Promise<void>;
  /** Default: 0 when `call` resolves. */
  exitCode?(value: unknown): number;
  /** Prints by itself and resolves to the exit code; null leaves it to `call`. */
  stream?(given: Given, context: CommandContext): Promise<number> | null;
  /** Errors of these codes are about what was typed or passed in, and so wrong usage (2). */
  readonly inputErrors?: readonly ErrorCode[];
  /** The error for too many arguments, when the parser's own error would repeat a secret. */
  refuseExcess?(given: Given): SymphonyError;
}

export type NamedRow = Head & CommandRow;

/** A command as the catalogue lists it: its head at once, the rest on demand. */
export interface CommandEntry extends Head {
  /** Its heading in the help. */
  readonly group: string;
  /** Loads the file of its noun. */
  readonly load: () => Promise<CommandRow>;
}

/** The whole row of a command of the catalogue. */
export async function loadRow({ name, summary, load }: CommandEntry): Promise<NamedRow> {
  return { name, summary, ...(await load()) };
}

type Camel<S extends string> = S extends `${infer First}-${infer Rest}`
  ? `${First}${Capitalize<Camel<Rest>>}`
  : S;

type Value<O> = O extends { readonly read: (text: string, flag: string) => infer T }
  ? T
  : O extends { readonly choices: readonly (infer Word)[] }
    ? Word
    : string;

type ArgumentValue<A> = A extends { readonly repeats: true }
  ? readonly Value<A>[]
  : A extends { readonly optional: true }
    ? Value<A> | undefined
    : Value<A>;

type OptionValue<O> = O extends { readonly value: string }
  ? O extends { readonly repeats: true }
    ? readonly Value<O>[]
    : O extends { readonly required: true } | { readonly default: string }
      ? Value<O>
      : Value<O> | undefined
  : boolean;

type GivenOf<A extends readonly ArgumentRow[], O extends readonly OptionRow[]> = {
  readonly [K in A[number] as K extends { readonly key: infer Key extends string }
    ? Key
    : K["name"]]: ArgumentValue<K>;
} & { readonly [K in O[number] as Camel<K["name"]>]: OptionValue<K> };

interface TypedRow<A extends readonly ArgumentRow[], O extends readonly OptionRow[], V>
  extends Pick<CommandRow, "examples" | "commands" | "inputErrors"> {
  readonly arguments?: A;
  readonly options?: O;
  call?(given: GivenOf<A, O>, context: CommandContext): Promise<V>;
  document?(value: V): unknown;
  print?(value: V, context: CommandContext, given: GivenOf<A, O>): void | Promise<void>;
  exitCode?(value: V): number;
  stream?(given: GivenOf<A, O>, context: CommandContext): Promise<number> | null;
  refuseExcess?(given: GivenOf<A, O>): SymphonyError;
}

/** A row whose functions get the values of its own arguments and options, typed. */
export function row<
  const A extends readonly ArgumentRow[] = [],
  const O extends readonly OptionRow[] = [],
  V = never,
>(one: TypedRow<A, O, V>): CommandRow {
  return one;
}

/** The same for a command below another one. */
export function subcommand<
  const A extends readonly ArgumentRow[] = [],
  const O extends readonly OptionRow[] = [],
  V = never,
>(one: Head & TypedRow<A, O, V>): NamedRow {
  return one;
}

/** Runs a command; resolves to the exit code. */
export async function runRow(
  one: CommandRow,
  given: Given,
  context: CommandContext,
): Promise<number> {
  const streamed = one.stream?.(given, context) ?? null;
  if (streamed !== null) return streamed;
  const value = await one.call?.(given, context).catch((error: unknown) => {
    if (!(error instanceof SymphonyError)) throw error;
    const known = aboutIssue(error, given["issue"]);
    throw one.inputErrors?.includes(error.code) ? asTyped(known) : known;
  });
  if (context.json) context.printJson(one.document === undefined ? value : one.document(value));
  else await one.print?.(value, context, given);
  return one.exitCode?.(value) ?? exitCodes.done;
}

/** The issue that most commands are about. */
export const issueArgument = {
  name: "issue",
  summary: "issue identifier, such as ENG-123",
  completion: "issues",
} as const satisfies ArgumentRow;

/** `--limit` and `--offset` of a list of `what`. */
export function pageOptions(what = "rows") {
  return [
    {
      name: "limit",
      value: "n",
      summary: `maximum number of ${what}, 1 to 500 (default: 50)`,
      read: readNumber,
    },
    {
      name: "offset",
      value: "n",
      summary: `number of ${what} to skip (default: 0)`,
      read: readNumber,
    },
  ] as const;
}

/** `--at` of the commands that can answer as of an earlier moment. */
export const atOption = {
  name: "at",
  value: "seq|time",
  summary: `as of then: an event's number, or ${whenForms}`,
  read: (text: string, flag: string) => (/^\d+$/.test(text) ? text : sinceTime(text, flag)),
} as const satisfies OptionRow;

/** Throws `usage` for anything but digits. */
function readNumber(text: string, flag: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw new SymphonyError("usage", `${flag}: "${text}" is not a number`);
}

/** The name of its value in `Given`. */
export function keyOf({ name }: OptionRow): string {
  return name.replace(/^no-/, "").replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** The value of an option that was given as `given`: true for a switch, text, or a list of texts. Throws `usage`. */
export function readValue({ name, value, read, repeats }: OptionRow, given: unknown): unknown {
  if (value === undefined) return given === true;
  const readOne = (text: unknown) => (read === undefined ? text : read(String(text), `--${name}`));
  if (repeats) return Array.isArray(given) ? given.map(readOne) : [];
  return given === undefined ? undefined : readOne(given);
}

/** `-h, --help` or `--url <url>`, as the help and the parser write it. */
export function flagsOf({ name, short, value }: OptionRow): string {
  const long = value === undefined ? `--${name}` : `--${name} <${value}>`;
  return short === undefined ? long : `-${short}, ${long}`;
}

/** `<issue>`, `[message]` or `[name...]`. */
export function termOf({ name, optional, repeats }: ArgumentRow): string {
  const shown = repeats ? `${name}...` : name;
  return optional ? `[${shown}]` : `<${shown}>`;
}

/**
 * The commands below `one`, and the `help` that the parser adds to a command that does nothing by itself.
 */
export function subcommandsOf({ commands = [], call, stream }: CommandRow): readonly NamedRow[] {
  if (commands.length === 0 || call !== undefined || stream !== undefined) return commands;
  const completion = commands.map(({ name }) => name);
  const topic = { name: "command", summary: "", optional: true, completion };
  return [...commands, { name: "help", summary: "display help for command", arguments: [topic] }];
}

/** The options of every command. */
export const globalOptions: readonly OptionRow[] = [
  {
    name: "url",
    value: "url",
    summary:
      "server to talk to (default: SYMPHONY_URL, else the project's own, else http://127.0.0.1:4000)",
  },
  {
    name: "data-dir",
    value: "dir",
    summary:
      "data directory of the project (default: SYMPHONY_DATA_DIR, else .symphony upward from here)",
    completion: "directories",
  },
  { name: "json", summary: "print one JSON document; streams print one to a line" },
  { name: "quiet", summary: "print the data only, without messages" },
  { name: "debug", summary: "print where an error came from" },
  {
    name: "color",
    value: "when",
    summary: "colour the output: auto, always or never (default: auto)",
    choices: ["auto", "always", "never"],
    default: "auto",
  },
  { name: "no-input", summary: "never ask; fail where an answer is needed" },
  { name: "yes", summary: "answer every confirmation with yes" },
  { name: "help", short: "h", summary: "print this help" },
  { name: "version", short: "V", summary: "print the version" },
];
