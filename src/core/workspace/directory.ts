import { randomUUID } from "node:crypto";
import { chmod, lstat, mkdir, opendir, rename, rm, utimes, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { dropBaseline, moveBaseline, readBaseline } from "./baseline.ts";
import { deleteTree } from "./deletion.ts";
import {
  beingMade,
  type Found,
  fault,
  findAt,
  openGitMarker,
  pendingMarker,
  removedDir,
  requireInside,
  restoredMarker,
  stateDirOf,
} from "./place.ts";

// Makes, moves and deletes a workspace's directory; the callers decide whether that is allowed.

const maxAside = 1_000;

/** Creates an empty directory with a marker that its content is not complete yet. */
export async function makeFresh(path: string): Promise<void> {
  try {
    await dropBaseline(path);
    await writeFile(pendingMarker(path), beingMade);
    await deleteTree(path);
    await mkdir(path, { mode: 0o700 });
  } catch (cause) {
    throw fault(path, { what: `the workspace cannot be made: ${messageOf(cause)}`, cause });
  }
}

/** The time in `root`, by its file system's clock (ms since the epoch). Works on a full disk. */
export async function momentIn(root: string): Promise<number> {
  const dir = stateDirOf(root);
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const now = new Date();
    await utimes(dir, now, now);
    // The times that are set come from this machine, but ctime comes from the file system.
    return (await lstat(dir)).ctimeMs;
  } catch (cause) {
    throw fault(root, { what: `it cannot be written to: ${messageOf(cause)}`, cause });
  }
}

/** What `deleteWhole` works on now: whoever finishes what a crash left must not touch it. */
const atWork = new Set<string>();

/** Whether a removal compares or deletes this path of `removedDir` right now. */
export function isBeingDeleted(aside: string): boolean {
  return atWork.has(aside) || atWork.has(aside.slice(0, -unexamined.length));
}

/** Ends the name of what was moved away and not compared yet: after a crash it goes back. */
const unexamined = ".unexamined";

/**
 * First moves the directory away in one step, so that a crash leaves no partial workspace. Resolves
 * with false, with the directory moved back, if a file in it changed after `lookedAt`, the time
 * (`momentIn`) at which the last examination began. Rejects with `LeftBehind` when it was moved away
 * and a part of it cannot be deleted.
 */
export async function deleteWhole(path: string, examinedAt: number | null): Promise<boolean> {
  const dir = removedDir(dirname(path));
  const aside = join(dir, `${basename(path)}-${randomUUID()}`);
  atWork.add(aside);
  try {
    return await deleteBy(path, aside, examinedAt);
  } finally {
    atWork.delete(aside);
  }
}

async function deleteBy(path: string, aside: string, examinedAt: number | null): Promise<boolean> {
  const dir = dirname(aside);
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const found = await findAt(path);
    if (found === "directory" && examinedAt !== null) {
      const first = `${aside}${unexamined}`;
      await move(path, first);
      if (await hasChangedSince(first, examinedAt)) {
        await rename(first, path);
        return false;
      }
      await rename(first, aside);
    } else if (found !== "nothing") await move(path, aside);
    await dropBaseline(path);
    await rm(pendingMarker(path), { force: true });
    await rm(restoredMarker(path), { force: true });
  } catch (cause) {
    throw fault(path, { what: `the workspace cannot be deleted: ${messageOf(cause)}`, cause });
  }
  try {
    await deleteTree(aside);
    return true;
  } catch (cause) {
    throw new LeftBehind(path, aside, cause);
  }
}

/**
 * Moves back what a crash left between its move and its comparison, so that it is examined again; to a
 * name of `setAside` where its place is taken. Resolves with the path; null: it may be deleted.
 */
export async function putBack(aside: string): Promise<string | null> {
  const name = basename(aside);
  if (!name.endsWith(unexamined)) return null;
  const key = name.slice(0, -`-${randomUUID()}${unexamined}`.length);
  const path = join(dirname(dirname(dirname(aside))), key);
  for (let number = 0; number <= maxAside; number++) {
    const to = number === 0 ? path : `${path}.aside-${number}`;
    if ((await findAt(to)) !== "nothing") continue;
    await rename(aside, to);
    return to;
  }
  throw fault(path, { what: "too many directories were moved out of its way before" });
}

/** The workspace is removed from its place, but not all of it could be deleted. */
export class LeftBehind extends SymphonyError {
  constructor(path: string, aside: string, cause: unknown) {
    const message = `${path}: the workspace was removed, but not all of it could be deleted: ${messageOf(cause)}; the rest is in ${aside}, and is tried again`;
    super("workspace_error", message, { cause, details: { path, rest: aside } });
  }
}

/**
 * Objects of git, whose names say their content. The making of a copy sets the times of those that it needs again, and a new
 * one is no work as long as no ref, index or file changes.
 */
const gitObject =
  /\/\.git\/(?:.*\/)?objects\/(?:[\da-f]{2}\/[\da-f]{38,62}|pack\/pack-[\da-f]{40,64}\.\w+)$/;

/**
 * Compares the times of files only: moving a directory changes its own. A file that cannot be read may
 * have changed.
 */
export async function hasChangedSince(top: string, moment: number): Promise<boolean> {
  const dirs = [top];
  try {
    for (let dir = dirs.pop(); dir !== undefined; dir = dirs.pop()) {
      for await (const entry of await opendir(dir)) {
        const path = join(dir, entry.name);
        if (entry.isDirectory()) dirs.push(path);
        else if (!gitObject.test(path) && (await lstat(path)).ctimeMs > moment) return true;
      }
    }
  } catch {
    return true;
  }
  return false;
}

/** Moves it aside, to a name that no issue can have; resolves with the new path. */
export async function setAside(path: string, found: Found): Promise<string> {
  try {
    for (let number = 1; number <= maxAside; number++) {
      const to = `${path}.aside-${number}`;
      if ((await findAt(to)) !== "nothing") continue;
      // A file is put into a directory, because the list of workspaces contains only directories.
      if (found === "directory") {
        // First: after a crash in between its refs would be believed.
        if ((await findAt(openGitMarker(path))) !== "nothing")
          await writeFile(openGitMarker(to), "", { flush: true });
        await move(path, to);
        await moveBaseline(path, to);
      } else {
        await mkdir(to, { mode: 0o700 });
        await rename(path, join(to, basename(path)));
      }
      return to;
    }
  } catch (cause) {
    throw fault(path, { what: `it cannot be moved out of the way: ${messageOf(cause)}`, cause });
  }
  throw fault(path, { what: "too many directories were moved out of its way before" });
}

/** A write-protected directory cannot be moved, so its mode is changed first. */
async function move(path: string, to: string): Promise<void> {
  try {
    await rename(path, to);
  } catch {
    await chmod(path, 0o700);
    await rename(path, to);
  }
}

/**
 * The first of `places` that is a workspace and was not made for another issue, because issues can
 * have the same name one after the other. null if there is none. `root` is the current directory of
 * workspaces, as its real path.
 */
export async function findWorkspace(
  issueId: string,
  places: Iterable<string | null | undefined>,
  root: string,
): Promise<string | null> {
  for (const path of new Set(places)) {
    if (path === undefined || path === null) continue;
    const found = await requireInside(path, root).catch(() => null);
    if (found !== "directory") continue;
    const baseline = await readBaseline(path);
    if (baseline === null || baseline.issueId === issueId) return path;
  }
  return null;
}
