/** An agent that symphony recognizes by the name of its program or package. */
export type KnownAgent = "claude" | "codex" | "gemini" | "opencode";

const programs: ReadonlyMap<string, KnownAgent> = new Map([
  ["claude", "claude"],
  ["claude-code", "claude"],
  ["claude-agent-acp", "claude"],
  ["claude-code-acp", "claude"],
  ["codex", "codex"],
  ["codex-acp", "codex"],
  ["gemini", "gemini"],
  ["gemini-cli", "gemini"],
  ["opencode", "opencode"],
  ["opencode-ai", "opencode"],
]);
const assignment = /^[A-Za-z_][A-Za-z0-9_]*=/;
/** Programs that run one of their arguments as a line; `-S` is that of `env`. */
const shells = new Set([
  ...["sh", "bash", "dash", "zsh", "ksh", "fish", "eval", "-S", "--split-string"],
  ...["su", "script", "ssh", "watch", "flock", "tmux"],
]);
/** A line that passes a line to a shell that passes a line to a shell. */
const maxDepth = 3;
const managers = new Set(["npm", "pnpm", "yarn", "bun", "deno"]);
const runVerbs = new Set(["exec", "x", "dlx"]);
const setUpVerbs = new Set(["install", "i", "add", "ci", "update", "upgrade"]);

/** The words of one simple command of a shell line, without their quotes. */
export type Words = readonly string[];

/** A simple command, and the signs after it: `;`, `&&`, `|` and others, or a line's end. */
export interface Step {
  readonly words: Words;
  readonly end: string;
}

/**
 * The simple commands of a shell line: the text between two of `; | & ( )`, backticks and line
 * ends. Comments and redirections are left out. Variables are not expanded.
 */
export function commandsOf(line: string): readonly Words[] {
  return stepsOf(line).map(({ words }) => words);
}

/** The same with what stands between them. */
export function stepsOf(line: string): readonly Step[] {
  const part =
    /(\\\n|(?<![^\s;|&()`])#[^\n]*)|'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|((?<![^\s;|&()`])\d+(?=[<>])|[<>]+(?:&(?:\d+|-))?|&>+|[^\S\n]+)|([^\s'"\\;|&()<>`]+)|([\n;|&()`]+)|(.)/gs;
  const steps: { words: string[]; end: string }[] = [{ words: [], end: "" }];
  let word: string | null = null;
  const endWord = () => {
    if (word !== null) steps.at(-1)?.words.push(word);
    word = null;
  };
  for (const match of line.matchAll(part)) {
    const [, nothing, single, double, escaped, gap, plain, end, other] = match;
    if (nothing !== undefined) continue;
    if (gap !== undefined || end !== undefined) {
      endWord();
      if (end === undefined) continue;
      // What stands before any word belongs to the command before it.
      const ended = steps.at(-1)?.words.length === 0 ? steps.at(-2) : steps.at(-1);
      if (ended !== undefined) ended.end += end;
      if (ended === steps.at(-1)) steps.push({ words: [], end: "" });
      continue;
    }
    const text = single ?? double?.replaceAll(/\\(.)/gs, "$1") ?? escaped ?? plain ?? other ?? "";
    word = `${word ?? ""}${text}`;
  }
  endWord();
  return steps.filter(({ words }) => words.length > 0);
}

/**
 * The commands of a line, and of the words in it that are lines themselves: by default those passed
 * to further shells.
 */
export function allCommands(line: string, isLine = isHanded, depth = 0): readonly Words[] {
  return commandsOf(line).flatMap((words) => {
    const lines = words.filter((word, at) => depth < maxDepth && isLine(word, words.slice(0, at)));
    return [words, ...lines.flatMap((word) => allCommands(word, isLine, depth + 1))];
  });
}

/** Whether a word substitutes a command, or a shell is given it as a line. */
function isHanded(word: string, before: Words): boolean {
  if (/\$\(|`/.test(word)) return true;
  return /[\s;|&]/.test(word) && before.some((one) => shells.has(baseName(one)));
}

/** The known agents that a command names, also by their files in `node_modules`. */
export function agentsOf(words: Words): ReadonlySet<KnownAgent> {
  const names = words.filter((word) => !assignment.test(word)).flatMap(namesOf);
  const agents = names.map((name) => programs.get(name));
  return new Set(agents.filter((agent) => agent !== undefined));
}

/**
 * The known agents that a shell line may start, also within any word that looks like a line,
 * regardless of the program that receives it.
 */
export function agentsIn(line: string): ReadonlySet<KnownAgent> {
  const commands = allCommands(line, (word) => /[\s;|&()`]/.test(word));
  return new Set(commands.flatMap((words) => [...agentsOf(words)]));
}

/**
 * The program in the line that runs a package, or null. Each of them prefers the copy in the
 * current directory.
 */
export function packageRunner(line: string): string | null {
  for (const words of allCommands(line)) {
    const names = words.map(baseName);
    const runner = names.find((name) => ["npx", "pnpx", "bunx"].includes(name));
    if (runner !== undefined) return runner;
    const at = names.findIndex((name) => managers.has(name));
    if (at === -1) continue;
    const rest = names.slice(at + 1);
    if (setUpVerbs.has(rest.find((name) => !name.startsWith("-")) ?? "")) continue;
    // Options and their values may come before the verb.
    const verb = rest.find((name) => runVerbs.has(name) || name === "--");
    if (verb !== undefined && verb !== "--") return `${names[at]} ${verb}`;
    if (agentsOf(words.slice(at + 1)).size > 0) return names[at] ?? null;
  }
  return null;
}

function baseName(word: string): string {
  return word.slice(word.lastIndexOf("/") + 1);
}

/**
 * The last part of a path, and the package that the file belongs to; a requested version is left
 * out.
 */
function namesOf(word: string): readonly string[] {
  const name = baseName(word)
    .replace(/\.(exe|cmd|[cm]?js)$/, "")
    .replace(/@.*$/, "");
  const [, owned] = /.*\/node_modules\/(?:@[^/]+\/)?([^/]+)/s.exec(word) ?? [];
  return owned === undefined ? [name] : [name, owned];
}
