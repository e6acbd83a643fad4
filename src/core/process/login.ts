import { stat } from "node:fs/promises";
import { homedir, userInfo } from "node:os";
import { basename, join } from "node:path";
import { allowedNames } from "./environment.ts";
import { runCommand } from "./run.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

const mark = "symphony-environment:";
/** Version managers such as nvm are set up where interactive shells read it, which may take seconds. */
const interactiveMs = 10_000;
const plainMs = 5_000;
const outputBytes = 1024 * 1024;
/** Directories that a profile adds only where they exist, or that a desktop session adds. */
const ownDirs = [".local/bin", "bin"];
/** Others read `-ilc` as something else. */
const shells = new Set(["bash", "zsh", "ksh", "fish"]);

let known = new WeakMap<object, Promise<Environment>>();
/** By what the shell is given. */
const exports = new Map<string, Promise<Environment>>();

/**
 * `env` as a terminal of the user has it: what the login shell exports is added, and PATH is that of the shell, followed by
 * the directories of `env` and those of the home that it lacks. Read once for each `env`, so once for a server, until `forgetLogins`. Never
 * rejects: without a shell that answers in time, `env` itself with the home's directories.
 */
export function loginEnvironment(env: Environment): Promise<Environment> {
  const before = known.get(env);
  if (before !== undefined) return before;
  const reading = read(env).then((found) => {
    known.set(found, Promise.resolve(found));
    return found;
  });
  known.set(env, reading);
  return reading;
}

/** The next `loginEnvironment` asks the shell again: a profile may have changed. */
export function forgetLogins(): void {
  known = new WeakMap();
  exports.clear();
}

async function read(env: Environment): Promise<Environment> {
  const given = Object.fromEntries(allowedNames.map((name) => [name, env[name]]));
  const key = JSON.stringify(given);
  const asking = exports.get(key) ?? exportedBy(given);
  exports.set(key, asking);
  const exported = await asking;
  const home = env["HOME"] ?? homedir();
  const own = [exported["PATH"], env["PATH"]].flatMap((path) => path?.split(":") ?? []);
  const dirs = await Promise.all(
    ownDirs.map(async (name) => {
      const dir = join(home, name);
      const stats = await stat(dir).catch(() => null);
      return stats?.isDirectory() ? [dir] : [];
    }),
  );
  const path = [...new Set([...own, ...dirs.flat()])].filter((dir) => dir !== "");
  return { ...exported, ...env, PATH: path.join(":") };
}

/** What the user's shell exports; nothing when none answers. */
async function exportedBy(env: Environment): Promise<Environment> {
  const shell = shellOf(env);
  const tries = [
    ...(shells.has(basename(shell)) ? [{ argv: [shell, "-ilc"], timeoutMs: interactiveMs }] : []),
    { argv: ["bash", "-lc"], timeoutMs: plainMs },
  ];
  for (const one of tries) {
    const found = await exportedIn(one, env);
    if (found !== null) return found;
  }
  return {};
}

interface Try {
  readonly argv: readonly string[];
  readonly timeoutMs: number;
}

async function exportedIn({ argv, timeoutMs }: Try, env: Environment): Promise<Environment | null> {
  const { output, stoppedFor } = await runCommand({
    // These words mean the same in every shell.
    argv: [...argv, `printf '\\n${mark}'; env -0`],
    cwd: "/",
    env,
    name: "login",
    timeoutMs,
    outputBytes,
    // An interactive shell complains that it has no terminal.
    errorBytes: 1_000,
  });
  if (stoppedFor !== null) return null;
  const at = output.lastIndexOf(`\n${mark}`);
  const found = at === -1 ? {} : exportsOf(output.slice(at + 1 + mark.length));
  return found["PATH"] === undefined ? null : found;
}

/** Without what belongs to the shell itself. */
function exportsOf(text: string): Environment {
  const own = /^(?:PWD|OLDPWD|SHLVL|_|SYMPHONY_.*)$/;
  const entries = text.split("\0").flatMap((line): readonly (readonly [string, string])[] => {
    const at = line.indexOf("=");
    const name = line.slice(0, Math.max(at, 0));
    return at < 1 || own.test(name) ? [] : [[name, line.slice(at + 1)]];
  });
  return Object.fromEntries(entries);
}

function shellOf(env: Environment): string {
  try {
    return env["SHELL"] || userInfo().shell || "bash";
  } catch {
    // The user of a container may have no entry.
    return "bash";
  }
}
