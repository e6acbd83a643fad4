import { constants, type Stats } from "node:fs";
import { lstat, open } from "node:fs/promises";
import { isAbsolute, join, relative } from "node:path";
import { systemCodeOf } from "../../model/errors.ts";
import { guardedNames } from "../../process/view.ts";

/** Why a path is refused, as text for the model. */
export class PathError extends Error {}

const maxPathChars = 1_000;

export interface InsidePath {
  readonly absolute: string;
  readonly path: string;
  /** null when nothing exists there yet. */
  readonly stats: Stats | null;
}

/**
 * A path of the model inside the workspace; no part of it is a symbolic link. Throws PathError.
 * `workspace` is canonical. No process of the agent may run meanwhile, or the checked path may have
 * changed.
 */
export async function pathInside(workspace: string, path: string): Promise<InsidePath> {
  const parts = segmentsOf(workspace, path);
  let stats: Stats | null = await lstat(workspace);
  let absolute = workspace;
  for (const part of parts) {
    if (stats && !stats.isDirectory())
      throw new PathError(`${path}: a part of the path is not a directory`);
    absolute = join(absolute, part);
    stats = stats && (await lstatOrNull(absolute, path));
    if (stats?.isSymbolicLink()) throw new PathError(`${path}: symbolic links are not followed`);
  }
  return { absolute, path: parts.join("/") || ".", stats };
}

/**
 * The same, for a file that will be written: never where git and agents look for configuration to
 * obey.
 */
export async function writablePath(workspace: string, path: string): Promise<InsidePath> {
  const place = await pathInside(workspace, path);
  if (place.path === ".") throw new PathError("the path of a file is required");
  const parts = place.path.toLowerCase().split("/");
  // The repository of a submodule is one too, and `.gitmodules` says how git looks into it.
  const isGit = parts.includes(".git") || parts.at(-1) === ".gitmodules";
  if (isGit || guardedNames.includes(parts[0] ?? ""))
    throw new PathError(`${path}: this directory is read-only`);
  if (place.stats && !place.stats.isFile()) throw new PathError(`${path} is not a regular file`);
  return place;
}

/** The first bytes of a regular file; never blocks on a pipe or a device. Throws PathError. */
export async function readInside(
  { absolute, path, stats }: InsidePath,
  maxBytes: number,
): Promise<Buffer> {
  if (!stats) throw new PathError(`${path}: no such file`);
  if (!stats.isFile()) throw new PathError(`${path} is not a regular file`);
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  await using file = await open(absolute, flags);
  const { size, ino } = await file.stat();
  if (ino !== stats.ino) throw new PathError(`${path} has changed while it was read`);
  const buffer = Buffer.alloc(Math.min(size, maxBytes));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
  return buffer.subarray(0, bytesRead);
}

function segmentsOf(workspace: string, path: string): readonly string[] {
  if (path.length > maxPathChars) throw new PathError("the path is too long");
  if (path.includes("\0")) throw new PathError("the path contains a NUL character");
  const local = isAbsolute(path) ? relative(workspace, path) : path;
  const parts = local.split("/").filter((part) => part !== "" && part !== ".");
  if (isAbsolute(local) || parts.includes("..")) {
    throw new PathError(`${path} is outside of the workspace`);
  }
  return parts;
}

async function lstatOrNull(absolute: string, path: string): Promise<Stats | null> {
  try {
    return await lstat(absolute);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === "ENOENT") return null;
    throw new PathError(`${path} cannot be checked: ${String(code)}`);
  }
}
