import { existsSync } from "node:fs";
import { lstat, realpath } from "node:fs/promises";
import { homedir, userInfo } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { SharedRuns } from "../clock.ts";
import type { ProgramAccess } from "../config/agents.ts";
import { SymphonyError } from "../model/errors.ts";
import { knownDataDirs, ownDirIn } from "../process/data-dirs.ts";
import { loginsIn, toolchainsIn } from "../process/home-places.ts";
import { loginEnvironment } from "../process/login.ts";
import type { Complaint } from "../process/program.ts";
import { installedPrograms } from "../process/programs.ts";
import { isInside, isSystem, type Shown, serviceSockets, type View } from "../process/view.ts";
import type { SessionSpec } from "./agent.ts";
import { allCommands } from "./guard/program.ts";
import { isRunBy } from "./program-of.ts";

/*
 * What an agent of any kind sees of the machine below `agent.level: danger`: the system, the
 * programs on PATH and in its line, the toolchains and caches of the home, and what the settings name.
 * The rest of its home is empty; data of every project, other workspaces and logins are hidden.
 */

/** A list of paths in the configuration; `~/` stands for the home. */
export interface PathSetting {
  /** The name of the setting, such as `command.readable_paths`. */
  readonly key: string;
  readonly paths: readonly string[];
}

/** What a runtime knows when a session starts. */
export interface ConfinementOptions {
  readonly spec: Pick<
    SessionSpec,
    "workspace" | "level" | "borrowed" | "readable" | "bounds" | "onLog"
  >;
  /** Shell lines of the configuration; their programs may be in any directory. */
  readonly lines: readonly string[];
  readonly readable: PathSetting;
  readonly writable: PathSetting | null;
  /** The server's environment. */
  readonly env: NodeJS.ProcessEnv;
  /** PATH, as the agent's programs will have it. */
  readonly path: string;
  readonly dataDir: string;
  readonly workspaceRoot: string;
}

/** The part of a view that stays the same while a session lives. */
export type Confinement = Pick<
  View,
  "workspace" | "homes" | "hidden" | "shown" | "relay" | "port" | "bounds"
>;

export async function confinementOf(options: ConfinementOptions): Promise<Confinement> {
  const { spec, readable, writable } = options;
  const { workspace } = spec;
  const { home, homes, own, closed, logins, hidden, programs } = await machineFor(options);
  const refuses = (from: string) =>
    from === "/" || own.includes(from) || closed.some((dir) => isInside(from, dir));
  const borrowed = await canonical(spec.borrowed ?? []);
  const forAll = { key: "agent.readable", paths: spec.readable ?? [] };
  const named = [
    ...(await namedBy(forAll, "readable", { home, refuses, spec })),
    ...(await namedBy(readable, "readable", { home, refuses, spec })),
    ...(writable === null ? [] : await namedBy(writable, "writable", { home, refuses, spec })),
  ];
  const tools = await toolchainsOf(homes, { hidden, named });
  const given = await givenLogins(logins, named, homes);
  return {
    workspace,
    bounds: spec.bounds,
    homes: await homesInside(homes, workspace),
    hidden: hidden.filter((one) => !given.includes(one)),
    shown: withoutDuplicates([
      ...[...programs, ...tools, ...named, ...borrowed.map(asReadable)],
    ]).filter(({ from, to }) => !isInside(to, workspace) && !isInside(from, workspace)),
  };
}

/** What every session of an agent sees of the machine, wherever it works. */
interface Machine {
  readonly home: string;
  readonly homes: readonly string[];
  /** Symphony's own directories, and those of other projects. */
  readonly own: readonly string[];
  /** No setting may show what is in them. */
  readonly closed: readonly string[];
  readonly logins: readonly string[];
  readonly hidden: readonly string[];
  readonly programs: readonly Shown[];
}

type MachineOptions = Omit<ConfinementOptions, "spec" | "readable" | "writable">;

/** Sessions that start together share one reading, which takes some 20 ms of CPU. */
const readings = new WeakMap<NodeJS.ProcessEnv, Map<string, SharedRuns<Machine>>>();
/** Each setting of an agent has one; older ones are not used again. */
const maxReadings = 32;

async function machineFor(options: ConfinementOptions): Promise<Machine> {
  const { lines, path, dataDir, workspaceRoot, env, spec } = options;
  const key = JSON.stringify([lines, path, dataDir, workspaceRoot, env["HOME"]]);
  const all = readings.get(env) ?? new Map<string, SharedRuns<Machine>>();
  if (all.size > maxReadings) all.clear();
  readings.set(env, all);
  const work = () => machineOf({ lines, path, dataDir, workspaceRoot, env });
  const reading = all.get(key) ?? new SharedRuns(work);
  all.set(key, reading);
  const machine = await reading.run();
  const touches = ({ to }: Shown) => isInside(to, spec.workspace) || isInside(spec.workspace, to);
  if (!machine.programs.some(touches)) return machine;
  // A directory of programs that holds the workspace, or is in it, is not shown as a whole.
  const hidden = [...machine.hidden, spec.workspace];
  return { ...machine, programs: await programsOf(options, machine.homes, hidden) };
}

async function machineOf(options: MachineOptions): Promise<Machine> {
  const { env } = options;
  const home = env["HOME"] ?? homedir();
  const homes = await canonical([home, ...accountHomes()]);
  const [dataDir = ""] = await canonical([options.dataDir]);
  const [workspaceRoot = ""] = await canonical([options.workspaceRoot]);
  const projects = await canonical(await knownDataDirs(env));
  const ofSymphony = await canonical(homes.map(ownDirIn));
  const own = [...new Set([dataDir, workspaceRoot, ...projects, ...ofSymphony])];
  const logins = await canonical(homes.flatMap(loginsIn));
  const hidden = [...own, ...logins, ...(await canonical(serviceSockets))];
  const closed = [...notShown, dataDir, ...projects.filter((dir) => dir !== workspaceRoot)];
  const programs = await programsOf(options, homes, hidden);
  return { home, homes, own, closed, logins, hidden, programs };
}

/** The home of this user's entry; the user of a container may have none. */
function accountHomes(): readonly string[] {
  try {
    return [userInfo().homedir];
  } catch {
    return [];
  }
}

function programsOf(
  { lines, path, env }: MachineOptions,
  homes: readonly string[],
  hidden: readonly string[],
): Promise<readonly Shown[]> {
  const home = env["HOME"] ?? homedir();
  return installedPrograms({
    path,
    files: lines.flatMap((line) => filesIn(line, home)),
    homes,
    hidden,
  });
}

function asReadable(path: string): Shown {
  return { from: path, to: path, as: "readable" };
}

/** A missing directory cannot be created in one of the system's directories. */
async function homesInside(
  homes: readonly string[],
  workspace: string,
): Promise<readonly string[]> {
  const inside = homes.map(async (dir) => {
    if (dir === "/" || isInside(dir, workspace)) return [];
    const isThere = (await lstat(dir).catch(() => null)) !== null;
    return isThere || !isSystem(dir) ? [dir] : [];
  });
  return (await Promise.all(inside)).flat();
}

/** The kinds of agents that are separate programs, each with the section of its name. */
export type ProgramKind = "acp" | "claude" | "command";

/**
 * The same for an agent that is a separate program, started by a login shell. null at level
 * `danger`.
 */
export async function programConfinement(
  kind: ProgramKind,
  { readablePaths, writablePaths }: Omit<ProgramAccess, "envPassthrough">,
  options: Omit<ConfinementOptions, "path" | "readable" | "writable" | "spec"> & {
    readonly spec: ConfinementOptions["spec"] & Pick<SessionSpec, "secretEnvNames" | "runId">;
  },
): Promise<Confinement | null> {
  const { spec, env } = options;
  if (spec.level === "danger") return null;
  return confinementOf({
    ...options,
    path: (await loginEnvironment(env))["PATH"] ?? "",
    readable: { key: `${kind}.readable_paths`, paths: readablePaths },
    writable: { key: `${kind}.writable_paths`, paths: writablePaths },
  });
}

/**
 * The error of a program that `line` names and that was not found, or of its interpreter. null: what was not found is
 * further inside, for example in a script of the repository, and says nothing of the agent.
 */
export function ownProgramNotFound(
  kind: ProgramKind,
  { key, line }: { readonly key: string; readonly line: string },
  complaint: Complaint,
): SymphonyError | null {
  const { errors, path, isConfined } = complaint;
  const isHidden = isConfined && hiddenProgram(errors, path) !== null;
  return isHidden || isAbout(line, errors) ? programNotFound(kind, key, complaint) : null;
}

/** Whether the last complaint is about a program of the line. */
function isAbout(line: string, errors: readonly string[]): boolean {
  for (const error of errors.toReversed()) {
    const [, name] = missed.exec(error) ?? [];
    if (name !== undefined) return isRunBy(line, name) || /^(?:\/\S*\/)?env: /.test(error);
  }
  return false;
}

/**
 * The error of a program that was not found, or that did not find another one. What it misses may be installed, and only
 * not be shown in the sandbox.
 */
export function programNotFound(
  kind: ProgramKind,
  key: string,
  { errors, path, isConfined }: Complaint,
): SymphonyError {
  const hidden = isConfined ? hiddenProgram(errors, path) : null;
  if (hidden !== null) {
    const message = `${key} needs ${hidden}, which is on this machine and which the sandbox hides`;
    return new SymphonyError("agent_not_found", message, {
      hint: `add ${dirname(hidden)} to ${kind}.readable_paths, or put the program on PATH`,
    });
  }
  const said = errors.at(-1);
  const message = `the program of ${key} was not found${said === undefined ? "" : `: ${said}`}`;
  return new SymphonyError("agent_not_found", message, {
    hint: `install it, or set ${key} to its path; below agent.level danger it has to be on PATH or named by its absolute path, and the other files it needs in ${kind}.readable_paths`,
  });
}

/** As shells and `env` say it: `bash: line 1: agent: command not found`. */
const missed =
  /(?:^|[\s:])['‘"]?([^\s:'’"‘]+)['’"]?: (?:command not found|not found|No such file or directory|cannot execute: required file not found)$/;

/** A program of this machine that a shell did not find. */
function hiddenProgram(errors: readonly string[], path: string): string | null {
  for (const line of errors.toReversed()) {
    const [, name] = missed.exec(line) ?? [];
    if (name === undefined) continue;
    const places = name.startsWith("/") ? [name] : path.split(":").map((dir) => join(dir, name));
    const found = places.find((place) => isAbsolute(place) && existsSync(place));
    if (found !== undefined) return found;
  }
  return null;
}

/** Those that are there, except what a setting names anyway: it may be writable. */
async function toolchainsOf(
  homes: readonly string[],
  { hidden, named }: { readonly hidden: readonly string[]; readonly named: readonly Shown[] },
): Promise<readonly Shown[]> {
  const found = homes.flatMap(toolchainsIn).map((path) => realpath(path).catch(() => null));
  const there = (await Promise.all(found)).filter((path) => path !== null);
  const isFree = (path: string) =>
    !isSystem(path) &&
    !hidden.some((one) => isInside(path, one)) &&
    !named.some(({ from }) => isInside(path, from));
  return [...new Set(there)].filter(isFree).map(asReadable);
}

/** The sandbox has its own /proc and /dev, which show no other process. */
const notShown = ["/proc", "/dev"];

interface Naming {
  readonly home: string;
  refuses(from: string): boolean;
  readonly spec: Pick<SessionSpec, "onLog">;
}

/**
 * Each path as written, and at the target of its links. A path that must not be shown is logged.
 */
async function namedBy(
  { key, paths }: PathSetting,
  as: "readable" | "writable",
  { home, refuses, spec }: Naming,
): Promise<readonly Shown[]> {
  const left: string[] = [];
  const shown: Shown[] = [];
  for (const written of paths) {
    const path = written.replace(/^~(?=\/|$)/, home);
    const to = resolve(path);
    const from = await realpath(to).catch(() => null);
    if (!isAbsolute(path) || (from !== null && refuses(from))) left.push(written);
    else if (from !== null) shown.push({ from, to: from, as }, { from, to, as: "link" });
  }
  if (left.length > 0) spec.onLog(`${key}: not a path to show in the sandbox: ${left}`);
  return shown;
}

/**
 * The later of two entries for one path is used. A link to itself, or inside something that is
 * shown, is left out.
 */
function withoutDuplicates(all: readonly Shown[]): readonly Shown[] {
  const links = all.filter(({ as, from, to }) => as === "link" && from !== to);
  const areas = [
    ...new Map(all.filter(({ as }) => as !== "link").map((one) => [one.to, one])).values(),
  ];
  const seen = (path: string) => isSystem(path) || areas.some(({ to }) => isInside(path, to));
  return [
    ...areas,
    ...new Map(links.filter(({ to }) => !seen(to)).map((one) => [one.to, one])).values(),
  ];
}

/**
 * Logins in a tool's own directory, such as ~/.codex, that the operator lets the agent write. A
 * home is not a tool's own directory.
 */
async function givenLogins(
  logins: readonly string[],
  named: readonly Shown[],
  homes: readonly string[],
): Promise<readonly string[]> {
  const writable = named.filter(({ as }) => as === "writable").map(({ from }) => from);
  const dirs = new Set(writable.filter((dir) => !homes.includes(dir)));
  const given = logins.map(async (login) => {
    if (!dirs.has(dirname(login))) return [];
    const stats = await lstat(login).catch(() => null);
    return stats?.isFile() ? [login] : [];
  });
  return (await Promise.all(given)).flat();
}

/** Absolute paths among the words of a line. */
function filesIn(line: string, home: string): readonly string[] {
  const words = allCommands(line).flat();
  return words
    .map((word) => word.replace(/^(~|\$HOME|\$\{HOME\})(?=\/)/, home))
    .filter((word) => word.startsWith("/"));
}

/** The targets of paths; a path that does not exist is unchanged. */
async function canonical(paths: readonly string[]): Promise<readonly string[]> {
  const real = paths.map((path) => realpath(path).catch(() => resolve(path)));
  return [...new Set(await Promise.all(real))];
}
