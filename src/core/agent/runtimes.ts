import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import { SymphonyError } from "../model/errors.ts";
import type { AgentRuntime } from "./agent.ts";
import { createCodexRuntime } from "./codex/session.ts";
import type { Daemons } from "./codex/shared/daemons.ts";
import { createSharedRuntime } from "./codex/shared/shared-runtime.ts";

export interface RuntimesOptions {
  /** Read at each start of a session. */
  config(): Config;
  /** A `$NAME` of the configuration: secrets first, then the environment. */
  lookup(name: string): string | undefined;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
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

  async #make(kind: string): Promise<AgentRuntime> {
    switch (kind) {
      case "codex":
        return this.#codex();
      default:
        throw new SymphonyError("agent_unavailable", `there is no agent ${kind}`, {
          hint: "symphony config overlay set agent.kind codex",
        });
    }
  }

  /** A process for each attempt, or one of the shared; an attempt goes on where it began. */
  #codex(): AgentRuntime {
    const { clock, env, daemons, onTrouble } = this.#options;
    const config = () => this.#options.config().codex;
    const perIssue = createCodexRuntime({ config, clock, env });
    const shared = createSharedRuntime({ config, clock, env, daemons, onTrouble });
    return {
      kind: "codex",
      start(spec, signal) {
        const isShared = config().process === "shared" || spec.adoption !== undefined;
        return (isShared ? shared : perIssue).start(spec, signal);
      },
    };
  }
}
