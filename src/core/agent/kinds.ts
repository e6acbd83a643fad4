import type { Clock } from "../clock.ts";
import { either } from "../config/agents.ts";
import { type Config, settingsOf } from "../config/config.ts";
import type { AgentSection } from "../config/sections.ts";
import { SymphonyError } from "../model/errors.ts";
import { acpSection } from "./acp/settings.ts";
import type { AgentRuntime, HostsDeps, Model, OutlivingHosts, RestartContext } from "./agent.ts";
import type { CodexModelsDeps } from "./codex/models.ts";
import { type CodexConfig, codexSection } from "./codex/settings.ts";
import type { CodexHosts } from "./codex/shared/runtime.ts";
import { commandSection } from "./command/settings.ts";
import { openaiSection } from "./openai/settings.ts";

/** What a kind of agent is made with. */
export interface AgentDeps<
  Settings extends object = object,
  Hosts extends OutlivingHosts = OutlivingHosts,
> {
  /** Its section of the configuration, read at each start of a session. */
  settings(): Settings;
  /** The directory of all workspaces, which an agent sees its own of. */
  workspaceRoot(): string;
  /** A `$NAME` of the configuration: secrets first, then the environment. */
  lookup(name: string): string | undefined;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** A value that is to be shown nowhere. */
  hide(value: string): void;
  /** Never to be read by an agent. */
  readonly dataDir: string;
  /** What `outliving.open` of the kind made. Throws for a kind without. */
  hosts(): Hosts;
  /** Something an operator should know. */
  onTrouble(message: string): void;
}

/** What listing the models of a kind takes. */
export interface ModelsDeps extends CodexModelsDeps {
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
}

/** How the models are listed that a kind of agent can use. */
export interface AgentModels<Settings extends object = object> {
  /** Rejects with `provider_error`, whose details have the category. */
  list(settings: Settings, deps: ModelsDeps, signal: AbortSignal): Promise<readonly Model[]>;
  /** Where the list comes from: another source is another list. */
  source(settings: Settings): readonly string[];
  /** The provider's address for people; null: the agent has a list of its own. */
  baseUrl(settings: Settings): string | null;
}

/** A row of the table of agents: all that the rest of symphony has to know of one kind. */
export interface AgentKind<
  Settings extends object = object,
  Hosts extends OutlivingHosts = OutlivingHosts,
> {
  /** As `agent.kind` names it; also the key of its section. */
  readonly kind: string;
  readonly section: AgentSection<Settings>;
  /** Loads the modules of the kind, which no other kind needs, and makes its runtime. */
  create(deps: AgentDeps<Settings, Hosts>): Promise<AgentRuntime>;
  /** What runs, for people: a shell line, empty for a kind that has none. */
  command(settings: Settings): string;
  /** null: the kind has no list of models. */
  readonly models: AgentModels<Settings> | null;
  /** null: agents of the kind always end with the server. */
  readonly outliving: OutlivingAgents<Settings, Hosts> | null;
}

/** How agents of a kind outlive the server. */
export interface OutlivingAgents<
  Settings extends object = object,
  Hosts extends OutlivingHosts = OutlivingHosts,
> {
  /** Whether they do with these settings. */
  isOn(settings: Settings): boolean;
  /** Rejects with `invalid_config` and the first reason why turns would not outlive a restart. */
  requireSafe(settings: Settings, context: RestartContext): Promise<void>;
  /** Opens those of a data directory, which this process has locked. */
  open(deps: HostsDeps): Promise<Hosts>;
}

/** Keeps the types of a row's settings and hosts to the row. */
function kindOf<Settings extends object, Hosts extends OutlivingHosts>(
  kind: AgentKind<Settings, Hosts>,
): AgentKind {
  return kind;
}

/** Every kind of agent; the first is the default. */
export const agentKinds: readonly AgentKind[] = [
  kindOf<CodexConfig, CodexHosts>({
    kind: "codex",
    section: codexSection,
    async create(deps) {
      const { createCodexKind } = await import("./codex/shared/runtime.ts");
      return createCodexKind({ ...deps, daemons: deps.hosts().daemons });
    },
    command: ({ command }) => command,
    models: {
      async list(settings, deps, signal) {
        const { askCodex } = await import("./codex/models.ts");
        return askCodex(settings, deps, signal);
      },
      source: ({ command }) => [command],
      baseUrl: () => null,
    },
    outliving: {
      isOn: ({ process }) => process === "shared",
      async requireSafe(settings, context) {
        const { requireRestartSafe } = await import("./codex/shared/restart-safe.ts");
        await requireRestartSafe(settings, context);
      },
      async open(deps) {
        const { CodexHosts } = await import("./codex/shared/runtime.ts");
        return new CodexHosts(deps);
      },
    },
  }),
  kindOf({
    kind: "openai",
    section: openaiSection,
    async create({ settings, ...deps }) {
      const { createOpenaiRuntime } = await import("./openai/runtime.ts");
      return createOpenaiRuntime({ ...deps, config: settings });
    },
    command: () => "",
    models: {
      async list(settings, { clock, lookup }, signal) {
        const { askOpenai } = await import("./openai/models.ts");
        return askOpenai(settings, { clock, lookup, signal });
      },
      source: ({ baseUrl, apiKey }) => [baseUrl, apiKey],
      baseUrl({ baseUrl }) {
        const url = URL.parse(baseUrl);
        // Its check refuses a url with a user in it, but what is shown must not depend on that.
        return url && `${url.origin}${url.pathname}`;
      },
    },
    outliving: null,
  }),
  kindOf({
    kind: "command",
    section: commandSection,
    async create({ settings, ...deps }) {
      const { createCommandRuntime } = await import("./command/runtime.ts");
      return createCommandRuntime({ ...deps, config: settings });
    },
    command: ({ line }) => line ?? "",
    models: null,
    outliving: null,
  }),
  kindOf({
    kind: "acp",
    section: acpSection,
    async create({ settings, ...deps }) {
      const { createAcpRuntime } = await import("./acp/runtime.ts");
      return createAcpRuntime({ ...deps, config: settings });
    },
    command: ({ command }) => command ?? "",
    models: null,
    outliving: null,
  }),
];

/** The row of a kind. Throws `invalid_request` that names `path` for a kind that is not in the table. */
export function requireAgentKind(
  kinds: readonly AgentKind[],
  kind: string,
  path: string,
): AgentKind {
  const found = kinds.find((row) => row.kind === kind);
  if (found) return found;
  const message = `must be ${either(kinds.map((row) => row.kind))}`;
  throw new SymphonyError("invalid_request", `${path} ${message}`, {
    details: { issues: [{ path, message }] },
  });
}

/** The row of `agent.kind`; null for a kind that is not in the table. */
export function agentInUse(kinds: readonly AgentKind[], { agent }: Config): AgentKind | null {
  return kinds.find(({ kind }) => kind === agent.kind) ?? null;
}

/** What runs by default, for people: the shell line of `agent.kind`, empty for one that has none. */
export function agentCommand(kinds: readonly AgentKind[], config: Config): string {
  const row = agentInUse(kinds, config);
  return row === null ? "" : row.command(settingsOf(config, row.kind));
}

/** Whether agents of `agent.kind` outlive the server as they are configured. */
export function outlivesServer(kinds: readonly AgentKind[], config: Config): boolean {
  const row = agentInUse(kinds, config);
  return row?.outliving?.isOn(settingsOf(config, row.kind)) ?? false;
}

/** Makes sure that turns will outlive a restart of this server. Rejects with `invalid_config` and why they would not. */
export async function requireRestartSafe(
  kinds: readonly AgentKind[],
  config: Config,
  context: RestartContext,
): Promise<void> {
  const row = agentInUse(kinds, config);
  if (row?.outliving) return row.outliving.requireSafe(settingsOf(config, row.kind), context);
  const able = either(kinds.filter(({ outliving }) => outliving).map(({ kind }) => kind));
  const message = `agent.kind is ${config.agent.kind}, and only ${able} outlives the server`;
  throw new SymphonyError("invalid_config", `not restart-safe: ${message}`, {
    hint: `set agent.kind to ${able}, or serve without --restart-safe`,
  });
}

export interface RuntimesOptions
  extends Omit<AgentDeps, "settings" | "workspaceRoot" | "hidden" | "hosts"> {
  readonly kinds: readonly AgentKind[];
  /** The agents that outlive servers, by kind. */
  readonly hosts: ReadonlyMap<string, OutlivingHosts>;
  /** Read at each start of a session. */
  config(): Config;
}

/** The agents by `agent.kind`; each is loaded when the first attempt wants it. */
export class AgentRuntimes {
  readonly #options: RuntimesOptions;
  readonly #made = new Map<string, Promise<AgentRuntime>>();

  constructor(options: RuntimesOptions) {
    this.#options = options;
  }

  /** Rejects with `agent_unavailable` for a kind that is not in the table. */
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

  async #make(kind: string): Promise<AgentRuntime> {
    const { kinds, config, hosts, ...deps } = this.#options;
    const row = kinds.find((one) => one.kind === kind);
    if (!row) {
      throw new SymphonyError("agent_unavailable", `there is no agent ${kind}`, {
        hint: `symphony config overlay set agent.kind ${kinds[0]?.kind}`,
      });
    }
    return row.create({
      ...deps,
      settings: () => settingsOf(config(), kind),
      hosts() {
        const own = hosts.get(kind);
        if (!own) throw new Error(`no agent of kind ${kind} outlives the server`);
        return own;
      },
      workspaceRoot: () => config().workspace.root,
    });
  }
}
