import {
  acpConfigOf,
  acpSection,
  commandConfigOf,
  commandSection,
  openaiConfigOf,
  openaiSection,
} from "../../src/core/config/agents.ts";
import type { Config } from "../../src/core/config/config.ts";
import type { Issue } from "../../src/core/model/issue.ts";

/** An issue in Todo that may be worked on. */
export function issue(identifier: string, fields: Partial<Issue> = {}): Issue {
  return {
    id: `id-${identifier}`,
    nativeRef: null,
    identifier,
    title: `Title of ${identifier}`,
    description: null,
    priority: null,
    state: "Todo",
    branchName: null,
    url: null,
    assigneeId: null,
    labels: [],
    blockedBy: [],
    dispatchable: true,
    createdAt: null,
    updatedAt: null,
    ...fields,
  };
}

type Parts = { readonly [K in keyof Config]?: Partial<Config[K]> };

/** The documented defaults, with a tracker that needs nothing; `parts` replace single values. */
export function config(parts: Parts = {}): Config {
  return {
    tracker: {
      kind: "local",
      provider: {},
      requiredLabels: [],
      activeStates: ["Todo", "In Progress"],
      terminalStates: ["Closed", "Cancelled", "Canceled", "Duplicate", "Done"],
      commentSteering: "off",
      commentMention: "@symphony",
      ...parts.tracker,
    },
    polling: { intervalMs: 30_000, ...parts.polling },
    workspace: { root: "/nowhere/workspaces", ...parts.workspace },
    hooks: {
      afterCreate: null,
      beforeRun: null,
      afterRun: null,
      beforeRemove: null,
      timeoutMs: 60_000,
      ...parts.hooks,
    },
    git: { repositories: [], timeoutMs: 600_000, ...parts.git },
    agent: {
      kind: "codex",
      model: null,
      effort: null,
      byState: new Map(),
      byLabel: new Map(),
      level: "safe",
      approvals: "auto",
      approvalTimeoutMs: 0,
      maxConcurrentAgents: 10,
      maxTurns: 20,
      maxRetryBackoffMs: 300_000,
      maxRetries: 10,
      maxConcurrentAgentsByState: {},
      ...parts.agent,
    },
    brakes: {
      tokensPerIssue: null,
      tokensPerDay: null,
      turnsWithoutProgress: null,
      attemptTimeoutMs: null,
      ...parts.brakes,
    },
    usage: { currency: "USD", prices: new Map(), ...parts.usage },
    codex: {
      command: "codex app-server",
      home: "private",
      allowGit: false,
      model: null,
      approvalPolicy: "never",
      threadSandbox: "workspace-write",
      turnSandboxPolicy: null,
      turnTimeoutMs: 3_600_000,
      readTimeoutMs: 5_000,
      stallTimeoutMs: 300_000,
      envPassthrough: [],
      process: "per_issue",
      threadsPerProcess: 20,
      orphanLimitMs: 600_000,
      ...parts.codex,
    },
    command: { ...commandConfigOf(commandSection.parse({})), ...parts.command },
    acp: { ...acpConfigOf(acpSection.parse({})), ...parts.acp },
    openai: { ...openaiConfigOf(openaiSection.parse({})), ...parts.openai },
    history: { retentionDays: 90 },
    server: {
      host: "127.0.0.1",
      port: 0,
      allowedHosts: [],
      auth: "none",
      rateLimit: 300,
      ...parts.server,
    },
  };
}
