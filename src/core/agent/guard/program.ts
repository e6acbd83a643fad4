/** An agent that symphony knows by the name of its program or package. */
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
/** A line that hands a line to a shell that hands a line to a shell. */
const maxDepth = 3;

/** The words of a shell line without their quotes. What a shell would put in place of a variable is not known here. */
export function wordsOf(line: string): readonly string[] {
  const part = /'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^\s'"\\;|&()<>]+)|([\s;|&()<>]+)|(.)/gs;
  const words: string[] = [];
  let word: string | null = null;
  for (const [, single, double, escaped, plain, gap, other] of line.matchAll(part)) {
    if (gap !== undefined) {
      if (word !== null) words.push(word);
      word = null;
      continue;
    }
    word =
      (word ?? "") + (single ?? double?.replaceAll(/\\(.)/gs, "$1") ?? escaped ?? plain ?? other);
  }
  return word === null ? words : [...words, word];
}

/** The known agents that a shell line may start, also by their files in `node_modules` and within a further shell. */
export function agentsIn(line: string, depth = 0): ReadonlySet<KnownAgent> {
  const found = new Set<KnownAgent>();
  for (const word of wordsOf(line)) {
    if (/\s/.test(word) && depth < maxDepth) {
      for (const agent of agentsIn(word, depth + 1)) found.add(agent);
    }
    if (assignment.test(word)) continue;
    for (const name of namesOf(word)) {
      const agent = programs.get(name);
      if (agent) found.add(agent);
    }
  }
  return found;
}

/** What runs a package: its name, or null. Each of them takes the copy that the current directory brings along. */
export function packageRunner(line: string): string | null {
  const words = wordsOf(line).map((word) => word.slice(word.lastIndexOf("/") + 1));
  for (const [at, word] of words.entries()) {
    if (["npx", "pnpx", "bunx"].includes(word)) return word;
    const verb = words[at + 1] ?? "";
    const runs = ["exec", "x", "dlx"].includes(verb);
    if (runs && ["npm", "pnpm", "yarn", "bun"].includes(word)) return `${word} ${verb}`;
  }
  return null;
}

/** The last part of a path, and the package whose file it is; a version that is asked for is left out. */
function namesOf(word: string): readonly string[] {
  const file = word.slice(word.lastIndexOf("/") + 1);
  const name = file.replace(/\.(exe|cmd|[cm]?js)$/, "").replace(/@.*$/, "");
  const [, owned] = /.*\/node_modules\/(?:@[^/]+\/)?([^/]+)/s.exec(word) ?? [];
  return owned === undefined ? [name] : [name, owned];
}
