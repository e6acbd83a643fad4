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
/** The variables without which an agent obeys the workspace or reads files that a prompt mentions. */
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
  const told = passes || lines.some(({ line }) => trusting(line));
  return { kind, agents, trusts: told && agents.has("gemini") };
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
  return lines.flatMap((line) => [
    ...runnerDoor(launch, line),
    ...variablesDoor(launch, line),
    ...claudeDoor(launch, line),
  ]);
}

function runnerDoor({ kind, agents }: GuardedLaunch, { key, line }: SettingLine): Door[] {
  const runner = packageRunner(line);
  if (runner === null || (kind === "command" && agents.size === 0)) return [];
  const message = `${key} starts the agent by ${runner}, which runs the copy in the workspace's node_modules and asks the registry that its .npmrc names: a repository would choose the program that gets your key`;
  return [
    { message, hint: `npm install --global the agent's package, and name its program in ${key}` },
  ];
}

/** Without gemini's variable, which `trusts` reports. */
function variablesDoor({ kind, agents }: GuardedLaunch, { key, line }: SettingLine): Door[] {
  const any = kind === "acp" && agents.size === 0;
  const names = (
    any ? Object.keys(disarming) : [...agents].flatMap((agent) => needed[agent])
  ).filter((name) => name !== trust);
  const undoing = allCommands(line).flatMap((words) => undoneBy(words, names))[0];
  if (undoing === undefined) return [];
  const message = `${key} undoes by "${undoing}" what keeps the agent from obeying the repository (${names.join(", ")}): it could send the prompt and your key to another address and run programs`;
  return [{ message, hint: `leave "${undoing}" out of ${key}` }];
}

/** The words that take variables of these names away, or give them another value. */
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

/** `env -i`, `env -`, `exec -c`: nothing of the environment is handed on. */
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

/** claude -p skips the question whether the folder is trusted, and obeys it. Each claude of a line is told by its own words. */
function claudeDoor({ kind, agents }: GuardedLaunch, { key, line }: SettingLine): Door[] {
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
  return [{ message, hint: `add to claude's words in ${key}: ${add}` }];
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
      // yargs takes both spellings.
      words.some((word) => /^--skip-?trust(?!=false$)/i.test(word)) ||
      undoneBy(words, [trust]).length > 0,
  );
}
