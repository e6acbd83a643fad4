import { lstat, mkdir, realpath } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { type ErrorCode, messageOf, SymphonyError } from "../model/errors.ts";
import { readSmall } from "./git-files.ts";
import { isWorkspaceKey } from "./key.ts";

/** What stands at a path: nothing that is followed anywhere else. */
export type Found = "nothing" | "directory" | "link" | "other";

/** In the root, beside the workspaces: no agent may write there, and no key can be its name. */
const stateDir = ".symphony-root";
const maxMarkerBytes = 1_024;

/** The root itself, made if need be, as its real path. Rejects with `workspace_error`. */
export async function openRoot(root: string): Promise<string> {
  try {
    await mkdir(root, { recursive: true, mode: 0o700 });
    const path = await realpath(root);
    await mkdir(join(path, stateDir), { recursive: true, mode: 0o700 });
    if ((await findAt(join(path, stateDir))) === "directory") return path;
  } catch (cause) {
    throw fault(root, {
      what: `the directory of workspaces cannot be used: ${messageOf(cause)}`,
      cause,
    });
  }
  throw fault(root, { what: `${stateDir} in the directory of workspaces is not a directory` });
}

/** What the marker says of a directory that no agent has been in yet. */
export const beingMade = "being made\n";

/** What a marker says; null where there is none. One of an earlier version says nothing. */
export async function markerOf(workspacePath: string): Promise<string | null> {
  const marker = pendingMarker(workspacePath);
  if ((await findAt(marker)) === "nothing") return null;
  return (await readSmall(marker, maxMarkerBytes)) ?? "";
}

/**
 * The file that says "what is in this workspace cannot be relied on": it is there from before the directory until
 * `after_create` has succeeded (requirement R-5).
 */
export function pendingMarker(workspacePath: string): string {
  return besideOf(workspacePath, "pending");
}

/** The file that says what the workspace was when it had been made. */
export function baselineFile(workspacePath: string): string {
  return besideOf(workspacePath, "baseline.json");
}

/** Where symphony keeps what it knows of the workspaces in `root`. */
export function stateDirOf(root: string): string {
  return join(root, stateDir);
}

/** Where directories are that are being deleted. */
export function removedDir(root: string): string {
  return join(stateDirOf(root), "removed");
}

function besideOf(workspacePath: string, ending: string): string {
  return join(dirname(workspacePath), stateDir, `${basename(workspacePath)}.${ending}`);
}

/** Rejects with `workspace_error` where the system cannot tell, as with a name that is too long. */
export async function findAt(path: string): Promise<Found> {
  try {
    const found = await lstat(path);
    if (found.isSymbolicLink()) return "link";
    return found.isDirectory() ? "directory" : "other";
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return "nothing";
    throw fault(path, { what: messageOf(cause), cause });
  }
}

/**
 * Checks that `path` is a place for a workspace: canonical, named by a key, and directly inside a root of
 * ours, `currentRoot` or an earlier one. Resolves with what is there, never a link. Rejects with
 * `workspace_equals_root`, `workspace_outside_root`, `workspace_symlink` or `workspace_error`.
 */
export async function requirePlace(path: string, currentRoot: string): Promise<Found> {
  const parent = dirname(path);
  const isCanonical = isAbsolute(path) && resolve(path) === path && parent !== path;
  if (!isCanonical) throw outside(path);
  if (path === currentRoot) {
    throw refused("workspace_equals_root", path, "is the directory of all workspaces itself");
  }
  if (!isWorkspaceKey(basename(path))) throw outside(path);
  const realParent = await realpath(parent).catch(() => null);
  if (realParent === null) return "nothing";
  const isRoot = parent === currentRoot || (await isStamped(parent));
  if (realParent !== parent || !isRoot) throw outside(path);
  const found = await findAt(path);
  if (found === "link") {
    throw refused("workspace_symlink", path, "is a symbolic link, not a workspace");
  }
  return found;
}

/** Whether the directory at `path` is a root of ours, today's or an earlier one, and no link leads there. */
export async function isWorkspaceRoot(path: string): Promise<boolean> {
  const real = await realpath(path).catch(() => null);
  return real === path && (await isStamped(path).catch(() => false));
}

/** An earlier root is known by what `openRoot` left in it. */
async function isStamped(path: string): Promise<boolean> {
  return (await findAt(join(path, stateDir))) === "directory";
}

/** A failure of the file system on a workspace. */
export function fault(
  path: string,
  { what, cause }: { what: string; cause?: unknown },
): SymphonyError {
  return new SymphonyError("workspace_error", `${path}: ${what}`, { cause, details: { path } });
}

function outside(path: string): SymphonyError {
  return refused(
    "workspace_outside_root",
    path,
    "is not directly inside a directory of workspaces",
  );
}

function refused(code: ErrorCode, path: string, what: string): SymphonyError {
  return new SymphonyError(code, `${path} ${what}`, { details: { path } });
}
