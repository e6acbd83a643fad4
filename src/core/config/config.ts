// From the written configuration to the effective one: layers, sections, reload.

import { SymphonyError } from "../model/errors.ts";
import type { AgentConfig, BrakesConfig, NamedAgent, UsageConfig } from "./agents.ts";
import { type DeliveryConfig, forgeSecretNames, type OnSuccess } from "./delivery.ts";
import { type FleetConfig, fleetSecretNames } from "./fleet.ts";
import { type GitConfig, gitSecretNames } from "./git.ts";
import type { HostLimits } from "./host.ts";
import { type NotifyRule, notifySecretNames } from "./notify.ts";
import type { WorkerConfig } from "./worker.ts";
import type { WorkspaceConfig } from "./workspace.ts";

/** The effective configuration without the agents' sections: validated, defaults filled in, paths absolute. Durations in ms. */
export interface CommonConfig {
  readonly tracker: TrackerConfig;
  readonly polling: { readonly intervalMs: number };
  readonly workspace: WorkspaceConfig;
  readonly hooks: HooksConfig;
  readonly git: GitConfig;
  readonly delivery: DeliveryConfig;
  readonly agent: AgentConfig;
  /** By name; a kind is an agent of its name, with the settings of its own section. */
  readonly agents: ReadonlyMap<string, NamedAgent>;
  readonly brakes: BrakesConfig;
  readonly usage: UsageConfig;
  /** Which occasions are reported where. */
  readonly notify: readonly NotifyRule[];
  readonly history: {
    /** Older attempts and events are removed; null: they are kept indefinitely. */
    readonly retentionDays: number | null;
  };
  readonly server: ServerConfig;
  /** What the host must have left for new work: `storage` and `host`. */
  readonly host: HostLimits;
  readonly fleet: FleetConfig;
  readonly worker: WorkerConfig;
  /** Tracker states, in normal form, whose issues have a prompt of their own. */
  readonly promptStates: readonly string[];
}

/** The effective configuration. The folder of each kind of agent declares the type of its section here (`declare module`). */
export interface Config extends CommonConfig {
  readonly agent: AgentConfig;
}

/** The kind of an agent: what `agents` says, or its name. */
export function kindOf({ agents }: CommonConfig, agent: string): string {
  return agents.get(agent)?.kind ?? agent;
}

/** The settings of an agent, whose shape only the row of its kind knows; empty for one without a section. */
export function settingsOf(config: CommonConfig, agent: string): object {
  const named = config.agents.get(agent);
  if (named) return named.settings;
  const found: unknown = Object.hasOwn(config, agent) ? Reflect.get(config, agent) : null;
  return typeof found === "object" && found !== null ? found : {};
}

/** The settings of every agent of a kind. */
export function settingsOfKind(config: CommonConfig, kind: string): readonly object[] {
  const named = [...config.agents.values()].filter((one) => one.kind === kind);
  return [settingsOf(config, kind), ...named.map(({ settings }) => settings)];
}

/** The model of an agent unless something else was chosen; null: it decides itself. */
export function modelOf(config: CommonConfig, agent: string): string | null {
  const { model }: { readonly model?: unknown } = settingsOf(config, agent);
  const own = typeof model === "string" ? model : null;
  return config.agents.get(agent)?.model ?? config.agent.model ?? own;
}

/** The reasoning effort of an agent unless something else was chosen; null: it decides itself. */
export function effortOf(
  { agents, agent: { effort } }: CommonConfig,
  agent: string,
): string | null {
  return agents.get(agent)?.effort ?? effort;
}

/** Every agent that the configuration starts by itself, the default one first. */
export function agentsInUse({ agent }: Pick<CommonConfig, "agent">): readonly string[] {
  const picks = [...agent.byState.values(), ...agent.byLabel.values()];
  const picked = picks.flatMap((pick) => pick.agent ?? []);
  return [...new Set([agent.use, ...agent.fallback, ...picked])];
}

export interface TrackerConfig {
  readonly kind: string;
  /** As written: `$NAME` unresolved, unknown keys kept; only the adapter reads it. */
  readonly provider: Readonly<Record<string, unknown>>;
  /** Trimmed, lowercased, unique; a blank label matches no issue. */
  readonly requiredLabels: readonly string[];
  /** An issue must have one of them; empty: any issue fits. */
  readonly anyLabels: readonly string[];
  /** An issue with one of them does not fit. */
  readonly excludedLabels: readonly string[];
  readonly activeStates: readonly string[];
  readonly terminalStates: readonly string[];
  /** In these an issue with an open blocker does not run; null: in those in which work has not begun. */
  readonly blockerStates: readonly string[] | null;
  /** Which comments on a running issue become guidance for its agent. */
  readonly commentSteering: "off" | "mention" | "all";
  /** The word that begins a command in a comment. */
  readonly commandPrefix: string;
  /** The word that makes a comment a mention; trimmed. */
  readonly commentMention: string;
  /** What symphony writes to the tracker by itself: nothing, moves and links, or also one comment for each issue. */
  readonly updates: "none" | "state" | "all";
  readonly comment: {
    /** The comment says how many tokens were used. */
    readonly cost: boolean;
  };
  /** The state that an issue is moved to when its agent starts; null: it is not moved. */
  readonly inProgress: string | null;
  readonly onSuccess: OnSuccess;
  /** The state for an issue whose pull request was merged; null: the team's first terminal state for done work. */
  readonly onMerged: string | null;
}

export interface HooksConfig {
  readonly afterCreate: string | null;
  readonly beforeRun: string | null;
  readonly afterRun: string | null;
  readonly beforeRemove: string | null;
  readonly timeoutMs: number;
  /** Names of extra environment variables that hooks may see. */
  readonly envPassthrough: readonly string[];
}

export interface ServerConfig {
  readonly host: string;
  readonly port: number;
  readonly allowedHosts: readonly string[];
  readonly auth: "none" | "token";
  /** Requests a minute for each client outside this machine; null: no limit. */
  readonly rateLimit: number | null;
  /** Where people reach the page; null: the address on which the server listens. */
  readonly publicUrl: string | null;
}

/** Set to `1` by an operator who accepts that agents may do everything; `serve --i-understand` sets it. */
export const understandVariable = "SYMPHONY_I_UNDERSTAND";

/** A readable description of each level. */
export const levelWords: Readonly<Record<AgentConfig["level"], string>> = {
  safe: "no network, no secrets, writes only in the workspace",
  networked: "network, no secrets, writes only in the workspace; the API requires its token",
  danger: "everything that this user may do; the API requires its token",
};

/** Throws `invalid_config` for level `danger` on a server that was not started for it: an overlay must not enable it. */
export function checkLevel(
  { agent }: Config,
  env: Readonly<Record<string, string | undefined>>,
): void {
  if (agent.level !== "danger" || env[understandVariable] === "1") return;
  const message =
    "danger lets agents do everything this user may do, and the server was not started for it";
  throw new SymphonyError(
    "invalid_config",
    `the configuration cannot be used: agent.level ${message}`,
    {
      details: { problems: [{ path: "agent.level", message }] },
      hint: "in a separate container or virtual machine: symphony serve --i-understand",
    },
  );
}

/** An agent with network access could call the API itself, so every caller then needs the token. */
export function wantsToken({ auth, level }: TokenRules): boolean {
  return auth === "token" || level !== "safe";
}

interface TokenRules {
  /** `server.auth` at the start of the server. */
  readonly auth: string;
  /** The current value. */
  readonly level: AgentConfig["level"];
}

/** Names of the secrets of the tracker, the repositories, the site and the receivers of notices: no agent, hook or check gets them. */
export function secretNamesOf(
  { git, delivery, notify, fleet }: Pick<Config, "git" | "delivery" | "notify" | "fleet">,
  { secretEnvNames }: { readonly secretEnvNames: readonly string[] },
): readonly string[] {
  return [
    ...secretEnvNames,
    ...gitSecretNames(git),
    ...forgeSecretNames(delivery),
    ...notifySecretNames(notify),
    ...fleetSecretNames(fleet),
  ];
}
