import { mkdir, mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AgentEvent, AgentSession, SessionSpec } from "../../../src/core/agent/agent.ts";
import { createOpenaiRuntime } from "../../../src/core/agent/openai/runtime.ts";
import { type OpenaiConfig, openaiSection } from "../../../src/core/agent/openai/settings.ts";
import { type Clock, systemClock } from "../../../src/core/clock.ts";

type Settings = Parameters<typeof openaiSection.schema.parse>[0] & object;

/** A home, a data directory and workspaces for the built-in agent; disposing removes them. */
export class OpenaiBench implements AsyncDisposable {
  readonly root: string;
  readonly workspace: string;
  readonly dataDir: string;
  readonly events: AgentEvent[] = [];
  readonly logs: string[] = [];
  readonly hidden: string[] = [];
  secrets: Record<string, string> = { OPENAI_API_KEY: "sk-test-0123456789" };
  env: NodeJS.ProcessEnv;
  clock: Clock = systemClock;
  config: OpenaiConfig;
  #listeners: ((event: AgentEvent) => void)[] = [];

  private constructor(root: string, settings: Settings) {
    this.root = root;
    this.workspace = join(root, "workspaces", "ENG-1");
    this.dataDir = join(root, "data");
    this.env = { PATH: process.env["PATH"], HOME: join(root, "home") };
    this.config = openaiSection.settings(openaiSection.schema.parse(settings));
  }

  /** The bench of a root that `make` has made. */
  static at(root: string, settings: Settings): OpenaiBench {
    return new OpenaiBench(root, settings);
  }

  static async make(settings: Settings = {}): Promise<OpenaiBench> {
    const root = await realpath(await mkdtemp(join(tmpdir(), "symphony-openai-")));
    const made = new OpenaiBench(root, settings);
    for (const dir of [made.workspace, made.dataDir, join(root, "home")])
      await mkdir(dir, { recursive: true });
    return made;
  }

  async start(
    spec: Partial<SessionSpec> = {},
    signal: AbortSignal = new AbortController().signal,
  ): Promise<AgentSession> {
    const runtime = createOpenaiRuntime({
      config: () => this.config,
      workspaceRoot: () => join(this.root, "workspaces"),
      lookup: (name) => this.secrets[name],
      hide: (value) => this.hidden.push(value),
      clock: this.clock,
      env: this.env,
      dataDir: this.dataDir,
    });
    return runtime.start({ ...this.spec(), ...spec }, signal);
  }

  spec(): SessionSpec {
    return {
      workspace: this.workspace,
      title: "ENG-1: Make it so",
      runId: `test/${this.root.slice(-6)}`,
      model: null,
      resumeThreadId: null,
      tools: { specs: [], call: async () => ({ success: false, output: "no such tool" }) },
      secretEnvNames: [],
      askPolicy: { approvals: "auto", timeoutMs: 0 },
      level: "safe",
      onEvent: (event) => {
        this.events.push(event);
        for (const listener of this.#listeners) listener(event);
      },
      onLog: (line) => this.logs.push(line),
    };
  }

  of<Type extends AgentEvent["type"]>(type: Type): Extract<AgentEvent, { type: Type }>[] {
    return this.events.filter(
      (event): event is Extract<AgentEvent, { type: Type }> => event.type === type,
    );
  }

  /** Resolves with the first event, past or future, that `matches`. */
  async until(matches: (event: AgentEvent) => boolean): Promise<void> {
    if (this.events.some(matches)) return;
    await new Promise<void>((resolve) => {
      this.#listeners.push((event) => {
        if (matches(event)) resolve();
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listeners = [];
    await rm(this.root, { recursive: true, force: true });
  }
}
