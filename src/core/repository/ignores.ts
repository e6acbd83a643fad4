import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileAt } from "../text/text.ts";
import { defaultBranchOf } from "./checkout.ts";
import { hasCommit, mergeBase } from "./commits.ts";
import { openProtectedGit, type ProtectedGit } from "./git.ts";
import type { Refs } from "./refs.ts";

/** The files that a commit declares as ignored. */
export interface Ignores extends AsyncDisposable {
  /**
   * Returns those of these raw names that the commit's `.gitignore` files ignore; a directory's
   * name ends in `/`.
   */
  of(names: readonly string[]): Promise<ReadonlySet<string>>;
}

interface Known {
  readonly gitDir: string;
  readonly refs: Refs | null;
  /** How the workspace was made; null when that is not known. */
  readonly baseline: {
    readonly head: string | null;
    readonly repository: "none" | "own" | "linked";
  } | null;
}

const timeoutMs = 60_000;
const maxBytes = 256 * 1024 * 1024;

/**
 * Applies only the rules of `commit`, in a directory that holds nothing but its `.gitignore` files:
 * an agent can change the files in the workspace, and `.git/info/exclude`, to hide its work.
 */
export async function ignoresOf(
  gitDir: string,
  commit: string,
  signal?: AbortSignal,
): Promise<Ignores> {
  const place = { head: commit, worktree: null, ...(signal && { signal }) };
  const git = await openProtectedGit(gitDir, place);
  try {
    const tree = join(git.dir, "tree");
    await mkdir(tree);
    const call = { encoding: "latin1", timeoutMs, maxBytes } as const;
    const own = (...args: string[]) => [`--work-tree=${tree}`, ...args];
    await git.run(["read-tree", "HEAD"], call);
    const staged = await git.run(["ls-files", "--stage", "-z"], call);
    // Git does not follow a link with this name either.
    const names = staged.split("\0").flatMap((entry) => {
      const name = /^100[0-7]{3} [0-9a-f]+ 0\t((?:.*\/)?\.gitignore)$/s.exec(entry)?.[1];
      return name === undefined ? [] : [`${name}\0`];
    });
    const input = names.join("");
    await git.run(own("checkout-index", "--quiet", "-z", "--stdin"), { ...call, input });
    return {
      async of(candidates) {
        if (names.length === 0 || candidates.length === 0) return new Set();
        const directories = new Set<string>();
        for (const name of candidates) if (name.endsWith("/")) directories.add(name.slice(0, -1));
        // Some rules apply only to directories, and git checks whether a name is one.
        for (const name of directories) await mkdir(fileAt(tree, name)).catch(() => {});
        const args = own("check-ignore", "--no-index", "-z", "--stdin");
        // A name that begins with a colon would be read as a pattern.
        const input = candidates.map((name) => `./${name.replace(/\/$/, "")}\0`).join("");
        const answer = await git.run(args, { ...call, input, mayExit: 1 });
        const found = answer.split("\0").map((name) => name.slice(2));
        return new Set(found.map((name) => (directories.has(name) ? `${name}/` : name)));
      },
      [Symbol.asyncDispose]: () => git[Symbol.asyncDispose](),
    };
  } catch (error) {
    await git[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * The commit whose rules count; without a baseline it is where the branch left the remote's
 * default. null when there is none or it does not exist, for example in a repository that an agent
 * created again: then no rule hides anything.
 */
export async function ruleBaseOf(git: ProtectedGit, known: Known): Promise<string | null> {
  const { gitDir, refs, baseline } = known;
  if (baseline !== null && baseline.repository !== "none") {
    const { head } = baseline;
    return head !== null && (await hasCommit(git, head)) ? head : null;
  }
  if (refs === null || refs.head === null) return null;
  const prefix = "refs/remotes/";
  const tracked = new Map(
    [...refs.all].flatMap(([name, id]) =>
      name.startsWith(`${prefix}origin/`) ? [[name.slice(prefix.length), id] as const] : [],
    ),
  );
  const branch = await defaultBranchOf(gitDir, "origin", tracked);
  const from = tracked.get(`origin/${branch}`);
  if (from === undefined || !(await hasCommit(git, from))) return null;
  return mergeBase(git, [from, refs.head], timeoutMs);
}
