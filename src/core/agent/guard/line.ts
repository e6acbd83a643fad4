import { SymphonyError } from "../../model/errors.ts";
import { disarming, type GuardedLaunch } from "./disarm.ts";
import {
  agentsIn,
  agentsOf,
  allCommands,
  type KnownAgent,
  packageRunner,
  type Words,
} from "./program.ts";

/** A shell line of the configuration, and the key that it is from. */
export interface SettingLine {
  readonly key: string;
  readonly line: string;
}

export interface LaunchFacts {
  readonly kind: GuardedLaunch["kind"];
  readonly lines: readonly SettingLine[];
  /** An agent that is known from a setting other than its line. */
  readonly agent: KnownAgent | null;
  readonly passthrough: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

interface Weakness {
  readonly message: string;
  readonly hint: string;
}

const trust = "GEMINI_CLI_TRUST_WORKSPACE";
/** Sources of settings that no repository can write. */
const ownSources = ["", "user"];
/**
 * The variables without which an agent obeys the workspace or reads files that a prompt mentions.
 */
const needed: Readonly<Record<KnownAgent, readonly string[]>> = {
  claude: Object.keys(disarming).filter((name) => name.startsWith("CLAUDE_")),
  codex: [],
  gemini: [trust],
  opencode: Object.keys(disarming).filter((name) => name.startsWith("OPENCODE_")),
};

export function guardedLaunch(facts: LaunchFacts): GuardedLaunch {
  const { kind, lines, agent, passthrough, env } = facts;
  const named = lines.flatMap(({ line }) => [...agentsIn(line)]);
  const agents = new Set(agent === null ? named : [...named, agent]);
  const passes = passthrough.includes(trust) && env[trust] === "true";
  const isTrusted = passes || lines.some(({ line }) => trusting(line));
  return { kind, agents, trusts: isTrusted && agents.has("gemini") };
}

/**
 * Throws `agent_unavailable` for a line with which files of a repository would take over the agent.
 */
export function requireGuardedLines(launch: GuardedLaunch, lines: readonly SettingLine[]): void {
  const [weakness] = weaknessesOf(launch, lines);
  if (!weakness) return;
  throw new SymphonyError("agent_unavailable", weakness.message, { hint: weakness.hint });
}

/** Notices, as events of a session, for an operator who lets files of a repository act. */
export function guardNotices(
  launch: GuardedLaunch,
  lines: readonly SettingLine[],
): readonly string[] {
  const weaknesses = weaknessesOf(launch, lines).map(
    ({ message, hint }) => `${message}; next: ${hint}`,
  );
  if (!launch.trusts) return weaknesses;
  return [
    ...weaknesses,
    "gemini is told to trust the workspace (--skip-trust): it obeys .gemini and .env of the repository",
  ];
}

function weaknessesOf(launch: GuardedLaunch, lines: readonly SettingLine[]): readonly Weakness[] {
  return lines.flatMap((line) => [
    ...runnerWeakness(launch, line),
    ...variablesWeakness(launch, line),
    ...claudeWeakness(launch, line),
  ]);
}

function runnerWeakness({ kind, agents }: GuardedLaunch, { key, line }: SettingLine): Weakness[] {
  const runner = packageRunner(line);
  if (runner === null || (kind === "command" && agents.size === 0)) return [];
  const message = `${key} starts the agent with ${runner}, which runs the copy in the workspace's node_modules and asks the registry that its .npmrc names: a repository would choose the program that gets your key`;
  return [
    { message, hint: `npm install --global the agent's package, and name its program in ${key}` },
  ];
}

/** Without gemini's variable, which `trusts` reports. */
function variablesWeakness(
  { kind, agents }: GuardedLaunch,
  { key, line }: SettingLine,
): Weakness[] {
  const any = kind === "acp" && agents.size === 0;
  const names = (
    any ? Object.keys(disarming) : [...agents].flatMap((agent) => needed[agent])
  ).filter((name) => name !== trust);
  const undoing = allCommands(line).flatMap((words) => undoneBy(words, names))[0];
  if (undoing === undefined) return [];
  const message = `${key} uses "${undoing}" and so removes what keeps the agent from obeying the repository (${names.join(", ")}): the repository could send the prompt and your key to another address and run programs`;
  return [{ message, hint: `remove "${undoing}" from ${key}` }];
}

/** The words that unset variables with these names, or give them another value. */
function undoneBy(words: Words, names: readonly string[]): readonly string[] {
  if (names.length === 0) return [];
  return words.flatMap((word, at) => {
    const [name = "", ...value] = word.split("=");
    if (value.length > 0 && names.includes(name)) {
      return value.join("=") === disarming[name] ? [] : [word];
    }
    const before = words[at - 1] ?? "";
    // `unset NAME`, `env -u NAME`, `-uNAME`, `--unset=NAME`, `export -n NAME`
    if (names.includes(word) || names.includes(word.replace(/^(-u|--unset=)/, ""))) {
      return [`${before} ${word}`.trim()];
    }
    return clearsAll(word, words.slice(0, at)) ? [`${before} ${word}`.trim()] : [];
  });
}

/** `env -i`, `env -`, `exec -c`: nothing of the environment is passed on. */
function clearsAll(word: string, before: Words): boolean {
  const from = (name: string) => before.findLastIndex((one) => one.endsWith(name));
  const ofOptions = (at: number) => at >= 0 && before.slice(at + 1).every(isOption);
  if (ofOptions(from("env"))) {
    return word === "-" || word.startsWith("--ignore-env") || /^-[a-zA-Z0]*i/.test(word);
  }
  return ofOptions(from("exec")) && /^-[a-z]*c/.test(word);
}

function isOption(word: string, at: number, words: Words): boolean {
  return /^-|=/.test(word) || /^-[uCS]$/.test(words[at - 1] ?? "");
}

/**
 * claude -p skips the question whether the folder is trusted, and obeys it. Each claude of a line
 * is checked by its own arguments.
 */
function claudeWeakness({ kind, agents }: GuardedLaunch, { key, line }: SettingLine): Weakness[] {
  if (kind !== "command" || !agents.has("claude")) return [];
  const commands = allCommands(line);
  const naming = commands.filter((words) => agentsOf(words).has("claude"));
  const missing = (naming.length > 0 ? naming : [commands.flat()]).flatMap((words) => {
    const end = words.indexOf("--");
    const own = end === -1 ? words : words.slice(0, end);
    return [
      ...(ownSettingsAlone(own) ? [] : ["--setting-sources ''"]),
      ...(own.includes("--strict-mcp-config") ? [] : ["--strict-mcp-config"]),
    ];
  });
  const add = [...new Set(missing)].join(" ");
  if (add === "") return [];
  const message = `${key} starts claude without ${add}: .claude/settings.json and .mcp.json of a repository could send the prompt and your key to another address and run programs`;
  return [{ message, hint: `add to claude's arguments in ${key}: ${add}` }];
}

function ownSettingsAlone(words: Words): boolean {
  const flag = "--setting-sources";
  const values = words.flatMap((word, at) => {
    if (word === flag) return [words[at + 1] ?? "project"];
    return word.startsWith(`${flag}=`) ? [word.slice(flag.length + 1)] : [];
  });
  return values.length > 0 && values.every((value) => ownSources.includes(value));
}

function trusting(line: string): boolean {
  return allCommands(line).some(
    (words) =>
      // yargs accepts both spellings.
      words.some((word) => /^--skip-?trust(?!=false$)/i.test(word)) ||
      undoneBy(words, [trust]).length > 0,
  );
}
