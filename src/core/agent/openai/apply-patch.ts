import { randomUUID } from "node:crypto";
import { chmod, mkdir, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { PathError, type Place, readPlace, writablePlace } from "./inside.ts";
import { applyHunks, type Change, PatchError, parsePatch } from "./patch.ts";

const maxFileBytes = 10 * 1024 * 1024;

/** What a file is to hold; null: it is to be gone. */
interface Target {
  readonly place: Place;
  /** What it holds now; null: nothing is there. */
  readonly was: Buffer | null;
  content: Buffer | null;
}

export interface Patched {
  /** `A`, `M` or `D` and the path. */
  readonly changes: readonly { readonly mark: string; readonly path: string }[];
}

/**
 * Applies a patch inside the workspace: all of it or nothing. Throws PatchError or PathError in words for the
 * model. Nothing of the agent may run meanwhile.
 */
export async function applyPatch(workspace: string, text: string): Promise<Patched> {
  const targets = new Map<string, Target>();
  for (const change of parsePatch(text)) await plan(workspace, change, targets);
  const changed = [...targets.values()].filter(({ was, content }) => was !== content);
  await write(workspace, changed);
  return {
    changes: changed.map(({ place, was, content }) => ({
      mark: content === null ? "D" : was === null ? "A" : "M",
      path: place.path,
    })),
  };
}

async function plan(
  workspace: string,
  change: Change,
  targets: Map<string, Target>,
): Promise<void> {
  const target = await targetOf(workspace, change.path, targets);
  if (change.kind === "add") {
    if (target.content !== null) throw new PatchError(`${change.path} exists: update it instead`);
    target.content = Buffer.from(change.content);
    return;
  }
  if (target.content === null) throw new PatchError(`${change.path}: no such file`);
  if (change.kind === "delete") {
    target.content = null;
    return;
  }
  const before = textOf(target.content, change.path);
  const after = change.hunks.length === 0 ? before : applyHunks(before, change.hunks, change.path);
  if (change.moveTo === null) {
    target.content = Buffer.from(after);
    return;
  }
  const moved = await targetOf(workspace, change.moveTo, targets);
  if (moved !== target && moved.content !== null)
    throw new PatchError(`${change.moveTo} exists: delete it first`);
  target.content = null;
  moved.content = Buffer.from(after);
}

async function targetOf(
  workspace: string,
  path: string,
  targets: Map<string, Target>,
): Promise<Target> {
  const place = await writablePlace(workspace, path);
  const known = targets.get(place.absolute);
  if (known) return known;
  if (place.stats && place.stats.size > maxFileBytes) throw new PathError(`${path} is too large`);
  const was = place.stats ? await readPlace(place, maxFileBytes) : null;
  const target = { place, was, content: was };
  targets.set(place.absolute, target);
  return target;
}

/** A file that is not text would come back damaged. */
function textOf(content: Buffer, path: string): string {
  const text = content.toString("utf8");
  if (!Buffer.from(text).equals(content)) throw new PatchError(`${path} is no text`);
  return text;
}

async function write(workspace: string, targets: readonly Target[]): Promise<void> {
  const undo: (() => Promise<void>)[] = [];
  try {
    const staged: { from: string; to: string }[] = [];
    for (const { place, content } of targets) {
      if (content === null) continue;
      await makeParents(workspace, dirname(place.absolute), undo);
      const from = `${place.absolute}.${randomUUID()}`;
      undo.push(() => rm(from, { force: true }));
      await writeFile(from, content, { flag: "wx" });
      if (place.stats) await chmod(from, place.stats.mode & 0o777);
      staged.push({ from, to: place.absolute });
    }
    for (const { place, was } of targets) {
      undo.push(() => (was ? restore(place, was) : rm(place.absolute, { force: true })));
    }
    for (const { from, to } of staged) await rename(from, to);
    for (const { place, content } of targets) if (content === null) await rm(place.absolute);
  } catch (error) {
    for (const step of undo.reverse()) await step().catch(() => {});
    throw error;
  }
}

async function makeParents(
  workspace: string,
  dir: string,
  undo: (() => Promise<void>)[],
): Promise<void> {
  let at = workspace;
  for (const part of relative(workspace, dir).split("/")) {
    if (part === "") continue;
    at = join(at, part);
    const made = at;
    try {
      await mkdir(made);
      undo.push(() => rmdir(made));
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
  }
}

async function restore({ absolute, stats }: Place, content: Buffer): Promise<void> {
  await writeFile(absolute, content);
  if (stats) await chmod(absolute, stats.mode & 0o777);
}
