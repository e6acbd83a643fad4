import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type {
  AgentEvent,
  AgentRuntime,
  AgentSession,
  SessionSpec,
} from "../../../src/core/agent/agent.ts";
import type { CodexHomes } from "../../../src/core/agent/codex/home.ts";
import { createCodexRuntime } from "../../../src/core/agent/codex/runtime.ts";
import type { CodexConfig } from "../../../src/core/agent/codex/settings.ts";
import { type Clock, systemClock } from "../../../src/core/clock.ts";
import type { Step } from "../../../src/demo/script.ts";

const agentFile = fileURLToPath(new URL("../../../src/demo/agent.ts", import.meta.url));

export const codexConfig: CodexConfig = {
  command: "codex app-server",
  home: "private",
  allowGit: true,
  model: null,
  approvalPolicy: "never",
  threadSandbox: "workspace-write",
  turnSandboxPolicy: null,
  turnTimeoutMs: 60_000,
  readTimeoutMs: 15_000,
  stallTimeoutMs: 0,
  envPassthrough: [],
  process: "per_issue",
  threadsPerProcess: 20,
  orphanLimitMs: 600_000,
};

/** What a scripted agent wrote into the journal of `root`, by name. */
export async function journalOf(
  root: string,
  method: string,
): Promise<Readonly<Record<string, unknown>>[]> {
  const text = await readFile(join(root, "journal"), "utf8").catch(() => "");
  const lines = text.split("\n").filter(Boolean);
  const all = lines.map((line): { method: string; params: Readonly<Record<string, unknown>> } =>
    JSON.parse(line),
  );
  return all.filter((entry) => entry.method === method).map(({ params }) => params);
}

export interface BenchOptions {
  readonly config?: Partial<CodexConfig>;
  readonly clock?: Clock;
  readonly env?: NodeJS.ProcessEnv;
  /** A private home; default: the operator's. */
  readonly homes?: CodexHomes;
}

/** A workspace, a state directory and a script for one scripted agent; disposing removes them. */
export class Bench implements AsyncDisposable {
  readonly root: string;
  readonly workspace: string;
  readonly events: AgentEvent[] = [];
  readonly logs: string[] = [];
  /** Unique, because test files run in parallel, and ending a run ends every process that carries its id. */
  readonly runId = `att_${randomUUID()}`;
  readonly #options: BenchOptions;
  #runtime: AgentRuntime | null = null;
  #listeners: ((event: AgentEvent) => void)[] = [];

  constructor(root: string, options: BenchOptions) {
    this.root = root;
    this.workspace = join(root, "ENG-1");
    this.#options = options;
  }

  get command(): string {
    const { root } = this;
    return `"${process.execPath}" "${agentFile}" --script "${root}/script.json" --state "${root}/state"`;
  }

  async play(turns: readonly (readonly Step[])[]): Promise<void> {
    await writeFile(join(this.root, "script.json"), JSON.stringify({ issues: { default: turns } }));
  }

  async start(
    spec: Partial<SessionSpec> = {},
    signal: AbortSignal = new AbortController().signal,
  ): Promise<AgentSession> {
    const { config, clock = systemClock, homes } = this.#options;
    // A separate home, so that the login profile of the user who runs the tests does not affect them.
    const env = { PATH: process.env["PATH"], HOME: this.root, ...this.#options.env };
    this.#runtime ??= createCodexRuntime({
      config: () => ({ ...codexConfig, command: this.command, ...config }),
      clock,
      env,
      ...(homes && { homes }),
    });
    return this.#runtime.start({ ...this.spec(), ...spec }, signal);
  }

  spec(): SessionSpec {
    return {
      workspace: this.workspace,
      title: "ENG-1: Make it so",
      runId: this.runId,
      model: null,
      resumeThreadId: null,
      tools: { specs: [], call: async () => ({ success: false, output: "no such tool" }) },
      secretEnvNames: [],
      askPolicy: {
        approvals: this.#options.config?.approvalPolicy === undefined ? "auto" : "ask",
        timeoutMs: 0,
      },
      level: "safe",
      onEvent: (event) => {
        this.events.push(event);
        for (const listener of this.#listeners) listener(event);
      },
      onLog: (line) => this.logs.push(line),
    };
  }

  /** The first event, past or future, that `matches`. */
  async until<Type extends AgentEvent["type"]>(
    type: Type,
    matches: (event: Extract<AgentEvent, { type: Type }>) => boolean = () => true,
  ): Promise<Extract<AgentEvent, { type: Type }>> {
    const isIt = (event: AgentEvent): event is Extract<AgentEvent, { type: Type }> =>
      event.type === type && matches(event as Extract<AgentEvent, { type: Type }>);
    const past = this.events.find(isIt);
    if (past) return past;
    const { promise, resolve } = Promise.withResolvers<Extract<AgentEvent, { type: Type }>>();
    this.#listeners.push((event) => {
      if (isIt(event)) resolve(event);
    });
    return promise;
  }

  /** The agent's messages, in order. */
  get said(): string[] {
    return this.events.flatMap((event) => (event.type === "message" ? [event.text] : []));
  }

  types(): string[] {
    return this.events.map((event) => event.type).filter((type) => type !== "activity");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listeners = [];
    await rm(this.root, { recursive: true, force: true });
  }
}

export async function bench(
  turns: readonly (readonly Step[])[],
  options: BenchOptions = {},
): Promise<Bench> {
  const made = new Bench(await mkdtemp(join(tmpdir(), "symphony-agent-")), options);
  await mkdir(made.workspace);
  await made.play(turns);
  return made;
}
