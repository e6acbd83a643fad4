import { SymphonyError } from "../../model/errors.ts";
import type { GuardedLaunch } from "./disarm.ts";
import { agentsIn, type KnownAgent, packageRunner, wordsOf } from "./program.ts";

/** A shell line of the configuration, and the key it is from. */
export interface SettingLine {
  readonly key: string;
  readonly line: string;
}

export interface LaunchFacts {
  readonly kind: GuardedLaunch["kind"];
  readonly lines: readonly SettingLine[];
  /** An agent that is known by something else than its line. */
  readonly agent: KnownAgent | null;
  readonly passthrough: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

interface Door {
  readonly message: string;
  readonly hint: string;
}

const trust = "GEMINI_CLI_TRUST_WORKSPACE";
/** Sources of settings that no repository can write. */
const ownSources = ["", "user"];

export function guardedLaunch(facts: LaunchFacts): GuardedLaunch {
  const { kind, lines, agent, passthrough, env } = facts;
  const named = lines.flatMap(({ line }) => [...agentsIn(line)]);
  const agents = new Set(agent === null ? named : [...named, agent]);
  const passes = passthrough.includes(trust) && env[trust] === "true";
  return { kind, agents, trusts: passes || lines.some(({ line }) => trusting(line)) };
}

/** Throws `agent_unavailable` for a line with which files of a repository would take the agent over. */
export function requireGuardedLines(launch: GuardedLaunch, lines: readonly SettingLine[]): void {
  const [door] = doorsOf(launch, lines);
  if (!door) return;
  throw new SymphonyError("agent_unavailable", door.message, { hint: door.hint });
}

/** What an operator who lets files of a repository act should know, for the events of a session. */
export function guardNotices(
  launch: GuardedLaunch,
  lines: readonly SettingLine[],
): readonly string[] {
  const doors = doorsOf(launch, lines).map(({ message, hint }) => `${message}; next: ${hint}`);
  if (!launch.trusts) return doors;
  return [
    ...doors,
    "gemini is told to trust the workspace (--skip-trust): it obeys .gemini and .env of the repository",
  ];
}

function doorsOf(launch: GuardedLaunch, lines: readonly SettingLine[]): readonly Door[] {
  return lines.flatMap((line) => [...runnerDoor(launch, line), ...claudeDoor(launch, line)]);
}

function runnerDoor({ kind, agents }: GuardedLaunch, { key, line }: SettingLine): Door[] {
  const runner = packageRunner(line);
  if (runner === null || (kind === "command" && agents.size === 0)) return [];
  const message = `${key} starts the agent by ${runner}, which runs the copy in the workspace's node_modules and asks the registry that its .npmrc names: a repository would choose the program that gets your key`;
  return [
    { message, hint: `npm install --global the agent's package, and name its program in ${key}` },
  ];
}

/** claude -p skips the question whether the folder is trusted, and obeys it. */
function claudeDoor({ kind, agents }: GuardedLaunch, { key, line }: SettingLine): Door[] {
  if (kind !== "command" || !agents.has("claude")) return [];
  const words = flatWords(line);
  const missing = [
    ...(ownSettingsAlone(words) ? [] : ["--setting-sources ''"]),
    ...(words.includes("--strict-mcp-config") ? [] : ["--strict-mcp-config"]),
  ].join(" ");
  if (missing === "") return [];
  const message = `${key} starts claude without ${missing}: .claude/settings.json and .mcp.json of a repository could send the prompt and your key to another address and run programs`;
  return [{ message, hint: `add to claude's words in ${key}: ${missing}` }];
}

function ownSettingsAlone(words: readonly string[]): boolean {
  const flag = "--setting-sources";
  const values = words.flatMap((word, at) => {
    if (word === flag) return [words[at + 1] ?? "project"];
    return word.startsWith(`${flag}=`) ? [word.slice(flag.length + 1)] : [];
  });
  return values.length > 0 && values.every((value) => ownSources.includes(value));
}

function trusting(line: string): boolean {
  const named = new RegExp(`^${trust}=(?!false$)`);
  return flatWords(line).some(
    (word) =>
      named.test(word) || (word.startsWith("--skip-trust") && word !== "--skip-trust=false"),
  );
}

/** The words of the line, and of the lines it hands to further shells. */
function flatWords(line: string): readonly string[] {
  return wordsOf(line).flatMap((word) => (/\s/.test(word) ? [word, ...wordsOf(word)] : [word]));
}
