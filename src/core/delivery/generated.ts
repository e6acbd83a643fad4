import { basename } from "node:path";

// Files that a program writes. Their lines are never merged: the result would be no output of it.

/** Lock files of package managers; others are named by `delivery.regenerate`. */
const lockFiles: ReadonlySet<string> = new Set([
  "package-lock.json",
  "npm-shrinkwrap.json",
  "yarn.lock",
  "pnpm-lock.yaml",
  "bun.lock",
  "bun.lockb",
  "deno.lock",
  "Cargo.lock",
  "Gemfile.lock",
  "poetry.lock",
  "uv.lock",
  "pdm.lock",
  "Pipfile.lock",
  "composer.lock",
  "mix.lock",
  "flake.lock",
  "Podfile.lock",
  "Package.resolved",
  "pubspec.lock",
]);

/** Commands by pattern of `delivery.regenerate`. */
type Regenerate = Readonly<Record<string, string>>;

export function isGenerated(path: string, regenerate: Regenerate): boolean {
  return lockFiles.has(basename(path)) || commandFor(path, regenerate) !== null;
}

/** The commands that write these files, each once, and the files that no command writes. */
export function commandsFor(
  paths: readonly string[],
  regenerate: Regenerate,
): { readonly commands: readonly string[]; readonly missing: readonly string[] } {
  const found = paths.map((path) => commandFor(path, regenerate));
  return {
    commands: [...new Set(found.filter((command) => command !== null))],
    missing: paths.filter((_, at) => found[at] === null),
  };
}

function commandFor(path: string, regenerate: Regenerate): string | null {
  for (const [pattern, command] of Object.entries(regenerate))
    if (matches(path, pattern)) return command;
  return null;
}

/** `*` and `?` stay within one name, `**` does not; a pattern without a slash is for a name in any directory. */
function matches(path: string, pattern: string): boolean {
  const subject = pattern.includes("/") ? path : basename(path);
  const parts = pattern.replace(/^\.?\//, "").split(/(\*\*\/|\*\*|\*|\?)/);
  const wild: Readonly<Record<string, string>> = {
    "**/": "(?:[^/]+/)*",
    "**": ".*",
    "*": "[^/]*",
    "?": "[^/]",
  };
  const literal = (part: string) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  return new RegExp(`^${parts.map((part) => wild[part] ?? literal(part)).join("")}$`, "s").test(
    subject,
  );
}
