import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { AgentRuntime, AgentSession, SessionSpec } from "../../../src/core/agent/agent.ts";
import { createClaudeRuntime } from "../../../src/core/agent/claude/runtime.ts";
import { type ClaudeConfig, claudeSection } from "../../../src/core/agent/claude/settings.ts";
import { type Clock, systemClock } from "../../../src/core/clock.ts";
import type { ClaudeScript } from "../fakes/claude-script.ts";
import { Bench, journalOf } from "./scripted-agent.ts";

const agentFile = fileURLToPath(new URL("../fakes/claude-child.ts", import.meta.url));

/** The shell line of a scripted Claude Code; its script and its journal are in `root`. */
export function claudeCommand(root: string): string {
  return `"${process.execPath}" "${agentFile}" "${root}/script.json" "${root}/journal"`;
}

export interface ClaudeBenchOptions {
  readonly config?: Partial<ClaudeConfig>;
  readonly clock?: Clock;
  readonly env?: NodeJS.ProcessEnv;
  readonly secrets?: Readonly<Record<string, string>>;
}

/** A workspace for one Claude Code; only tests of the sandbox use the sandbox. */
export class ClaudeBench extends Bench {
  readonly hidden: string[] = [];
  readonly #own: ClaudeBenchOptions;

  constructor(root: string, options: ClaudeBenchOptions) {
    super(root, {});
    this.#own = options;
  }

  override spec(): SessionSpec {
    return { ...super.spec(), level: "danger" };
  }

  runtime(): AgentRuntime {
    const { config, clock = systemClock, secrets = { ANTHROPIC_API_KEY: "sk-test" } } = this.#own;
    const command = claudeCommand(this.root);
    const defaults = claudeSection.settings(claudeSection.schema.parse({}));
    return createClaudeRuntime({
      config: () => ({ ...defaults, command, ...config }),
      clock,
      env: { PATH: process.env["PATH"], HOME: this.root, ...this.#own.env },
      workspaceRoot: () => this.root,
      dataDir: join(this.root, "data"),
      lookup: (name) => secrets[name],
      hide: (value) => this.hidden.push(value),
    });
  }

  override async start(
    spec: Partial<SessionSpec> = {},
    signal: AbortSignal = new AbortController().signal,
  ): Promise<AgentSession> {
    return this.runtime().start({ ...this.spec(), ...spec }, signal);
  }

  /** What the scripted agent noted, by name. */
  got(method: string): Promise<Readonly<Record<string, unknown>>[]> {
    return journalOf(this.root, method);
  }
}

export async function claudeBench(
  script: ClaudeScript,
  options: ClaudeBenchOptions = {},
): Promise<ClaudeBench> {
  const bench = new ClaudeBench(await mkdtemp(join(tmpdir(), "symphony-claude-")), options);
  await mkdir(bench.workspace);
  await writeFile(join(bench.root, "script.json"), JSON.stringify(script));
  return bench;
}
