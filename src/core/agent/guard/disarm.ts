import type { Approvals } from "../../config/agents.ts";
import type { KnownAgent } from "./program.ts";

/** How an agent is started, as far as files of a repository can act on it. */
export interface GuardedLaunch {
  readonly kind: "acp" | "command";
  /** Those that its lines name; none: a program of which nothing is known, maybe one that starts a known agent. */
  readonly agents: ReadonlySet<KnownAgent>;
  /** gemini is told to obey the workspace. */
  readonly trusts: boolean;
}

/**
 * Goes with each request that opens a session. claude-agent-acp takes no settings from files then, also not at a
 * resume, where it reads them anew; agents ignore a `_meta` they do not know.
 */
export const sessionMeta = { claudeCode: { options: { settingSources: [] } } } as const;

/**
 * Variables that keep agents from obeying a workspace and from reading files that a prompt mentions. Each is without
 * meaning to the other agents, so all get them: a line may be a script that starts any of them.
 */
export const disarming: Readonly<Record<string, string>> = {
  CLAUDE_CODE_DISABLE_ATTACHMENTS: "1",
  CLAUDE_CODE_DISABLE_FILE_MENTIONS: "1",
  GEMINI_CLI_TRUST_WORKSPACE: "false",
  OPENCODE_DISABLE_PROJECT_CONFIG: "1",
};

export function guardVariables(
  { kind }: GuardedLaunch,
  approvals: Approvals,
): Readonly<Record<string, string>> {
  // In a command there is no person to ask: everything would be denied.
  if (kind === "command" || approvals === "auto") return disarming;
  const permission = JSON.stringify({ bash: "ask", edit: "ask" });
  return { ...disarming, OPENCODE_PERMISSION: permission };
}

/** Directories of the workspace that the agent is to find empty. codex-acp trusts every workspace by itself. */
export function emptiedFor({ agents }: GuardedLaunch): readonly string[] {
  return agents.has("codex") || agents.size === 0 ? [".codex"] : [];
}

/** A prompt as text alone: agents run one that begins with `/` as a command, whoever wrote it. */
export function plainPrompt(text: string): string {
  return /^[\s\p{C}\p{Z}]*\//u.test(text) ? `Text of this message:\n${text}` : text;
}
