import { z } from "zod";
import {
  map,
  oneOf,
  positive,
  section,
  solidText,
  text,
  variableName,
  wholeNumber,
} from "../../config/agents.ts";
import type { AgentSection } from "../../config/sections.ts";
import { renamed } from "../../model/names.ts";

declare module "../../config/config.ts" {
  interface Config {
    readonly codex: CodexConfig;
  }
}

const schema = section({
  command: solidText.default("codex app-server"),
  home: solidText.default("private"),
  allow_git: z.boolean("must be true or false").default(false),
  model: solidText.nullable().default(null),
  approval_policy: z.union([text, map], "must be text or a map").optional(),
  thread_sandbox: text.default("workspace-write"),
  turn_sandbox_policy: map.nullable().default(null),
  turn_timeout_ms: positive.default(3_600_000),
  read_timeout_ms: positive.default(5_000),
  stall_timeout_ms: wholeNumber.default(300_000),
  env_passthrough: z.array(variableName, "must be a list").default([]),
  process: oneOf("per_issue", "shared").default("per_issue"),
  threads_per_process: positive.default(20),
  orphan_limit_ms: positive.default(600_000),
});

export interface CodexConfig {
  /** A shell line, run as `bash -c`. */
  readonly command: string;
  /**
   * The CODEX_HOME of agents: `private` (made by symphony), `inherit` (the operator's), or a
   * directory for the private one.
   */
  readonly home: string;
  /** Whether agents may commit: write the workspace's `.git` except its hooks and configuration. */
  readonly allowGit: boolean;
  readonly model: string | null;
  readonly approvalPolicy: string | Readonly<Record<string, unknown>>;
  readonly threadSandbox: string;
  /** null: not sent, so the thread's sandbox applies. */
  readonly turnSandboxPolicy: Readonly<Record<string, unknown>> | null;
  /** Limit for silence in a turn. */
  readonly turnTimeoutMs: number;
  readonly readTimeoutMs: number;
  /** 0 or less: disabled. */
  readonly stallTimeoutMs: number;
  /**
   * Names of extra environment variables that the agent may see, in addition to the built-in
   * allow-list.
   */
  readonly envPassthrough: readonly string[];
  /** `shared`: a few long-lived processes hold the threads of all issues and outlive the server. */
  readonly process: "per_issue" | "shared";
  readonly threadsPerProcess: number;
  /** How long a shared process continues without its server. */
  readonly orphanLimitMs: number;
}

function codexConfigOf(written: z.output<typeof schema>): CodexConfig {
  return { ...renamed(schema, written), approvalPolicy: written.approval_policy ?? quiet };
}

/** The policy under which codex requests no approval. */
const quiet = "never";

/** codex app-server, or another program that uses its protocol. */
export const codexSection: AgentSection<CodexConfig, typeof schema> = {
  schema,
  meanings: {
    command: "A shell line, run unchanged by bash -c in the workspace",
    home: "CODEX_HOME of agents: private (made by symphony), inherit (the operator's), or a directory",
    allow_git: "Whether agents may write .git of the workspace, except its hooks and config",
    model: "Model of new turns; codex's own when omitted",
    approval_policy: "Text or map, sent to codex unchanged",
    thread_sandbox: "Sent to codex unchanged",
    turn_sandbox_policy: "Map, sent to codex unchanged with each turn",
    turn_timeout_ms: "Limit for silence in a turn, ms",
    read_timeout_ms: "Limit for the wait for one answer of the protocol, ms",
    stall_timeout_ms: "Silence after which an attempt is tried again, ms; 0 or less: never",
    env_passthrough: "Environment variables that agents and hooks may see",
    process: "per_issue, or shared: turns outlive a restart of the server",
    threads_per_process: "Limit for the issues that one shared process holds",
    orphan_limit_ms: "How long a shared process continues without its server, ms",
  },
  example: { thread_sandbox: "workspace-write", env_passthrough: ["CI"] },
  // Sent to the agent unchanged.
  wholeMaps: ["approval_policy", "turn_sandbox_policy"],
  // These two settings are older than the other kinds of agents, so they apply to all of them.
  forAll: ({ stallTimeoutMs, envPassthrough }) => ({ stallTimeoutMs, envPassthrough }),
  approvals({ approval_policy: policy }) {
    if (policy === undefined) return null;
    return policy === quiet ? "auto" : "ask";
  },
  withApprovals: (written, approvals) => ({
    ...written,
    approval_policy: written.approval_policy ?? (approvals === "ask" ? "on-request" : quiet),
  }),
  settings: codexConfigOf,
};
