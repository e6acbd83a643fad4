import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { openProtectedGit } from "./protected-git.ts";
import { fileAt } from "./raw-name.ts";

/** What a commit says is no work. */
export interface Ignores extends AsyncDisposable {
  /** Of these raw names, where a directory's ends in `/`, those that the commit's `.gitignore` files ignore. */
  of(names: readonly string[]): Promise<ReadonlySet<string>>;
}

const timeoutMs = 60_000;
const maxBytes = 256 * 1024 * 1024;

/**
 * The rules of `commit` alone, in a directory that holds nothing but its `.gitignore` files: an agent can change those in
 * the workspace, and `.git/info/exclude`, so that they hide its work.
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
    // A link named so is not followed by git either.
    const names = staged.split("\0").flatMap((entry) => {
      const name = /^100[0-7]{3} [0-9a-f]+ 0\t((?:.*\/)?\.gitignore)$/s.exec(entry)?.[1];
      return name === undefined ? [] : [`${name}\0`];
    });
    const input = names.join("");
    await git.run(own("checkout-index", "--quiet", "-z", "--stdin"), { ...call, input });
    return {
      async of(asked) {
        if (names.length === 0 || asked.length === 0) return new Set();
        const directories = new Set<string>();
        for (const name of asked) if (name.endsWith("/")) directories.add(name.slice(0, -1));
        // Some rules are for directories alone, and git looks whether a name is one.
        for (const name of directories) await mkdir(fileAt(tree, name)).catch(() => {});
        const args = own("check-ignore", "--no-index", "-z", "--stdin");
        // A name that begins with a colon would be a pattern.
        const input = asked.map((name) => `./${name.replace(/\/$/, "")}\0`).join("");
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
