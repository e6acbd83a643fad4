import { createHash } from "node:crypto";
import { lstat, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { commitId } from "../config/git.ts";
import { SymphonyError } from "../model/errors.ts";
import { openProtectedGit, type ProtectedGit } from "../repository/git.ts";
import {
  dropRef,
  installIndex,
  installPacks,
  moveRef,
  putRef,
  putStashes,
} from "../repository/install.ts";
import { refsOf } from "../repository/refs.ts";
import { sizeText } from "../text/text.ts";
import { readBaseline } from "../workspace/baseline.ts";
import {
  type Bundled,
  BundleFacts,
  bundleName,
  fitsBundle,
  replaceFiles,
  restoreBundle,
  writeBundle,
} from "../workspace/bundle.ts";
import { examine, type Findings } from "../workspace/examine.ts";

// A workspace on its way to a worker and back: as a git bundle, never as a directory, so that neither side runs or trusts
// what the other has in its `.git`.

export interface Copy {
  readonly facts: BundleFacts;
  /** A hash of its files with their modes, of what is staged and stashed, and of what git says of them. */
  readonly proof: string;
  /** null: the receiver has all of it. */
  readonly bundle: Buffer | null;
}

/** The state that the receiver of a copy compares the next one with. */
export interface Sent {
  readonly branch: string | null;
  readonly head: string;
  /** What was staged; null: nothing. */
  readonly index: string | null;
  /** Its branches and tags by name, raw, and its stashes. */
  readonly refs: readonly (readonly [string, string])[];
  readonly stashes: readonly string[];
  /** Of its files, raw. */
  readonly names: readonly string[];
}

const limits = { timeoutMs: 1_800_000, maxBytes: 64 * 1024 * 1024 };

/**
 * What is committed, changed and new in the workspace at `path`; files that git ignores stay where they are. `known`: the
 * commits that the receiver has. Rejects with `workspace_error` when a bundle cannot hold it, or is larger than `maxBytes`.
 */
export async function copyOf(
  path: string,
  {
    maxBytes,
    known = [],
    signal,
  }: { maxBytes: number; known?: readonly string[]; signal: AbortSignal },
): Promise<Copy & Pick<Bundled, "names" | "digest">> {
  const baseline = await readBaseline(path);
  if ((baseline?.loan?.sparse ?? []).length > 0)
    throw cannot("only a part of its repository is checked out");
  const found = await examine(path, { baseline: null, isNew: true, signal });
  signal.throwIfAborted();
  if (found.repository === null)
    throw cannot("it holds no git repository", "clone one with git.repositories");
  if (found.head === null) throw cannot("nothing is committed in it yet");
  if (!(await fitsBundle(found))) throw cannot(whyNot(found));
  const into = await mkdtemp(join(tmpdir(), "symphony-copy-"));
  try {
    const written = await writeBundle(path, found, { into, maxBytes, known, signal });
    const { facts, ...read } = written;
    const proof = proofOf(found, written);
    const file = join(into, bundleName);
    const size = (await stat(file).catch(() => null))?.size ?? null;
    if (size === null) return { facts, bundle: null, proof, ...read };
    if (size > maxBytes) {
      const message = `it is ${sizeText(size)} as a git bundle, and fleet.max_copy is ${sizeText(maxBytes)}`;
      throw cannot(message, "raise fleet.max_copy");
    }
    return { facts, bundle: await readFile(file), proof, ...read };
  } finally {
    await rm(into, { recursive: true, force: true });
  }
}

/** Its size as a bundle; null: there is no workspace yet. Rejects as `copyOf` does. */
export async function copySize(
  path: string,
  options: Parameters<typeof copyOf>[1],
): Promise<number | null> {
  if ((await lstat(path).catch(() => null)) === null) return null;
  return (await copyOf(path, options)).bundle?.length ?? 0;
}

function proofOf(
  { staged, changed, fresh }: Findings,
  { facts: { head, branch, stashes }, digest }: Bundled,
): string {
  const all = [
    head,
    branch,
    stashes,
    digest.sha256,
    staged,
    [...changed].sort(),
    [...fresh].sort(),
  ];
  return createHash("sha256").update(JSON.stringify(all)).digest("hex");
}

/**
 * Checks that the workspace at `path` is what the sender of the copy had, before anything runs in it. Rejects with
 * `workspace_error` when a file, its mode, what is staged or stashed, or the status is another.
 */
export async function proveCopy(
  path: string,
  { facts: { head }, proof }: Pick<Copy, "facts" | "proof">,
  signal: AbortSignal,
): Promise<void> {
  const own = await copyOf(path, { maxBytes: Number.POSITIVE_INFINITY, known: [head], signal });
  if (own.proof === proof) return;
  const message = "the copy of the workspace is not what was sent: nothing is started in it";
  throw new SymphonyError("workspace_error", message);
}

function whyNot({ unfinished, nested, submodules, problems, lfs }: Findings): string {
  if (lfs) return "it has contents of git LFS";
  if (unfinished !== null) return `${unfinished} is in progress in it`;
  if (submodules.length > 0) return "it has submodules";
  if (nested.length > 0) return "it holds other repositories";
  return problems[0] ?? "it is a shallow clone";
}

function cannot(why: string, hint?: string): SymphonyError {
  const message = `the workspace cannot be given to a worker: ${why}`;
  return new SymphonyError("workspace_error", message, hint === undefined ? {} : { hint });
}

/** Makes the workspace that `copy` describes in the new directory `to`. */
export async function placeCopy(
  { facts, bundle }: Pick<Copy, "facts" | "bundle">,
  to: string,
  signal: AbortSignal,
): Promise<void> {
  const from = await mkdtemp(join(tmpdir(), "symphony-copy-"));
  try {
    await writeFile(join(from, bundleName), bundle ?? "", { mode: 0o600 });
    await restoreBundle(from, facts, to, signal);
  } finally {
    await rm(from, { recursive: true, force: true });
  }
}

export function readFacts(value: unknown): BundleFacts {
  const { data } = BundleFacts.safeParse(value);
  const ids = data ? [data.head, ...(data.files === null ? [] : [data.files])] : [""];
  if (!data || !ids.every((id) => commitId.test(id)))
    throw new SymphonyError("workspace_error", "the copy of a workspace cannot be read");
  return data;
}

/**
 * Lays what a worker sends back into the workspace at `path`, which is as `before` describes it: commits, files, and the
 * branch. Resolves with its new state. Rejects with `workspace_error` when the agent has checked out another branch; then
 * nothing has changed.
 */
export async function installCopy(
  path: string,
  before: Sent,
  { facts, bundle }: Pick<Copy, "facts" | "bundle">,
): Promise<Sent> {
  const { head, branch, files, index, refs, stashes } = facts;
  if (branch !== before.branch) {
    const name = branch ?? "no branch";
    const message = `the agent has checked out ${name} on the worker: it is not brought back`;
    throw new SymphonyError("workspace_error", message, {
      hint: "have the agent stay on the branch of its issue",
    });
  }
  const gitDir = join(path, ".git");
  const from = await mkdtemp(join(tmpdir(), "symphony-copy-"));
  try {
    const place = { head: before.head, worktree: path, parent: from };
    await using git = await openProtectedGit(gitDir, place);
    if (bundle !== null) {
      const file = join(from, bundleName);
      await writeFile(file, bundle, { mode: 0o600 });
      await git.run(["bundle", "verify", "--quiet", file], limits);
      await git.run(["bundle", "unbundle", file], limits);
    }
    const others = newRefs(before, facts);
    const tips = [head, files, index, ...others.map(([, id]) => id), ...stashes];
    const all = [...new Set(tips.filter((id) => id !== null))];
    await git.run(["rev-list", "--objects", "--quiet", ...all, "--not", before.head], limits);
    if (bundle !== null) await installPacks(gitDir, join(git.dir, "objects", "pack"));
    const names = await replaceFiles(git, files ?? head, { to: path, names: before.names });
    if (head !== before.head) await moveHead(gitDir, { before, facts });
    if (head !== before.head || index !== before.index) await stage(git, gitDir, index ?? head);
    await makeRoom(git, gitDir, { others, tips: all, own: `refs/heads/${branch}` });
    for (const [name, id] of others) await putRef(gitDir, name, id);
    if (stashes.join() !== before.stashes.join()) await putStashes(gitDir, stashes);
    return { branch, head, names, index, refs, stashes };
  } finally {
    await rm(from, { recursive: true, force: true });
  }
}

/**
 * Which of two copies of the workspace at `path` has every commit and file of the other: the one that is `here`, the one from
 * `there` (also when both are the same), or null: neither has.
 */
export async function moreOf(
  path: string,
  here: Pick<Copy, "facts" | "bundle">,
  there: Pick<Copy, "facts" | "bundle">,
): Promise<"here" | "there" | null> {
  const from = await mkdtemp(join(tmpdir(), "symphony-copy-"));
  try {
    const place = { head: here.facts.head, worktree: path, parent: from };
    await using git = await openProtectedGit(join(path, ".git"), place);
    for (const { bundle } of [here, there]) {
      if (bundle === null) continue;
      const file = join(from, bundleName);
      await writeFile(file, bundle, { mode: 0o600 });
      await git.run(["bundle", "unbundle", file], limits);
    }
    const treeOf = ({ files, head }: BundleFacts) =>
      git.run(["rev-parse", `${files ?? head}^{tree}`], limits);
    const hasAll = async (more: BundleFacts, less: BundleFacts) => {
      const missing = ["rev-list", "--max-count=1", less.head, "--not", more.head];
      if (less.index !== null || (await git.run(missing, limits)).trim() !== "") return false;
      return less.files === null || (await treeOf(less)) === (await treeOf(more));
    };
    if (await hasAll(there.facts, here.facts)) return "there";
    return (await hasAll(here.facts, there.facts)) ? "here" : null;
  } finally {
    await rm(from, { recursive: true, force: true });
  }
}

/** Branches and tags that the agent has made or moved, next to the one that is checked out; none is deleted here. */
function newRefs(
  before: Sent,
  { branch, refs }: BundleFacts,
): readonly (readonly [string, string])[] {
  const known = new Map(before.refs);
  const own = `refs/heads/${branch}`;
  return refs.filter(
    ([name, id]) => /^refs\/(?:heads|tags)\//.test(name) && name !== own && known.get(name) !== id,
  );
}

/**
 * Removes branches and tags that are gone on the worker and stand in the way: git cannot have both `fix` and `fix/part`, since
 * one name would be a file and a directory. A commit that nothing else leads to stays, as `fix-COMMIT`.
 */
async function makeRoom(
  git: ProtectedGit,
  gitDir: string,
  of: {
    readonly others: readonly (readonly [string, string])[];
    readonly tips: readonly string[];
    readonly own: string;
  },
): Promise<void> {
  if (of.others.length === 0) return;
  const { all } = await refsOf({ gitDir, store: gitDir, linked: false });
  for (const [name, id] of all) {
    const isInWay = of.others.some(
      ([other]) => other.startsWith(`${name}/`) || name.startsWith(`${other}/`),
    );
    if (!isInWay || name === of.own) continue;
    const only = ["rev-list", "--max-count=1", id, "--not", ...of.tips];
    if ((await git.run(only, limits)).trim() !== "")
      await putRef(gitDir, `${name}-${id.slice(0, 12)}`, id);
    await dropRef(gitDir, name);
  }
}

async function moveHead(
  gitDir: string,
  { before, facts }: { before: Sent; facts: BundleFacts },
): Promise<void> {
  await moveRef(gitDir, {
    branch: facts.branch,
    from: before.head,
    to: facts.head,
    who: `symphony <symphony@localhost> ${Math.floor(Date.now() / 1_000)} +0000`,
    subject: "work of an agent on a worker",
  });
}

/** Makes the commit's files what is staged. */
async function stage(git: ProtectedGit, gitDir: string, id: string): Promise<void> {
  const index = join(git.dir, "new-index");
  await git.run(["read-tree", id], { ...limits, index });
  await git.run(["update-index", "-q", "--refresh"], { ...limits, index, mayExit: 1 });
  await installIndex(gitDir, index);
}
