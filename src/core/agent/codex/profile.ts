// The `config.toml` of a private home: the rules by which codex runs an agent's commands.

import { existsSync } from "node:fs";
import type { AgentConfig } from "../../config/agents.ts";
import type { OperatorConfig } from "./operator-config.ts";

export interface HomeConfigOptions {
  readonly operator: OperatorConfig;
  /** Files and directories that commands may read, next to codex's own list of the system. */
  readonly readable: readonly string[];
  /** Files and directories that no command of the agent may read. */
  readonly denied: readonly string[];
  /**
   * A directory of the home that is denied too: codex's databases, which hold threads of other
   * issues.
   */
  readonly databases: string;
  /** Variables that the agent's commands may see. */
  readonly visible: readonly string[];
}

/** The permission profile of a level; with `git` the workspace's repository is writable. */
export function profileName(level: Exclude<AgentConfig["level"], "danger">, git: boolean): string {
  return `symphony-${level}${git ? "-git" : ""}`;
}

/**
 * The `config.toml` of a private home: the operator's model and providers, and our permission
 * profiles.
 */
export function homeConfig(options: HomeConfigOptions): string {
  const { operator, databases, visible } = options;
  const features = operator.tables.find((table) => /^\s*\[\s*features\s*\]/.test(table));
  const others = operator.tables.filter((table) => table !== features);
  return [
    "# Written by symphony at its start; changes are lost.",
    ...operator.settings,
    `default_permissions = ${quoted(profileName("safe", false))}`,
    `sqlite_home = ${quoted(databases)}`,
    "check_for_update_on_startup = false",
    "",
    features ?? "[features]",
    "plugins = false",
    "apps = false",
    "",
    "[shell_environment_policy]",
    'inherit = "all"',
    `include_only = [${visible.map(quoted).join(", ")}]`,
    "",
    ...others,
    ...[false, true].flatMap((git) => [
      profile(profileName("safe", git), { ...options, git, network: false }),
      profile(profileName("networked", git), { ...options, git, network: true }),
    ]),
  ].join("\n");
}

/** Directories of the system that codex does not count as such. */
const systemDirs = ["/etc", "/opt", "/nix"].filter((dir) => existsSync(dir));

/**
 * The files of the repository that can make git run a program stay read-only: hooks and
 * configuration.
 */
const repository = ['".git" = "write"', '".git/hooks" = "read"', '".git/config" = "read"'];

function profile(
  name: string,
  options: HomeConfigOptions & { git: boolean; network: boolean },
): string {
  const { readable, denied, databases, git, network } = options;
  const shown = readable.filter((path) => !denied.includes(path));
  return `
[permissions.${name}]

[permissions.${name}.filesystem]
":minimal" = "read"
":tmpdir" = "write"
${[...systemDirs, ...shown].map((path) => `${quoted(path)} = "read"`).join("\n")}
${[...denied, databases].map((path) => `${quoted(path)} = "deny"`).join("\n")}

[permissions.${name}.filesystem.":workspace_roots"]
"." = "write"
${git ? repository.join("\n") : ""}

[permissions.${name}.network]
enabled = ${network}
`;
}

/** A basic string of TOML; it accepts all escapes of JSON. */
function quoted(text: string): string {
  return JSON.stringify(text).replaceAll("\u007f", "\\u007F");
}
