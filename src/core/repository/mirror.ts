import { randomUUID } from "node:crypto";
import { appendFile, lstat, mkdir, readdir, rename, rm } from "node:fs/promises";
import { dirname, join, posix } from "node:path";
import { commitId, isBranchName, isRefName } from "../config/git.ts";
import { CommandSeries } from "../process/run.ts";
import { readSmall } from "./checkout.ts";
import { type GitResult, gitEnvironment, runGit } from "./git.ts";
import { type FetchOrder, MirrorFailure, remoteCall, unlessAborted } from "./mirror-call.ts";

/*
 * A bare copy of a remote whose objects workspaces borrow. Upstream's branches and tags are kept
 * apart from the refs that hold what workspaces use, so that a fetch with pruning removes none of
 * these, and garbage collection removes no object that a workspace refers to.
 */

/** A branch or tag of the remote. */
export interface MirrorRef {
  /** As in a clone: `refs/remotes/origin/main` or `refs/tags/v1`. */
  readonly name: string;
  readonly id: string;
  /** The commit that an annotated tag names; null for anything else. */
  readonly peeled: string | null;
}

export interface MirrorRefs {
  readonly all: readonly MirrorRef[];
  /** The default branch of the remote; null when it is not known. */
  readonly head: string | null;
}

/**
 * The repository in the directory of a mirror. Codex can make the repository readable only inside of
 * a directory that is writable: what an agent leaves there is removed.
 */
export const repositoryName = "repository.git";

/** The repository of the mirror with this name, in the directory of all. */
export function mirrorIn(dir: string, name: string): string {
  return join(dir, name, repositoryName);
}

const localTimeoutMs = 120_000;
const maxListBytes = 64 * 1024 * 1024;
const maxHeadBytes = 4_096;
const maxShallowBytes = 1024 * 1024;
const tracked = "refs/remotes/origin/";
const branches = `+refs/heads/*:${tracked}*`;
const tags = "+refs/tags/*:refs/tags/*";
/** Mode, type, id, size and path of `ls-tree -l`; no link, no directory, no submodule. */
const plainBlob = /^100(?:644|755) blob ([0-9a-f]{40,64}) +(\d+)\t(.+)$/s;
const maxTextBytes = 64 * 1024;
const maxPacks = 50;
/** More loose refs than this are packed after a fetch. */
const maxLooseTags = 100;
const lsRemote = ["ls-remote", "--symref"];
const none = new AbortController().signal;

export class Mirror {
  /** Absolute path of the bare repository. */
  readonly path: string;
  readonly #env: Readonly<Record<string, string>>;
  /** Of all calls of this object; null: each call has its own. */
  readonly #series: CommandSeries | null;

  constructor(
    path: string,
    env: Readonly<Record<string, string | undefined>>,
    series: CommandSeries | null = null,
  ) {
    this.path = path;
    this.#series = series;
    this.#env = {
      ...gitEnvironment({ path: env["PATH"], home: env["HOME"], protocol: "none" }),
      GIT_DIR: path,
    };
  }

  /** What goes into `objects/info/alternates` of a workspace. */
  get objects(): string {
    return join(this.path, "objects");
  }

  async exists(): Promise<boolean> {
    return (await lstat(this.path).catch(() => null))?.isDirectory() === true;
  }

  /**
   * Makes the mirror under a temporary name and fetches everything, so that a crash leaves no
   * partial mirror. Rejects with `MirrorFailure`, `git_not_found` or the signal's reason.
   */
  static async make(path: string, order: FetchOrder): Promise<void> {
    const place = dirname(path);
    const making = join(dirname(place), `${makingPrefix}${randomUUID()}`);
    const temporary = new Mirror(join(making, repositoryName), order.env);
    try {
      await mkdir(temporary.path, { recursive: true, mode: 0o700 });
      const listed = await remoteCall(order, temporary.path, lsRemote, ["HEAD"]);
      const isLong = /^[0-9a-f]{64}\t/m.test(listed.stdout);
      const format = `--object-format=${isLong ? "sha256" : "sha1"}`;
      await temporary.#must(["init", "--quiet", "--bare", "--template=", format]);
      await appendFile(
        join(temporary.path, "config"),
        "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n",
      );
      const shallow = order.depth === null ? [] : ["--depth", String(order.depth)];
      await temporary.#fetchInto(order, shallow);
      await temporary.#rememberHead(listed.stdout);
      // An incomplete one is in the way after a person has removed the repository in it.
      await rm(place, { recursive: true, force: true });
      await rename(making, place);
    } catch (error) {
      await rm(making, { recursive: true, force: true });
      throw error;
    }
  }

  /**
   * Updates all branches and tags. `whole` also completes a history that `depth` cut. Rejects as
   * `make` does.
   */
  async fetch(order: FetchOrder, { whole }: { readonly whole: boolean }): Promise<void> {
    const isCut = whole && (await this.shallow()) !== null;
    await this.#fetchInto(order, isCut ? ["--unshallow"] : []);
    const listed = await remoteCall(order, this.path, lsRemote, ["HEAD"]).catch(unlessAborted);
    if (listed !== null) await this.#rememberHead(listed.stdout);
    await this.#compact();
  }

  /** The commits at which `depth` cut the history, one a line; null when it is whole. */
  async shallow(): Promise<string | null> {
    const text = await readSmall(join(this.path, "shallow"), maxShallowBytes);
    return text === null || text.trim() === "" ? null : text;
  }

  /** The branches and tags of the last fetch, sorted by name. */
  async refs(): Promise<MirrorRefs> {
    const format = "%(objectname) %(*objectname) %(refname)";
    const text = await this.#list(format, tracked, "refs/tags/");
    const all: MirrorRef[] = [];
    for (const line of text.split("\n")) {
      const [id = "", peeled = "", name = ""] = line.split(" ");
      // A name whose bytes are not UTF-8 cannot be written back, and in a clone this one has another
      // meaning.
      if (!commitId.test(id) || !isRefName(name) || name.includes("\ufffd")) continue;
      if (name === `${tracked}HEAD`) continue;
      all.push({ name, id, peeled: commitId.test(peeled) ? peeled : null });
    }
    const written = (await readSmall(join(this.path, "HEAD"), maxHeadBytes))?.trim() ?? "";
    const target = `ref: ${tracked}`;
    return { all, head: written.startsWith(target) ? written.slice(target.length) : null };
  }

  /** The commit of a branch after the last fetch; null when there is none. */
  async commitOf(branch: string): Promise<string | null> {
    const args = ["rev-parse", "--verify", "--quiet", `${tracked}${branch}^{commit}`];
    const { status, stdout } = await this.#git(args);
    return status === 0 ? stdout.trim() : null;
  }

  /** Whether `commit` is in the history of the branch `base`, as far as it was fetched. */
  async contains(commit: string, base: string): Promise<boolean> {
    if (!commitId.test(commit) || !isRefName(base)) return false;
    const { status } = await this.#git([
      ...["merge-base", "--is-ancestor", commit, `${tracked}${base}`],
    ]);
    // Any other status than 0 also means that the commit or the branch does not exist here.
    return status === 0;
  }

  /** Whether a merge of `commit` into the branch `base` would change nothing. */
  async includes(commit: string, base: string): Promise<boolean> {
    if (!commitId.test(commit) || !isRefName(base)) return false;
    const branch = `${tracked}${base}`;
    const merged = await this.#git(["merge-tree", "--write-tree", branch, commit]);
    const there = await this.#git(["rev-parse", "--verify", "--quiet", `${branch}^{tree}`]);
    return merged.status === 0 && there.status === 0 && merged.stdout === there.stdout;
  }

  /** The newest commit of a branch after the last fetch; null when there is none. */
  async newestOf(
    branch: string,
  ): Promise<{ commit: string; author: string; subject: string } | null> {
    if (!isRefName(branch)) return null;
    const format = "--format=%H%x00%an%x00%s";
    const { status, stdout } = await this.#git(["log", "-1", format, `${tracked}${branch}`, "--"]);
    const [commit = "", author = "", subject = ""] = stdout.trim().split("\0");
    return status === 0 && commitId.test(commit) ? { commit, author, subject } : null;
  }

  /**
   * The text of the first of `paths` that the branch has as a plain file of at most 64 KiB, regardless
   * of case; null when it has none. Paths are relative and have at most one directory.
   */
  async textOf(branch: string, paths: readonly string[]): Promise<string | null> {
    if (!isRefName(branch)) return null;
    const places = [...new Set(paths.map((path) => `${posix.dirname(path)}/`))];
    const args = ["ls-tree", "-z", "-l", `${tracked}${branch}`, "--", ...places];
    const { status, stdout } = await this.#git(args);
    if (status !== 0) return null;
    const found = new Map<string, string>();
    for (const line of stdout.split("\0")) {
      const [, id = "", size = "", path = ""] = plainBlob.exec(line) ?? [];
      if (id !== "" && Number(size) <= maxTextBytes) found.set(path.toLowerCase(), id);
    }
    const id = paths.map((path) => found.get(path.toLowerCase())).find((one) => one !== undefined);
    return id === undefined ? null : await this.#must(["cat-file", "blob", id]);
  }

  /**
   * Keeps everything that `refs` lead to until `release(name)`, whatever the remote removes. One
   * commit with all of them as parents needs one ref, however many branches there are.
   */
  async keep(name: string, refs: readonly MirrorRef[], wall: number): Promise<void> {
    await using series = await CommandSeries.begin("git");
    await new Mirror(this.path, this.#env, series).#keep(name, refs, wall);
  }

  async #keep(name: string, refs: readonly MirrorRef[], wall: number): Promise<void> {
    const parents = new Set<string>();
    for (const { id, peeled, name: ref } of refs) {
      if (ref.startsWith(tracked)) parents.add(id);
      else if (peeled !== null) parents.add(peeled);
    }
    const tips = [...parents, ...(await this.#commitsAmong(refs.filter(isPlainTag)))];
    if (tips.length === 0) return;
    const tree = await this.#write("tree", "");
    const who = `symphony <symphony> ${Math.floor(wall / 1_000)} +0000`;
    const lines = [`tree ${tree}`, ...[...new Set(tips)].map((id) => `parent ${id}`)];
    const text = `${[...lines, `author ${who}`, `committer ${who}`].join("\n")}\n\nkept\n`;
    await this.#must(["update-ref", `refs/keep/${name}`, await this.#write("commit", text)]);
    await this.#keepTags(refs);
  }

  /** When the oldest of what is kept began, in ms since the epoch; infinite: nothing is kept. */
  async keptSince(): Promise<number> {
    const times = await this.#list("%(committerdate:unix)", "refs/keep/");
    const all = times.split("\n").filter((line) => line !== "");
    return Math.min(...all.map((seconds) => Number(seconds) * 1_000));
  }

  async release(name: string): Promise<void> {
    if (!isBranchName(name)) return;
    await this.#must(["update-ref", "-d", `refs/keep/${name}`]);
  }

  /** Removes what a killed git left and what would make every later call fail. */
  async unlock(): Promise<void> {
    const isLeft = (name: string) => name.endsWith(".lock") && !name.startsWith("keep/");
    const isPartial = (name: string) => name.startsWith("tmp_");
    await removeFiles(this.path, isLeft, false);
    await removeFiles(join(this.path, "refs"), isLeft, true);
    await removeFiles(join(this.path, "objects", "info"), isLeft, true);
    await removeFiles(
      join(this.path, "objects", "pack"),
      (name) => isLeft(name) || isPartial(name),
      false,
    );
  }

  /** Removes what agents left next to the repository. */
  async tidy(): Promise<void> {
    const place = dirname(this.path);
    for (const name of await readdir(place)) {
      // A sandbox that is being set up needs its empty directories.
      const left = await readdir(join(place, name)).catch(() => [name]);
      if (name === repositoryName || left.length === 0) continue;
      await rm(join(place, name), { recursive: true, force: true });
    }
  }

  async #fetchInto(order: FetchOrder, more: readonly string[]): Promise<void> {
    const flags = ["--prune", "--progress", "--no-tags", "--no-auto-maintenance", "--refmap="];
    const own = ["--no-recurse-submodules", "--no-write-fetch-head"];
    await remoteCall(order, this.path, ["fetch", ...flags, ...own, ...more], [branches, tags]);
  }

  /** Joins the packs of many fetches; no object is removed, reachable or not. */
  async #compact(): Promise<void> {
    const names = await readdir(join(this.path, "objects", "pack")).catch(() => []);
    if (names.filter((name) => name.endsWith(".pack")).length <= maxPacks) return;
    await this.#must(["repack", "-d", "-l", "-q", "--geometric=2"]);
  }

  async #rememberHead(listed: string): Promise<void> {
    const branch = /^ref: refs\/heads\/(\S+)\tHEAD$/m.exec(listed)?.[1];
    if (branch === undefined || !isRefName(branch)) return;
    // Not next to the branches: git would write to its target for a branch that is named HEAD.
    await this.#must(["symbolic-ref", "HEAD", `${tracked}${branch}`]);
  }

  /** An annotated tag is an object of its own, which no commit can hold. */
  async #keepTags(refs: readonly MirrorRef[]): Promise<void> {
    if (refs.every(({ peeled }) => peeled === null)) return;
    const kept = new Set((await this.#list("%(objectname)", "refs/kept-tags/")).split("\n"));
    const missing = refs.filter(({ id, peeled }) => peeled !== null && !kept.has(id));
    if (missing.length === 0) return;
    const ids = [...new Set(missing.map(({ id }) => id))];
    const input = ids.map((id) => `update refs/kept-tags/${id} ${id}\n`).join("");
    await this.#must(["update-ref", "--stdin"], input);
    if (ids.length > maxLooseTags) await this.#must(["pack-refs", "--all"]);
  }

  /** A tag without a message may name any object. */
  async #commitsAmong(plain: readonly MirrorRef[]): Promise<readonly string[]> {
    if (plain.length === 0) return [];
    const input = plain.map(({ id }) => `${id}\n`).join("");
    const args = ["cat-file", "--batch-check=%(objecttype) %(objectname)"];
    const text = await this.#must(args, input);
    return text.split("\n").flatMap((line) => /^commit (\S+)$/.exec(line)?.[1] ?? []);
  }

  async #write(type: "tree" | "commit", text: string): Promise<string> {
    return (await this.#must(["hash-object", "-t", type, "-w", "--stdin"], text)).trim();
  }

  async #list(format: string, ...below: readonly string[]): Promise<string> {
    return this.#must(["for-each-ref", `--format=${format}`, ...below]);
  }

  async #must(args: readonly string[], input?: string): Promise<string> {
    const result = await this.#git(args, input);
    if (result.status !== 0) throw new MirrorFailure(args, result);
    return result.stdout;
  }

  async #git(args: readonly string[], input?: string): Promise<GitResult> {
    if (this.#series !== null) return this.#call(args, { series: this.#series, input });
    await using series = await CommandSeries.begin("git");
    return await this.#call(args, { series, input });
  }

  #call(
    args: readonly string[],
    { series, input }: { readonly series: CommandSeries; readonly input: string | undefined },
  ): Promise<GitResult> {
    return runGit({
      series,
      args,
      cwd: this.path,
      env: this.#env,
      timeoutMs: localTimeoutMs,
      outputBytes: maxListBytes,
      ...(input !== undefined && { input }),
      signal: none,
    });
  }
}

/** The beginning of the name of a mirror that is not complete. */
export const makingPrefix = "making-";
/** The same of what is being pushed. */
export const pushingPrefix = "pushing-";

function isPlainTag({ name, peeled }: MirrorRef): boolean {
  return peeled === null && name.startsWith("refs/tags/");
}

async function removeFiles(
  dir: string,
  isLeft: (name: string) => boolean,
  recursive: boolean,
): Promise<void> {
  const names = await readdir(dir, { recursive }).catch(() => []);
  for (const name of names) if (isLeft(name)) await rm(join(dir, name), { force: true });
}
