import { createHash } from "node:crypto";
import { readdir, realpath } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { messageOf } from "../model/errors.ts";
import { borrowsOf, copyIndex, unfinishedIn, unlessMissing } from "../repository/checkout.ts";
import { commitsOnlyHere, type OnlyHere } from "../repository/commits.ts";
import { openProtectedGit, type ProtectedGit } from "../repository/git.ts";
import { ignoresOf, ruleBaseOf } from "../repository/ignores.ts";
import { pointersAmong, unchangedOf } from "../repository/lfs-files.ts";
import { type Entry, entriesIn, split } from "../repository/lists.ts";
import { mirrorIn } from "../repository/mirror.ts";
import { requireOwnObjects } from "../repository/push.ts";
import { type Refs, type Repository, refsOf, repositoryAt } from "../repository/refs.ts";
import { type Cone, leaveOut, leftOutOf, outsideOf } from "../repository/sparse.ts";
import { gitHead } from "../repository/survey.ts";
import { type WalkQuestions, walkTree } from "../repository/tree.ts";
import { fileAt, plainName } from "../text/text.ts";
import { type Baseline, movedSince } from "./baseline.ts";

/** The result of an examination. Names are raw; what could not be determined is in `problems`. */
export interface Findings {
  readonly repository: Repository | null;
  readonly refs: Refs | null;
  /** The commit of HEAD; null before the first commit, or if it cannot be read. */
  readonly head: string | null;
  /**
   * Tracked files that differ from HEAD or in the index; without a repository, changed files of
   * `after_create`.
   */
  readonly changed: readonly string[];
  readonly fresh: readonly string[];
  /** Tracked files that differ from HEAD exactly as they did when the workspace was made. */
  readonly settled: readonly string[];
  /** Which files the workspace was made with; those outside that are not there are in `settled`. */
  readonly cone: Cone;
  /** Files of git LFS have their content. */
  readonly lfs: boolean;
  /** The files of `changed` that differ only in the index. */
  readonly stagedOnly: readonly string[];
  readonly nested: readonly string[];
  readonly submodules: readonly string[];
  /** The git operation that is in progress, such as a merge. */
  readonly unfinished: string | null;
  readonly onlyHere: OnlyHere | null;
  /** A hash of what is staged. */
  readonly staged: string;
  readonly problems: readonly string[];
}

/** Of the repository itself (""), or of a submodule that symphony checked out at this path. */
export type RemoteCommits = (path: string) => readonly string[];

export interface Examination {
  /** null if it is not known how the workspace was made. */
  readonly baseline: Baseline | null;
  /** Which files a workspace without a baseline was made with; all if omitted. */
  readonly cone?: Cone;
  /** It has just been made: files that HEAD ignores are not examined. */
  readonly isNew: boolean;
  /** Paths of submodules that symphony checked out; default: those of the baseline. */
  readonly made?: readonly string[];
  /** Where an agent may have written the repository: what its remotes have, from elsewhere. */
  readonly remote?: RemoteCommits;
  readonly signal?: AbortSignal;
}

const timeoutMs = 60_000;
const maxBytes = 256 * 1024 * 1024;
const call = { encoding: "latin1", timeoutMs, maxBytes } as const;

/** Examines everything in the workspace at `path`, and runs nothing in it. Never rejects. */
export async function examine(path: string, how: Examination): Promise<Findings> {
  const examiner = new Examiner(path, how);
  await examiner.examine();
  return examiner;
}

class Examiner implements Findings {
  repository: Repository | null = null;
  refs: Refs | null = null;
  head: string | null = null;
  changed: readonly string[] = [];
  fresh: readonly string[] = [];
  settled: readonly string[] = [];
  readonly cone: Cone;
  readonly lfs: boolean;
  stagedOnly: readonly string[] = [];
  nested: readonly string[] = [];
  submodules: readonly string[] = [];
  unfinished: string | null = null;
  onlyHere: OnlyHere | null = null;
  staged = "";
  readonly problems: string[] = [];
  readonly #path: string;
  readonly #how: Examination;

  constructor(path: string, how: Examination) {
    this.#path = path;
    this.#how = how;
    this.cone = how.cone ?? how.baseline?.loan?.sparse ?? [];
    this.lfs = how.baseline?.loan?.lfs === true;
  }

  async examine(): Promise<void> {
    const isOpen = await this.#try("its repository cannot be read", () => this.#openRepository());
    if (!isOpen) return;
    const { repository } = this;
    const hasRefs =
      repository === null ||
      (await this.#try("its refs cannot be read", () => this.#readRefs(repository)));
    if (!hasRefs && this.head === null) return;
    await this.#try("its files cannot be compared", () => this.#files());
    const { refs } = this;
    if (repository === null) return;
    await this.#try("its submodules cannot be read", () => this.#hiddenSubmodules(repository));
    if (refs === null) return;
    await this.#try("its commits cannot be counted", async () => {
      await using git = await this.#git(repository, refs.head);
      const { baseline: known, remote } = this.#how;
      const { linked } = repository;
      this.onlyHere = await commitsOnlyHere(git, refs, {
        ...{ linked, known, ...(remote && { remote: remote("") }) },
      });
    });
  }

  async #openRepository(): Promise<void> {
    const { baseline } = this.#how;
    this.repository = await repositoryAt(this.#path);
    // An agent may create a repository or delete the original one: then all of it is here and can
    // be examined. Only a new link to another repository is an error.
    const isElsewhere = kindOf(this.repository) === "linked";
    if (isElsewhere && baseline !== null && baseline.repository !== "linked")
      throw new Error("it is not the one that the workspace was made with");
    if (this.repository !== null && baseline !== null)
      await requireLent(this.#path, this.repository, baseline);
  }

  async #readRefs(repository: Repository): Promise<void> {
    // Read first, so that HEAD is known even if another ref cannot be read.
    this.head = (await gitHead(this.#path))?.head ?? null;
    this.unfinished = await unfinishedIn(repository.gitDir);
    this.refs = await refsOf(repository);
    this.head = this.refs.head;
  }

  async #files(): Promise<void> {
    const { repository, head } = this;
    if (repository === null) return this.#plainFiles();
    await using git = await this.#git(repository, head);
    if (head !== null) await git.run(["read-tree", "HEAD"], call);
    const tracked = entriesIn(await git.run(["ls-files", "--stage", "-z"], call));
    const gitlinks = new Map<string, string>();
    for (const [name, { mode, id }] of tracked) if (mode === "160000") gitlinks.set(name, id);
    const left = await this.#leaveOut(git, tracked);
    const differing = head === null ? [] : await differingIn(git);
    const { signal, baseline, isNew, remote } = this.#how;
    const known = { gitDir: repository.gitDir, refs: remote ? null : this.refs, baseline };
    const base = isNew ? head : await ruleBaseOf(git, known);
    await using ignores = base === null ? null : await ignoresOf(repository.gitDir, base, signal);
    await this.#walk(
      (name) => tracked.has(name),
      async (names) => (ignores === null ? new Set() : ignores.of(names)),
    );
    await this.#sortOut(differing, gitlinks);
    const contents = await this.#contents(git, tracked);
    this.settled = [...this.settled, ...left, ...contents];
    await this.#try("what is staged cannot be read", () => this.#stagedIn(git, repository, head));
  }

  /** Files that a sparse workspace does not have are no deletions. */
  async #leaveOut(
    git: ProtectedGit,
    tracked: ReadonlyMap<string, Entry>,
  ): Promise<readonly string[]> {
    const { cone } = this;
    if (cone.length === 0) return [];
    const found = await leftOutOf(git, { path: this.#path, cone, tracked });
    const left = found.filter(outsideOf(cone));
    await leaveOut(git, left);
    return left;
  }

  /** Whether a submodule is as symphony checked it out: all of it is in its remote. */
  async #isUntouched(name: string, id: string): Promise<boolean> {
    const { baseline, signal, remote } = this.#how;
    const loans = baseline?.loan?.submodules ?? [];
    const made = this.#how.made ?? loans.map(({ path }) => path);
    const own = plainName(name);
    if (!made.includes(own)) return false;
    const inside = made.filter((path) => path.startsWith(`${own}/`));
    const path = fileAt(this.#path, name).toString("utf8");
    const found = await examine(path, {
      ...{ baseline: null, isNew: false, ...(signal && { signal }) },
      ...(remote && { remote: (below) => remote(below === "" ? own : `${own}/${below}`) }),
      made: inside.map((one) => one.slice(own.length + 1)),
    });
    const { changed, fresh, nested, submodules, problems, unfinished, refs, onlyHere } = found;
    const lists = [changed, fresh, nested, submodules, problems, onlyHere?.tags ?? []];
    const isClean = lists.every((list) => list.length === 0) && unfinished === null;
    return isClean && found.head === id && refs?.stashes === 0 && onlyHere?.commits === 0;
  }

  /** Changed files that are the content of their pointer are not work; resolves with them. */
  async #contents(
    git: ProtectedGit,
    tracked: ReadonlyMap<string, Entry>,
  ): Promise<readonly string[]> {
    if (!this.lfs || this.changed.length === 0) return [];
    const entries = this.changed.flatMap((name) => {
      const entry = tracked.get(name);
      return entry === undefined ? [] : [[name, entry] as const];
    });
    const pointers = await pointersAmong(git, new Map(entries));
    const same = await unchangedOf(this.#path, pointers);
    this.changed = this.changed.filter((name) => !same.has(name));
    return [...same];
  }

  /** Without a repository every file is compared with its original state. */
  async #plainFiles(): Promise<void> {
    const { files = null } = this.#how.baseline ?? {};
    const here = await this.#walk(
      () => false,
      async () => new Set(),
    );
    await this.#sortOut([], new Map());
    if (this.#how.baseline !== null && files === null && this.fresh.length > 0) {
      this.problems.push("the original files are not known");
    }
    if (files === null) return;
    const gone = [...files].flatMap(([name, state]) =>
      here.has(name) || state === "absent" ? [] : [name],
    );
    this.changed = [...this.changed, ...gone];
  }

  /** Resolves with the files it found. */
  async #walk(
    isTracked: WalkQuestions["isTracked"],
    ignored: WalkQuestions["ignored"],
  ): Promise<ReadonlySet<string>> {
    const { isNew, signal } = this.#how;
    const questions = { isTracked, ignored, intoIgnored: !isNew, ...(signal && { signal }) };
    const { files, repositories, unreadable } = await walkTree(this.#path, questions);
    this.fresh = files;
    this.nested = repositories;
    if (unreadable.length > 0) {
      const more = unreadable.length > 1 ? ` and ${unreadable.length - 1} more` : "";
      this.problems.push(`a directory cannot be read: ${unreadable[0]}${more}`);
    }
    return new Set(files);
  }

  /** Removes unchanged files, and separates new files from original ones that have changed. */
  async #sortOut(
    differing: readonly string[],
    gitlinks: ReadonlyMap<string, string>,
  ): Promise<void> {
    const files = this.#how.baseline?.files ?? new Map<string, string>();
    const known = new Set(files.keys());
    const changed = await movedSince(this.#path, differing, files);
    const moved = new Set(changed);
    this.settled = differing.filter((name) => !moved.has(name));
    const fresh = await movedSince(this.#path, this.fresh, files);
    this.changed = [...changed, ...fresh.filter((name) => known.has(name))];
    this.fresh = fresh.filter((name) => !known.has(name));
    const populated: string[] = [];
    for (const [name, id] of gitlinks) {
      if ((await isPopulated(this.#path, name)) && !(await this.#isUntouched(name, id)))
        populated.push(name);
    }
    this.submodules = populated;
    this.nested = this.nested.filter((name) => !gitlinks.has(name));
  }

  /**
   * Staged content may be nowhere else. Git reads a copy of the index, which an agent may have
   * written.
   */
  async #stagedIn(git: ProtectedGit, { gitDir }: Repository, head: string | null): Promise<void> {
    const index = join(git.dir, "staged");
    if (!(await copyIndex(gitDir, index))) return;
    const args =
      head === null
        ? ["ls-files", "--stage", "-z"]
        : ["diff-index", "--cached", "--raw", "-z", "--no-renames", "--abbrev=64", "HEAD"];
    const text = await git.run(args, { ...call, index });
    if (text === "") return;
    this.staged = createHash("sha256").update(text, "latin1").digest("hex");
    if (this.staged === this.#how.baseline?.staged) return;
    const parts = split(text);
    const names =
      head === null
        ? parts.map((entry) => entry.slice(entry.indexOf("\t") + 1))
        : parts.filter((_, at) => at % 2 === 1);
    const seen = new Set([...this.changed, ...this.fresh]);
    this.stagedOnly = names.filter((name) => !seen.has(name));
    this.changed = [...this.changed, ...this.stagedOnly];
  }

  /** A submodule that was removed from the tree leaves its repository behind. */
  async #hiddenSubmodules({ store, linked }: Repository): Promise<void> {
    if (linked) return;
    const modules = await readdir(join(store, "modules")).catch(unlessMissing);
    const names = (modules ?? []).map((name) => `.git/modules/${name}`);
    if (this.submodules.length === 0) this.submodules = names;
  }

  #git({ gitDir }: Repository, head: string | null): Promise<ProtectedGit> {
    const { signal } = this.#how;
    return openProtectedGit(gitDir, { head, worktree: this.#path, ...(signal && { signal }) });
  }

  /** True on success; a failure is added to the problems. */
  async #try(what: string, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      this.problems.push(`${what}: ${messageOf(error)}`);
      return false;
    }
  }
}

/**
 * What is shown, kept and committed could hold the objects of another repository, where an agent made this one
 * borrow them: rejects then. A mirror is known by its name, because its directory may have been moved.
 */
export async function requireLent(
  path: string,
  { store, linked }: Repository,
  { borrows, loan, mirrors }: Baseline,
): Promise<void> {
  if (linked || (borrows === null && loan === null)) return;
  const root = dirname(path);
  const mirror = loan === null ? null : join(mirrorIn("/", loan.mirror), "objects");
  const known = new Set(borrows);
  if (mirror !== null && mirrors !== null) known.add(join(mirrors, mirror));
  const lent: string[] = [];
  for (const line of await borrowsOf(store)) {
    const isMirror = mirror !== null && line.startsWith("/") && line.endsWith(mirror);
    if (known.has(line) || (isMirror && (await isOutside(root, line)))) lent.push(line);
  }
  await requireOwnObjects(store, lent.map(dirname), loan === null);
}

/** Whether a directory of objects is where no agent writes, and takes no objects from another one. */
async function isOutside(root: string, objects: string): Promise<boolean> {
  const real = (path: string) => realpath(path).catch(() => resolve(path));
  if (`${await real(objects)}/`.startsWith(`${await real(root)}/`)) return false;
  return (await borrowsOf(dirname(objects))).length === 0;
}

export function kindOf(repository: Repository | null): Baseline["repository"] {
  if (repository === null) return "none";
  return repository.linked ? "linked" : "own";
}

async function differingIn(git: ProtectedGit): Promise<readonly string[]> {
  const flags = ["--porcelain=v1", "-z", "--untracked-files=no", "--ignore-submodules=all"];
  const status = await git.run(["status", ...flags, "--no-renames"], call);
  return split(status).map((entry) => entry.slice(3));
}

/** False for an empty directory, which is all that a clone creates for a submodule. */
async function isPopulated(path: string, name: string): Promise<boolean> {
  try {
    return (await readdir(fileAt(path, name))).length > 0;
  } catch (error) {
    return unlessMissing(error) !== null;
  }
}
