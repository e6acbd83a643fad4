import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AgentSession, SessionSpec } from "../../../src/core/agent/agent.ts";
import { createCommandRuntime } from "../../../src/core/agent/command/runtime.ts";
import { type CommandConfig, commandSection } from "../../../src/core/agent/command/settings.ts";
import { type Clock, systemClock } from "../../../src/core/clock.ts";
import { Bench } from "./scripted-agent.ts";

interface CommandBenchOptions {
  readonly config?: Partial<CommandConfig>;
  readonly clock?: Clock;
  readonly env?: NodeJS.ProcessEnv;
  /** Secrets of the operator. */
  readonly stored?: Readonly<Record<string, string>>;
  /** Default: `data` next to the workspace. */
  readonly dataDir?: string;
}

/** A workspace for one program as an agent; only tests of the sandbox use the sandbox. */
export class CommandBench extends Bench {
  readonly hidden: string[] = [];
  readonly #own: CommandBenchOptions;

  constructor(root: string, options: CommandBenchOptions) {
    super(root, {});
    this.#own = options;
  }

  override spec(): SessionSpec {
    return { ...super.spec(), level: "danger" };
  }

  /** Writes a program next to the workspace and returns its path. */
  async program(name: string, text: string): Promise<string> {
    const path = join(this.root, name);
    await writeFile(path, text, { mode: 0o755 });
    return path;
  }

  override async start(
    spec: Partial<SessionSpec> = {},
    signal: AbortSignal = new AbortController().signal,
  ): Promise<AgentSession> {
    const { config, clock = systemClock, dataDir = join(this.root, "data") } = this.#own;
    const env: NodeJS.ProcessEnv = {
      PATH: process.env["PATH"],
      HOME: this.root,
      ...this.#own.env,
    };
    const runtime = createCommandRuntime({
      config: () => ({ ...commandSection.settings(commandSection.schema.parse({})), ...config }),
      clock,
      env,
      lookup: (name) => this.#own.stored?.[name] ?? env[name],
      hide: (value) => this.hidden.push(value),
      workspaceRoot: () => this.root,
      dataDir,
    });
    return runtime.start({ ...this.spec(), ...spec }, signal);
  }
}

export async function commandBench(options: CommandBenchOptions = {}): Promise<CommandBench> {
  const bench = new CommandBench(await mkdtemp(join(tmpdir(), "symphony-command-")), options);
  await mkdir(bench.workspace);
  return bench;
}
