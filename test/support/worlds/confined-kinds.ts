import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { SessionSpec } from "../../../src/core/agent/agent.ts";
import { modelServer } from "../fakes/model-server.ts";
import { AcpBench } from "./acp-bench.ts";
import { CommandBench } from "./command-bench.ts";
import { OpenaiBench } from "./openai-bench.ts";
import type { Bench } from "./scripted-agent.ts";

/** An agent of one kind that runs the commands of a test. */
export interface Confined extends AsyncDisposable {
  readonly root: string;
  readonly workspace: string;
  readonly dataDir: string;
  /** The folder with the workspaces of other issues. */
  readonly workspaceRoot: string;
  readonly home: string;
  /** The output of each command on both streams; each run uses a new session. */
  run(commands: readonly string[], spec: Partial<SessionSpec>): Promise<readonly string[]>;
}

export interface ConfinedOptions {
  readonly env: Readonly<Record<string, string>>;
  readonly passthrough: readonly string[];
  /** Secrets of the operator. */
  readonly stored?: Readonly<Record<string, string>>;
  /** The agent has a model provider, and so a way out at level safe. */
  readonly hasProvider?: boolean;
}

const project = fileURLToPath(new URL("../../..", import.meta.url));
const agentFile = fileURLToPath(new URL("../fakes/acp-agent-child.ts", import.meta.url));
const everyProbe = 'for probe in probe-*; do bash "$probe" > "said-$probe" 2>&1; done';

/** The kinds of agents that symphony confines. */
export const confinedKinds = {
  openai: async ({ env, passthrough, stored = {} }: ConfinedOptions): Promise<Confined> => {
    const limits = { command_processes: 64, command_file_bytes: 1_048_576 };
    const bench = await OpenaiBench.make({ ...limits, env_passthrough: [...passthrough] });
    bench.env = { ...bench.env, ...env };
    Object.assign(bench.secrets, stored);
    return {
      root: bench.root,
      workspace: bench.workspace,
      dataDir: bench.dataDir,
      workspaceRoot: join(bench.root, "workspaces"),
      home: join(bench.root, "home"),
      run: (commands, spec) => byShellTool(bench, commands, spec),
      [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose](),
    };
  },
  command: async ({ env, passthrough, stored = {} }: ConfinedOptions): Promise<Confined> => {
    const places = await placesIn(await mkdtemp(join(tmpdir(), "symphony-command-")));
    const bench = new CommandBench(places.workspaceRoot, {
      config: { line: `${everyProbe}; echo done`, envPassthrough: passthrough },
      env: { ...env, HOME: places.home },
      stored,
      dataDir: places.dataDir,
    });
    return confined(bench, places);
  },
  acp: async ({
    env,
    passthrough,
    stored = {},
    hasProvider,
  }: ConfinedOptions): Promise<Confined> => {
    const places = await placesIn(await mkdtemp(join(tmpdir(), "symphony-acp-")));
    const [script, journal] = ["script.json", "journal"].map((name) => join(places.root, name));
    await writeFile(script ?? "", JSON.stringify({ turns: [{ steps: [] }] }));
    await writeFile(journal ?? "", "");
    const bench = new AcpBench(places.workspaceRoot, {
      config: {
        command: `${everyProbe}; exec "${process.execPath}" "${agentFile}" "${script}" "${journal}"`,
        envPassthrough: passthrough,
        // The double imports what stands next to it.
        readablePaths: ["package.json", "test/support/fakes"].map((name) => join(project, name)),
        writablePaths: [journal ?? ""],
        ...(hasProvider && { provider: nowhere }),
      },
      env: { ...env, HOME: places.home },
      stored,
      dataDir: places.dataDir,
    });
    return confined(bench, places);
  },
} as const;

const nowhere = {
  ...{ baseUrl: "http://127.0.0.1:9", apiKey: null, apiKeyHeader: "authorization" },
  ...{ baseUrlVariable: "MODEL_URL", apiKeyVariable: "MODEL_KEY" },
};

type Places = Pick<Confined, "root" | "dataDir" | "workspaceRoot" | "home">;

async function placesIn(made: string): Promise<Places> {
  const root = await realpath(made);
  const [dataDir, workspaceRoot, home] = ["data", "workspaces", "home"].map((name) =>
    join(root, name),
  ) as [string, string, string];
  for (const dir of [dataDir, workspaceRoot, home]) await mkdir(dir);
  return { root, dataDir, workspaceRoot, home };
}

async function confined(bench: Bench, places: Places): Promise<Confined> {
  await mkdir(bench.workspace);
  return {
    ...places,
    workspace: bench.workspace,
    run: (commands, spec) => byProgram(bench, commands, spec),
    async [Symbol.asyncDispose]() {
      await bench[Symbol.asyncDispose]();
      await rm(places.root, { recursive: true, force: true });
    },
  };
}

async function byShellTool(
  bench: OpenaiBench,
  commands: readonly string[],
  spec: Partial<SessionSpec>,
): Promise<readonly string[]> {
  await using provider = await modelServer([
    { calls: commands.map((command) => ({ name: "shell", args: { command } })) },
  ]);
  bench.config = { ...bench.config, baseUrl: provider.url };
  await using session = await bench.start(spec);
  await session.turn("Work.", { model: null });
  const input = provider.asked[1]?.body["input"] as { type: string; output: string }[];
  return input.flatMap((item) => (item.type === "function_call_output" ? [item.output] : []));
}

async function byProgram(
  bench: Bench,
  commands: readonly string[],
  spec: Partial<SessionSpec>,
): Promise<readonly string[]> {
  const names = commands.map((_, index) => `probe-${String(index).padStart(2, "0")}`);
  for (const [index, name] of names.entries()) {
    await writeFile(join(bench.workspace, name), `${commands[index]}\necho finished\n`);
  }
  {
    await using session = await bench.start(spec);
    await session.turn("Work.", { model: null });
  }
  const said = names.map((name) => readFile(join(bench.workspace, `said-${name}`), "utf8"));
  return Promise.all(said);
}
