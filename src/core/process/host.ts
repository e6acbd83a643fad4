import { access, constants, readFile, statfs } from "node:fs/promises";
import { cpus, loadavg } from "node:os";
import { dirname, join } from "node:path";
import { getSystemErrorMessage } from "node:util";
import { systemCodeOf } from "../model/errors.ts";

/** What the host has left now; null: it cannot be determined here. */
export interface HostSample {
  readonly memory: { readonly availableBytes: number } | null;
  /** Load average of five minutes for each CPU of the machine. */
  readonly load: number | null;
  readonly disks: readonly DiskSample[];
  /** Why nothing can be written in `written`: null: it can, or none was named. */
  readonly refusal: string | null;
}

interface DiskSample {
  readonly path: string;
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** Directories; one that does not exist yet counts as its nearest parent. */
export interface HostPlaces {
  /** Their disks count. */
  readonly paths: readonly string[];
  /** It must take files. */
  readonly written?: string | null;
}

interface SampleOptions extends HostPlaces {
  /** Where /proc and /sys are; for tests. */
  readonly root?: string;
}

/** Reads a few small files and runs nothing. Never rejects. */
export async function sampleHost({
  paths,
  written = null,
  root = "/",
}: SampleOptions): Promise<HostSample> {
  const disks = await Promise.all(paths.map(diskOf));
  const [, five = 0] = loadavg();
  const count = cpus().length;
  return {
    memory: await memoryOf(root),
    load: process.platform === "win32" || count === 0 ? null : five / count,
    disks: disks.filter((disk) => disk !== null),
    refusal: written === null ? null : await refusalOf(written),
  };
}

/** Asks the system; writes nothing. */
async function refusalOf(path: string): Promise<string | null> {
  for (let dir = path; ; dir = dirname(dir)) {
    try {
      // The dot refuses a file, which may be executable and writable too.
      await access(`${dir}/.`, constants.W_OK | constants.X_OK);
      return null;
    } catch (error) {
      if (systemCodeOf(error) === "ENOENT" && dir !== dirname(dir)) continue;
      const errno = error instanceof Error && "errno" in error ? Number(error.errno) : 0;
      const why = getSystemErrorMessage(errno);
      return `${path} cannot be ${dir === path ? "written" : `made in ${dir}`}: ${why}`;
    }
  }
}

async function diskOf(path: string): Promise<DiskSample | null> {
  for (let dir = path; ; dir = dirname(dir)) {
    const found = await statfs(dir).catch(() => null);
    if (found !== null) {
      // Blocks reserved for root cannot be used by other users.
      const free = process.getuid?.() === 0 ? found.bfree : found.bavail;
      return { path, freeBytes: free * found.bsize, totalBytes: found.blocks * found.bsize };
    }
    if (dir === dirname(dir)) return null;
  }
}

/** The least of what the machine and each control group around this process have left. */
async function memoryOf(root: string): Promise<HostSample["memory"]> {
  const meminfo = await textIn(join(root, "proc/meminfo"));
  const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(meminfo ?? "")?.[1];
  // Elsewhere free memory says little: the system fills it with files on purpose.
  if (kib === undefined) return null;
  const groups = await textIn(join(root, "proc/self/cgroup"));
  const limits = await Promise.all(
    (groups ?? "").split("\n").map((line) => leftInGroups(line, root)),
  );
  return { availableBytes: Math.min(Number(kib) * 1024, ...limits) };
}

/** A line of /proc/self/cgroup: `0::/path` (version 2), or `4:memory:/path` (version 1). */
async function leftInGroups(line: string, root: string): Promise<number> {
  const [, controllers = "", path = ""] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
  const isOld = controllers.split(",").includes("memory");
  if (path === "" || (controllers !== "" && !isOld)) return Number.POSITIVE_INFINITY;
  const top = join(root, isOld ? "sys/fs/cgroup/memory" : "sys/fs/cgroup");
  const names = isOld ? version1 : version2;
  let left = Number.POSITIVE_INFINITY;
  // In a container the path may be that of the host: what exists of it is read, up to the top.
  for (let dir = join(top, path); ; dir = dirname(dir)) {
    left = Math.min(left, await leftInGroup(dir, names));
    if (dir === top || dir.length <= top.length) return left;
  }
}

const version1 = {
  limit: "memory.limit_in_bytes",
  usage: "memory.usage_in_bytes",
  reclaimable: /^total_inactive_file (\d+)$/m,
};
const version2 = {
  limit: "memory.max",
  usage: "memory.current",
  reclaimable: /^inactive_file (\d+)$/m,
};

async function leftInGroup(dir: string, names: typeof version1): Promise<number> {
  const limit = numberIn(await textIn(join(dir, names.limit)));
  const usage = numberIn(await textIn(join(dir, names.usage)));
  if (limit === null || usage === null) return Number.POSITIVE_INFINITY;
  const stat = await textIn(join(dir, "memory.stat"));
  const reclaimable = Number(names.reclaimable.exec(stat ?? "")?.[1] ?? 0);
  return Math.max(limit - Math.max(usage - reclaimable, 0), 0);
}

/** `max` means no limit. */
function numberIn(text: string | null): number | null {
  return text !== null && /^\d+$/.test(text.trim()) ? Number(text) : null;
}

function textIn(file: string): Promise<string | null> {
  return readFile(file, "utf8").catch(() => null);
}
