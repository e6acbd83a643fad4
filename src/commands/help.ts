import { SymphonyError } from "../core/model/errors.ts";
import { exitCodeTable, hintAt } from "./failure.ts";
import { helpText, type Item, usualWidth } from "./output.ts";
import {
  type ArgumentRow,
  type CommandEntry,
  type CommandRow,
  flagsOf,
  globalOptions,
  loadRow,
  type NamedRow,
  type OptionRow,
  row,
  subcommandsOf,
  termOf,
} from "./table.ts";

const rootExamples = [
  "symphony demo                          see it work, with no account and no key",
  "symphony serve                         run the server for ./WORKFLOW.md",
  "symphony state --watch                 follow what it does",
  'symphony steer ENG-123 "auth first"    guide an agent in mid-turn',
  "symphony help exit-codes               what a script can rely on",
];

/** What `symphony --help` prints. */
export function rootHelp(catalogue: readonly CommandEntry[], width = usualWidth): string {
  const groups = Map.groupBy(catalogue, ({ group }) => group);
  const sections = [...groups].map(([title, entries]): [string, Item[]] => [
    title,
    entries.map(({ name, summary }) => [name, summary]),
  ]);
  return helpText({
    summary: "Turns an issue tracker into a queue of coding-agent runs.",
    examples: rootExamples,
    usage: "symphony COMMAND [arguments] [options]",
    sections: [...sections, ["Options", globalOptions.filter(isAboutItself).map(plainOptionItem)]],
    footer: "symphony help COMMAND explains one, symphony help options what all of them take",
    width,
  });
}

/** Options that print something about the program and end it. */
function isAboutItself({ name }: OptionRow): boolean {
  return name === "help" || name === "version";
}

/** The last line of every help: most commands are used without any of these. */
const sharedOptions = "Options of every command, such as --json and --url: symphony help options";

/** The help of one command, in the same layout as the program's; `path` is how it is typed. */
export function commandHelp(path: string, one: NamedRow, width = usualWidth): string {
  const below = subcommandsOf(one);
  const takes = [
    ...(below.length === 0 ? [] : ["[command]"]),
    ...(one.arguments ?? []).map(termOf),
  ];
  const isHelp = ({ name }: OptionRow) => name === "help";
  const own = (one.options ?? []).filter(({ hidden }) => !hidden);
  return helpText({
    summary: `${one.summary.charAt(0).toUpperCase()}${one.summary.slice(1)}.`,
    examples: one.examples ?? [],
    usage: [path, "[options]", ...takes].join(" "),
    sections: [
      ["Commands", below.map(commandItem)],
      ["Arguments", (one.arguments ?? []).map(argumentItem)],
      ["Options", [...own.map(optionItem), ...globalOptions.filter(isHelp).map(plainOptionItem)]],
    ],
    footer: sharedOptions,
    width,
  });
}

function commandItem({ name, summary, arguments: positional = [], options = [] }: NamedRow): Item {
  const rest = [...(options.length === 0 ? [] : ["[options]"]), ...positional.map(termOf)];
  return [[name, ...rest].join(" "), summary];
}

function argumentItem(argument: ArgumentRow): Item {
  return [argument.name, withFacts(argument)];
}

function optionItem(option: OptionRow): Item {
  return [flagsOf(option), withFacts(option)];
}

/** The summaries of the options of every command already name their choices and defaults. */
function plainOptionItem(option: OptionRow): Item {
  return [flagsOf(option), option.summary];
}

function withFacts({
  summary,
  choices,
  default: value,
}: Pick<OptionRow, "summary" | "choices" | "default">): string {
  const facts = [
    ...(choices === undefined ? [] : [`choices: ${choices.join(", ")}`]),
    ...(value === undefined ? [] : [`default: ${value}`]),
  ];
  return facts.length === 0 ? summary : `${summary} (${facts.join(", ")})`;
}

/** `symphony help`, which explains the commands of `catalogue`. */
export function helpCommand(catalogue: readonly CommandEntry[]): CommandRow {
  return row({
    examples: ["symphony help issue create", "symphony help exit-codes"],
    arguments: [
      {
        name: "topic",
        summary: "a command, such as `issue create`, or `exit-codes` or `options`",
        optional: true,
        repeats: true,
        completion: "commands",
      },
    ],
    call: async ({ topic }, { stdout }) => ({
      text: await helpOn(topic, catalogue, stdout.columns),
    }),
    print: ({ text }, { stdout }) => void stdout.write(text),
  });
}

/** Rejects with `usage` when there is no such topic. */
async function helpOn(
  topic: readonly string[],
  catalogue: readonly CommandEntry[],
  width: number | undefined,
): Promise<string> {
  const [name, ...rest] = topic;
  if (name === undefined) return rootHelp(catalogue, width);
  if (name === "exit-codes") return exitCodeTable();
  if (name === "options") return optionsHelp(width);
  const entry = catalogue.find((one) => one.name === name);
  if (entry === undefined) throw noCommand([name], [...catalogue, ...otherTopics]);
  let command = await loadRow(entry);
  for (const [index, word] of rest.entries()) {
    const below = command.commands?.find((one) => one.name === word);
    if (below === undefined) {
      throw noCommand([name, ...rest.slice(0, index + 1)], command.commands ?? []);
    }
    command = below;
  }
  return commandHelp(`symphony ${topic.join(" ")}`, command, width);
}

const otherTopics = [{ name: "exit-codes" }, { name: "options" }];

function optionsHelp(width = usualWidth): string {
  return helpText({
    summary: "Options of every command.",
    examples: [
      "symphony state --json | jq .counts            one document for a script",
      "symphony steer ENG-1 - --quiet < note.txt     no messages, only data",
      "symphony state --url http://127.0.0.1:4100    another server",
      "SYMPHONY_TOKEN=... symphony state             its token is never an argument",
    ],
    usage: "symphony COMMAND [arguments] [options]",
    sections: [["Options", globalOptions.map(plainOptionItem)]],
    width,
  });
}

/** The error for a command that does not exist, where `names` do; `typed` is all of it, such as `issue shwo`. */
export function noCommand(
  typed: readonly string[],
  names: readonly { readonly name: string }[],
): SymphonyError {
  const above = typed.slice(0, -1).map((word) => `${word} `);
  const known = names.map(({ name }) => name);
  const list = above.length === 0 ? "symphony help lists the commands" : listOf(above, known);
  return new SymphonyError("usage", `unknown command '${typed.join(" ")}'`, {
    hint: hintAt(typed.at(-1) ?? "", known, list),
  });
}

function listOf(above: readonly string[], known: readonly string[]): string {
  const path = `symphony ${above.join("").trim()}`;
  return known.length === 0 ? `${path} --help` : `${path} has ${known.join(", ")}`;
}
