import { randomUUID } from "node:crypto";
import {
  accessSync,
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { shellQuoted } from "../text/text.ts";
import { signalProcess } from "./table.ts";

/*
 * Control groups: the kernel itself holds the processes and the memory of one agent, also where the server runs as root, and
 * none of its processes leaves it (at level `danger` one may, by writing to /sys itself). Only where this process may make groups below its own: as a service of systemd with
 * `Delegate=yes` (version 2), or as root (version 1 too). Elsewhere the look of `watchBounds` is all there is.
 */

/** The group of one agent or command, with all that it starts. */
export interface ControlGroup {
  /** A shell line that moves the shell into it. */
  readonly line: string;
  /** Whether the kernel has ended a process of it for its memory. */
  ranOutOfMemory(): boolean;
  /** Kills what is left in it, and removes it. Resolves in bounded time; never rejects. */
  end(): Promise<void>;
}

const prefix = "symphony-";
const serverGroup = `${prefix}server`;
const endLimitMs = 2_000;
const pauseMs = 20;
const memoryRoom = 1.25;
/** Threads count too, so that a limit of processes leaves room for them. */
export const tasksPerProcess = 4;
/** The threads of the agent itself: a low limit is for the look, which ends the agent and says why, before the kernel refuses. */
export const ownTasks = 512;

interface Place {
  /** A directory that new groups are made in. */
  readonly dir: string;
  readonly version: 1 | 2;
  readonly controllers: readonly string[];
}

const known = new Map<string, readonly Place[]>();

interface Held {
  readonly maxProcesses: number | null;
  readonly maxMemoryBytes: number | null;
}

/**
 * The kernel's control group for these limits; null where none can be made. Memory gets room above the limit, so that the
 * look ends the whole agent and says why; the kernel ends a single process that outruns it.
 */
export function groupOf({ maxProcesses, maxMemoryBytes }: Held): ControlGroup | null {
  const tasks = maxProcesses === null ? null : maxProcesses * tasksPerProcess + ownTasks;
  const bytes = maxMemoryBytes === null ? null : Math.floor(maxMemoryBytes * memoryRoom);
  return makeGroup({ maxMemoryBytes: bytes }, tasks);
}

/** A new group with these limits; null where none can be made. `root`: where /proc and /sys are; for tests. */
export function makeGroup(
  { maxMemoryBytes }: { readonly maxMemoryBytes: number | null },
  maxTasks: number | null,
  root = "/",
): ControlGroup | null {
  const places = known.get(root) ?? placesIn(root);
  // Another process of this group may have been in the way: none found is tried again.
  if (places.length > 0) known.set(root, places);
  const name = `${prefix}${randomUUID()}`;
  const made: string[] = [];
  /** Where the kernel counts what it ended for the group's memory. */
  const counts: string[] = [];
  for (const { dir, version, controllers } of places) {
    const group = join(dir, name);
    try {
      mkdirSync(group);
      made.push(group);
      if (maxTasks !== null && controllers.includes("pids")) set(group, "pids.max", maxTasks);
      const memory = version === 2 ? "memory.max" : "memory.limit_in_bytes";
      if (maxMemoryBytes === null || !controllers.includes("memory")) continue;
      counts.push(join(group, version === 2 ? "memory.events" : "memory.oom_control"));
      set(group, memory, maxMemoryBytes);
    } catch {
      // Not delegated after all: what was made is used, the look holds the rest.
    }
  }
  if (made.length === 0) return null;
  const files = made.map((dir) => shellQuoted(join(dir, "cgroup.procs")));
  let isFull = false;
  const ranOutOfMemory = () => {
    isFull ||= counts.some((file) => /^oom_kill [1-9]/m.test(textIn(file)));
    return isFull;
  };
  return {
    line: files.map((file) => `echo $$ 2>/dev/null >${file} || :`).join("\n"),
    ranOutOfMemory,
    async end() {
      // Its files go with it.
      ranOutOfMemory();
      await ended(made);
    },
  };
}

function set(group: string, name: string, value: number): void {
  writeFileSync(join(group, name), String(value));
}

function textIn(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return "";
  }
}

async function ended(groups: readonly string[]): Promise<void> {
  const end = performance.now() + endLimitMs;
  let left = [...groups];
  while (left.length > 0 && performance.now() < end) {
    const still: string[] = [];
    for (const dir of left) {
      for (const pid of textIn(join(dir, "cgroup.procs")).split("\n").filter(Boolean))
        if (Number(pid) > 0) signalProcess(Number(pid), "SIGKILL");
      const isGone = await rmdir(dir).then(
        () => true,
        () => false,
      );
      if (!isGone) still.push(dir);
    }
    left = still;
    if (left.length > 0) await delay(pauseMs);
  }
}

/** Where groups can be made: `man 7 cgroups`. A line is `0::/path` in version 2, `4:memory:/path` in version 1. */
function placesIn(root: string): readonly Place[] {
  const lines = textIn(join(root, "proc/self/cgroup")).split("\n");
  return lines.flatMap((line): readonly Place[] => {
    const [, names, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (names === undefined || path === undefined) return [];
    const controllers = names.split(",").filter((name) => name === "pids" || name === "memory");
    if (names !== "" && controllers.length === 0) return [];
    const dir = join(root, "sys/fs/cgroup", names, path);
    try {
      accessSync(dir, constants.W_OK);
      const place = names === "" ? unified(dir) : { dir, version: 1 as const, controllers };
      if (place === null) return [];
      for (const name of readdirSync(dir))
        if (name.startsWith(prefix)) removeEmpty(join(dir, name));
      return [place];
    } catch {
      return [];
    }
  });
}

/** Left by a server that was killed; one with processes stays. */
function removeEmpty(dir: string): void {
  try {
    rmdirSync(dir);
  } catch {
    // It is in use.
  }
}

/**
 * Version 2 gives limits only to groups below one without processes of its own, so this process moves into a group next
 * to those of its agents. null where that is not allowed, and it is where it was.
 */
function unified(dir: string): Place | null {
  const has = (name: string) => textIn(join(dir, name)).split(/\s+/);
  const controllers = ["pids", "memory"].filter((name) => has("cgroup.controllers").includes(name));
  if (controllers.length === 0) return null;
  const wanted = controllers.filter((name) => !has("cgroup.subtree_control").includes(name));
  if (wanted.length > 0) {
    mkdirSync(join(dir, serverGroup), { recursive: true });
    set(join(dir, serverGroup), "cgroup.procs", process.pid);
    try {
      writeFileSync(
        join(dir, "cgroup.subtree_control"),
        wanted.map((name) => `+${name}`).join(" "),
      );
    } catch (error) {
      set(dir, "cgroup.procs", process.pid);
      removeEmpty(join(dir, serverGroup));
      throw error;
    }
  }
  return { dir, version: 2, controllers };
}
