import { SymphonyError } from "../model/errors.ts";
import type { AgentConfig, BrakesConfig, UsageConfig } from "./agents.ts";
import type { GitConfig } from "./git.ts";

/** The effective configuration, the agents' own sections left out: validated, defaults filled in, paths absolute. Durations in ms. */
export interface CommonConfig {
  readonly tracker: TrackerConfig;
  readonly polling: { readonly intervalMs: number };
  readonly workspace: {
    /** Absolute and normalised. */
    readonly root: string;
  };
  readonly hooks: HooksConfig;
  readonly git: GitConfig;
  readonly agent: AgentConfig;
  readonly brakes: BrakesConfig;
  readonly usage: UsageConfig;
  readonly history: {
    /** Older attempts and events go; null: they are kept for ever. */
    readonly retentionDays: number | null;
  };
  readonly server: ServerConfig;
}

/** The effective configuration. The folder of each kind of agent declares here what its section is (`declare module`). */
export interface Config extends CommonConfig {
  readonly agent: AgentConfig;
}

/** The settings of one kind of agent, whose shape its row alone knows; empty for a kind without a section. */
export function settingsOf(config: CommonConfig, kind: string): object {
  const found: unknown = Object.hasOwn(config, kind) ? Reflect.get(config, kind) : null;
  return typeof found === "object" && found !== null ? found : {};
}

/** The model that the agent's own section names; null when it names none, or has no such key. */
export function modelOf(config: CommonConfig, kind: string): string | null {
  const { model }: { readonly model?: unknown } = settingsOf(config, kind);
  return typeof model === "string" ? model : null;
}

export interface TrackerConfig {
  readonly kind: string;
  /** As written: `$NAME` unresolved, unknown keys kept; only the adapter reads it. */
  readonly provider: Readonly<Record<string, unknown>>;
  /** Trimmed, lowercased, unique; a blank one matches no issue. */
  readonly requiredLabels: readonly string[];
  readonly activeStates: readonly string[];
  readonly terminalStates: readonly string[];
  /** Which comments on an issue at work become guidance for its agent. */
  readonly commentSteering: "off" | "mention" | "all";
  /** The word that makes a comment a mention; trimmed. */
  readonly commentMention: string;
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
  /** Requests a minute for each client that is not on this machine; null for no end. */
  readonly rateLimit: number | null;
}

/** Set to `1` by whoever starts a server whose agents may do everything; `serve --i-understand` sets it. */
export const understandVariable = "SYMPHONY_I_UNDERSTAND";

/** What a level means, for people. */
export const levelWords: Readonly<Record<AgentConfig["level"], string>> = {
  safe: "no network, no secrets, writes in the workspace alone",
  networked: "network, no secrets, writes in the workspace alone; the API asks for its token",
  danger: "everything that this user may do; the API asks for its token",
};

/** Throws `invalid_config` for level `danger` on a server that was not started for it: no overlay may open one. */
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
      hint: "in a container or a virtual machine of its own: symphony serve --i-understand",
    },
  );
}

/** An agent with the network could call the API itself: then nobody is let in without the token. */
export function wantsToken({ auth, level }: TokenRules): boolean {
  return auth === "token" || level !== "safe";
}

interface TokenRules {
  /** `server.auth` as the server was started with it. */
  readonly auth: string;
  /** As it is now. */
  readonly level: AgentConfig["level"];
}
