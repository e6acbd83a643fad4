import type { Config } from "./config.ts";

/** What runs by default, for people: the shell line of `agent.kind`, empty for one that has none. */
export function agentCommand(config: Config): string {
  switch (config.agent.kind) {
    case "codex":
      return config.codex.command;
    case "command":
      return config.command.line ?? "";
    case "acp":
      return config.acp.command ?? "";
    default:
      return "";
  }
}
