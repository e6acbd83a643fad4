import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Abilities, allAbilities } from "./abilities.ts";

// The table of what each kind of agent can do, in docs/agents/README.md. `npm run docs:agents` writes it.

const file = fileURLToPath(new URL("../../../docs/agents/README.md", import.meta.url));
const begin = "<!-- begin: npm run docs:agents -->";
const end = "<!-- end -->";

const rows: readonly (readonly [string, (kind: Abilities) => string])[] = [
  ["Guidance (`symphony steer`)", ({ steer }) => steerTexts[steer]],
  ["Approval by a person", ({ approve }) => approveTexts[approve]],
  ["Questions of the agent", ({ question }) => question],
  ["Next attempt after a crash", ({ resume }) => resume],
  ["Its program", ({ process }) => process],
  ["Its provider's limit", ({ limit }) => limitTexts[limit]],
  ["Tokens for the brakes", ({ tokens }) => tokens],
  ["20 MB of output", ({ flood }) => floodTexts[flood]],
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
const floodTexts: Readonly<Record<Abilities["flood"], string>> = {
  shortened: "shortened",
  "ends the turn in one message": "ends the turn where it is one message",
};
const limitTexts: Readonly<Record<Abilities["limit"], string>> = {
  "until its reset": "paused until its reset",
  "a failed turn": "a failed turn",
};

/** The page with the table that belongs in it. */
export function withTable(page: string): string {
  const start = page.indexOf(begin);
  const stop = page.indexOf(end, start);
  if (start === -1 || stop === -1) throw new Error(`${file} has no ${begin} … ${end}`);
  return `${page.slice(0, start)}${begin}\n${table()}\n${page.slice(stop)}`;
}

function table(): string {
  const names = allAbilities.map(({ name, page }) => `[${name}](${page})`);
  const lines = [
    ["", ...names],
    ["---", ...names.map(() => "---")],
    ...rows.map(([title, text]) => [title, ...allAbilities.map(text)]),
  ];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

export const readPage = () => readFileSync(file, "utf8");

if (import.meta.main) writeFileSync(file, withTable(readPage()));
