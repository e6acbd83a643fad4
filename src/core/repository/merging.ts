import { appendFile, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { plainName } from "../text/text.ts";
import { mergeBase } from "./commits.ts";
import { openProtectedGit, type ProtectedGit } from "./git.ts";
import { pointersAmong } from "./lfs-files.ts";
import { type Entry, entriesIn, split, wholeCall } from "./lists.ts";
import { conflictsIn } from "./stage.ts";

// What a merge of a newer base into a branch gives, without any file of a workspace.

/** A base that is being merged into the branch of a workspace; kept where no agent writes. */
export interface Merging {
  /** The commit of the base: the second parent of the commit that ends the merge. */
  readonly base: string;
  /** What was checked out when it began. */
  readonly head: string;
  /** What was put into the files: both sides merged, with the marks of conflicts. */
  readonly tree: string;
  /** Raw names of the files with marks of conflicts in them. */
  readonly marked: readonly string[];
  /** Raw names of files that a command writes: the base's side was taken. */
  readonly generated: readonly string[];
  /** Raw names of files in conflict that the workspace left out: they are put there. */
  readonly shown?: readonly string[];
  /** The commit, where it is already made; null: it is made of the files as they are then. */
  readonly commit: string | null;
  /** The files are still being written. */
  readonly moving: boolean;
  /** Symphony makes the commit itself, and neither an agent nor a person has been there since it was decided. */
  readonly own?: boolean;
}

export type MergeParts = Pick<Merging, "base" | "tree" | "marked">;

/** A file that git cannot merge, or must not. */
export interface Conflict {
  /** To be shown. */
  readonly path: string;
  /**
   * `marks`: both versions are in the file, with marks of a conflict. `whole`: one version is there,
   * as when one side removed the file, or for a binary one. `generated`: the base's side is there.
   */
  readonly kind: "marks" | "whole" | "generated";
}

export interface MergeQuestion {
  /** The `.git` of the workspace that has `head`. */
  readonly gitDir: string;
  /** The mirror that has `base`; null: the workspace has it itself. */
  readonly mirror: string | null;
  readonly head: string;
  readonly base: string;
  /** The base's branch, for the marks of conflicts. */
  readonly baseName: string;
  /** Whether a program writes the file: it is never merged as text. */
  isGenerated(path: string): boolean;
  readonly signal: AbortSignal;
}

/** `current`: the head has the base. `unknown`: the history that is here has no commit of both. */
export type Merged =
  | { readonly outcome: "current" | "unknown" }
  | {
      readonly outcome: "merged";
      readonly tree: string;
      readonly conflicts: readonly Conflict[];
      readonly marked: readonly string[];
      readonly generated: readonly string[];
      /** Raw names of all files in conflict. */
      readonly unmerged: readonly string[];
    };

const timeoutMs = 120_000;
const flags = ["--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all"];

/** Git that reads both sides and writes new objects into its own directory. It sees no file of the workspace. */
export async function openMergeGit(question: MergeQuestion): Promise<ProtectedGit> {
  const { gitDir, mirror, head, signal } = question;
  const git = await openProtectedGit(gitDir, { head, worktree: null, signal });
  if (mirror === null) return git;
  await appendFile(join(git.dir, "objects", "info", "alternates"), `${join(mirror, "objects")}\n`);
  // The mirror knows where the history that is here ends; a workspace's own list may be older.
  const shallow = join(git.dir, "shallow");
  const known = await readFile(join(mirror, "shallow"), "utf8").catch(() => "");
  if (known.trim() === "") await rm(shallow, { force: true });
  else await writeFile(shallow, known);
  return git;
}

/** Merges the base into the head as a tree of `git`'s own directory. */
export async function mergeIn(git: ProtectedGit, question: MergeQuestion): Promise<Merged> {
  const { head, base, baseName } = question;
  const start = await mergeBase(git, [head, base], timeoutMs);
  if (start === null) return { outcome: "unknown" };
  if (start === base || start === head) return { outcome: "current" };
  const label = `origin/${baseName}`;
  await git.run(["update-ref", `refs/remotes/${label}`, base], wholeCall);
  const args = ["merge-tree", "--write-tree", "-z", "--no-messages", "HEAD", label];
  const [tree = "", ...unmerged] = split(await git.run(args, { ...wholeCall, mayExit: 1 }));
  const stuck = new Set(unmerged.map((line) => line.slice(line.indexOf("\t") + 1)));
  const generated = await generatedIn(git, question, { start, stuck });
  await git.run(["read-tree", tree], wholeCall);
  if (generated.length > 0) await takeSide(git, base, generated);
  const contents =
    stuck.size === 0
      ? []
      : await pointersIn(
          git,
          head,
          [...stuck].filter((name) => !generated.includes(name)),
        );
  // Marks in a pointer would be marks in no file: the branch's side is there.
  if (contents.length > 0) await takeSide(git, head, contents);
  const merged = entriesIn(await git.run(["ls-files", "--stage", "-z"], wholeCall));
  const texts = [...stuck].filter((name) => !generated.includes(name));
  const marked: string[] = [];
  for (const name of texts) if (await isMarked(git, merged.get(name))) marked.push(name);
  const kindOf = (name: string) => (marked.includes(name) ? "marks" : "whole");
  return {
    outcome: "merged",
    tree: (await git.run(["write-tree", "--missing-ok"], wholeCall)).trim(),
    conflicts: [
      ...texts.map((name) => ({ path: plainName(name), kind: kindOf(name) }) as const),
      ...generated.map((name) => ({ path: plainName(name), kind: "generated" as const })),
    ],
    marked,
    generated,
    unmerged: [...texts, ...generated],
  };
}

/** Generated files that both sides changed, also where their lines would merge. */
async function generatedIn(
  git: ProtectedGit,
  { head, base, isGenerated }: MergeQuestion,
  { start, stuck }: { readonly start: string; readonly stuck: ReadonlySet<string> },
): Promise<readonly string[]> {
  const changed = async (to: string) =>
    split(await git.run(["diff-tree", "-r", "-z", "--name-only", ...flags, start, to], wholeCall));
  const ofBase = new Set(await changed(base));
  const both = (await changed(head)).filter((name) => ofBase.has(name));
  return [...new Set([...both, ...stuck])].filter((name) => isGenerated(plainName(name)));
}

/** Takes files as a commit has them. */
async function takeSide(
  git: ProtectedGit,
  commit: string,
  names: readonly string[],
): Promise<void> {
  const entries = await entriesOf(git, commit);
  const input = names
    .map((name) => {
      const { mode, id } = entries.get(name) ?? { mode: "0", id: "0".repeat(commit.length) };
      return `${mode} ${id}\t${name}\0`;
    })
    .join("");
  await git.run(["update-index", "-z", "--index-info"], { ...wholeCall, input });
}

async function entriesOf(git: ProtectedGit, commit: string): Promise<Map<string, Entry>> {
  const index = join(git.dir, "side-index");
  await git.run(["read-tree", commit], { ...wholeCall, index });
  return entriesIn(await git.run(["ls-files", "--stage", "-z"], { ...wholeCall, index }));
}

/** Those of `names` that are pointers of git LFS in the commit. */
async function pointersIn(git: ProtectedGit, commit: string, names: readonly string[]) {
  const entries = await entriesOf(git, commit);
  const some = names.flatMap((name) => {
    const entry = entries.get(name);
    return entry === undefined ? [] : [[name, entry] as const];
  });
  return [...(await pointersAmong(git, new Map(some))).keys()];
}

async function isMarked(git: ProtectedGit, entry: Entry | undefined): Promise<boolean> {
  if (entry === undefined || !entry.mode.startsWith("100")) return false;
  return conflictsIn((await git.begin(["cat-file", "blob", entry.id], wholeCall)).text) > 0;
}

/** Whether `commit` of the repository at `gitDir` ends `merge`: a kill may have come before its record said so. */
export async function endsMerge(
  commit: string,
  { head, base }: Pick<Merging, "head" | "base">,
  { gitDir, signal }: Pick<MergeQuestion, "gitDir" | "signal">,
): Promise<boolean> {
  await using git = await openProtectedGit(gitDir, { head: commit, worktree: null, signal });
  const line = await git.run(["rev-list", "--parents", "-n", "1", commit], wholeCall);
  return line.trim() === `${commit} ${head} ${base}`;
}

/** Raw names of the files in which `commit` is another than the merge that it ends, as that was begun. */
export async function changedIn(
  commit: string,
  { tree }: Pick<Merging, "tree">,
  { gitDir, signal }: Pick<MergeQuestion, "gitDir" | "signal">,
): Promise<readonly string[]> {
  await using git = await openProtectedGit(gitDir, { head: commit, worktree: null, signal });
  const args = ["diff-tree", "-r", "-z", "--name-only", ...flags, tree, commit];
  return split(await git.run(args, wholeCall));
}

/** The merge that a commit on `head` has to end; null when there is none, or it has the base already. */
export async function openMerge(
  git: ProtectedGit,
  merge: MergeParts | null,
  head: string,
): Promise<MergeParts | null> {
  if (merge === null) return null;
  const both = await mergeBase(git, [head, merge.base], timeoutMs);
  return both === merge.base ? null : merge;
}

/**
 * Whether an agent has put back everything that came from the base: the merge would remove it there
 * too. `kept` has the names of the files that differ from HEAD now.
 */
export async function isUndone(
  git: ProtectedGit,
  { tree, marked }: MergeParts,
  kept: ReadonlySet<string>,
): Promise<boolean> {
  const args = ["diff-tree", "-r", "-z", "--name-only", ...flags, "HEAD", tree];
  const taken = split(await git.run(args, wholeCall)).filter((name) => !marked.includes(name));
  return taken.length > 0 && taken.every((name) => !kept.has(name));
}
