import { lstat } from "node:fs/promises";
import { join } from "node:path";
import type { CodexConfig } from "../../config/config.ts";
import type { SessionSpec } from "../agent.ts";
import { runCookie } from "../environment.ts";
import type { JsonObject } from "../json-value.ts";
import type { CodexHome } from "./home.ts";
import { profileName } from "./home-config.ts";

/** By which rules codex runs the commands of a thread. */
export type Permit =
  | { readonly type: "profile"; readonly name: string; readonly home: CodexHome }
  | {
      readonly type: "sandbox";
      /** What of our own rules does not hold, for the operator; null where all is as the level says. */
      readonly warning: string | null;
      /** False: nothing that an operator chose, so it is a line of the log. */
      readonly chosen: boolean;
    };

export interface PermitOptions {
  readonly spec: SessionSpec;
  readonly config: CodexConfig;
  readonly home: CodexHome | null;
  /** The CODEX_HOME the program says it has. */
  readonly codexHome: string | null;
}

/** The sandbox that codex has by itself, and that our profiles extend. */
export const usualSandbox = "workspace-write";
const lost = "agents may read the data directory, the login of codex and other workspaces";

/** Our profile, unless the operator chose a sandbox or a home, or the program is not codex in our home. */
export async function permitOf({ spec, config, home, codexHome }: PermitOptions): Promise<Permit> {
  if (spec.level === "danger") return sandbox(null);
  const own = ownSandbox(config);
  if (own !== null) return sandbox(`${own} replaces the permission profile: ${lost}`);
  if (home === null) {
    const warning = `codex.home is inherit: ${lost}`;
    return { type: "sandbox", warning, chosen: config.home === "inherit" };
  }
  if (codexHome === null) {
    const warning = `the agent's command is not codex: its sandbox was not probed, ${lost}`;
    return { type: "sandbox", warning, chosen: false };
  }
  if (codexHome !== home.path) {
    return sandbox(`codex.command sets CODEX_HOME to ${codexHome}: ${lost}`);
  }
  const git = config.allowGit && (await isRepository(spec.workspace));
  return { type: "profile", name: profileName(spec.level, git), home };
}

/** What is sent with a thread, at its start and at every resume: of its `config` nothing is kept by codex. */
export function permitParams(permit: Permit, spec: SessionSpec, config: CodexConfig): JsonObject {
  const settings: Record<string, unknown> = {
    // A login shell for each command would read the profile, and what it exports, once more.
    allow_login_shell: false,
    [`shell_environment_policy.set.${runCookie}`]: spec.runId,
  };
  // What a repository brings along for codex may name programs, and those run outside any sandbox of codex.
  if (spec.level !== "danger") {
    settings["projects"] = { [spec.workspace]: { trust_level: "untrusted" } };
  }
  if (permit.type === "profile") {
    if (spec.level === "safe") settings["web_search"] = "disabled";
    return { permissions: permit.name, config: settings };
  }
  const usual = config.threadSandbox === usualSandbox;
  if (spec.level === "networked" && usual) {
    settings["sandbox_workspace_write.network_access"] = true;
  }
  const everything = spec.level === "danger" && usual;
  return { sandbox: everything ? "danger-full-access" : config.threadSandbox, config: settings };
}

/** The name of the setting by which the operator chose a sandbox; null without one. */
function ownSandbox({ threadSandbox, turnSandboxPolicy, command }: CodexConfig): string | null {
  if (turnSandboxPolicy !== null) return "codex.turn_sandbox_policy";
  if (threadSandbox !== usualSandbox) return "codex.thread_sandbox";
  const flag = /\bsandbox_(workspace_write|mode)\b|--sandbox\b|\bdefault_permissions\b/;
  return flag.test(command) ? "the sandbox that codex.command sets" : null;
}

function sandbox(warning: string | null): Permit {
  return { type: "sandbox", warning, chosen: true };
}

/** With anything else in its place, such as the file of a worktree, a rule inside `.git` stops every command. */
async function isRepository(workspace: string): Promise<boolean> {
  const is = async (name: string, kind: "isDirectory" | "isFile") =>
    (await lstat(join(workspace, ".git", name)).catch(() => null))?.[kind]() === true;
  return (
    (await is("", "isDirectory")) && (await is("hooks", "isDirectory")) && is("config", "isFile")
  );
}
