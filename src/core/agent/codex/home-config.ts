import type { AgentConfig } from "../../config/config.ts";
import type { OperatorConfig } from "./operator-config.ts";

export interface HomeConfigOptions {
  readonly operator: OperatorConfig;
  /** Files and directories no command of the agent may read. */
  readonly denied: readonly string[];
  /** A directory of the home that is denied as well: codex's databases, which hold other issues' threads. */
  readonly databases: string;
  /** Variables the agent's commands may see. */
  readonly visible: readonly string[];
}

/** The permission profile of a level; `git`: the repository of the workspace may be written. */
export function profileName(level: Exclude<AgentConfig["level"], "danger">, git: boolean): string {
  return `symphony-${level}${git ? "-git" : ""}`;
}

/** The `config.toml` of a private home: the operator's model and providers, our permission profiles. */
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

/** Of the repository, what makes git run a program stays read-only: hooks and configuration. */
const repository = ['".git" = "write"', '".git/hooks" = "read"', '".git/config" = "read"'];

function profile(
  name: string,
  { denied, databases, git, network }: HomeConfigOptions & { git: boolean; network: boolean },
): string {
  return `
[permissions.${name}]
extends = ":workspace"

[permissions.${name}.filesystem]
":slash_tmp" = "read"
${[...denied, databases].map((path) => `${quoted(path)} = "deny"`).join("\n")}

[permissions.${name}.filesystem.":workspace_roots"]
${git ? repository.join("\n") : ""}

[permissions.${name}.network]
enabled = ${network}
`;
}

/** A basic string of TOML; JSON's escapes are among its own. */
function quoted(text: string): string {
  return JSON.stringify(text).replaceAll("\u007f", "\\u007F");
}
