import { stat } from "node:fs/promises";
import { homedir, userInfo } from "node:os";
import { basename, join } from "node:path";
import { isObject, parseJson, shellQuoted } from "../text/text.ts";
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

const known = new WeakMap<object, Promise<Environment>>();

/**
 * `env` as a terminal of the user has it: what the login shell exports is added, and PATH is that of the shell, followed by
 * the directories of `env` and those of the home that it lacks. Read once for each `env`, so once for a server. Never
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

async function read(env: Environment): Promise<Environment> {
  const exported = await exportedBy(env);
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
  // `printf` and a quoted path mean the same in every shell; node prints values of any form.
  const print = `JSON.stringify(process.env)`;
  const line = `printf '\\n${mark}'; ${shellQuoted(process.execPath)} -p '${print}'`;
  const { output, stoppedFor } = await runCommand({
    argv: [...argv, line],
    cwd: "/",
    env: Object.fromEntries(allowedNames.map((name) => [name, env[name]])),
    name: "login",
    timeoutMs,
    outputBytes,
    // An interactive shell complains that it has no terminal.
    errorBytes: 1_000,
  });
  if (stoppedFor !== null) return null;
  const text = output.split("\n").findLast((one) => one.startsWith(mark));
  const values = text === undefined ? null : parseJson(text.slice(mark.length));
  return isObject(values) ? exportsOf(values) : null;
}

/** Without what belongs to the shell itself. */
function exportsOf(values: Readonly<Record<string, unknown>>): Environment {
  const own = /^(?:PWD|OLDPWD|SHLVL|_|SYMPHONY_.*)$/;
  return Object.fromEntries(
    Object.entries(values).filter(
      (entry): entry is [string, string] => typeof entry[1] === "string" && !own.test(entry[0]),
    ),
  );
}

function shellOf(env: Environment): string {
  try {
    return env["SHELL"] || userInfo().shell || "bash";
  } catch {
    // The user of a container may have no entry.
    return "bash";
  }
}
