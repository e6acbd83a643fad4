import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { commitId } from "../config/git.ts";
import { SymphonyError } from "../model/errors.ts";
import { openProtectedGit, type ProtectedGit } from "../repository/git.ts";
import { installIndex, installPacks, moveRef } from "../repository/install.ts";
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
import { examine } from "../workspace/examine.ts";

// A workspace on its way to a worker and back: as a git bundle, never as a directory, so that neither side runs or trusts
// what the other has in its `.git`.

export interface Copy {
  readonly facts: BundleFacts;
  /** null: the receiver has all of it. */
  readonly bundle: Buffer | null;
}

/** The state that the receiver of a copy compares the next one with. */
export interface Sent {
  readonly branch: string | null;
  readonly head: string;
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
    const { facts, ...read } = await writeBundle(path, found, { into, maxBytes, known, signal });
    const file = join(into, bundleName);
    const size = (await stat(file).catch(() => null))?.size ?? null;
    if (size === null) return { facts, bundle: null, ...read };
    if (size > maxBytes) {
      const message = `it is ${sizeText(size)} as a git bundle, and fleet.max_copy is ${sizeText(maxBytes)}`;
      throw cannot(message, "raise fleet.max_copy");
    }
    return { facts, bundle: await readFile(file), ...read };
  } finally {
    await rm(into, { recursive: true, force: true });
  }
}

function whyNot(found: Awaited<ReturnType<typeof examine>>): string {
  const { unfinished, nested, submodules, problems } = found;
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
  { facts, bundle }: Copy,
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
  { facts, bundle }: Copy,
): Promise<Sent> {
  const { head, branch, files } = facts;
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
    const tips = files === null ? [head] : [head, files];
    await git.run(["rev-list", "--objects", "--quiet", ...tips, "--not", before.head], limits);
    if (bundle !== null) await installPacks(gitDir, join(git.dir, "objects", "pack"));
    const names = await replaceFiles(git, files ?? head, { to: path, names: before.names });
    if (head !== before.head) await moveHead(git, gitDir, { before, facts });
    return { branch, head, names };
  } finally {
    await rm(from, { recursive: true, force: true });
  }
}

async function moveHead(
  git: ProtectedGit,
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
  const index = join(git.dir, "new-index");
  await git.run(["read-tree", facts.head], { ...limits, index });
  await git.run(["update-index", "-q", "--refresh"], { ...limits, index, mayExit: 1 });
  await installIndex(gitDir, index);
}
