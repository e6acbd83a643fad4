import { readFile, stat } from "node:fs/promises";
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

/** A shell that did not answer in time is asked again after this many times as long: meanwhile starts do without it. */
const restFactor = 4;

/** A shell, by what it is given. */
interface Shell {
  readonly given: Environment;
  /** The newest useful answer, without PATH before there is one. */
  kept: Environment;
  asking: Promise<void> | null;
  /** When it is asked next by itself, as `performance.now()`. */
  askAt: number;
  /** Why its own environment is not known. */
  fault: string | null;
}

interface Known {
  readonly exported: Environment;
  readonly found: Promise<Environment>;
}

const shellsAsked = new Map<string, Shell>();
const known = new WeakMap<object, Known>();
const results = new WeakSet<object>();

/**
 * `env` as a terminal of the user has it: what the login shell exports is added, and PATH is that of the shell, followed by
 * the directories of `env` and those of the home that it lacks. Read once for each `env`, so once for a server, until
 * `readLoginsAgain`; a shell that did not answer is asked again. Never rejects: without a shell that answers in time, `env`
 * itself with the home's directories.
 */
export async function loginEnvironment(env: Environment): Promise<Environment> {
  if (results.has(env)) return env;
  const shell = shellFor(env);
  if (performance.now() >= shell.askAt) void ask(shell);
  if (shell.kept["PATH"] === undefined) await shell.asking;
  const exported = shell.kept;
  const before = known.get(env);
  if (before?.exported === exported) return before.found;
  const found = merged(env, exported);
  known.set(env, { exported, found });
  return found;
}

/** The same with further values, which replace those of their names. */
export async function loginWith(
  env: Environment,
  values: Readonly<Record<string, string>>,
): Promise<Environment> {
  const login = await loginEnvironment(env);
  if (Object.keys(values).length === 0) return login;
  const found = { ...login, ...values };
  results.add(found);
  return found;
}

/** Asks every shell again: a profile may have changed. Until one answers, its last answer stays. Never rejects. */
export async function readLoginsAgain(): Promise<void> {
  const again = [...shellsAsked.values()].map(async (shell) => {
    // What is being read may be the old profile.
    await shell.asking;
    await ask(shell);
  });
  await Promise.all(again);
}

/** Why the environment of the user's shell is not known; null: it is, or was not asked for. */
export function loginFault(env: Environment): string | null {
  return shellFor(env).fault;
}

function shellFor(env: Environment): Shell {
  const given = Object.fromEntries(allowedNames.map((name) => [name, env[name]]));
  const key = JSON.stringify(given);
  const shell = shellsAsked.get(key) ?? { given, kept: {}, asking: null, askAt: 0, fault: null };
  shellsAsked.set(key, shell);
  return shell;
}

function ask(shell: Shell): Promise<void> {
  shell.asking ??= answer(shell).finally(() => {
    shell.asking = null;
  });
  return shell.asking;
}

async function answer(shell: Shell): Promise<void> {
  const began = performance.now();
  const { exported, fault } = await exportedBy(shell.given);
  const now = performance.now();
  shell.fault = fault;
  shell.askAt = fault === null ? Number.POSITIVE_INFINITY : now + restFactor * (now - began);
  // An answer that is less than the whole replaces none.
  if (fault === null || shell.kept["PATH"] === undefined) shell.kept = exported;
}

async function merged(env: Environment, exported: Environment): Promise<Environment> {
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
  const found = { ...exported, ...env, PATH: path.join(":") };
  results.add(found);
  return found;
}

interface Answer {
  readonly exported: Environment;
  readonly fault: string | null;
}

/** What the user's shell exports, or `bash -lc` where that ends without an answer. */
async function exportedBy(env: Environment): Promise<Answer> {
  const shell = shellOf(env);
  const first = (await lacksBashrc(shell, env)) ? ". ~/.bashrc; " : "";
  const asked = { argv: [shell, "-ilc"], timeoutMs: interactiveMs, first };
  const tries: readonly Try[] = [
    ...(shells.has(basename(shell)) ? [asked] : []),
    { argv: ["bash", "-lc"], timeoutMs: plainMs },
  ];
  let late: string | null = null;
  for (const one of tries) {
    const found = await exportedIn(one, env);
    if (found !== null && found !== "late") return { exported: found, fault: late };
    if (found === "late")
      late ??= `${one.argv.join(" ")} took longer than ${one.timeoutMs / 1_000} s`;
  }
  return { exported: {}, fault: late ?? `${shell} ended before it showed its PATH` };
}

/** Terminals on Linux read .bashrc, a login shell alone does not; most profiles read it for that reason. */
async function lacksBashrc(shell: string, env: Environment): Promise<boolean> {
  if (basename(shell) !== "bash" || process.platform === "darwin") return false;
  const home = env["HOME"] ?? homedir();
  const read = (name: string) => readFile(join(home, name), "utf8").catch(() => null);
  if ((await read(".bashrc")) === null) return false;
  const profile =
    (await read(".bash_profile")) ?? (await read(".bash_login")) ?? (await read(".profile"));
  return profile?.includes("bashrc") !== true;
}

interface Try {
  readonly argv: readonly string[];
  readonly timeoutMs: number;
  /** Commands before the question. */
  readonly first?: string;
}

/** null: it ended without an answer. */
async function exportedIn(
  { argv, timeoutMs, first = "" }: Try,
  env: Environment,
): Promise<Environment | "late" | null> {
  const { output, stoppedFor } = await runCommand({
    // These words mean the same in every shell.
    argv: [...argv, `${first}printf '\\n${mark}'; env -0`],
    cwd: "/",
    env,
    name: "login",
    timeoutMs,
    outputBytes,
    // An interactive shell complains that it has no terminal.
    errorBytes: 1_000,
  });
  if (stoppedFor !== null) return "late";
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
