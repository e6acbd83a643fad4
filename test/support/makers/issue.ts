import { acpSection } from "../../../src/core/agent/acp/settings.ts";
import { claudeSection } from "../../../src/core/agent/claude/settings.ts";
import { codexSection } from "../../../src/core/agent/codex/settings.ts";
import { commandSection } from "../../../src/core/agent/command/settings.ts";
import { openaiSection } from "../../../src/core/agent/openai/settings.ts";
import type { Config } from "../../../src/core/config/config.ts";
import { deliveryConfigOf, deliverySection } from "../../../src/core/config/delivery.ts";
import type { NotifyRule } from "../../../src/core/config/notify.ts";
import { type Issue, type IssueLink, withoutRelations } from "../../../src/core/model/issue.ts";

/** An issue in Todo that is ready for an attempt. */
export function issue(identifier: string, fields: Partial<Issue> = {}): Issue {
  return {
    ...withoutRelations,
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

/** `one` as an issue that it blocks names it. */
export function linkTo({ id, identifier, title, state, url }: Issue): IssueLink {
  return { id, identifier, title, state, url };
}

type Parts = { readonly [K in keyof Config]?: Partial<Config[K]> };

/** The documented defaults, with a tracker that needs no settings; `parts` replace single values. */
export function config(parts: Parts = {}): Config {
  return {
    tracker: {
      kind: "local",
      provider: {},
      requiredLabels: [],
      anyLabels: [],
      excludedLabels: [],
      activeStates: ["Todo", "In Progress"],
      blockerStates: null,
      terminalStates: ["Closed", "Cancelled", "Canceled", "Duplicate", "Done"],
      commentSteering: "off",
      commandPrefix: "/symphony",
      commentMention: "@symphony",
      updates: "state",
      comment: { cost: false },
      inProgress: null,
      onSuccess: { kind: "none" },
      onMerged: null,
      ...parts.tracker,
    },
    polling: { intervalMs: 30_000, ...parts.polling },
    workspace: {
      root: "/nowhere/workspaces",
      keepMaxBytes: 2 ** 31,
      retention: { maxAgeMs: null, maxTotalBytes: null },
      ...parts.workspace,
    },
    hooks: {
      afterCreate: null,
      beforeRun: null,
      afterRun: null,
      beforeRemove: null,
      timeoutMs: 60_000,
      envPassthrough: [],
      ...parts.hooks,
    },
    git: { repositories: [], timeoutMs: 600_000, ...parts.git },
    delivery: { ...deliveryConfigOf(deliverySection.parse({}), false), ...parts.delivery },
    agent: {
      use: "codex",
      fallback: [],
      handover: false,
      model: null,
      effort: null,
      byState: new Map(),
      byLabel: new Map(),
      level: "safe",
      network: null,
      approvals: "auto",
      approvalTimeoutMs: 0,
      readable: [],
      stallTimeoutMs: 300_000,
      maxConcurrentAgents: 10,
      activeHours: null,
      maxTurns: 20,
      maxProcesses: 1_024,
      maxMemory: null,
      maxFileSize: 4 * 1024 ** 3,
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
    agents: new Map(),
    notify: (parts.notify ?? []) as readonly NotifyRule[],
    usage: { currency: "USD", prices: new Map(), ...parts.usage },
    codex: { ...codexSection.settings(codexSection.schema.parse({})), ...parts.codex },
    command: { ...commandSection.settings(commandSection.schema.parse({})), ...parts.command },
    claude: { ...claudeSection.settings(claudeSection.schema.parse({})), ...parts.claude },
    acp: { ...acpSection.settings(acpSection.schema.parse({})), ...parts.acp },
    openai: { ...openaiSection.settings(openaiSection.schema.parse({})), ...parts.openai },
    history: { retentionDays: 90 },
    host: {
      minFree: { bytes: 2 ** 30, share: 0.05 },
      minMemoryBytes: 2 ** 28,
      maxLoad: 8,
      ...parts.host,
    },
    fleet: {
      url: null,
      labels: [],
      maxCopyBytes: 2 ** 26,
      prepare: null,
      leaseMs: 15_000,
      ...parts.fleet,
    },
    worker: { sshHosts: [], maxPerHost: null, root: "~/w", ...parts.worker },
    promptStates: [...(parts.promptStates ?? [])] as readonly string[],
    server: {
      host: "127.0.0.1",
      port: 0,
      allowedHosts: [],
      auth: "none",
      rateLimit: 300,
      publicUrl: null,
      ...parts.server,
    },
  };
}
