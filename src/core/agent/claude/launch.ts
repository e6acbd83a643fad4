import { agentEnvironment, launchLine } from "../../process/environment.ts";
import { loginEnvironment } from "../../process/login.ts";
import { sandboxLine } from "../../process/sandbox.ts";
import { shellQuoted } from "../../text/text.ts";
import type { SessionSpec } from "../agent.ts";
import { trackerServer } from "../mcp.ts";
import type { WayOut } from "../way-out.ts";
import type { Credential } from "./credential.ts";
import type { ClaudeConfig } from "./settings.ts";

/** How a process is started. */
export interface Launch {
  readonly line: string;
  readonly env: Readonly<Record<string, string>>;
  /** The model that it begins with; null for its own. */
  readonly model: string | null;
}

/** Retries of the program by itself: more would only hide for how long a provider refuses. */
const maxRetries = "3";
const apiTimeoutMs = "300000";
/** Where the credential stands until the program is started, so that no command line contains it. */
const credentialVariable = "SYMPHONY_CLAUDE_CREDENTIAL";
/** They start turns by themselves, write to other sessions or leave the workspace. */
const refusedTools = [
  ...["SendMessage", "ListAgents", "CronCreate", "ScheduleWakeup", "EnterWorktree"],
  ...["EnterPlanMode", "ExitPlanMode", "Monitor", "Workflow", "Skill"],
];

export interface LaunchFacts {
  readonly spec: Pick<SessionSpec, "runId" | "secretEnvNames" | "level" | "model" | "tools">;
  readonly config: ClaudeConfig;
  readonly env: NodeJS.ProcessEnv;
  readonly configDir: string;
  readonly credential: Credential | null;
  readonly way: Pick<WayOut, "confinement" | "passthrough" | "lines" | "variables">;
  /** null for a process that opens no session. */
  readonly thread: { readonly id: string; readonly resumes: boolean } | null;
}

export async function launchOf(facts: LaunchFacts): Promise<Launch> {
  const { spec, config, env, configDir, credential, way } = facts;
  const { confinement } = way;
  const { runId, secretEnvNames: secretNames, level } = spec;
  const model = spec.model ?? config.model;
  const passthrough = way.passthrough.filter((name) => name !== "CLAUDE_CONFIG_DIR");
  const login = await loginEnvironment(env);
  const passed = agentEnvironment({ env: login, passthrough, secretNames, runId });
  const kept = {
    path: login["PATH"],
    passthrough,
    ownVariables: [credentialVariable, ...Object.keys(way.variables)],
    set: {
      CLAUDE_CONFIG_DIR: configDir,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
      // A background task that ends would begin a turn by itself.
      CLAUDE_CODE_DISABLE_BACKGROUND_TASKS: "1",
      CLAUDE_CODE_MAX_RETRIES: maxRetries,
      API_TIMEOUT_MS: apiTimeoutMs,
    },
  };
  const words = argumentsOf({ ...facts, model })
    .map(shellQuoted)
    .join(" ");
  const command = `${config.command} ${words}`;
  const inside =
    level === "danger" || confinement === null
      ? command
      : await sandboxLine(command, {
          ...confinement,
          level,
          cwd: confinement.workspace,
          emptied: [],
        });
  const give = credential
    ? [`export ${credential.name}="$${credentialVariable}"`, `unset ${credentialVariable}`]
    : way.lines;
  return {
    line: launchLine([...give, inside].join("\n"), secretNames, kept),
    env: {
      ...passed,
      ...way.variables,
      ...(credential && { [credentialVariable]: credential.value }),
      // The temporary folder inside the sandbox is a new one.
      ...(confinement !== null && { TMPDIR: "/tmp" }),
    },
    model,
  };
}

function argumentsOf({
  spec,
  config,
  thread,
  model,
}: LaunchFacts & { readonly model: string | null }): readonly string[] {
  const tracker = { type: "sdk", name: trackerServer, alwaysLoad: true };
  const servers = spec.tools.specs.length > 0 ? { [trackerServer]: tracker } : {};
  return [
    ...["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"],
    ...["--include-partial-messages", "--permission-prompt-tool", "stdio"],
    // Nothing of the repository's settings, hooks and MCP servers acts.
    ...["--setting-sources", "", "--strict-mcp-config"],
    ...["--mcp-config", JSON.stringify({ mcpServers: servers })],
    ...["--allowedTools", `mcp__${trackerServer}__*`],
    ...["--tools", config.tools.join(","), "--disallowedTools", refusedTools.join(",")],
    ...["--settings", JSON.stringify({ crossSessionInbound: "refuse" })],
    ...["--system-prompt-snapshot", "off"],
    ...(model === null ? [] : ["--model", model]),
    ...(thread === null ? [] : [thread.resumes ? "--resume" : "--session-id", thread.id]),
  ];
}
