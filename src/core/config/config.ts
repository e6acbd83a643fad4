/** The effective configuration: validated, defaults filled in, paths absolute. Durations in ms. */
export interface Config {
  readonly tracker: TrackerConfig;
  readonly polling: { readonly intervalMs: number };
  readonly workspace: {
    /** Absolute and normalised. */
    readonly root: string;
  };
  readonly hooks: HooksConfig;
  readonly agent: AgentConfig;
  readonly codex: CodexConfig;
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
}

export interface HooksConfig {
  readonly afterCreate: string | null;
  readonly beforeRun: string | null;
  readonly afterRun: string | null;
  readonly beforeRemove: string | null;
  readonly timeoutMs: number;
}

export interface AgentConfig {
  /** Which runtime: `codex`. */
  readonly kind: string;
  readonly maxConcurrentAgents: number;
  readonly maxTurns: number;
  readonly maxRetryBackoffMs: number;
  /** Failures in a row before an issue becomes `failed`; null for no end. */
  readonly maxRetries: number | null;
  /** Keys trimmed and lowercased. */
  readonly maxConcurrentAgentsByState: Readonly<Record<string, number>>;
}

export interface CodexConfig {
  /** A shell line, run as `bash -lc`. */
  readonly command: string;
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
}

export interface ServerConfig {
  readonly host: string;
  readonly port: number;
  readonly allowedHosts: readonly string[];
  readonly auth: "none" | "token";
  /** Requests a minute for each client that is not on this machine; null for no end. */
  readonly rateLimit: number | null;
}
