// The command line: one file per noun; a command runs the server or calls a running one.

import { version } from "../core/package.ts";
import { catalogue } from "./catalogue.ts";
import { createContext, type Run } from "./context.ts";
import { exitCodes, reportFailure } from "./failure.ts";
import { watchOutput } from "./lost-output.ts";
import { readPlainly } from "./plain-words.ts";
import { runRow } from "./table.ts";

/** Runs one command line (without node and the script); resolves to the exit code. Never rejects. */
export async function main(argv: readonly string[]): Promise<number> {
  watchOutput(argv);
  try {
    return await runCommand(argv);
  } catch (error) {
    return reportFailure(error, { argv, stderr: process.stderr });
  }
}

async function runCommand(argv: readonly string[]): Promise<number> {
  const done = await quickly(argv);
  if (done !== null) return done;
  const { createProgram, loadNamed } = await import("./program.ts");
  let exitCode: number = exitCodes.done;
  const program = createProgram(argv);
  const run: Run = async (work) => {
    exitCode = await work(createContext(program.opts(), process));
  };
  await loadNamed(program, argv, run);
  await program.parseAsync(argv, { from: "user" });
  return exitCode;
}

/** Answers the most frequent calls before a parser is loaded, which takes longer than the answer. */
async function quickly(argv: readonly string[]): Promise<number | null> {
  if (argv.length === 2 && argv.includes("--json") && argv.some(isVersion)) {
    const { node } = process.versions;
    const facts = { version: version(), node, platform: process.platform, arch: process.arch };
    process.stdout.write(`${JSON.stringify(facts, null, 2)}\n`);
    return exitCodes.done;
  }
  const plain = await readPlainly(argv, catalogue);
  if (plain !== null) {
    return runRow(plain.row, plain.given, createContext(plain.options, process));
  }
  if (argv.length > 1) return null;
  // Not in the catalogue: only agents start it.
  if (argv[0] === "mcp-bridge") {
    const { bridge } = await import("./mcp-bridge.ts");
    return bridge(process.env["SYMPHONY_MCP_BRIDGE"]);
  }
  if (argv[0] !== undefined && isVersion(argv[0])) {
    process.stdout.write(`${version()}\n`);
    return exitCodes.done;
  }
  if (argv[0] !== undefined && !["--help", "-h", "help"].includes(argv[0])) return null;
  const { rootHelp } = await import("./help.ts");
  // `symphony` without a command is wrong usage, and is answered with the help.
  const stream = argv.length === 0 ? process.stderr : process.stdout;
  stream.write(rootHelp(catalogue, stream.columns));
  return argv.length === 0 ? exitCodes.usage : exitCodes.done;
}

function isVersion(word: string): boolean {
  return word === "--version" || word === "-V";
}
