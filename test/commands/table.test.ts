import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Command } from "commander";
import { catalogue } from "../../src/commands/catalogue.ts";
import { createProgram, loadNamed } from "../../src/commands/program.ts";
import { scriptOf } from "../../src/commands/shells.ts";
import {
  flagsOf,
  globalOptions,
  loadRow,
  type NamedRow,
  type OptionRow,
  subcommandsOf,
} from "../../src/commands/table.ts";
import { temporaryDir } from "../support/makers/storage.ts";

interface Pair {
  /** For example `issue create`. */
  readonly path: string;
  readonly row: NamedRow;
  /** The same command as the parser has it. */
  readonly command: Command;
}

const rows = await Promise.all(catalogue.map(loadRow));
const program = createProgram();
for (const { name } of catalogue) await loadNamed(program, [name], async () => {});
const pairs = rows.flatMap((row) => pairsOf("", row, program));

function pairsOf(above: string, row: NamedRow, parent: Command): Pair[] {
  const command = parent.commands.find((one) => one.name() === row.name);
  assert.ok(command, `${above} ${row.name}`);
  const path = `${above} ${row.name}`.trim();
  const below = row.commands ?? [];
  return [{ path, row, command }, ...below.flatMap((one) => pairsOf(path, one, command))];
}

/** The spellings of an option: one or two. */
function flags(option: OptionRow): string[] {
  return flagsOf(option).replace(/ <.*/, "").split(", ");
}

function shownOptions(row: NamedRow): readonly OptionRow[] {
  return (row.options ?? []).filter(({ hidden }) => !hidden);
}

test("every command has an example, and a summary without a full stop", () => {
  assert.ok(pairs.length > 60, String(pairs.length));
  for (const { path, row } of pairs) {
    assert.match(row.summary, /^[a-z].*[^.]$/, path);
    assert.ok(
      row.examples?.some((line) => line.includes("symphony")),
      path,
    );
    assert.ok(row.call ?? row.stream ?? row.commands, `${path} does something`);
    if (row.call) assert.ok(row.print, `${path} shows a person what it did`);
    const shapes = row.arguments?.map(({ optional, repeats }) => [optional === true, repeats]);
    assert.ok(!shapes?.slice(0, -1).some(([optional, repeats]) => optional || repeats), path);
  }
});

test("the parser accepts what the rows define, and the help prints it", () => {
  for (const { path, row, command } of pairs) {
    const help = command.createHelp();
    const own = [...shownOptions(row), ...globalOptions.filter(({ name }) => name === "help")];
    const options = help.visibleOptions(command).map((one) => help.optionTerm(one));
    assert.deepEqual(options, own.map(flagsOf), path);
    for (const [index, one] of help.visibleOptions(command).entries()) {
      assert.deepEqual(one.argChoices, own[index]?.choices, `${path} ${one.long}`);
      assert.equal(one.mandatory, own[index]?.required === true, `${path} ${one.long}`);
      assert.equal(one.defaultValue, own[index]?.default, `${path} ${one.long}`);
    }
    const positional = command.registeredArguments.map((one) => `${one.name()} ${one.required}`);
    const inRow = row.arguments?.map(({ name, optional }) => `${name} ${!optional}`) ?? [];
    assert.deepEqual(positional, inRow, path);
    const commands = help.visibleCommands(command).map((one) => help.subcommandTerm(one));
    const printed = sectionsOf(command.helpInformation());
    assert.deepEqual(printed.get("Commands") ?? [], commands, path);
    assert.deepEqual(printed.get("Options"), options, path);
    const names = row.arguments?.map(({ name }) => name) ?? [];
    assert.deepEqual(printed.get("Arguments") ?? [], names, path);
    assert.ok(command.helpInformation().includes(`Usage: ${help.commandUsage(command)}\n`), path);
    for (const { name } of row.arguments ?? []) assert.ok(!name.includes(" "), path);
  }
  const taken = program.createHelp().visibleOptions(program);
  assert.deepEqual(taken.map(({ flags: one }) => one).sort(), globalOptions.map(flagsOf).sort());
});

/** The terms that a help text lists under each heading. */
function sectionsOf(text: string): Map<string, string[]> {
  const parts = text.split(/\n\n/).map((part) => part.split("\n"));
  return new Map(
    parts.map(([title = "", ...lines]) => [
      title.replace(/:$/, ""),
      lines.flatMap((line) => /^ {2}(\S.*?)(?: {2}|$)/.exec(line)?.[1] ?? []),
    ]),
  );
}

/** What completes the value of an option or an argument: words, or a source such as `@issues`. */
function wordsOf({ choices, completion }: Pick<OptionRow, "choices" | "completion">): string[] {
  if (completion === "commands") return [...rows.map(({ name }) => name), "exit-codes"];
  if (typeof completion === "string") return [`@${completion}`];
  return [...(choices ?? completion ?? [])];
}

const mark = "=====";

/** The words that a shell with the script loaded prints for each of `calls`. */
function answers(t: TestContext, shell: string, calls: readonly string[]): string[][] {
  const script = join(temporaryDir(t), "script");
  const compdef = shell === "zsh" ? "compdef() { :; }\n" : "";
  const program = calls.map((one) => `${one}\necho '${mark}'\n`).join("");
  writeFileSync(script, `${compdef}${scriptOf(shell, rows)}\n${program}`);
  const quietly = { bash: "--norc", zsh: "-f", fish: "-N" }[shell] ?? "";
  const stdio = ["ignore", "pipe", "ignore"] as const;
  const output = execFileSync(shell, [quietly, script], { encoding: "utf8", stdio: [...stdio] });
  const parts = output.split(`${mark}\n`);
  assert.equal(parts.length, calls.length + 1, shell);
  return parts.slice(0, -1).map((part) => part.split("\n").flatMap(firstWord));
}

function hasShell(name: string): boolean {
  return spawnSync(name, ["--version"]).status === 0;
}

function firstWord(line: string): string[] {
  const [word = ""] = line.split("\t");
  return word === "" ? [] : [word];
}

for (const shell of ["bash", "zsh"]) {
  test(`${shell} completes what the rows define: commands, options, values and arguments`, (t) => {
    if (!hasShell(shell)) return t.skip(`${shell} is not installed`);
    const expected = questions();
    const calls = expected.map(({ ask }) => ask);
    for (const [index, words] of answers(t, shell, calls).entries()) {
      assert.deepEqual(words, expected[index]?.words, calls[index]);
    }
  });
}

/** Every position in every command, as a call of the script's functions, with the words that the rows define for it. */
function questions(): { readonly ask: string; readonly words: readonly string[] }[] {
  const shared = globalOptions.flatMap(flags);
  return pairs.flatMap(({ path, row }) => [
    { ask: `__symphony_commands '${path}'`, words: subcommandsOf(row).map(({ name }) => name) },
    {
      ask: `__symphony_options '${path}'`,
      words: [...shownOptions(row).flatMap(flags), ...shared],
    },
    ...[...shownOptions(row), ...globalOptions].flatMap((option) => {
      const words = option.value === undefined ? ["none"] : wordsOf(option);
      return flags(option).map((flag) => ({
        ask: `__symphony_values '${path}' '${flag}' || echo none`,
        words,
      }));
    }),
    ...(row.arguments ?? []).flatMap((one, index) => [
      { ask: `__symphony_position '${path}' ${index}`, words: wordsOf(one) },
      {
        ask: `__symphony_position '${path}' ${index + 9}`,
        words: one.repeats ? wordsOf(one) : [],
      },
    ]),
  ]);
}

test("fish completes what the rows define", (t) => {
  if (!hasShell("fish")) return t.skip("fish is not installed");
  const shared = globalOptions.map(({ name }) => `--${name}`);
  const given = answers(
    t,
    "fish",
    pairs.flatMap(({ path }) => [`complete -C 'symphony ${path} --'`]),
  );
  for (const [index, { path, row }] of pairs.entries()) {
    const own = shownOptions(row).map(({ name }) => `--${name}`);
    assert.deepEqual(given[index]?.sort(), [...own, ...shared].sort(), path);
  }
  const groups = pairs.filter(({ row }) => row.commands);
  const below = answers(
    t,
    "fish",
    groups.map(({ path }) => `complete -C 'symphony ${path} '`),
  );
  for (const [index, { path, row }] of groups.entries()) {
    const names = subcommandsOf(row).map(({ name }) => name);
    assert.deepEqual(below[index]?.sort(), names.sort(), path);
  }
});

test("the examples of a command use only options that it accepts", () => {
  for (const { path, row } of pairs) {
    const known = new Set(allFlags(row));
    const own = (row.examples ?? []).filter((line) => line.startsWith(`symphony ${path} `));
    for (const line of own) {
      const [typed = ""] = line.split(/ {2,}| \| /);
      const used = typed.replaceAll(/'[^']*'|"[^"]*"/g, "").match(/(?<= )--?[a-z][\w-]*/g) ?? [];
      for (const flag of used) assert.ok(known.has(flag), `${path}: ${line}`);
    }
  }
});

function allFlags(row: NamedRow): string[] {
  const below = (row.commands ?? []).flatMap(allFlags);
  return [...(row.options ?? []), ...globalOptions].flatMap(flags).concat(below);
}

/** The packages and the source files that a command line loads. */
function loadedBy(t: TestContext, args: readonly string[]): string[] {
  const dir = temporaryDir(t);
  const log = join(dir, "loaded");
  const hook = join(dir, "hook.mjs");
  writeFileSync(
    hook,
    `import { appendFileSync } from "node:fs";
    import { registerHooks } from "node:module";
    registerHooks({
      resolve(name, context, next) {
        const found = next(name, context);
        appendFileSync(${JSON.stringify(log)}, found.url + "\\n");
        return found;
      },
    });`,
  );
  const bin = fileURLToPath(new URL("../../bin/symphony.js", import.meta.url));
  const env = { ...process.env, XDG_CACHE_HOME: dir };
  spawnSync(process.execPath, ["--import", pathToFileURL(hook).href, bin, ...args], { env });
  const urls = readFileSync(log, "utf8").trim().split("\n");
  return urls.flatMap((url) => /(?:node_modules|\/src)\/(.+)$/.exec(url)?.[1] ?? []);
}

test("help, completion and state load no package except the parser", (t) => {
  const packages = (...args: string[]) => {
    const loaded = loadedBy(t, args);
    assert.ok(loaded.includes("commands/main.ts"), args.join(" "));
    const outside = loaded.filter(
      (file) =>
        !/^(commands|client|contract|web\/words\.ts|core\/((?:answers|outbound|package)\.ts|(model|text)\/))/.test(
          file,
        ),
    );
    return [...new Set(outside.map((file) => file.split("/")[0]))];
  };
  assert.deepEqual(packages("--help"), []);
  assert.deepEqual(packages("--version"), []);
  assert.deepEqual(packages("state", "--json", "--url", "http://127.0.0.1:9"), []);
  assert.deepEqual(packages("completion", "bash"), []);
  assert.deepEqual(packages("help", "steer"), ["commander"]);
});
