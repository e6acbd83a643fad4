// The command line: one file per noun; a command runs the server or calls a running one.

import { version } from "../core/package.ts";
import type { GlobalOptions, Run } from "./context.ts";
import { exitCodes, reportFailure } from "./failure.ts";
import { watchOutput } from "./lost-output.ts";

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
  const program = createProgram();
  const run: Run = async (work) => {
    const { createContext } = await import("./context.ts");
    exitCode = await work(createContext(program.opts(), process));
  };
  await loadNamed(program, argv, run);
  await program.parseAsync(argv, { from: "user" });
  return exitCode;
}

/** Answers the most frequent calls before a parser is loaded, which takes longer than the answer. */
async function quickly(argv: readonly string[]): Promise<number | null> {
  const options = quickState(argv);
  if (options !== null) {
    const { createContext } = await import("./context.ts");
    const { stateCommand } = await import("./state.ts");
    const { runRow } = await import("./table.ts");
    return runRow(stateCommand, {}, createContext(options, process));
  }
  if (argv.length === 2 && argv.includes("--json") && argv.some(isVersion)) {
    const { node } = process.versions;
    const facts = { version: version(), node, platform: process.platform, arch: process.arch };
    process.stdout.write(`${JSON.stringify(facts, null, 2)}\n`);
    return exitCodes.done;
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
  const { catalogue } = await import("./catalogue.ts");
  const { rootHelp } = await import("./help.ts");
  // `symphony` without a command is wrong usage, and is answered with the help.
  const stream = argv.length === 0 ? process.stderr : process.stdout;
  stream.write(rootHelp(catalogue, stream.columns));
  return argv.length === 0 ? exitCodes.usage : exitCodes.done;
}

function isVersion(word: string): boolean {
  return word === "--version" || word === "-V";
}

/**
 * The options of a plain `symphony state`, or null when there are other arguments. Prompts and status lines run that
 * command every second, and parsing it here takes a third less time than loading commander does.
 */
function quickState(argv: readonly string[]): GlobalOptions | null {
  const options: { json?: boolean; url?: string; dataDir?: string } = {};
  const names: string[] = [];
  for (let index = 0; index < argv.length; index += 1) {
    const one = argv[index] ?? "";
    const value = argv[index + 1];
    if (one === "--json") options.json = true;
    else if (!one.startsWith("-")) names.push(one);
    else if ((one !== "--url" && one !== "--data-dir") || value === undefined) return null;
    else {
      options[one === "--url" ? "url" : "dataDir"] = value;
      index += 1;
    }
  }
  if (names.length !== 1 || names[0] !== "state") return null;
  return { ...options, color: "auto", input: true };
}
