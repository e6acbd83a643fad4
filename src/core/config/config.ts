import type { AcpConfig } from "./acp-section.ts";
import type { CommandConfig } from "./command-section.ts";
import type { GitConfig } from "./git-section.ts";
import type { OpenaiConfig } from "./openai-section.ts";

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

export interface AgentConfig {
  /** Which runtime: `codex`, `openai`, `command` or `acp`. */
  readonly kind: string;
  /** Over the model of the runtime's own section; null leaves it to that. */
  readonly model: string | null;
  readonly effort: string | null;
  /** What issues in a tracker state, or with a label, get instead; a label wins. Keys lowercased. */
  readonly byState: ReadonlyMap<string, AgentPick>;
  readonly byLabel: ReadonlyMap<string, AgentPick>;
  /** What the agent's commands may reach: nothing outside the workspace, the network too, or everything. */
  readonly level: "safe" | "networked" | "danger";
  /** What becomes of an agent's wish for an approval: granted, a person is asked, declined. */
  readonly approvals: Approvals;
  /** How long an approval or a question waits for a person; 0: the run ends at once. */
  readonly approvalTimeoutMs: number;
  readonly maxConcurrentAgents: number;
  readonly maxTurns: number;
  readonly maxRetryBackoffMs: number;
  /** Failures in a row before an issue becomes `failed`; null for no end. */
  readonly maxRetries: number | null;
  /** Keys trimmed and lowercased. */
  readonly maxConcurrentAgentsByState: Readonly<Record<string, number>>;
}

export type Approvals = "auto" | "ask" | "decline";

/** null: as it would be otherwise. */
export interface AgentPick {
  readonly kind: string | null;
  readonly model: string | null;
  readonly effort: string | null;
}

/** Limits that put an issue to `held`; null is off. */
export interface BrakesConfig {
  readonly tokensPerIssue: number | null;
  /** Of all issues together; a day ends at midnight UTC. */
  readonly tokensPerDay: number | null;
  /** Turns in a row that changed neither the workspace nor the issue. */
  readonly turnsWithoutProgress: number | null;
  readonly attemptTimeoutMs: number | null;
}

export interface UsageConfig {
  readonly currency: string;
  /** By model, in `currency` per million tokens. */
  readonly prices: ReadonlyMap<string, Price>;
}

export interface Price {
  readonly input: number;
  readonly cachedInput: number;
  readonly output: number;
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
