import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  type Abilities,
  allAbilities,
  type Program,
  programs,
  type Scenario,
  scenarios,
} from "./abilities.ts";

// The table of what each kind of agent can do, in docs/agents/README.md. `npm run docs:agents` writes it.

const file = fileURLToPath(new URL("../../../docs/agents/README.md", import.meta.url));
const end = "<!-- end -->";

const rows: readonly (readonly [string, (kind: Abilities) => string])[] = [
  ["Guidance (`symphony steer`)", ({ steer }) => steerTexts[steer]],
  ["Approval by a person", ({ approve }) => approveTexts[approve]],
  ["Questions of the agent", ({ question }) => question],
  ["Next attempt after a crash", ({ resume }) => resume],
  ["Its program", ({ process }) => process],
  ["Its provider's limit", ({ limit }) => limitTexts[limit]],
  ["Tokens for the brakes", ({ tokens }) => tokens],
  ["20 MB of output", () => "shortened"],
  ["Interrupt, abort, kill -9", () => "no process left"],
  ["Text of the issue", () => "never run"],
];

const steerTexts: Readonly<Record<Abilities["steer"], string>> = {
  "in mid-turn": "in mid-turn",
  "next turn": "opens the next turn",
};
const approveTexts: Readonly<Record<Abilities["approve"], string>> = {
  "each command it asks for": "what it asks for",
  "each command outside the sandbox": "to leave the sandbox",
  never: "no; an event says so",
};
const limitTexts: Readonly<Record<Abilities["limit"], string>> = {
  "until its reset": "paused until its reset",
  "a failed turn": "a failed turn",
};

/** What a program showed in a scenario, in the words of its kind; or why it could not. */
function cellOf({ abilities, cannot }: Program, scenario: Scenario): string {
  const reason = cannot[scenario];
  if (reason !== undefined) return `not run: ${reason}`;
  switch (scenario) {
    case "steer":
      return steerTexts[abilities.steer];
    case "resume":
      return abilities.resume;
    case "budget":
      return abilities.tokens;
    case "20 MB of output":
      return "shortened";
    default:
      return "passes";
  }
}

const tables = {
  "<!-- begin: npm run docs:agents -->": () =>
    tableOf(
      allAbilities,
      rows.map(([title, text]) => [title, ...allAbilities.map(text)]),
    ),
  "<!-- begin: npm run docs:agents, programs -->": () =>
    tableOf(
      programs.map(({ abilities }) => abilities),
      Object.keys(scenarios)
        .filter((key): key is Scenario => key in scenarios)
        .map((key) => [scenarios[key], ...programs.map((one) => cellOf(one, key))]),
    ),
} as const;

/** The page with the tables that belong in it. */
export function withTables(page: string): string {
  let text = page;
  for (const [begin, make] of Object.entries(tables)) {
    const start = text.indexOf(begin);
    const stop = text.indexOf(end, start);
    if (start === -1 || stop === -1) throw new Error(`${file} has no ${begin} … ${end}`);
    text = `${text.slice(0, start)}${begin}\n${make()}\n${text.slice(stop)}`;
  }
  return text;
}

function tableOf(kinds: readonly Abilities[], lines: readonly (readonly string[])[]): string {
  const names = kinds.map(({ name, page }) => `[${name}](${page})`);
  const all = [["", ...names], ["---", ...names.map(() => "---")], ...lines];
  return all.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

export const readPage = () => readFileSync(file, "utf8");

if (import.meta.main) writeFileSync(file, withTables(readPage()));
