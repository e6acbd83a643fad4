// S26 of the scheduler's and command line's case file: every table fits a narrow terminal.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { catalogue } from "../../src/commands/catalogue.ts";
import { commandHelp, rootHelp } from "../../src/commands/help.ts";
import { foldLines, tableLines, widthOf } from "../../src/commands/output.ts";
import { loadRow, type NamedRow, subcommandsOf } from "../../src/commands/table.ts";
import { symphonyFile } from "../support/makers/program.ts";
import { type LivingServer, livingServer } from "../support/worlds/living-server.ts";

const onTerminal = fileURLToPath(new URL("../support/fakes/on-terminal.py", import.meta.url));
const noTerminal = spawnSync("python3", ["--version"]).status === 0 ? false : "needs python3";

let living: LivingServer;
before(async () => {
  living = await livingServer();
  const { ask } = living.server;
  const title =
    "A title that is much longer than the terminal is wide, 界 with wide characters 界 too";
  const labels = ["ready", "a-rather-long-label", "another-rather-long-label"];
  const body = { title, labels };
  const made = await ask("/api/v1/issues", { method: "POST", body });
  assert.equal(made.status, 201, made.text);
  await ask("/api/v1/ENG-124/abort", { method: "POST", body: { reason: `because ${title}` } });
});
after(() => living[Symbol.asyncDispose]());

/** The lines that the command prints on a terminal of this width. */
async function shown(
  args: readonly string[],
  columns: number,
  code = 0,
): Promise<readonly string[]> {
  const script = 'stty cols "$0" rows 50 2>/dev/null; exec "$@"';
  const command = ["sh", "-c", script, String(columns), process.execPath, symphonyFile, ...args];
  const child = spawn("python3", [onTerminal, "", "", ...command], {
    env: { PATH: process.env["PATH"], SYMPHONY_URL: living.server.url, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const chunks = await child.stdout.setEncoding("utf8").toArray();
  if (child.exitCode === null) await once(child, "exit");
  assert.equal(child.exitCode, code, `${args.join(" ")}: ${chunks.join("")}`);
  return chunks.join("").replaceAll("\r", "").trimEnd().split("\n");
}

const lists = [
  ["state"],
  ["inbox"],
  ["attempts", "ENG-123"],
  ["audit"],
  ["issue", "list", "--offset", "100"],
  ["usage", "--outcome"],
  ["templates", "list"],
  ["workspaces", "list"],
  ["config", "get", "--origin"],
  ["transition", "ENG-123"],
  ["explain", "ENG-123"],
  ["issue", "show", "ENG-124"],
];

for (const [columns, some] of [
  [60, lists],
  [80, lists.slice(0, 4)],
] as const) {
  test(`S26: every list fits ${columns} columns`, { skip: noTerminal }, async () => {
    for (const args of some) {
      const lines = await shown([...args, "--quiet"], columns);
      for (const line of lines) {
        // A path or an address is not broken: it has to be copied as one.
        const isOneWord = /^ *\S+$/.test(line) || /^\S+ {2,}\S+$/.test(line);
        assert.ok(widthOf(line) <= columns || isOneWord, `${args.join(" ")}: ${line}`);
      }
    }
  });
}

test("S26: at 60 columns the audit names its actions whole", {
  skip: noTerminal,
}, async () => {
  const audit = (await shown(["audit", "--quiet"], 60)).join("\n");
  assert.match(audit, /ago +config\.replaceOverlay +-/);
  assert.match(audit, /(?:now|ago) +issues\.abort +ENG-124/);
});

/** A path, an address or a word of a command is not broken: it has to be copied as one. */
const isOneWord = (line: string) => /^ *\S+$/.test(line);

test("S26: the help of every command fits 60 columns, and is as wide as it is in a pipe", async () => {
  const all = async (path: string, one: NamedRow): Promise<readonly string[]> => {
    const below = subcommandsOf(one).map((sub) => all(`${path} ${sub.name}`, sub));
    return [commandHelp(path, one, 60), ...(await Promise.all(below)).flat()];
  };
  const helps = catalogue.map(async (entry) => all(`symphony ${entry.name}`, await loadRow(entry)));
  const texts = [rootHelp(catalogue, 60), ...(await Promise.all(helps)).flat()];
  for (const line of texts.join("\n").split("\n")) {
    assert.ok(widthOf(line) <= 60 || isOneWord(line), line);
  }
  const example = '  symphony steer ENG-123 "auth first"    guide an agent in mid-turn\n';
  assert.ok(rootHelp(catalogue).includes(example));
});

test("the help of every command fits 80 columns, begins with examples, and ends with one line about shared options", async () => {
  const all = async (
    path: string,
    one: NamedRow,
  ): Promise<readonly (readonly [string, string])[]> => {
    const below = subcommandsOf(one).map((sub) => all(`${path} ${sub.name}`, sub));
    return [[path, commandHelp(path, one)], ...(await Promise.all(below)).flat()];
  };
  const helps = catalogue.map(async (entry) => all(`symphony ${entry.name}`, await loadRow(entry)));
  const texts = (await Promise.all(helps)).flat();
  for (const [path, text] of [["symphony", rootHelp(catalogue)] as const, ...texts]) {
    for (const line of text.split("\n")) assert.ok(widthOf(line) <= 80, `${path}: ${line}`);
    assert.match(text, /symphony help options[^\n]*\n$/, path);
    // `symphony issue help` is explained by its parent.
    if (!path.endsWith(" help")) assert.match(text, /^[^\n]+\n\nExamples:\n/, path);
  }
  const lines = rootHelp(catalogue).split("\n");
  for (const { name, summary } of catalogue) {
    assert.ok(lines.includes(`  ${name}`.padEnd(17) + summary), `${name} has one line`);
  }
});

test("S26: errors, hints and notes fit 60 columns of a terminal, and are one line in a pipe", {
  skip: noTerminal,
}, async () => {
  const cases: readonly (readonly [args: readonly string[], code: number])[] = [
    [["issue", "list", "--state", "In Progess of something that no tracker has"], 3],
    [["steer", "ENG-123", ""], 2],
    [["issue", "shwo", "ENG-123"], 2],
    [["events", "--since", "the day before the day before yesterday at noon"], 2],
    [["explain", "--help"], 0],
  ];
  for (const [args, code] of cases) {
    for (const line of await shown(args, 60, code)) {
      assert.ok(widthOf(line) <= 60 || isOneWord(line), `${args.join(" ")}: ${line}`);
    }
  }
  const { stderr } = spawnSync(process.execPath, [symphonyFile, ...(cases[3]?.[0] ?? [])], {
    env: { PATH: process.env["PATH"], SYMPHONY_URL: living.server.url, NO_COLOR: "1" },
    encoding: "utf8",
  });
  const [first = ""] = stderr.split("\n");
  assert.ok(widthOf(first) > 60 && /^symphony: .*noon/.test(first), stderr);
});

test("S26: the columns of least worth are left out first, and the rest stays readable", () => {
  const columns = [
    { title: "ISSUE" },
    { title: "STATE", drop: 2 },
    { title: "TURNS", drop: 1 },
    { title: "TITLE", flexible: true },
  ] as const;
  const rows = [["ENG-123", "In Progress", "12", "Fix the login page of the shop"]];
  const heads = (width: number) => tableLines({ columns, rows, width })[0]?.split(/ +/);
  assert.deepEqual(heads(80), ["ISSUE", "STATE", "TURNS", "TITLE"]);
  assert.deepEqual(heads(40), ["ISSUE", "STATE", "TITLE"]);
  assert.deepEqual(heads(30), ["ISSUE", "TITLE"]);
  for (const width of [80, 60, 40, 30, 20]) {
    for (const line of tableLines({ columns, rows, width }))
      assert.ok(widthOf(line) <= width, line);
  }
  const names = [["a-name-that-alone-is-wider-than-the-terminal", "", "", "x"]];
  for (const line of tableLines({ columns, rows: names, width: 20 })) {
    assert.ok(widthOf(line) <= 20, line);
  }
});

test("S26: long lines break between words, and what follows is indented", () => {
  const line = "ok  gate: a sentence that is longer than the terminal";
  assert.deepEqual(foldLines([line], 30, 4), [
    "ok  gate: a sentence that is",
    "    longer than the terminal",
  ]);
  assert.deepEqual(foldLines([line], null), [line]);
  assert.deepEqual(foldLines(["x".repeat(50)], 30), ["x".repeat(50)]);
});
