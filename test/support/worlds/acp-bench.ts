import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createAcpRuntime } from "../../../src/core/agent/acp/runtime.ts";
import { type AcpConfig, acpSection } from "../../../src/core/agent/acp/settings.ts";
import type { AgentSession, SessionSpec } from "../../../src/core/agent/agent.ts";
import { type Clock, systemClock } from "../../../src/core/clock.ts";
import type { AcpScript } from "../fakes/acp-script.ts";
import { Bench, journalOf } from "./scripted-agent.ts";

const agentFile = fileURLToPath(new URL("../fakes/acp-agent-child.ts", import.meta.url));

export interface AcpBenchOptions {
  readonly config?: Partial<AcpConfig>;
  readonly clock?: Clock;
  /** A known agent that the scripted one is taken for. */
  readonly program?: "gemini" | "opencode";
  readonly env?: NodeJS.ProcessEnv;
  /** Shell text before the agent's line. */
  readonly before?: string;
  /** Secrets of the operator. */
  readonly stored?: Readonly<Record<string, string>>;
  /** Default: `data` next to the workspace. */
  readonly dataDir?: string;
}

/** A workspace for one agent of the Agent Client Protocol; only tests of the sandbox use the sandbox. */
export class AcpBench extends Bench {
  readonly hidden: string[] = [];
  readonly #own: AcpBenchOptions;

  constructor(root: string, options: AcpBenchOptions) {
    super(root, {});
    this.#own = options;
  }

  override spec(): SessionSpec {
    return { ...super.spec(), level: "danger" };
  }

  override async start(
    spec: Partial<SessionSpec> = {},
    signal: AbortSignal = new AbortController().signal,
  ): Promise<AgentSession> {
    const { config, clock = systemClock, dataDir = join(this.root, "data") } = this.#own;
    const [script, journal] = ["script.json", "journal"].map((name) => join(this.root, name));
    const known = this.#own.program === undefined ? "" : ` ${this.#own.program}`;
    const command = `${this.#own.before ?? ""}exec "${process.execPath}" "${agentFile}" "${script}" "${journal}"${known}`;
    const env: NodeJS.ProcessEnv = {
      PATH: process.env["PATH"],
      HOME: this.root,
      ...this.#own.env,
    };
    const runtime = createAcpRuntime({
      config: () => ({ ...acpSection.settings(acpSection.schema.parse({})), command, ...config }),
      clock,
      env,
      lookup: (name) => this.#own.stored?.[name] ?? env[name],
      hide: (value) => this.hidden.push(value),
      workspaceRoot: () => this.root,
      dataDir,
    });
    return runtime.start({ ...this.spec(), ...spec }, signal);
  }

  /** The messages that the scripted agent received, by method. */
  got(method: string): Promise<unknown[]> {
    return journalOf(this.root, method);
  }
}

export async function acpBench(
  script: AcpScript,
  options: AcpBenchOptions = {},
): Promise<AcpBench> {
  const bench = new AcpBench(await mkdtemp(join(tmpdir(), "symphony-acp-")), options);
  await mkdir(bench.workspace);
  await writeFile(join(bench.root, "script.json"), JSON.stringify(script));
  return bench;
}
