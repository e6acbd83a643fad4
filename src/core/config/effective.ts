import { acpConfigOf } from "./acp-section.ts";
import { agentConfigOf, brakesConfigOf, usageConfigOf } from "./agent-sections.ts";
import { commandConfigOf } from "./command-section.ts";
import type { Config } from "./config.ts";
import { gitConfigOf } from "./git-section.ts";
import { openaiConfigOf } from "./openai-section.ts";
import type { Written } from "./schema.ts";

/** The form the rest of core reads. `root` is the absolute path `workspace.root` stands for. */
export function toConfig(written: Written, root: string): Config {
  const { tracker, polling, hooks, agent, brakes, usage, codex, openai, history, server } = written;
  return {
    tracker: {
      kind: tracker.kind,
      provider: tracker.provider,
      requiredLabels: tracker.required_labels,
      activeStates: tracker.active_states,
      terminalStates: tracker.terminal_states,
      commentSteering: tracker.comment_steering,
      commentMention: tracker.comment_mention.trim(),
    },
    polling: { intervalMs: polling.interval_ms },
    workspace: { root },
    hooks: {
      afterCreate: scriptOf(hooks.after_create),
      beforeRun: scriptOf(hooks.before_run),
      afterRun: scriptOf(hooks.after_run),
      beforeRemove: scriptOf(hooks.before_remove),
      timeoutMs: hooks.timeout_ms,
    },
    git: gitConfigOf(written.git),
    agent: agentConfigOf(agent),
    brakes: brakesConfigOf(brakes),
    usage: usageConfigOf(usage),
    codex: {
      command: codex.command,
      home: codex.home,
      allowGit: codex.allow_git,
      model: codex.model,
      approvalPolicy: codex.approval_policy,
      threadSandbox: codex.thread_sandbox,
      turnSandboxPolicy: codex.turn_sandbox_policy,
      turnTimeoutMs: codex.turn_timeout_ms,
      readTimeoutMs: codex.read_timeout_ms,
      stallTimeoutMs: codex.stall_timeout_ms,
      envPassthrough: codex.env_passthrough,
      process: codex.process,
      threadsPerProcess: codex.threads_per_process,
      orphanLimitMs: codex.orphan_limit_ms,
    },
    openai: openaiConfigOf(openai),
    command: commandConfigOf(written.command),
    acp: acpConfigOf(written.acp),
    history: { retentionDays: history.retention_days },
    server: {
      host: server.host,
      port: server.port,
      allowedHosts: server.allowed_hosts,
      auth: server.auth,
      rateLimit: server.rate_limit,
    },
  };
}

function scriptOf(written: string | null): string | null {
  return written === null || written.trim() === "" ? null : written;
}
