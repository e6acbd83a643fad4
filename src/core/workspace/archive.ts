import { lstat, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type CommandEnd, runCommand } from "../process/run.ts";
import { digestOf, type TreeDigest } from "./tree-digest.ts";

// A copy of a whole directory as a tar archive, for what a git bundle cannot hold.

export const archiveName = "work.tar";

const limitMs = 1_800_000;
const saidBytes = 2_048;

interface ArchiveOptions {
  /** The directory that gets the archive. */
  readonly into: string;
  readonly maxBytes: number;
  readonly signal?: AbortSignal;
}

/**
 * Writes everything in `path` to the archive; links are not followed. Rejects when it is larger
 * than `maxBytes`, has an entry that no archive can hold (a socket, a device), or depends on the
 * objects of a repository elsewhere.
 */
export async function writeArchive(
  path: string,
  { into, maxBytes, signal }: ArchiveOptions,
): Promise<TreeDigest> {
  const borrowed = await lstat(join(path, ".git/objects/info/alternates")).catch(() => null);
  if ((borrowed?.size ?? 0) > 0) throw new Error("its repository borrows objects from another one");
  const digest = await digestOf(path, { maxBytes, ...(signal && { signal }) });
  // The archive's name is relative: tar takes a name with a colon for one of another machine.
  const args = ["--sparse", "--create", "--file", archiveName, "--directory", path, "."];
  await tar(args, into, signal);
  return digest;
}

/** Unpacks the archive in `from` into the new directory `to`. */
export async function restoreArchive(
  from: string,
  to: string,
  signal?: AbortSignal,
): Promise<void> {
  await mkdir(to, { mode: 0o700 });
  const args = ["--extract", "--preserve-permissions", "--file", archiveName, "--directory", to];
  await tar(args, from, signal);
}

async function tar(args: readonly string[], cwd: string, signal?: AbortSignal): Promise<void> {
  const end = await runCommand({
    argv: ["tar", ...args],
    name: "tar",
    cwd,
    // Without TAR_OPTIONS and the like.
    env: { PATH: process.env["PATH"], LC_ALL: "C" },
    timeoutMs: limitMs,
    outputBytes: saidBytes,
    errorBytes: saidBytes,
    ...(signal && { signal }),
  });
  if (end.exitCode !== 0) throw new Error(reasonOf(end));
}

function reasonOf({ failure, stoppedFor, errors }: CommandEnd): string {
  if (failure !== null) return "tar could not be started: install tar";
  if (stoppedFor !== null) return "tar was interrupted or took too long";
  return errors.trim().split("\n").at(-1) || "tar failed";
}
