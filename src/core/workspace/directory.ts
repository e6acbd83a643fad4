import { randomUUID } from "node:crypto";
import { chmod, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { messageOf } from "../model/errors.ts";
import { dropBaseline, moveBaseline, readBaseline } from "./baseline.ts";
import {
  beingMade,
  deleteTree,
  type Found,
  fault,
  findAt,
  pendingMarker,
  removedDir,
  requireInside,
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

/** In one step it is out of the way: a crash leaves no half a workspace for anybody to work in. */
export async function deleteWhole(path: string): Promise<void> {
  const dir = removedDir(dirname(path));
  const aside = join(dir, `${basename(path)}-${randomUUID()}`);
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    if ((await findAt(path)) !== "nothing") await move(path, aside);
    await dropBaseline(path);
    await rm(pendingMarker(path), { force: true });
    await deleteTree(aside);
  } catch (cause) {
    throw fault(path, { what: `the workspace cannot be deleted: ${messageOf(cause)}`, cause });
  }
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

/**
 * The first of `places` that is a workspace, and was not made for another issue: one may have had the same name before, or
 * has it now. null where there is none. `root` is today's directory of workspaces, as its real path.
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
