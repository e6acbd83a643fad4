import { randomUUID } from "node:crypto";
import { chmod, lstat, mkdir, opendir, rename, rm, utimes, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { messageOf } from "../model/errors.ts";
import { dropBaseline, moveBaseline } from "./baseline.ts";
import { deleteTree } from "./delete-tree.ts";
import {
  beingMade,
  type Found,
  fault,
  findAt,
  pendingMarker,
  removedDir,
  stateDirOf,
} from "./place.ts";

// How a workspace's directory is made, moved and deleted; whether it may be is decided elsewhere.

const mostAside = 1_000;

/** Leaves an empty directory, marked as not to be relied on yet. */
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

/** A moment by the clock of the file system that holds the workspaces in `root`: ms since the epoch. A full disk has it too. */
export async function momentIn(root: string): Promise<number> {
  const dir = stateDirOf(root);
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const now = new Date();
    await utimes(dir, now, now);
    // Unlike the times that were given, that of the change is the file system's own.
    return (await lstat(dir)).ctimeMs;
  } catch (cause) {
    throw fault(root, { what: `it cannot be written to: ${messageOf(cause)}`, cause });
  }
}

/**
 * In one step it is out of the way: a crash leaves no half a workspace for anybody to work in. Resolves with false, and it is
 * where it was, when a file in it changed after `lookedAt`, the moment (`momentIn`) at which the last look at it began.
 */
export async function deleteWhole(path: string, lookedAt: number | null): Promise<boolean> {
  const dir = removedDir(dirname(path));
  const aside = join(dir, `${basename(path)}-${randomUUID()}`);
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const found = await findAt(path);
    if (found !== "nothing") await move(path, aside);
    if (found === "directory" && lookedAt !== null) {
      // What cannot be read may have changed.
      if (await hasChangedSince(aside, lookedAt).catch(() => true)) {
        await rename(aside, path);
        return false;
      }
    }
    await dropBaseline(path);
    await rm(pendingMarker(path), { force: true });
    await deleteTree(aside);
    return true;
  } catch (cause) {
    throw fault(path, { what: `the workspace cannot be deleted: ${messageOf(cause)}`, cause });
  }
}

/** By the times of files: those of directories also change when they are moved. */
async function hasChangedSince(top: string, moment: number): Promise<boolean> {
  const dirs = [top];
  for (let dir = dirs.pop(); dir !== undefined; dir = dirs.pop()) {
    for await (const entry of await opendir(dir)) {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) dirs.push(path);
      else if ((await lstat(path)).ctimeMs > moment) return true;
    }
  }
  return false;
}

/** Moves it aside, under a name that no issue has; resolves with the new path. */
export async function setAside(path: string, found: Found): Promise<string> {
  try {
    for (let number = 1; number <= mostAside; number++) {
      const to = `${path}.aside-${number}`;
      if ((await findAt(to)) !== "nothing") continue;
      // A file gets a directory of its own: the list of workspaces has directories alone.
      if (found === "directory") {
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
  throw fault(path, { what: "too much was moved out of its way before" });
}

/** A directory that is write-protected cannot be moved. */
async function move(path: string, to: string): Promise<void> {
  try {
    await rename(path, to);
  } catch {
    await chmod(path, 0o700);
    await rename(path, to);
  }
}
