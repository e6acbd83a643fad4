import type { ProtectedGit } from "./git.ts";
import type { Refs, Repository } from "./refs.ts";

/** Commits and tags that are on no known remote branch. */
export interface OnlyHere {
  readonly commits: number;
  /** True when there are more than the counted ones. */
  readonly more: boolean;
  /** The refs that lead to them: `main`, `tags/v1`, or `HEAD` when no other ref does. */
  readonly refs: readonly string[];
  /** Annotated tags. */
  readonly tags: readonly string[];
}

/** The state when the workspace was made. */
export interface Known {
  readonly head: string | null;
  readonly refs: ReadonlyMap<string, string>;
}

const timeoutMs = 60_000;
const maxBytes = 64 * 1024 * 1024;
const maxCounted = 10_000;
const ofOneWorktree = /^refs\/(?:bisect|worktree|rewritten)\//;

interface OnlyHereOptions extends Pick<Repository, "linked"> {
  readonly known: Known | null;
  /** Commits that its remotes are known to have; default: those of its remote-tracking refs. */
  readonly remote?: readonly string[];
}

/**
 * Counts the commits that are reachable from refs of `repository` and from no commit of its remotes.
 * Refs of `known` that have not moved are left out. Where nothing is known of a remote every commit
 * counts. Rejects when a ref points to nothing.
 */
export async function commitsOnlyHere(
  git: ProtectedGit,
  refs: Refs,
  { linked, known, remote = remoteIds(refs) }: OnlyHereOptions,
): Promise<OnlyHere> {
  const tips = tipsOf(refs, linked);
  const same = remote.length === 0 || known === null ? new Map() : unmoved(tips, known);
  for (const name of same.keys()) tips.delete(name);
  const types = await typesOf(git, [...new Set(tips.values())]);
  const tags = [...tips].flatMap(([name, id]) => (types.get(id)?.type === "tag" ? [name] : []));
  const commits = new Map<string, string>();
  for (const [name, id] of tips) {
    const commit = types.get(id)?.commit ?? null;
    if (commit === null) throw new Error(`the ref ${shortName(name)} points to no commit`);
    commits.set(name, commit);
  }
  const others = [...(await present(git, remote)), ...same.values()];
  const ids = await unreached(git, commits.values(), others);
  const names = [...commits].flatMap(([name, id]) => (ids.has(id) ? [shortName(name)] : []));
  // HEAD adds nothing when a branch points to the same commit.
  const branches = names.filter((name) => name !== "HEAD");
  const head = commits.get("HEAD");
  const isNamed = [...commits].some(([name, id]) => name !== "HEAD" && id === head);
  return {
    commits: Math.min(ids.size, maxCounted),
    more: ids.size > maxCounted,
    refs: isNamed || !names.includes("HEAD") ? branches : ["HEAD", ...branches],
    tags: tags.map(shortName),
  };
}

/**
 * The refs, HEADs included, that may lead to commits that exist nowhere else; a shared repository
 * keeps its own refs.
 */
export function tipsOf({ all, head, worktrees }: Refs, linked: boolean): Map<string, string> {
  const tips = new Map<string, string>();
  if (head !== null) tips.set("HEAD", head);
  for (const [name, id] of all) {
    const isOwn = linked
      ? ofOneWorktree.test(name)
      : name !== "refs/stash" && !name.startsWith("refs/remotes/");
    if (isOwn) tips.set(name, id);
  }
  for (const [name, id] of worktrees) tips.set(`worktrees/${name}`, id);
  return tips;
}

/**
 * The commits of remote branches, as far as they exist here: a missing commit gives no information
 * about existing ones.
 */
export async function remoteCommits(git: ProtectedGit, refs: Refs): Promise<readonly string[]> {
  return present(git, remoteIds(refs));
}

function remoteIds({ all }: Refs): readonly string[] {
  const ids = [...all].flatMap(([name, id]) => (name.startsWith("refs/remotes/") ? [id] : []));
  return [...new Set(ids)];
}

/** The newest commit that both reach; null: they have none in common. */
export async function mergeBase(
  git: ProtectedGit,
  [one, other]: readonly [string, string],
  timeoutMs: number,
): Promise<string | null> {
  const found = await git.run(["merge-base", one, other], { timeoutMs, mayExit: 1 });
  return found.trim() || null;
}

/** Whether the repository has the commit `id`. */
export async function hasCommit(git: ProtectedGit, id: string): Promise<boolean> {
  return (await present(git, [`${id}^{commit}`])).length > 0;
}

async function present(git: ProtectedGit, names: readonly string[]): Promise<readonly string[]> {
  if (names.length === 0) return [];
  const input = names.map((name) => `${name}\n`).join("");
  const args = ["cat-file", "--batch-check=%(objecttype)"];
  const lines = (await git.run(args, { input, timeoutMs, maxBytes })).split("\n");
  return names.filter((_, at) => /^(?:commit|tag|tree|blob)$/.test(lines[at] ?? ""));
}

/**
 * The commits that are reachable from `tips` and not from `others`; at most one more than the limit
 * that is counted.
 */
export async function unreached(
  git: ProtectedGit,
  tips: Iterable<string>,
  others: readonly string[],
): Promise<ReadonlySet<string>> {
  const wanted = [...new Set(tips)];
  if (wanted.length === 0) return new Set();
  const input = [...wanted, ...others.map((id) => `^${id}`), ""].join("\n");
  const args = ["rev-list", `--max-count=${maxCounted + 1}`, "--stdin"];
  const text = await git.run(args, { input, timeoutMs, maxBytes });
  return new Set(text.split("\n").filter((id) => id !== ""));
}

function unmoved(tips: ReadonlyMap<string, string>, { head, refs }: Known): Map<string, string> {
  const same = [...tips].filter(([name, id]) => (name === "HEAD" ? head : refs.get(name)) === id);
  return new Map(same);
}

interface Kind {
  readonly type: string;
  /** The commit itself, or the commit that the tag points to; null for neither. */
  readonly commit: string | null;
}

async function typesOf(
  git: ProtectedGit,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Kind>> {
  if (ids.length === 0) return new Map();
  const input = ids.flatMap((id) => [`${id}\n`, `${id}^{commit}\n`]).join("");
  const args = ["cat-file", "--batch-check=%(objectname) %(objecttype)"];
  const lines = (await git.run(args, { input, timeoutMs, maxBytes })).split("\n");
  return new Map(
    ids.map((id, at) => {
      const [found = "", type = ""] = (lines[at * 2] ?? "").split(" ");
      if (found !== id || type === "missing") throw new Error(`the commit ${id} does not exist`);
      const [commit = "", peeled = ""] = (lines[at * 2 + 1] ?? "").split(" ");
      return [id, { type, commit: peeled === "commit" ? commit : null }];
    }),
  );
}

/** The short form that git itself uses. */
export function shortName(ref: string): string {
  return ref.replace(/^refs\/heads\//, "").replace(/^refs\//, "");
}
