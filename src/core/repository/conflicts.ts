import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { commitId } from "../config/git.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { plainName } from "../text/text.ts";
import { mergeBase } from "./commits.ts";
import { openOwnDir, openProtectedGit, type ProtectedGit } from "./git.ts";
import { split } from "./lists.ts";

/** A branch, or the state of a workspace. */
export interface Branch {
  readonly name: string;
  readonly head: string;
}

/** Lines of one file, 1-based, as the base of both branches has them; a pure insertion has `count` 0. */
export interface LineRange {
  readonly start: number;
  readonly count: number;
}

export interface Overlap {
  readonly path: string;
  /** `conflict`: git cannot merge the file. `near`: it can, and both sides changed the file. */
  readonly kind: "conflict" | "near";
  /** What each side changed; empty for a binary file, or one that only one side has. */
  readonly lines: readonly [readonly LineRange[], readonly LineRange[]];
}

/** Two branches that change the same files. */
export interface Pair {
  readonly names: readonly [string, string];
  /** null: unknown, because the history that is here has no commit of both. */
  readonly overlaps: readonly Overlap[] | null;
}

/** What one branch changes since it left the base; null: unknown. Keyed by base and head. */
export type ChangedFiles = Map<string, ReadonlySet<string> | null>;

interface RadarOrder {
  /** A bare repository that has every commit, itself or through alternates. */
  readonly gitDir: string;
  /** The tip of the base branch. */
  readonly base: string;
  readonly branches: readonly Branch[];
  /** Kept between calls: a head is compared with its base once. */
  readonly cache: ChangedFiles;
  readonly signal: AbortSignal;
}

interface CompareOrder extends Omit<RadarOrder, "gitDir" | "branches"> {
  /** Has the base. */
  readonly mirror: string;
  /** Each with the workspace that has its commit; null: the mirror has it. */
  readonly branches: readonly (Branch & { readonly path: string | null })[];
}

const timeoutMs = 60_000;
const call = { encoding: "latin1", timeoutMs, maxBytes: 64 * 1024 * 1024 } as const;
/** Of a longer patch the lines are not told. */
const maxPatchBytes = 8 * 1024 * 1024;
const atOnce = 2;
/** More than git needs between two changes to merge them; its merge may place a change differently. */
const linesApart = 3;
const flags = ["--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all"];

/**
 * The pairs of branches that touch the same files, and whether they conflict. Rejects with
 * `no_repository` when git cannot read the commits.
 */
export async function conflictsAmong(order: RadarOrder): Promise<readonly Pair[]> {
  const { gitDir, base, branches, signal } = order;
  const ids = [base, ...branches.map(({ head }) => head)];
  if (!ids.every((id) => commitId.test(id)))
    throw new SymphonyError("no_repository", "a branch to compare has no commit");
  try {
    await using git = await openProtectedGit(gitDir, { head: base, worktree: null, signal });
    return await new Radar(git, order).pairs();
  } catch (error) {
    signal.throwIfAborted();
    const message = `the branches cannot be compared: ${messageOf(error)}`;
    throw new SymphonyError("no_repository", message, { cause: error });
  }
}

/**
 * As `conflictsAmong`, for branches of several workspaces. One whose commit is not here is left out.
 * Rejects as it does.
 */
export async function comparedBranches(order: CompareOrder): Promise<readonly Pair[]> {
  const { mirror, base, branches, cache, signal } = order;
  if (!commitId.test(base)) throw new SymphonyError("no_repository", "the base has no commit");
  await using own = await openOwnDir(mirror, base);
  const stores = branches.flatMap(({ path }) =>
    path === null || path.includes("\n") ? [] : [join(path, ".git", "objects")],
  );
  const alternates = join(own.dir, "objects", "info", "alternates");
  await appendFile(alternates, [...new Set(stores)].map((store) => `${store}\n`).join(""));
  const known = branches.filter(({ head }) => commitId.test(head));
  const here = await commitsIn(own.dir, { base, signal, ids: known.map(({ head }) => head) });
  const compared = known.filter(({ head }) => here.has(head));
  return await conflictsAmong({ gitDir: own.dir, base, branches: compared, cache, signal });
}

async function commitsIn(
  gitDir: string,
  {
    base,
    ids,
    signal,
  }: { readonly base: string; readonly ids: readonly string[]; readonly signal: AbortSignal },
): Promise<ReadonlySet<string>> {
  if (ids.length === 0) return new Set();
  await using git = await openProtectedGit(gitDir, { head: base, worktree: null, signal });
  const input = ids.map((id) => `${id}\n`).join("");
  const args = ["cat-file", "--batch-check=%(objecttype) %(objectname)"];
  const text = await git.run(args, { ...call, input });
  return new Set(text.split("\n").flatMap((line) => /^commit (\S+)$/.exec(line)?.[1] ?? []));
}

interface Meeting {
  readonly one: Branch;
  readonly other: Branch;
  /** null: unknown. */
  readonly files: readonly string[] | null;
}

type Lines = ReadonlyMap<string, readonly LineRange[]>;

class Radar {
  readonly #git: ProtectedGit;
  readonly #order: RadarOrder;
  /** Where each branch left the base. */
  readonly #starts = new Map<string, string | null>();
  readonly #lines = new Map<string, Promise<Lines>>();

  constructor(git: ProtectedGit, order: RadarOrder) {
    this.#git = git;
    this.#order = order;
  }

  async pairs(): Promise<readonly Pair[]> {
    const { branches } = this.#order;
    const changed = await each(branches, (branch) => this.#changedIn(branch));
    const meetings = branches.flatMap((one, at) =>
      branches.slice(at + 1).flatMap((other, rest) => {
        const files = shared(changed[at] ?? null, changed[at + 1 + rest] ?? null);
        return files?.length === 0 ? [] : [{ one, other, files }];
      }),
    );
    const starts = await each(meetings, (meeting) => this.#startOf(meeting));
    const close = await each(meetings, (meeting, at) => this.#isClose(meeting, starts[at] ?? null));
    const known = meetings.filter((_, at) => close[at]);
    const half = Math.ceil(known.length / atOnce);
    const parts = [known.slice(0, half), known.slice(half)];
    const merged = await Promise.all(parts.map((part) => this.#merge(part)));
    const conflicts = new Map(merged.flatMap((part) => [...part]));
    return each(meetings, async (meeting, at) => ({
      names: [meeting.one.name, meeting.other.name] as const,
      overlaps: await this.#overlapsOf(meeting, starts[at] ?? null, conflicts.get(meeting) ?? []),
    }));
  }

  async #changedIn({ head }: Branch): Promise<ReadonlySet<string> | null> {
    const { base, cache } = this.#order;
    const from = await mergeBase(this.#git, [base, head], timeoutMs);
    this.#starts.set(head, from);
    const key = `${base} ${head}`;
    const known = cache.get(key);
    // In a shallow clone more history may arrive, so an unknown one is looked at again.
    if (known !== undefined || from === null) return known ?? null;
    const args = ["diff-tree", "-r", "-z", "--name-only", ...flags, from, head];
    const changed = new Set(split(await this.#git.run(args, call)));
    cache.set(key, changed);
    return changed;
  }

  /** The commit that both have; null when none is here. */
  async #startOf({ one, other, files }: Meeting): Promise<string | null> {
    if (files === null) return null;
    const start = this.#starts.get(one.head) ?? null;
    if (start === this.#starts.get(other.head)) return start;
    return mergeBase(this.#git, [one.head, other.head], timeoutMs);
  }

  /** Whether git has to merge the pair: changes with lines between them never conflict. */
  async #isClose({ one, other, files }: Meeting, start: string | null): Promise<boolean> {
    if (start === null || files === null) return false;
    const [ofOne, ofOther] = [await this.#linesOf(start, one), await this.#linesOf(start, other)];
    return files.some((name) => areClose(ofOne.get(name) ?? [], ofOther.get(name) ?? []));
  }

  /** The files that git cannot merge, by pair. */
  async #merge(meetings: readonly Meeting[]): Promise<ReadonlyMap<Meeting, readonly string[]>> {
    if (meetings.length === 0) return new Map();
    const input = meetings.map(({ one, other }) => `${one.head} ${other.head}\n`).join("");
    const args = ["merge-tree", "--write-tree", "--stdin", "-z", "--name-only", "--no-messages"];
    const text = await this.#git.run(args, { ...call, input });
    const found = new Map<Meeting, readonly string[]>();
    // For each pair a status, a tree, the names, and an empty part.
    const parts = text.split("\0");
    let at = 0;
    for (const meeting of meetings) {
      const end = parts.indexOf("", at);
      if (end < at + 2) throw new Error("git did not compare every pair");
      found.set(
        meeting,
        parts.slice(at + 2, end).map((name) => ownName(name, meeting)),
      );
      at = end + 1;
    }
    return found;
  }

  async #overlapsOf(
    { one, other, files }: Meeting,
    start: string | null,
    conflicts: readonly string[],
  ): Promise<readonly Overlap[] | null> {
    if (start === null || files === null) return null;
    const [ofOne, ofOther] = [await this.#linesOf(start, one), await this.#linesOf(start, other)];
    const inConflict = new Set(conflicts);
    return [...new Set([...conflicts, ...files])].map((name) => ({
      path: plainName(name),
      kind: inConflict.has(name) ? ("conflict" as const) : ("near" as const),
      lines: [ofOne.get(name) ?? [], ofOther.get(name) ?? []] as const,
    }));
  }

  #linesOf(start: string, { head }: Branch): Promise<Lines> {
    const key = `${start} ${head}`;
    const lines = this.#lines.get(key) ?? linesOf(this.#git, [start, head]);
    this.#lines.set(key, lines);
    return lines;
  }
}

/** The name that the branches have for a file that is a directory on the other side: git's merge appends the commit to it. */
function ownName(name: string, { one, other }: Meeting): string {
  const end = [one.head, other.head].find((head) => name.endsWith(`~${head}`));
  return end === undefined ? name : name.slice(0, -end.length - 1);
}

/** Names that both have, or that make a file of one a directory of the other. */
function shared(
  one: ReadonlySet<string> | null,
  other: ReadonlySet<string> | null,
): readonly string[] | null {
  if (one === null || other === null) return null;
  const above = (names: ReadonlySet<string>, others: ReadonlySet<string>) =>
    [...names].filter((name) => {
      if (others.has(name)) return true;
      for (let at = name.indexOf("/"); at > 0; at = name.indexOf("/", at + 1))
        if (others.has(name.slice(0, at))) return true;
      return false;
    });
  return [...new Set([...above(one, other), ...above(other, one)])];
}

/** Without lines, as for a binary file, nothing is known. */
function areClose(one: readonly LineRange[], other: readonly LineRange[]): boolean {
  if (one.length === 0 || other.length === 0) return true;
  return one.some((mine) =>
    other.some(
      (theirs) =>
        mine.start <= theirs.start + theirs.count + linesApart &&
        theirs.start <= mine.start + mine.count + linesApart,
    ),
  );
}

/** What changed in each file, by the lines of the older commit. */
async function linesOf(git: ProtectedGit, commits: readonly [string, string]): Promise<Lines> {
  const ranges = new Map<string, LineRange[]>();
  const how = ["-r", "-p", "--raw", "-z", "--unified=0", "--no-color", ...flags];
  const args = ["diff-tree", ...how, ...commits];
  const { text } = await git.begin(args, { ...call, maxBytes: maxPatchBytes });
  // The raw part names the files, whose patches follow in the same order.
  const end = text.indexOf("\0\0");
  const raw = (end < 0 ? text : text.slice(0, end)).split("\0");
  const names = raw.filter((_, at) => at % 2 === 1);
  let at = -1;
  for (const line of end < 0 ? [] : text.slice(end + 2).split("\n")) {
    if (line.startsWith("diff --git ")) at += 1;
    const [, start, count = "1"] = /^@@ -(\d+)(?:,(\d+))? \+/.exec(line) ?? [];
    const name = names[at];
    if (start === undefined || name === undefined) continue;
    const range = { start: Number(start), count: Number(count) };
    ranges.set(name, [...(ranges.get(name) ?? []), range]);
  }
  return ranges;
}

/** Runs `work` for all of `items`, a few at the same time, in order. */
async function each<T, R>(
  items: readonly T[],
  work: (item: T, at: number) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = [];
  let next = 0;
  const run = async () => {
    for (let at = next++; at < items.length; at = next++) {
      const item = items[at];
      if (item !== undefined) results[at] = await work(item, at);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, run));
  return results;
}
