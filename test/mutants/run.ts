// `npm run mutants [PART OF A NAME] [-- --sample N --seed N]`: applies each fault of the list to a copy of the tree, runs the test file that must detect
// it, and prints which test failed. A fault that no test detects has survived: the exit code is then 1.
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { runCommand } from "../../src/core/process/run.ts";
import { randomFrom } from "../support/worlds/simulation.ts";
import { mutants } from "./list.ts";
import type { Mutant } from "./mutant.ts";

const tree = resolve(import.meta.dirname, "../..");
const copied = ["bin", "bench", "docs", "examples", "src", "test", "package.json", "tsconfig.json"];
const limitMs = 180_000;
const maxOutputBytes = 64 * 1024 * 1024;
const environment = Object.fromEntries(
  Object.entries(process.env).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value]],
  ),
);

interface Outcome {
  /** The tests that failed; null: the file did not run, for example because the fault is not valid source. */
  readonly failed: readonly string[] | null;
  readonly output: string;
}

async function copyOfTree(): Promise<string> {
  // Not below node_modules, where Node does not load TypeScript.
  const dir = await mkdtemp(join(tmpdir(), "symphony-mutant-"));
  for (const name of copied) await cp(join(tree, name), join(dir, name), { recursive: true });
  await symlink(join(tree, "node_modules"), join(dir, "node_modules"));
  return dir;
}

/** Runs `work` with the fault applied; resolves with the reason if `from` does not occur exactly once in the file. */
async function withFault<T>(
  dir: string,
  mutant: Mutant,
  work: () => Promise<T>,
): Promise<T | string> {
  const file = join(dir, mutant.file);
  const source = await readFile(file, "utf8");
  const count = source.split(mutant.from).length - 1;
  if (count !== 1) return `its text occurs ${count} times in ${mutant.file}: change the list`;
  // A function, because "$&" in a replacement string would be a pattern.
  await writeFile(
    file,
    source.replace(mutant.from, () => mutant.to),
  );
  try {
    return await work();
  } finally {
    await writeFile(file, source);
  }
}

type Chosen = Pick<Mutant, "tests"> & { readonly only?: readonly string[] };

async function runTests(dir: string, { tests: files, only }: Chosen): Promise<Outcome> {
  const home = join(dir, ".home");
  await mkdir(home, { recursive: true });
  const args = ["--test", "--test-reporter=tap", "--test-timeout=60000", "--test-force-exit"];
  if (only)
    args.push(`--test-name-pattern=^(?:${only.map((name) => RegExp.escape(name)).join("|")})`);
  // A fault can leave a server running, which would hold the port of the next test: the whole tree is ended.
  const { output } = await runCommand({
    argv: [process.execPath, ...args, ...files],
    cwd: dir,
    env: { ...environment, HOME: home, NODE_COMPILE_CACHE: join(dir, ".compiled") },
    timeoutMs: limitMs,
    outputBytes: maxOutputBytes,
  });
  const names = [...output.matchAll(/^ *not ok \d+ - (.*)$/gm)].map(([, name = ""]) => name);
  const tests = names.filter((name) => !files.some((file) => name.endsWith(file)));
  return { failed: names.length > 0 && tests.length === 0 ? null : tests, output };
}

async function tryOne(dir: string, mutant: Mutant): Promise<boolean> {
  const outcome = await withFault(dir, mutant, () => {
    const { tests, only } = mutant;
    return runTests(dir, { tests, ...(only && { only: [only] }) });
  });
  if (typeof outcome === "string") {
    console.log(`OUT OF DATE ${mutant.name}\n          ${outcome}`);
    return false;
  }
  const { failed, output } = outcome;
  const [first] = failed ?? [];
  if (first !== undefined) {
    console.log(`detected  ${mutant.name}\n          by: ${first}`);
    return true;
  }
  const why = failed === null ? "the test file did not run" : "no test failed";
  console.log(`SURVIVED  ${mutant.name}\n          ${why}: ${mutant.tests.join(", ")}`);
  if (failed === null) console.log(output.slice(-2_000));
  return false;
}

/** A test that fails without a fault would detect every fault. */
async function requireGreen(dir: string, all: readonly Mutant[]): Promise<void> {
  const whole = all.filter(({ only }) => only === undefined);
  const part = all.filter(({ only }) => only !== undefined);
  const filesOf = (some: readonly Mutant[]) => [...new Set(some.flatMap(({ tests }) => tests))];
  const only = [...new Set(part.flatMap((one) => one.only ?? []))];
  for (const chosen of [{ tests: filesOf(whole) }, { tests: filesOf(part), only }]) {
    if (chosen.tests.length === 0) continue;
    const { failed, output } = await runTests(dir, chosen);
    if (failed?.length === 0) continue;
    console.log(output.slice(-4_000));
    const names = failed?.join("; ") ?? chosen.tests.join(", ");
    throw new Error(`these tests fail without a fault: ${names}`);
  }
}

/** `count` of them, the same for the same seed. */
function sampleOf(all: readonly Mutant[], count: number, seed: number): readonly Mutant[] {
  const random = randomFrom(seed);
  const left = [...all];
  const taken = Array.from({ length: Math.min(count, left.length) }, () =>
    left.splice(Math.floor(random() * left.length), 1),
  );
  return taken.flat();
}

async function main(): Promise<number> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { sample: { type: "string" }, seed: { type: "string", default: "1" } },
  });
  const named = mutants.filter(({ name }) => name.includes(positionals[0] ?? ""));
  const count = Number(values.sample ?? named.length);
  const chosen = sampleOf(named, count, Number(values.seed));
  console.log(`${chosen.length} of ${mutants.length} faults`);
  if (chosen.length === 0) throw new Error("no fault has this in its name");
  const dirs = await Promise.all(
    Array.from({ length: Math.min(chosen.length, availableParallelism()) }, copyOfTree),
  );
  try {
    await requireGreen(dirs[0] ?? tree, chosen);
    const left = [...chosen];
    let survivors = 0;
    const work = async (dir: string) => {
      for (let one = left.shift(); one; one = left.shift()) {
        if (!(await tryOne(dir, one))) survivors += 1;
      }
    };
    await Promise.all(dirs.map(work));
    console.log(`\n${chosen.length - survivors} detected, ${survivors} survived`);
    return survivors === 0 ? 0 : 1;
  } finally {
    await Promise.all(dirs.map((dir) => rm(dir, { recursive: true, force: true, maxRetries: 5 })));
  }
}

process.exitCode = await main();
