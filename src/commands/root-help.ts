import { catalogue, globalOptions } from "./catalogue.ts";
import { helpText, type Item } from "./output.ts";

const examples = [
  "symphony demo                          see it work, with no account and no key",
  "symphony serve                         run the server for ./WORKFLOW.md",
  "symphony state --watch                 follow what it does",
  'symphony steer ENG-123 "auth first"    guide an agent in mid-turn',
  "symphony help exit-codes               what a script can rely on",
];

/** What `symphony --help` prints. */
export function rootHelp(width: number): string {
  const groups = Map.groupBy(catalogue, ({ group }) => group);
  const sections = [...groups].map(([title, entries]): [string, Item[]] => [
    title,
    entries.map(({ name, summary }) => [name, summary]),
  ]);
  const options = globalOptions.map(({ flags, description }): Item => [flags, description]);
  return helpText({
    summary: "Turns an issue tracker into a queue of coding-agent runs.",
    examples,
    usage: "symphony COMMAND [arguments] [options]",
    sections: [...sections, ["Options", options]],
    width,
  });
}
