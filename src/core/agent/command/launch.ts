import type { CommandConfig } from "../../config/command-section.ts";
import { oneLine } from "../../one-line.ts";
import type { SessionSpec } from "../agent.ts";
import { confinedLine } from "../bubblewrap.ts";
import { agentEnvironment, launchLine } from "../environment.ts";
import { emptiedFor, type GuardedLaunch, guardVariables } from "../guard/disarm.ts";

const maxTitleChars = 500;

export interface TurnFacts {
  /** 1-based. */
  readonly turn: number;
  /** What to go on with; null begins anew. */
  readonly session: string | null;
  readonly model: string | null;
  readonly effort: string | null;
  /** Where the prompt is, unless it is written to stdin. */
  readonly promptFile: string | null;
}

export interface Launch {
  readonly line: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface LaunchOptions {
  readonly spec: SessionSpec;
  readonly config: CommandConfig;
  readonly guarded: GuardedLaunch;
  readonly env: NodeJS.ProcessEnv;
  /** What a confined program must not see. */
  readonly hidden: readonly string[];
}

/** What is run for one turn. All that comes from an issue or a program is in the environment, never in the line. */
export function launchOf(command: string, facts: TurnFacts, options: LaunchOptions): Launch {
  const { spec, config, guarded, hidden } = options;
  const told = toldOf(facts, spec);
  const { runId, secretEnvNames: secretNames, workspace } = spec;
  const passthrough = config.envPassthrough;
  const env = {
    ...agentEnvironment({ env: options.env, passthrough, secretNames, runId }),
    ...told,
  };
  const set = guardVariables(guarded, spec.people.approvals);
  const kept = { passthrough, told: Object.keys(told), set };
  if (spec.level === "danger") return { line: launchLine(command, secretNames, kept), env };
  const readable = facts.promptFile === null ? [] : [facts.promptFile];
  const writable = config.writablePaths;
  const confined = confinedLine(command, {
    workspace,
    writable,
    readable,
    hidden,
    emptied: emptiedFor(guarded),
    network: spec.level !== "safe",
  });
  // The temporary folder in there is a fresh one.
  return { line: launchLine(confined, secretNames, kept), env: { ...env, TMPDIR: "/tmp" } };
}

function toldOf(facts: TurnFacts, { title, workspace }: SessionSpec): Record<string, string> {
  const end = title.indexOf(": ");
  const told: Record<string, string | null> = {
    SYMPHONY_ISSUE_IDENTIFIER: oneLine(end === -1 ? title : title.slice(0, end), maxTitleChars),
    SYMPHONY_ISSUE_TITLE: oneLine(end === -1 ? "" : title.slice(end + 2), maxTitleChars),
    SYMPHONY_WORKSPACE: workspace,
    SYMPHONY_TURN: String(facts.turn),
    SYMPHONY_SESSION: facts.session,
    SYMPHONY_MODEL: facts.model,
    SYMPHONY_REASONING_EFFORT: facts.effort,
    SYMPHONY_PROMPT_FILE: facts.promptFile,
  };
  const set = Object.entries(told).filter((entry): entry is [string, string] => entry[1] !== null);
  return Object.fromEntries(set);
}
