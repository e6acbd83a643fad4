// The manual page, made from the table of commands as the help is. `npm run docs:man` writes man/symphony.1.

import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { catalogue } from "../../src/commands/catalogue.ts";
import { exitCodeTable } from "../../src/commands/failure.ts";
import {
  type ArgumentRow,
  flagsOf,
  globalOptions,
  loadRow,
  type NamedRow,
  type OptionRow,
  termOf,
} from "../../src/commands/table.ts";

export const manPageFile = fileURLToPath(new URL("../../man/symphony.1", import.meta.url));

/** Text of a line of roff. A dash is one that can be copied; a dot or quote at the start of a line is no request. */
function escaped(text: string): string {
  const plain = text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("…", "...")
    .replaceAll("→", "\\(->");
  return /^[.']/.test(plain) ? `\\&${plain}` : plain;
}

function quoted(text: string): string {
  return `"${escaped(text).replaceAll('"', "\\(dq")}"`;
}

function sentence(summary: string): string {
  return escaped(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`);
}

function termLines(term: string, meaning: string): readonly string[] {
  return [".TP", `.B ${quoted(term)}`, escaped(meaning)];
}

function exampleLines(examples: readonly string[]): readonly string[] {
  if (examples.length === 0) return [];
  return [".PP", ".nf", ".RS", ...examples.map(escaped), ".RE", ".fi"];
}

function factsOf({
  summary,
  choices,
  default: value,
}: OptionRow | (ArgumentRow & { default?: string })) {
  const words = choices === undefined ? "" : ` (${choices.join(", ")})`;
  return `${summary}${words}${value === undefined ? "" : ` (default: ${value})`}`;
}

function commandLines(path: string, row: NamedRow): readonly string[] {
  const { arguments: positional = [], options = [], commands = [], examples = [] } = row;
  const shown = options.filter(({ hidden }) => hidden !== true);
  const takes = [...(shown.length === 0 ? [] : ["[options]"]), ...positional.map(termOf)];
  return [
    `.SS ${quoted([path, ...takes].join(" "))}`,
    sentence(row.summary),
    ...exampleLines(examples),
    ...positional.flatMap((one) => termLines(one.name, factsOf(one))),
    ...shown.flatMap((one) => termLines(flagsOf(one), factsOf(one))),
    ...commands.flatMap((one) => commandLines(`${path} ${one.name}`, one)),
  ];
}

const variables: readonly (readonly [string, string])[] = [
  ["SYMPHONY_URL", "the server to talk to"],
  ["SYMPHONY_TOKEN", "its token, where it asks for one"],
  ["SYMPHONY_DATA_DIR", "the data directory of the project"],
  ["NO_COLOR, FORCE_COLOR, TERM", "whether the output has colours"],
];

/** The whole page. */
export async function manPage(): Promise<string> {
  const rows = await Promise.all(catalogue.map(loadRow));
  const lines = [
    '.\\" Made from the table of commands by npm run docs:man.',
    '.TH SYMPHONY 1 "" "symphony" "User Commands"',
    ".SH NAME",
    "symphony \\- turns an issue tracker into a queue of coding\\-agent runs",
    ".SH SYNOPSIS",
    ".B symphony",
    ".I COMMAND",
    "[arguments] [options]",
    ".SH DESCRIPTION",
    escaped(
      "symphony takes issues from a tracker, gives each a workspace, runs a coding agent there, and offers the work as a branch or a pull request. symphony serve is the server; most other commands talk to it.",
    ),
    ".SH COMMANDS",
    ...rows.flatMap((row) => commandLines(`symphony ${row.name}`, row)),
    ".SH OPTIONS",
    "Of every command:",
    ...globalOptions.flatMap((one) => termLines(flagsOf(one), one.summary)),
    ".SH EXIT STATUS",
    ".nf",
    ...exitCodeTable().trimEnd().split("\n").slice(2).map(escaped),
    ".fi",
    ".SH ENVIRONMENT",
    ...variables.flatMap(([name, meaning]) => termLines(name, meaning)),
    ".SH FILES",
    ...termLines("WORKFLOW.md", "the configuration and the prompt of a project"),
    ...termLines(".symphony", "its data directory"),
  ];
  return `${lines.join("\n")}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(manPageFile, await manPage());
