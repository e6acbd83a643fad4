import type { Clock } from "../clock.ts";
import { either } from "../config/agents.ts";
import { type Config, kindOf as kindOfAgent, settingsOf } from "../config/config.ts";
import type { AgentSection } from "../config/sections.ts";
import { SymphonyError } from "../model/errors.ts";
import { acpSection } from "./acp/settings.ts";
import type { AgentRuntime, HostsDeps, Model, OutlivingHosts, RestartContext } from "./agent.ts";
import { claudeSection } from "./claude/settings.ts";
import type { CodexModelsDeps } from "./codex/models.ts";
import { type CodexConfig, codexSection } from "./codex/settings.ts";
import type { CodexHosts } from "./codex/shared/runtime.ts";
import { commandSection } from "./command/settings.ts";
import { openaiSection } from "./openai/settings.ts";
import type { ThreadRecords } from "./records.ts";

/** The dependencies of one kind of agent. */
export interface AgentDeps<
  Settings extends object = object,
  Hosts extends OutlivingHosts = OutlivingHosts,
> {
  /** Its section of the configuration, read at each start of a session. */
  settings(): Settings;
  /** The directory of all workspaces; an agent sees only its own workspace in it. */
  workspaceRoot(): string;
  /** Resolves a `$NAME` of the configuration: secrets first, then the environment. */
  lookup(name: string): string | undefined;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** Registers a value that must never be shown. */
  hide(value: string): void;
  /** Agents must never read it. */
  readonly dataDir: string;
  /** The result of the kind's `outliving.open`; null: no agent outlives this process. Throws for a kind without one. */
  hosts(): Hosts | null;
  /** Reports a problem that an operator should know about. */
  onTrouble(message: string): void;
}

/** The dependencies for listing the models of a kind. */
export interface ModelsDeps extends CodexModelsDeps {
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
}

/** Lists the models that a kind of agent can use. */
export interface AgentModels<Settings extends object = object> {
  /** Rejects with `provider_error`, whose details have the category. */
  list(settings: Settings, deps: ModelsDeps, signal: AbortSignal): Promise<readonly Model[]>;
  /** Identifies the source of the list: a change means a different list. */
  source(settings: Settings): readonly string[];
  /** The provider's address as written; null when the agent has its own list. */
  baseUrl(settings: Settings): string | null;
  /** What the agent's own configuration says of its provider. Absent: it has none besides the section. */
  own?(settings: Settings, deps: ModelsDeps): Promise<OwnProvider>;
}

/** A provider of models that an agent's own configuration names. */
export interface OwnProvider {
  /** null: its address is not known, so the list is the agent's own. */
  readonly baseUrl: string | null;
  /** It is another one than the agent's own, so the agent's own list says nothing about its models. */
  readonly isOther: boolean;
  /** Its login is, or may be, in the system's keyring, which is not looked into. */
  readonly usesKeyring: boolean;
  /** null: the agent decides. */
  readonly model: string | null;
}

/**
 * A row of the table of agents: everything that the rest of symphony has to know about one kind.
 */
export interface AgentKind<
  Settings extends object = object,
  Hosts extends OutlivingHosts = OutlivingHosts,
> {
  /** The value of `agent.kind`; also the key of its section. */
  readonly kind: string;
  readonly section: AgentSection<Settings>;
  /** Loads the modules that only this kind needs, and makes its runtime. */
  create(deps: AgentDeps<Settings, Hosts>): Promise<AgentRuntime>;
  /** The command for display: a shell line, empty for a kind without one. */
  command(settings: Settings): string;
  /** null: the kind has no list of models. */
  readonly models: AgentModels<Settings> | null;
  /**
   * The directory of the program's own files with the sessions of a workspace's agents, for a person who
   * continues one. Absent: a person cannot.
   */
  homeOf?(
    settings: Settings,
    deps: Pick<AgentDeps, "env" | "dataDir"> & { readonly workspace: string },
  ): Promise<string>;
  /** Where the records of a workspace's threads are, made if needed. Absent: a thread stays on the machine where it began. */
  records?(
    settings: Settings,
    deps: Pick<AgentDeps, "env" | "dataDir" | "clock"> & { readonly workspace: string },
  ): Promise<ThreadRecords>;
  /** null: agents of the kind always end with the server. */
  readonly outliving: OutlivingAgents<Settings, Hosts> | null;
}

/** How agents of a kind outlive the server. */
export interface OutlivingAgents<
  Settings extends object = object,
  Hosts extends OutlivingHosts = OutlivingHosts,
> {
  /** Whether agents outlive the server with these settings. */
  isOn(settings: Settings): boolean;
  /** Rejects with `invalid_config` and the first reason why turns would not outlive a restart. */
  requireSafe(settings: Settings, context: RestartContext): Promise<void>;
  /** Opens the agents of a data directory, which this process has locked. */
  open(deps: HostsDeps): Promise<Hosts>;
}

/** Binds the types of a row's settings and hosts to that row. */
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
      return createCodexKind({ ...deps, daemons: deps.hosts()?.daemons ?? null });
    },
    command: ({ command }) => command,
    async homeOf(settings, deps) {
      const { agentsHomeOf } = await import("./codex/home.ts");
      return agentsHomeOf(settings, deps);
    },
    async records(settings, deps) {
      const { threadRecords } = await import("./codex/home.ts");
      return threadRecords(settings, deps);
    },
    models: {
      async list(settings, deps, signal) {
        const { codexProvider } = await import("./codex/provider.ts");
        const { baseUrl, keyName } = await codexProvider(deps.env, settings);
        if (baseUrl !== null) {
          const { askOpenai } = await import("./openai/models.ts");
          const apiKey = keyName === null ? "none" : `$${keyName}`;
          const place = { baseUrl, apiKey, apiKeyHeader: "authorization", headers: {} };
          return askOpenai(place, { clock: deps.clock, lookup: deps.lookup, signal });
        }
        const { askCodex } = await import("./codex/models.ts");
        return askCodex(settings, deps, signal);
      },
      source: ({ command, home }) => [command, home],
      baseUrl: () => null,
      async own(settings, { env }) {
        const { codexProvider } = await import("./codex/provider.ts");
        return codexProvider(env, settings);
      },
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
    kind: "claude",
    section: claudeSection,
    async create({ settings, ...deps }) {
      const { createClaudeRuntime } = await import("./claude/runtime.ts");
      return createClaudeRuntime({ ...deps, config: settings });
    },
    command: ({ command }) => command,
    async homeOf(_settings, { workspace, ...deps }) {
      const { agentsHomeOf } = await import("./claude/home.ts");
      return agentsHomeOf(workspace, deps);
    },
    async records(_settings, { workspace, ...deps }) {
      const { threadRecords } = await import("./claude/home.ts");
      return threadRecords(workspace, deps);
    },
    models: {
      async list(settings, deps, signal) {
        const { askClaude } = await import("./claude/models.ts");
        return askClaude(settings, deps, signal);
      },
      source: ({ command, login }) => [command, login],
      baseUrl: () => null,
    },
    outliving: null,
  }),
  kindOf({
    kind: "openai",
    section: openaiSection,
    async create({ settings, ...deps }) {
      const { createOpenaiRuntime } = await import("./openai/runtime.ts");
      return createOpenaiRuntime({ ...deps, config: settings });
    },
    async records(_settings, deps) {
      const { threadRecords } = await import("./openai/runtime.ts");
      return threadRecords(deps);
    },
    command: () => "",
    models: {
      async list(settings, { clock, lookup }, signal) {
        const { askOpenai } = await import("./openai/models.ts");
        return askOpenai(settings, { clock, lookup, signal });
      },
      source: ({ baseUrl, apiKey }) => [baseUrl, apiKey],
      baseUrl: ({ baseUrl }) => baseUrl,
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

/** Throws an `invalid_request` that names `path` for an agent that the configuration does not have. */
export function requireAgent(
  kinds: readonly AgentKind[],
  { agents }: Config,
  { agent, path }: { readonly agent: string; readonly path: string },
): void {
  const names = [...new Set([...agents.keys(), ...kinds.map(({ kind }) => kind)])];
  if (names.includes(agent)) return;
  const message = `must be ${either(names)}`;
  throw new SymphonyError("invalid_request", `${path} ${message}`, {
    details: { issues: [{ path, message }] },
  });
}

/** The row of an agent's kind; null for a kind that is not in the table. */
export function rowOf(
  kinds: readonly AgentKind[],
  config: Config,
  agent = config.agent.use,
): AgentKind | null {
  const wanted = kindOfAgent(config, agent);
  return kinds.find(({ kind }) => kind === wanted) ?? null;
}

/**
 * The command of the default agent, for display: its shell line, empty for a kind without one.
 */
export function agentCommand(kinds: readonly AgentKind[], config: Config): string {
  return rowOf(kinds, config)?.command(settingsOf(config, config.agent.use)) ?? "";
}

/** The dotted key of an agent's settings. */
export function settingsKey({ agents }: Config, agent: string): string {
  return agents.has(agent) ? `agents.${agent}.provider` : agent;
}

/** The dotted key of an agent's command line. */
export function commandKey(kinds: readonly AgentKind[], config: Config, agent: string): string {
  const shape = rowOf(kinds, config, agent)?.section.schema.shape ?? {};
  return `${settingsKey(config, agent)}.${Object.hasOwn(shape, "command") ? "command" : "line"}`;
}

/** Whether agents of the default agent's kind outlive the server with this configuration. */
export function outlivesServer(kinds: readonly AgentKind[], config: Config): boolean {
  return rowOf(kinds, config)?.outliving?.isOn(settingsOf(config, config.agent.use)) ?? false;
}

/**
 * Checks that turns will outlive a restart of this server. Rejects with `invalid_config` and the
 * reason why they would not.
 */
export async function requireRestartSafe(
  kinds: readonly AgentKind[],
  config: Config,
  context: RestartContext,
): Promise<void> {
  const { use } = config.agent;
  const row = rowOf(kinds, config);
  if (row?.outliving) return row.outliving.requireSafe(settingsOf(config, use), context);
  const able = either(kinds.filter(({ outliving }) => outliving).map(({ kind }) => kind));
  const message = `the agent is ${use}, and only ${able} outlives the server`;
  throw new SymphonyError("invalid_config", `not restart-safe: ${message}`, {
    hint: `set agent.use to ${able}, or serve without --restart-safe`,
  });
}

export interface RuntimesOptions
  extends Omit<AgentDeps, "settings" | "workspaceRoot" | "hidden" | "hosts"> {
  readonly kinds: readonly AgentKind[];
  /** The agents that outlive servers, by kind; null: none does. */
  readonly hosts: ReadonlyMap<string, OutlivingHosts> | null;
  /** Read at each start of a session. */
  config(): Config;
}

/** The agents by name; each is loaded when the first attempt needs it. */
export class AgentRuntimes {
  readonly #options: RuntimesOptions;
  readonly #made = new Map<string, Promise<AgentRuntime>>();

  constructor(options: RuntimesOptions) {
    this.#options = options;
  }

  /** Rejects with `agent_unavailable` for an agent that the configuration does not have. */
  get(agent: string): Promise<AgentRuntime> {
    // A reload may give the name to an agent of another kind.
    const key = `${agent} ${kindOfAgent(this.#options.config(), agent)}`;
    const made = this.#made.get(key) ?? this.#make(agent);
    this.#made.set(key, made);
    return made;
  }

  async #make(agent: string): Promise<AgentRuntime> {
    const { kinds, config, hosts, ...deps } = this.#options;
    const row = rowOf(kinds, config(), agent);
    if (!row) {
      throw new SymphonyError("agent_unavailable", `there is no agent ${agent}`, {
        hint: `symphony config overlay set agent.use ${kinds[0]?.kind}`,
      });
    }
    const runtime = await row.create({
      ...deps,
      settings: () => settingsOf(config(), agent),
      hosts() {
        if (hosts === null) return null;
        const own = hosts.get(row.kind);
        if (!own) throw new Error(`no agent of kind ${row.kind} outlives the server`);
        return own;
      },
      workspaceRoot: () => config().workspace.root,
    });
    // Reading a configuration loads none of this.
    const { missingProgram } = await import("./program-of.ts");
    const requireProgram = async () => {
      const key = commandKey(kinds, config(), agent);
      const line = row.command(settingsOf(config(), agent));
      const missing = await missingProgram({ key, line, kind: row.kind }, deps.env);
      if (missing === null) return;
      throw new SymphonyError(missing.code, missing.message, { hint: missing.hint });
    };
    return {
      kind: runtime.kind,
      async check(level, network) {
        await requireProgram();
        await runtime.check?.(level, network);
      },
      readable: async (level, network) => (await runtime.readable?.(level, network)) ?? [],
      writesGit: (approvals) => runtime.writesGit?.(approvals) === true,
      async start(spec, signal) {
        await requireProgram();
        return runtime.start(spec, signal);
      },
    };
  }
}
