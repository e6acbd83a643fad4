import type { ErrorCode } from "../model/errors.ts";
import { findProgram } from "../process/find-program.ts";
import { type Environment, loginEnvironment } from "../process/login.ts";
import { displayText } from "../text/text.ts";
import { commandsOf, type Words } from "./guard/program.ts";

/** Words of the shell that begin a command without naming a program. */
const prefixes = new Set(["exec", "command", "env", "nice", "time", "!", "{"]);
/** Commands of the shell itself: what runs after them is only known there. */
const builtins = new Set([
  ...[".", ":", "[", "[[", "cd", "case", "declare", "echo", "eval", "export", "for", "function"],
  ...["if", "local", "printf", "pushd", "read", "set", "shopt", "source", "test", "trap", "type"],
  ...["ulimit", "umask", "unset", "until", "wait", "while", "true", "false"],
]);
/** Programs that run the one that their words name. */
const wrappers = new Set([
  ...[
    "timeout",
    "nohup",
    "setsid",
    "stdbuf",
    "ionice",
    "chrt",
    "taskset",
    "caffeinate",
    "unbuffer",
  ],
  ...["gtimeout", "numactl", "prlimit", "firejail", "unshare", "script", "faketime"],
]);
const ofHome = /^(?:~|\$HOME|\$\{HOME\})(?=\/)/;
const assignment = /^[A-Za-z_]\w*=/;
/** A name or an absolute path; one that the shell expands is only known there. */
const isProgram = /^[\w./+@-]+$/;
const maxPathChars = 2_000;

/** Whether a shell line itself runs a program of this name or path, as its first one or as a later one. */
export function isRunBy(line: string, program: string): boolean {
  return commandsOf(line).some((words) => {
    const first = firstOf(words) ?? "";
    // An option of a wrapper, of `env` or of `nice` may take a word of its own.
    const named = wrappers.has(first) || first.startsWith("-") ? words : [first];
    return named.some((word) => word === program || isInHome(word, program));
  });
}

/** Whether a word that the shell expands, `~/bin/agent`, may be this path. */
function isInHome(word: string, path: string): boolean {
  const rest = word.replace(ofHome, "");
  return rest !== word && path.startsWith("/") && path.endsWith(rest);
}

function firstOf(words: Words): string | undefined {
  return words.find((word) => !assignment.test(word) && !prefixes.has(word));
}

/** The program that a shell line begins with; null where only the shell can tell. `home` stands for a leading `~` or `$HOME`. */
export function programOf(line: string, home = ""): string | null {
  const [first = []] = commandsOf(line);
  if (first.some((word) => word.startsWith("PATH="))) return null;
  const word = firstOf(first);
  const program = home === "" ? word : word?.replace(ofHome, () => home);
  if (program === undefined || builtins.has(program)) return null;
  // An option of `env` or `nice` may take a word of its own.
  return isProgram.test(program) && !/^[.-]/.test(program) ? program : null;
}

/** A command line whose program is not there. */
export interface Missing {
  readonly code: ErrorCode;
  /** A sentence with the places that were searched. */
  readonly message: string;
  readonly hint: string;
}

interface Line {
  /** The dotted key of the line. */
  readonly key: string;
  readonly line: string;
  readonly kind: string;
}

/** What is missing for a line to start, as the user's login shell would look for it; null: nothing, or it cannot be said. */
export async function missingProgram(
  { key, line, kind }: Line,
  env: Environment,
): Promise<Missing | null> {
  const program = programOf(line, env["HOME"]);
  if (program === null) return null;
  const isNamed = program.includes("/");
  const path = isNamed ? "" : ((await loginEnvironment(env))["PATH"] ?? "");
  if ((await findProgram(program, path)) !== null) return null;
  const message = isNamed
    ? `${key} starts ${program}, and there is no such program`
    : `${key} starts ${program}, and no directory of PATH has it: ${displayText(path, maxPathChars)}`;
  return {
    code: kind === "codex" ? "codex_not_found" : "agent_not_found",
    message,
    hint: isNamed
      ? `set ${key} to where it is`
      : `install ${program}, or set ${key} to its path; after a change of your shell's profile, restart the server`,
  };
}
