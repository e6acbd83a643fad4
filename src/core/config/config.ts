import { SymphonyError } from "../model/errors.ts";
import type {
  AcpConfig,
  AgentConfig,
  BrakesConfig,
  CommandConfig,
  OpenaiConfig,
  UsageConfig,
} from "./agents.ts";
import type { GitConfig } from "./git.ts";

/** The effective configuration: validated, defaults filled in, paths absolute. Durations in ms. */
export interface Config {
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
  readonly codex: CodexConfig;
  readonly command: CommandConfig;
  readonly acp: AcpConfig;
  readonly openai: OpenaiConfig;
  readonly history: {
    /** Older attempts and events go; null: they are kept for ever. */
    readonly retentionDays: number | null;
  };
  readonly server: ServerConfig;
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
}

export interface CodexConfig {
  /** A shell line, run as `bash -lc`. */
  readonly command: string;
  /** The CODEX_HOME of agents: `private` (one of ours), `inherit` (the operator's), or a directory for ours. */
  readonly home: string;
  /** Whether agents may commit: the workspace's `.git` but for its hooks and configuration. */
  readonly allowGit: boolean;
  readonly model: string | null;
  readonly approvalPolicy: string | Readonly<Record<string, unknown>>;
  readonly threadSandbox: string;
  /** null: not sent, the thread's sandbox holds. */
  readonly turnSandboxPolicy: Readonly<Record<string, unknown>> | null;
  /** Longest silence in a turn. */
  readonly turnTimeoutMs: number;
  readonly readTimeoutMs: number;
  /** 0 or less: off. */
  readonly stallTimeoutMs: number;
  /** Names of extra environment variables the agent may see, beside the built-in allow-list. */
  readonly envPassthrough: readonly string[];
  /** `shared`: few long-lived processes hold the threads of all issues and outlive the server. */
  readonly process: "per_issue" | "shared";
  readonly threadsPerProcess: number;
  /** How long a shared process lives on without its server. */
  readonly orphanLimitMs: number;
}

export interface ServerConfig {
  readonly host: string;
  readonly port: number;
  readonly allowedHosts: readonly string[];
  readonly auth: "none" | "token";
  /** Requests a minute for each client that is not on this machine; null for no end. */
  readonly rateLimit: number | null;
}

/** What runs by default, for people: the shell line of `agent.kind`, empty for one that has none. */
export function agentCommand(config: Config): string {
  switch (config.agent.kind) {
    case "codex":
      return config.codex.command;
    case "command":
      return config.command.line ?? "";
    case "acp":
      return config.acp.command ?? "";
    default:
      return "";
  }
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
