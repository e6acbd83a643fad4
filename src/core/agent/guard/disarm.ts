import type { Approvals } from "../../config/agents.ts";
import type { KnownAgent } from "./program.ts";

/** How an agent is started, as far as it matters for files of a repository that can act on it. */
export interface GuardedLaunch {
  readonly kind: "acp" | "command";
  /**
   * The known agents that its lines name. If empty, nothing is known about the program; it may
   * start a known agent.
   */
  readonly agents: ReadonlySet<KnownAgent>;
  /** gemini is told to obey the workspace. */
  readonly trusts: boolean;
  /**
   * Symphony lets gemini trust the workspace, which has nothing that it would obey: only then it
   * takes the tools of the tracker.
   */
  readonly opens?: boolean;
}

/**
 * Sent with each request that opens a session. With it claude-agent-acp reads no settings from
 * files, also at a resume, where it reads them again; agents ignore a `_meta` they do not know.
 */
export const sessionMeta = { claudeCode: { options: { settingSources: [] } } } as const;

/**
 * Variables that keep agents from obeying a workspace and from reading files that a prompt
 * mentions. Other agents ignore these variables, so all agents get all of them: a line may be a
 * script that starts any agent.
 */
export const disarming: Readonly<Record<string, string>> = {
  CLAUDE_CODE_DISABLE_ATTACHMENTS: "1",
  CLAUDE_CODE_DISABLE_FILE_MENTIONS: "1",
  GEMINI_CLI_TRUST_WORKSPACE: "false",
  OPENCODE_DISABLE_PROJECT_CONFIG: "1",
};

export function guardVariables(
  { kind, opens = false }: GuardedLaunch,
  approvals: Approvals,
): Readonly<Record<string, string>> {
  const guards = { ...disarming, GEMINI_CLI_TRUST_WORKSPACE: String(opens) };
  // A command cannot ask a person: everything would be denied.
  if (kind === "command" || approvals === "auto") return guards;
  const permission = JSON.stringify({ bash: "ask", edit: "ask" });
  return { ...guards, OPENCODE_PERMISSION: permission };
}

/**
 * Directories of the workspace that must be empty for the agent. codex-acp trusts every workspace.
 */
export function emptiedFor({ agents }: GuardedLaunch): readonly string[] {
  return agents.has("codex") || agents.size === 0 ? [".codex"] : [];
}

/**
 * Makes the prompt plain text: agents run a prompt that begins with `/` as a command, regardless of
 * its author.
 */
export function plainPrompt(text: string): string {
  return /^[\s\p{C}\p{Z}]*\//u.test(text) ? `Text of this message:\n${text}` : text;
}
