import assert from "node:assert/strict";
import { test } from "node:test";
import { catalogue } from "../../src/commands/catalogue.ts";
import type { GlobalOptions } from "../../src/commands/context.ts";
import { readPlainly } from "../../src/commands/plain-words.ts";
import { createProgram, loadNamed } from "../../src/commands/program.ts";
import {
  type CommandRow,
  type Given,
  globalOptions,
  type OptionRow,
} from "../../src/commands/table.ts";

interface Read {
  readonly given: Given;
  readonly options: GlobalOptions;
}

/** What was read, or why not. */
type Outcome = Read | string;

test("plain words are read as the parser reads them, for every command", async () => {
  let compared = 0;
  let understood = 0;
  for (const entry of catalogue) {
    const command = await entry.load();
    // A row that is made anew each time cannot be watched.
    if (command !== (await entry.load())) continue;
    for (const { row, path } of rowsOf(command, [entry.name])) {
      for (const line of linesOf(row, path)) {
        const plain = await attempt(async () => readPlainly(line, catalogue));
        compared += 1;
        if (plain === null) continue;
        understood += 1;
        const shown = typeof plain === "string" ? plain : unset(plain);
        assert.deepEqual(shown, await parsed(line, row), line.join(" "));
      }
    }
  }
  assert.ok(compared > 1_000 && understood > compared / 2, `${understood} of ${compared}`);
});

test("the parser has the word on help, short options and whatever is wrong", async () => {
  for (const line of [
    ...["", "unknown", "state --help", "state -h", "-V", "--version", "help --json --json"],
    ...["state extra", "state --unknown", "state --url", "state --color pink", "state --no-input"],
    ...["issue", "issue unknown", "issue show", "issue list --limit -5", "issue help", "abort"],
    ...["issue list --limit=5", "state -- --json", "issue create --label a", "secrets unknown x y"],
  ]) {
    assert.equal(await readPlainly(line.split(" "), catalogue), null, line);
  }
});

function* rowsOf(
  row: CommandRow,
  path: readonly string[],
): Generator<{ readonly row: CommandRow; readonly path: readonly string[] }> {
  if (row.call !== undefined || row.stream !== undefined) yield { row, path };
  for (const one of row.commands ?? []) yield* rowsOf(one, [...path, one.name]);
}

/** Right and wrong ones. */
function* linesOf(
  { arguments: positional = [], options = [] }: CommandRow,
  path: readonly string[],
): Generator<readonly string[]> {
  const words = positional.map(({ choices }, at) => choices?.[0] ?? `word-${at}`);
  const needed = options.filter(({ required }) => required === true).flatMap(typedAs);
  const least = [...path, ...words.slice(0, positional.findIndex((one) => one.optional) >>> 0)];
  yield path;
  yield [...path, ...words];
  yield [...least, ...needed];
  yield [...path, ...words, "one-more", ...needed];
  yield ["--json", "--data-dir", "/tmp", ...least, ...needed, "--yes", "--color", "never"];
  for (const one of [...options, ...globalOptions.filter(({ name }) => name !== "help")]) {
    yield [...least, ...needed, ...typedAs(one)];
    yield [...path, ...typedAs(one), ...words];
  }
}

function typedAs({ name, value, choices }: OptionRow): string[] {
  return value === undefined ? [`--${name}`] : [`--${name}`, choices?.[0] ?? "5"];
}

async function attempt<T>(work: () => Promise<T>): Promise<T | string> {
  try {
    return await work();
  } catch (error) {
    return String(error);
  }
}

/** By the parser, without running anything. */
async function parsed(line: readonly string[], row: CommandRow): Promise<Outcome | null> {
  const program = createProgram();
  const { stream } = row;
  let read: Outcome | null = null;
  const seen = async (given: Given) => {
    read = unset({ given, options: program.opts() });
    return 0;
  };
  Object.assign(row, { stream: seen });
  const context = {} as Parameters<NonNullable<CommandRow["call"]>>[1];
  const failed = await attempt(async () => {
    await loadNamed(program, line, async (work) => void (await work(context)));
    await program.parseAsync([...line], { from: "user" });
  });
  Object.assign(row, { stream });
  return failed ?? read;
}

/** Without what was not given: both are read the same way. */
function unset({ given, options }: Read): Read {
  const isSet = ([, value]: readonly [string, unknown]) => value !== undefined;
  return {
    given: Object.fromEntries(Object.entries(given).filter(isSet)),
    options: Object.fromEntries(Object.entries(options).filter(isSet)) as unknown as GlobalOptions,
  };
}
