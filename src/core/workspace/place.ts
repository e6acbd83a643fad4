import { lstat, mkdir, realpath } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { type ErrorCode, messageOf, SymphonyError, systemCodeOf } from "../model/errors.ts";
import { readSmall } from "../repository/checkout.ts";
import { isWorkspaceKey } from "../repository/key.ts";

/** What is found at a path; links are not followed. */
export type Found = "nothing" | "directory" | "link" | "other";

/** In the root, next to the workspaces: no agent may write there, and no key can be this name. */
const stateDir = ".symphony-root";
const maxMarkerBytes = 1_024;

/** The root itself, created if needed, as its real path. Rejects with `workspace_error`. */
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

/** The marker's content for a directory that no agent has used yet. */
export const beingMade = "being made\n";

/** The marker's content; null if there is none. A marker of an earlier version is empty. */
export async function markerOf(workspacePath: string): Promise<string | null> {
  const marker = pendingMarker(workspacePath);
  if ((await findAt(marker)) === "nothing") return null;
  return (await readSmall(marker, maxMarkerBytes)) ?? "";
}

/**
 * The marker file that says "the content of this workspace is not complete": it exists from before
 * the directory is made until `after_create` has succeeded (requirement R-5).
 */
export function pendingMarker(workspacePath: string): string {
  return stateFileOf(workspacePath, "pending");
}

/** The file with the state of the workspace when it had been made. */
export function baselineFile(workspacePath: string): string {
  return stateFileOf(workspacePath, "baseline.json");
}

/** The file with the merge that was begun in the workspace. */
export function mergingFile(workspacePath: string): string {
  return stateFileOf(workspacePath, "merging.json");
}

/** The file with what the last commit of the workspace did not take. */
export function leftOutFile(workspacePath: string): string {
  return stateFileOf(workspacePath, "left-out.json");
}

/** The marker file of a workspace that an operator restored and no attempt has used since. */
export function restoredMarker(workspacePath: string): string {
  return stateFileOf(workspacePath, "restored");
}

/** The marker file of a workspace whose `.git` an agent may have written: its refs prove nothing. */
export function openGitMarker(workspacePath: string): string {
  return stateFileOf(workspacePath, "open-git");
}

/** The directory of symphony's own data about the workspaces in `root`. */
export function stateDirOf(root: string): string {
  return join(root, stateDir);
}

/** The directory that holds workspaces while they are being deleted. */
export function removedDir(root: string): string {
  return join(stateDirOf(root), "removed");
}

function stateFileOf(workspacePath: string, suffix: string): string {
  return join(dirname(workspacePath), stateDir, `${basename(workspacePath)}.${suffix}`);
}

/** Rejects with `workspace_error` if the system cannot tell, as with a name that is too long. */
export async function findAt(path: string): Promise<Found> {
  try {
    const found = await lstat(path);
    if (found.isSymbolicLink()) return "link";
    return found.isDirectory() ? "directory" : "other";
  } catch (cause) {
    if (systemCodeOf(cause) === "ENOENT") return "nothing";
    throw fault(path, { what: messageOf(cause), cause });
  }
}

/**
 * Checks that `path` is a valid place for a workspace: canonical, named by a key, and directly
 * inside one of symphony's roots, `currentRoot` or an earlier one. Resolves with what is there,
 * never a link. Rejects with `workspace_equals_root`, `workspace_outside_root`, `workspace_symlink`
 * or `workspace_error`.
 */
export async function requireInside(path: string, currentRoot: string): Promise<Found> {
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

/** Whether the directory at `path` is a root of symphony's, current or earlier, and not a link. */
export async function isWorkspaceRoot(path: string): Promise<boolean> {
  const real = await realpath(path).catch(() => null);
  return real === path && (await isStamped(path).catch(() => false));
}

/** An earlier root is recognized by what `openRoot` left in it. */
async function isStamped(path: string): Promise<boolean> {
  return (await findAt(join(path, stateDir))) === "directory";
}

/** A file system failure on a workspace. */
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
