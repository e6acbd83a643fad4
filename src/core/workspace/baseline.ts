import { randomUUID } from "node:crypto";
import { lstat, mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { messageOf, SymphonyError, systemCodeOf } from "../model/errors.ts";
import type { Known } from "../repository/commits.ts";
import type { Merging } from "../repository/merging.ts";
import type { Loan } from "../repository/mirrors.ts";
import { fileAt } from "../text/text.ts";
import { baselineFile, leftOutFile, mergingFile, openGitMarker } from "./place.ts";

/**
 * The state of a workspace when it had just been made: what it contained then is not work. It is
 * stored next to the workspace, where no agent writes.
 */
export interface Baseline extends Known {
  /** The issue that the workspace was made for. */
  readonly issueId: string;
  /** The workspace's repository: none, its own, or that of a linked worktree. */
  readonly repository: "none" | "own" | "linked";
  /** A hash of what was staged; empty for nothing. */
  readonly staged: string;
  /**
   * The state of each file that differs from `head`, by raw name; null if there were too many of
   * them, or if they could not be determined.
   */
  readonly files: ReadonlyMap<string, string> | null;
  /** What its repository borrows; null for one that is complete in itself. */
  readonly loan: Loan | null;
  /** The commits of its remotes' branches; null: an earlier version made it and did not record them. */
  readonly remote: readonly string[] | null;
  /** Where its repository took objects from when it was made, as `borrowsOf`; null: an earlier version did not record it. */
  readonly borrows: readonly string[] | null;
  /** The directory of the mirrors that it borrows from. */
  readonly mirrors: string | null;
}

/** Limit of recorded files. */
const maxFiles = 50_000;
const maxBytes = 64 * 1024 * 1024;
const atOnce = 16;

const Pair = z.tuple([z.string(), z.string()]);

const Written = z.object({
  issueId: z.string(),
  repository: z.enum(["none", "own", "linked"]),
  head: z.string().nullable(),
  refs: z.array(Pair),
  staged: z.string(),
  files: z.array(Pair).nullable(),
  // A workspace of an earlier version borrows nothing.
  loan: z
    .object({
      mirror: z.string(),
      keep: z.string(),
      prepared: z.string().optional(),
      sparse: z.array(z.string()).optional(),
      lfs: z.boolean().optional(),
      submodules: z
        .array(z.object({ path: z.string(), mirror: z.string(), keep: z.string() }))
        .optional(),
    })
    .nullable()
    .default(null),
  remote: z.array(z.string()).nullable().default(null),
  borrows: z.array(z.string()).nullable().default(null),
  mirrors: z.string().nullable().default(null),
});

/** null if there is none, as for a workspace of an earlier version, or if it cannot be read. */
export async function readBaseline(path: string): Promise<Baseline | null> {
  try {
    await using file = await open(baselineFile(path));
    const { size } = await file.stat();
    if (size > maxBytes) return null;
    const { refs, files, ...rest } = Written.parse(JSON.parse(await file.readFile("utf8")));
    return { ...rest, refs: new Map(refs), files: files && new Map(files) };
  } catch {
    return null;
  }
}

/** Replaces the whole file. Rejects as the file system does. */
export async function writeBaseline(path: string, baseline: Baseline): Promise<void> {
  const { refs, files, ...rest } = baseline;
  await replace(baselineFile(path), { ...rest, refs: [...refs], files: files && [...files] });
}

async function replace(file: string, content: unknown): Promise<void> {
  const temporary = `${file}.${randomUUID()}`;
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  try {
    await writeFile(temporary, JSON.stringify(content), { mode: 0o600, flush: true });
    await rename(temporary, file);
  } finally {
    await rm(temporary, { force: true });
  }
}

export async function dropBaseline(path: string): Promise<void> {
  await rm(baselineFile(path), { force: true });
  for (const fileOf of [mergingFile, leftOutFile, openGitMarker])
    await rm(fileOf(path), { force: true });
}

/** Moves the baseline, and a merge that was begun, along with their workspace. */
export async function moveBaseline(from: string, to: string): Promise<void> {
  for (const fileOf of [baselineFile, mergingFile, leftOutFile, openGitMarker]) {
    try {
      await rename(fileOf(from), fileOf(to));
    } catch (error) {
      // A workspace of an earlier version has no baseline, and most have no merge and a guarded repository.
      if (systemCodeOf(error) !== "ENOENT") throw error;
    }
  }
}

const Begun = z.object({
  base: z.string(),
  head: z.string(),
  tree: z.string(),
  marked: z.array(z.string()),
  generated: z.array(z.string()),
  shown: z.array(z.string()).default([]),
  commit: z.string().nullable(),
  moving: z.boolean(),
  own: z.boolean().default(false),
});

/** The merge that was begun in the workspace; null if there is none. Rejects if it cannot be read. */
export async function readMerging(path: string): Promise<Merging | null> {
  const text = await readFile(mergingFile(path), "utf8").catch((error: unknown) => {
    if (systemCodeOf(error) === "ENOENT") return null;
    throw error;
  });
  if (text === null) return null;
  try {
    return Begun.parse(JSON.parse(text));
  } catch (cause) {
    const file = mergingFile(path);
    const message = `${file}, the record of a merge in the workspace ${path}, cannot be read`;
    const hint = `look at git status in ${path}, move ${file} away, and try it again`;
    throw new SymphonyError("workspace_error", message, { cause, hint });
  }
}

/** Replaces the record of the merge; null: there is none any more. */
export async function writeMerging(path: string, merging: Merging | null): Promise<void> {
  if (merging === null) await rm(mergingFile(path), { force: true });
  else await replace(mergingFile(path), merging);
}

const LeftOut = z.array(z.object({ path: z.string(), why: z.string() }));

/** What differs and the last commit did not take, for the agent; empty where that cannot be read. */
export async function readLeftOut(path: string): Promise<z.output<typeof LeftOut>> {
  const text = await readFile(leftOutFile(path), "utf8").catch(() => "[]");
  try {
    return LeftOut.parse(JSON.parse(text));
  } catch {
    return [];
  }
}

/** Replaces it; empty: everything was taken. */
export async function writeLeftOut(path: string, all: z.output<typeof LeftOut>): Promise<void> {
  if (all.length === 0) await rm(leftOutFile(path), { force: true });
  else await replace(leftOutFile(path), all);
}

/** The state of these files, by raw name; null if there are too many. */
export async function statesOf(
  path: string,
  names: readonly string[],
): Promise<ReadonlyMap<string, string> | null> {
  if (names.length > maxFiles) return null;
  const states = new Map<string, string>();
  for (let at = 0; at < names.length; at += atOnce) {
    const batch = names.slice(at, at + atOnce);
    const found = await Promise.all(batch.map((name) => stateOf(path, name)));
    for (const [index, name] of batch.entries()) states.set(name, found[index] ?? "");
  }
  return states;
}

const absent = "absent";

/** Changes with every write to the file: only root can set the time of the last change (ctime). */
async function stateOf(path: string, name: string): Promise<string> {
  try {
    const found = await lstat(fileAt(path, name), { bigint: true });
    const kind = found.isSymbolicLink() ? "link" : found.isFile() ? "file" : "other";
    return [kind, found.size, found.mtimeNs, found.ctimeNs, found.ino].join(" ");
  } catch (error) {
    const code = systemCodeOf(error);
    return code === "ENOENT" || code === "ENOTDIR" ? absent : `unknown: ${messageOf(error)}`;
  }
}

/** Returns the `names` whose state differs from the one in `files`. */
export async function movedSince(
  path: string,
  names: readonly string[],
  files: ReadonlyMap<string, string>,
): Promise<readonly string[]> {
  const moved: string[] = [];
  for (let at = 0; at < names.length; at += atOnce) {
    const batch = names.slice(at, at + atOnce);
    const now = await Promise.all(
      batch.map((name) => (files.has(name) ? stateOf(path, name) : null)),
    );
    for (const [index, name] of batch.entries()) {
      const state = now[index] ?? null;
      if (state === null || state !== files.get(name) || state.startsWith("unknown"))
        moved.push(name);
    }
  }
  return moved;
}
