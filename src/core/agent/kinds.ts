import { homedir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import { SymphonyError } from "../model/errors.ts";
import { keptSecrets } from "../process/environment.ts";
import type { AgentRuntime } from "./agent.ts";
import { CodexHomes } from "./codex/home.ts";
import { createCodexRuntime } from "./codex/runtime.ts";
import type { Daemons } from "./codex/shared/daemons.ts";
import { createSharedRuntime } from "./codex/shared/runtime.ts";

export interface RuntimesOptions {
  /** Read at each start of a session. */
  config(): Config;
  /** A `$NAME` of the configuration: secrets first, then the environment. */
  lookup(name: string): string | undefined;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** A value that is to be shown nowhere. */
  hide(value: string): void;
  /** Never to be read by an agent. */
  readonly dataDir: string;
  /** The shared codex processes of the data directory. */
  readonly daemons: Daemons;
  /** Something an operator should know. */
  onTrouble(message: string): void;
}

/** The agents by `agent.kind`; each is loaded when the first attempt wants it. */
export class AgentRuntimes {
  readonly #options: RuntimesOptions;
  readonly #made = new Map<string, Promise<AgentRuntime>>();

  constructor(options: RuntimesOptions) {
    this.#options = options;
  }

  /** Rejects with `agent_unavailable` for a kind that nobody knows. */
  get(kind: string): Promise<AgentRuntime> {
    const made = this.#made.get(kind) ?? this.#make(kind);
    this.#made.set(kind, made);
    return made;
  }

  /** Rejects with why the configured agent could not be started now, as far as that can be told without starting it. */
  async check(): Promise<void> {
    const { kind, level } = this.#options.config().agent;
    await (await this.get(kind)).check?.(level);
  }

  /** What no program in a sandbox may see, unless its own settings show it again. */
  #hidden(): readonly string[] {
    const { config, env, dataDir } = this.#options;
    const home = env["HOME"] ?? homedir();
    const logins = [...keptSecrets, ".codex/auth.json"].map((name) => join(home, name));
    return [dataDir, config().workspace.root, ...logins];
  }

  async #make(kind: string): Promise<AgentRuntime> {
    const { config, lookup, hide, clock, env, dataDir } = this.#options;
    switch (kind) {
      case "command": {
        const { createCommandRuntime } = await import("./command/runtime.ts");
        return createCommandRuntime({
          config: () => config().command,
          hidden: () => this.#hidden(),
          ...{ clock, env },
        });
      }
      case "acp": {
        const { createAcpRuntime } = await import("./acp/runtime.ts");
        return createAcpRuntime({
          config: () => config().acp,
          hidden: () => this.#hidden(),
          ...{ clock, env },
        });
      }
      case "codex":
        return this.#codex();
      case "openai": {
        const { createOpenaiRuntime } = await import("./openai/runtime.ts");
        return createOpenaiRuntime({
          config: () => config().openai,
          workspaceRoot: () => config().workspace.root,
          ...{ lookup, hide, clock, env, dataDir },
        });
      }
      default:
        throw new SymphonyError("agent_unavailable", `there is no agent ${kind}`, {
          hint: "symphony config overlay set agent.kind codex",
        });
    }
  }

  /** A process for each attempt, or one of the shared; an attempt goes on where it began. */
  #codex(): AgentRuntime {
    const { clock, env, dataDir, daemons, onTrouble } = this.#options;
    const config = () => this.#options.config().codex;
    const workspaceRoot = () => this.#options.config().workspace.root;
    const homes = new CodexHomes({ env, dataDir, workspaceRoot });
    const perIssue = createCodexRuntime({ config, homes, clock, env });
    const shared = createSharedRuntime({ config, homes, clock, env, daemons, onTrouble });
    return {
      kind: "codex",
      start(spec, signal) {
        const isShared = config().process === "shared" || spec.adoption !== undefined;
        return (isShared ? shared : perIssue).start(spec, signal);
      },
    };
  }
}
