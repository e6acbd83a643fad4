import { randomUUID } from "node:crypto";
import { chmod, mkdir, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { systemCodeOf } from "../../model/errors.ts";
import { type InsidePath, PathError, readInside, writablePath } from "./files.ts";

/** One change of a patch. Paths are as the model wrote them. */
type Change =
  | { readonly kind: "add"; readonly path: string; readonly content: string }
  | { readonly kind: "delete"; readonly path: string }
  | {
      readonly kind: "update";
      readonly path: string;
      readonly moveTo: string | null;
      readonly hunks: readonly Hunk[];
    };

export interface Hunk {
  /** A line somewhere above the change, such as the head of its function. */
  readonly anchors: readonly string[];
  readonly before: readonly string[];
  readonly after: readonly string[];
  readonly atEnd: boolean;
}

/** An error in a patch, as text for the model. */
export class PatchError extends Error {}

const begin = "*** Begin Patch";
const end = "*** End Patch";
const addFile = "*** Add File: ";
const deleteFile = "*** Delete File: ";
const updateFile = "*** Update File: ";
const moveTo = "*** Move to: ";
const endOfFile = "*** End of File";
const maxPatchChars = 2_000_000;

/** Reads the `*** Begin Patch` format. Throws PatchError. */
export function parsePatch(text: string): readonly Change[] {
  if (text.length > maxPatchChars) throw new PatchError("the patch is too long");
  const lines = withoutHeredoc(text.trim().split("\n"));
  if (lines[0]?.trim() !== begin) throw new PatchError(`the first line must be '${begin}'`);
  if (lines.at(-1)?.trim() !== end) throw new PatchError(`the last line must be '${end}'`);
  const body = new Lines(lines.slice(1, -1));
  const changes: Change[] = [];
  while (!body.done) changes.push(changeOf(body));
  if (changes.length === 0) throw new PatchError("the patch changes no file");
  return changes;
}

/** Some models wrap the patch as they would for a shell. */
function withoutHeredoc(lines: readonly string[]): readonly string[] {
  const [first = "", last = ""] = [lines[0]?.trim(), lines.at(-1)?.trim()];
  return /^(apply_patch\s+)?<<\s*['"]?EOF['"]?$/.test(first) && last === "EOF"
    ? lines.slice(1, -1)
    : lines;
}

class Lines {
  readonly #lines: readonly string[];
  #at = 0;

  constructor(lines: readonly string[]) {
    this.#lines = lines;
  }

  get done(): boolean {
    return this.#at >= this.#lines.length;
  }

  get next(): string {
    return this.#lines[this.#at] ?? "";
  }

  /** The number for messages; the first line of the patch is 1. */
  get number(): number {
    return this.#at + 2;
  }

  take(): string {
    const line = this.next;
    this.#at++;
    return line;
  }
}

function changeOf(lines: Lines): Change {
  const { number } = lines;
  const head = lines.take().trimEnd();
  if (head.startsWith(addFile)) return added(head.slice(addFile.length), lines);
  if (head.startsWith(deleteFile)) return { kind: "delete", path: head.slice(deleteFile.length) };
  if (head.startsWith(updateFile)) return updated(head.slice(updateFile.length), lines);
  throw new PatchError(
    `line ${number}: '${addFile}', '${deleteFile}' or '${updateFile}' and a path are expected`,
  );
}

function added(path: string, lines: Lines): Change {
  const content: string[] = [];
  while (!lines.done && lines.next.startsWith("+")) content.push(`${lines.take().slice(1)}\n`);
  return { kind: "add", path, content: content.join("") };
}

function updated(path: string, lines: Lines): Change {
  const moved = lines.next.startsWith(moveTo);
  const target = moved ? lines.take().trimEnd().slice(moveTo.length) : null;
  const hunks: Hunk[] = [];
  while (!lines.done && !/^\*\*\* (?!End of File)/.test(lines.next)) {
    if (lines.next.trim() === "") lines.take();
    else hunks.push(hunkOf(lines, hunks.length === 0));
  }
  if (hunks.length === 0 && !moved) throw new PatchError(`the update of ${path} changes nothing`);
  return { kind: "update", path, moveTo: target, hunks };
}

function hunkOf(lines: Lines, first: boolean): Hunk {
  const anchors: string[] = [];
  let headed = false;
  while (/^@@( |$)/.test(lines.next)) {
    headed = true;
    const anchor = lines.take().slice(3);
    if (anchor.trim() !== "") anchors.push(anchor);
  }
  if (!headed && !first) throw new PatchError(`line ${lines.number}: '@@' is expected`);
  const before: string[] = [];
  const after: string[] = [];
  const { number } = lines;
  while (!lines.done && !/^(@@|\*\*\*)/.test(lines.next)) {
    const line = lines.take();
    const rest = line.slice(1);
    if (line.startsWith("+")) after.push(rest);
    else if (line.startsWith("-")) before.push(rest);
    else if (line.startsWith(" ") || line === "") {
      before.push(rest);
      after.push(rest);
    } else
      throw new PatchError(
        `line ${lines.number - 1}: a line of a change starts with ' ', '+' or '-'`,
      );
  }
  if (before.length + after.length === 0)
    throw new PatchError(`line ${number}: the change is empty`);
  const atEnd = lines.next.trimEnd() === endOfFile;
  if (atEnd) lines.take();
  return { anchors, before, after, atEnd };
}

/**
 * `text` with the hunks applied, each after the previous one. Throws PatchError when one does not
 * fit.
 */
export function applyHunks(text: string, hunks: readonly Hunk[], path: string): string {
  const lines = text.split("\n");
  // The empty part after the last newline is not a line.
  if (lines.at(-1) === "") lines.pop();
  const result: string[] = [];
  let from = 0;
  for (const hunk of hunks) {
    const { at, length } = positionOf(lines, hunk, { from, path });
    result.push(...lines.slice(from, at), ...hunk.after);
    from = at + length;
  }
  result.push(...lines.slice(from));
  return result.length === 0 ? "" : `${result.join("\n")}\n`;
}

function positionOf(
  lines: readonly string[],
  { anchors, before, atEnd }: Hunk,
  { from, path }: { from: number; path: string },
): { at: number; length: number } {
  let start = from;
  for (const anchor of anchors) {
    const found = seek(lines, [anchor], { from: start, atEnd: false });
    if (found === null)
      throw new PatchError(`${path} has no line '${anchor}' after the last change`);
    start = found + 1;
  }
  if (before.length === 0)
    return { at: anchors.length > 0 && !atEnd ? start : lines.length, length: 0 };
  const found = seek(lines, before, { from: start, atEnd });
  if (found !== null) return { at: found, length: before.length };
  // An empty last line means the end of the file.
  const shorter = before.at(-1) === "" ? before.slice(0, -1) : [];
  const again = shorter.length > 0 ? seek(lines, shorter, { from: start, atEnd }) : null;
  if (again !== null) return { at: again, length: shorter.length };
  throw new PatchError(
    `${path} does not contain these lines:\n${before.join("\n").slice(0, 2_000)}`,
  );
}

/**
 * The most exact comparison first: same lines, then without trailing space, without indentation,
 * with plain punctuation.
 */
const readings: readonly ((line: string) => string)[] = [
  (line) => line,
  (line) => line.trimEnd(),
  (line) => line.trim(),
  plain,
];

function seek(
  lines: readonly string[],
  wanted: readonly string[],
  { from, atEnd }: { from: number; atEnd: boolean },
): number | null {
  const last = lines.length - wanted.length;
  for (const reading of readings) {
    const read = lines.map(reading);
    const want = wanted.map(reading);
    const fits = (at: number) => want.every((line, offset) => read[at + offset] === line);
    if (atEnd && last >= from && fits(last)) return last;
    for (let at = from; at <= last; at++) if (fits(at)) return at;
  }
  return null;
}

function plain(line: string): string {
  return line
    .trim()
    .replaceAll(/[\u2010-\u2015\u2212]/g, "-")
    .replaceAll(/[\u2018-\u201B]/g, "'")
    .replaceAll(/[\u201C-\u201F]/g, '"')
    .replaceAll(/[\u00A0\u2002-\u200A\u202F\u205F\u3000]/g, " ");
}

const maxFileBytes = 10 * 1024 * 1024;

/** The new content of a file; null when it will be deleted. */
interface Target {
  readonly place: InsidePath;
  /** The current content; null when there is no file. */
  readonly was: Buffer | null;
  content: Buffer | null;
}

export interface Patched {
  /** `A`, `M` or `D` and the path. */
  readonly changes: readonly { readonly mark: string; readonly path: string }[];
}

/**
 * Applies a patch inside the workspace: all of it or nothing. Throws PatchError or PathError with
 * text for the model. No process of the agent may run meanwhile.
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
  const place = await writablePath(workspace, path);
  const known = targets.get(place.absolute);
  if (known) return known;
  if (place.stats && place.stats.size > maxFileBytes) throw new PathError(`${path} is too large`);
  const was = place.stats ? await readInside(place, maxFileBytes) : null;
  const target = { place, was, content: was };
  targets.set(place.absolute, target);
  return target;
}

/** A file that is not text would be written back damaged. */
function textOf(content: Buffer, path: string): string {
  const text = content.toString("utf8");
  if (!Buffer.from(text).equals(content)) throw new PatchError(`${path} is not a text file`);
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
      if (systemCodeOf(error) !== "EEXIST") throw error;
    }
  }
}

async function restore({ absolute, stats }: InsidePath, content: Buffer): Promise<void> {
  await writeFile(absolute, content);
  if (stats) await chmod(absolute, stats.mode & 0o777);
}
