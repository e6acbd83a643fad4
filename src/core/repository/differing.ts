import { cp, lstat, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileAt } from "../text/text.ts";
import { gitDirOf } from "./checkout.ts";
import { openProtectedGit, type ProtectedGit } from "./git.ts";
import { pointersAmong, unchangedOf } from "./lfs-files.ts";
import { type Entry, entriesIn, listed, split, wholeCall } from "./lists.ts";
import { type Cone, leftOutOf } from "./sparse.ts";
import { gitHead } from "./survey.ts";

/** How the files of a workspace differ from HEAD, or from another tree. Names are raw. */
export interface Differing {
  /** Tracked files that differ, and new files that are not ignored. */
  readonly names: readonly string[];
  /** What HEAD, or the other tree, has, by name. */
  readonly tracked: ReadonlyMap<string, Entry>;
  /** Files that a sparse checkout leaves out of the tree. */
  readonly sparse: readonly string[];
  /** Files of git LFS that were compared with their pointer, and are its content. */
  readonly contents: ReadonlySet<string>;
  /** What no commit takes along, and why. */
  readonly left: ReadonlyMap<string, string>;
}

interface Question {
  /** The workspace. */
  readonly path: string;
  readonly head: string | null;
  /** The tree to compare with; HEAD if omitted. */
  readonly tree?: string;
  /** Names that are not looked at. */
  readonly settled: readonly string[];
  /** Which files the workspace was made with; all if omitted. */
  readonly cone?: Cone;
  /** A file with the content that its pointer names does not differ. */
  readonly lfs?: boolean;
}

/** Files are compared byte for byte: what text means is said by the base, not by the workspace. */
const rawAttributes = "* -text !eol !crlf !ident !working-tree-encoding !filter\n";
const forbidden = /(?:^|\/)(?:\.git|git~\d)[ .]*(?::[^/]*)?(?:$|\/)/i;
/** Characters that HFS+ ignores in names, as the bytes of UTF-8: git's `next_hfs_char`. */
const ignored = /\xe2\x80[\x8c-\x8f\xaa-\xae]|\xe2\x81[\xaa-\xaf]|\xef\xbb\xbf/g;

/**
 * Compares the workspace at `path` with HEAD or `tree`, byte for byte. `git` has the workspace as its
 * tree; its index then holds what was compared with.
 */
export async function differingIn(git: ProtectedGit, question: Question): Promise<Differing> {
  const search = new Search(git, question);
  await search.find();
  return search;
}

class Search implements Differing {
  names: readonly string[] = [];
  tracked: ReadonlyMap<string, Entry> = new Map();
  sparse: readonly string[] = [];
  contents: ReadonlySet<string> = new Set();
  readonly left = new Map<string, string>();
  readonly #git: ProtectedGit;
  readonly #order: Question;
  readonly #settled: ReadonlySet<string>;

  constructor(git: ProtectedGit, question: Question) {
    this.#git = git;
    this.#order = question;
    this.#settled = new Set(question.settled);
  }

  /** Raw names of tracked files that differ from HEAD, and of new ones that are not ignored. */
  async find(): Promise<void> {
    const git = this.#git;
    const { head, tree = head === null ? "--empty" : "HEAD" } = this.#order;
    await mkdir(join(git.dir, "info"));
    await writeFile(join(git.dir, "info", "attributes"), rawAttributes);
    await git.run(["read-tree", tree], wholeCall);
    const refresh = ["update-index", "-q", "--ignore-submodules", "--refresh"];
    await git.run(refresh, { ...wholeCall, mayExit: 1 });
    this.tracked = entriesIn(await git.run(["ls-files", "--stage", "-z"], wholeCall));
    const { path, cone = [] } = this.#order;
    this.sparse = await leftOutOf(git, { path, cone, tracked: this.tracked });
    const flags = ["--raw", "-z", "--no-renames", "--ignore-submodules=all"];
    const raw = split(await git.run(["diff-files", ...flags], wholeCall));
    const skipped = new Set([...this.#settled, ...this.sparse]);
    const changed = raw.filter((name, at) => at % 2 === 1 && !skipped.has(name));
    const fresh = await this.#fresh(raw.filter((_, at) => at % 2 === 1));
    await this.#readSubmodules(skipped);
    this.contents = await this.#contentsAmong(changed);
    const differing = changed.filter((name) => !this.contents.has(name));
    this.names = [...differing, ...fresh.filter((name) => !skipped.has(name))];
  }

  async #contentsAmong(changed: readonly string[]): Promise<ReadonlySet<string>> {
    if (this.#order.lfs !== true) return new Set();
    const entries = new Map(
      changed.flatMap((name) => {
        const entry = this.tracked.get(name);
        return entry === undefined ? [] : [[name, entry] as const];
      }),
    );
    return unchangedOf(this.#order.path, await pointersAmong(this.#git, entries));
  }

  /** New files; where the tree has lost a `.gitignore`, the one of HEAD still counts. */
  async #fresh(differing: readonly string[]): Promise<readonly string[]> {
    const index = join(this.#git.dir, "rules-index");
    await cp(join(this.#git.dir, "index"), index);
    const lost: string[] = [];
    for (const name of differing) {
      if (!/(?:^|\/)\.gitignore$/.test(name)) continue;
      const found = await lstat(fileAt(this.#order.path, name)).catch(() => null);
      if (found === null) lost.push(name);
    }
    const mark = ["update-index", "--skip-worktree", "-z", "--stdin"];
    if (lost.length > 0) await this.#git.run(mark, { ...wholeCall, index, input: listed(lost) });
    // Neither the user's rules nor `.git/info/exclude` are read.
    const args = ["ls-files", "--others", "-z", "--exclude-per-directory=.gitignore"];
    const found = split(await this.#git.run(args, { ...wholeCall, index }));
    const bare: string[] = [];
    for (const name of found) {
      if (!name.endsWith("/HEAD")) continue;
      const dir = name.slice(0, -"/HEAD".length);
      const isBare =
        (await this.#isDirectory(`${dir}/objects`)) && (await this.#isDirectory(`${dir}/refs`));
      if (isBare) bare.push(dir);
    }
    const nested = [
      ...found.filter((name) => name.endsWith("/")).map((name) => name.slice(0, -1)),
      ...bare,
    ];
    for (const dir of nested) {
      if (!this.#settled.has(dir)) this.left.set(dir, "it is a repository of its own");
    }
    return found.filter((name) => {
      if (name.endsWith("/") || bare.some((dir) => name.startsWith(`${dir}/`))) return false;
      if (!forbidden.test(name.replaceAll(ignored, ""))) return true;
      this.left.set(name, "git does not allow this name");
      return false;
    });
  }

  async #isDirectory(name: string): Promise<boolean> {
    const found = await lstat(fileAt(this.#order.path, name)).catch(() => null);
    return found?.isDirectory() === true;
  }

  async #readSubmodules(skipped: ReadonlySet<string>): Promise<void> {
    for (const [name, { mode, id }] of this.tracked) {
      if (mode !== "160000" || skipped.has(name)) continue;
      if (!(await this.#isDirectory(name))) {
        this.left.set(name, "it is a submodule, and was removed or replaced");
        continue;
      }
      const path = fileAt(this.#order.path, name).toString("utf8");
      const at = await gitHead(path);
      if (at?.head == null) continue;
      if (at.head !== id) this.left.set(name, "it is a submodule, and is at another commit");
      else if (await isChanged(path, id))
        this.left.set(name, "it is a submodule, and files in it have changed");
    }
  }
}

/** Whether files of the repository at `path` differ from its commit; false when it cannot be read. */
async function isChanged(path: string, head: string): Promise<boolean> {
  const gitDir = await gitDirOf(path);
  if (gitDir === null) return false;
  try {
    await using git = await openProtectedGit(gitDir, { head, worktree: path });
    await git.run(["read-tree", "HEAD"], wholeCall);
    const flags = ["--porcelain=v1", "--no-renames", "--ignore-submodules=all"];
    return (await git.run(["status", ...flags], wholeCall)) !== "";
  } catch {
    return false;
  }
}
