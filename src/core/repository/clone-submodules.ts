import { lstat, mkdir, readdir, realpath } from "node:fs/promises";
import { join } from "node:path";
import type { GitAddress } from "../config/git.ts";
import { rawName } from "../text/text.ts";
import { borrow, noteSubmodules } from "./borrow.ts";
import { copyIndex } from "./checkout.ts";
import { openProtectedGit } from "./git.ts";
import { entriesIn, wholeCall } from "./lists.ts";
import type { Mirror } from "./mirror.ts";
import type { Mirrors, SubmoduleLoan } from "./mirrors.ts";
import { type Cone, outsideOf } from "./sparse.ts";
import { holds, type Submodule, submodulesOf } from "./submodules.ts";

interface Filling {
  readonly mirrors: Pick<Mirrors, "keep">;
  readonly signal: AbortSignal;
  /** The mirror of another remote, with the credential of the repository. */
  ensure(address: GitAddress): Promise<Mirror>;
  /** Runs git in a directory. */
  git(args: readonly string[], cwd: string): Promise<void>;
  /** Receives lines for a person. */
  tell(line: string): void;
  /** Receives what is borrowed at once, so that it can be released. */
  made(loan: SubmoduleLoan): void;
}

interface Top {
  readonly mirror: string;
  readonly commit: string;
  readonly address: GitAddress;
  /** Which files the workspace has. */
  readonly cone: Cone;
}

const maxSubmodules = 100;
const deepest = 5;

/** Checks out the submodules of a commit in the workspace at `path`, and theirs. Rejects as `Mirrors.ensure`. */
export async function fillSubmodules(path: string, top: Top, filling: Filling): Promise<void> {
  const open = [{ ...top, at: "", depth: 0 }];
  let made = 0;
  for (let from = open.shift(); from !== undefined; from = open.shift()) {
    const { at, depth, mirror, commit, address } = from;
    const links = await linksIn(join(path, at), filling.signal);
    const isOutside = outsideOf(from.cone);
    const { wanted, refused } = await submodulesOf(mirror, commit, address, filling.signal);
    const nameOf = (name: string) => (at === "" ? name : `${at}/${name}`);
    for (const one of refused) filling.tell(`${nameOf(one.path)} is not checked out: ${one.why}`);
    for (const one of wanted) {
      const name = nameOf(one.path);
      if (isOutside(rawName(one.path))) continue;
      if (links.get(rawName(one.path)) !== one.commit) {
        filling.tell(`${name} is not checked out: git did not take it from the commit`);
        continue;
      }
      if (made >= maxSubmodules || depth >= deepest) {
        filling.tell(`${name} is not checked out: there are too many submodules`);
        continue;
      }
      made += 1;
      const place = await fill(path, { ...one, path: name }, filling);
      if (place !== null)
        open.push({
          mirror: place,
          commit: one.commit,
          address: one.address,
          cone: [],
          at: name,
          depth: depth + 1,
        });
    }
  }
}

/** Resolves with the path of its mirror; null: its commit cannot be had, which was told. */
async function fill(
  path: string,
  { path: name, commit, address }: Submodule,
  { mirrors, signal, ensure, git, tell, made }: Filling,
): Promise<string | null> {
  if (!(await makeRoom(path, name))) {
    tell(`${name} is not checked out: something else is in its place, or on the way to it`);
    return null;
  }
  const mirror = await ensure(address);
  if (!(await holds(mirror.path, commit, signal))) {
    tell(
      `${name} is not checked out: ${commit.slice(0, 10)} is on no branch of ${address.address}`,
    );
    return null;
  }
  const { all, head } = await mirror.refs();
  // What is checked out is no work, also when its branch moves or goes.
  const pinned = { name: "refs/remotes/origin-pinned/commit", id: commit, peeled: null };
  const branches = all.filter((ref) => ref.name.startsWith("refs/remotes/"));
  const loan = await mirrors.keep(mirror, [
    { ...pinned, name: "refs/remotes/origin/pinned" },
    ...branches,
  ]);
  made({ ...loan, path: name });
  const dir = join(path, name);
  // In the order of git's file, which compares bytes.
  const refs = { all: [pinned, ...branches], head };
  const run = (args: readonly string[]) => git(args, dir);
  await borrow({ path: dir, address: address.address, mirror, refs, cone: [], git: run });
  await run(["checkout", "--quiet", "--detach", commit, "--"]);
  await noteSubmodules(dir);
  return mirror.path;
}

/** The submodules that git took into the index, by raw name: a tree can name more than one thing for a path. */
async function linksIn(path: string, signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
  const gitDir = join(path, ".git");
  await using git = await openProtectedGit(gitDir, { head: null, worktree: null, signal });
  const index = join(git.dir, "checked-out");
  if (!(await copyIndex(gitDir, index))) return new Map();
  const text = await git.run(["ls-files", "--stage", "-z"], { ...wholeCall, index });
  const links = [...entriesIn(text)].filter(([, { mode }]) => mode === "160000");
  return new Map(links.map(([name, { id }]) => [name, id]));
}

/**
 * Makes the directory `name` below `path`. False: it is not empty, or something on the way is not a directory of
 * that very name, such as a link of the tree that leads out of the workspace.
 */
export async function makeRoom(path: string, name: string): Promise<boolean> {
  let dir = await realpath(path);
  for (const part of name.split("/")) {
    dir = join(dir, part);
    const found = await lstat(dir).catch(() => null);
    if (found === null) await mkdir(dir);
    else if (!found.isDirectory()) return false;
    // A file system that folds names finds another one.
    if ((await realpath(dir)) !== dir) return false;
  }
  return (await readdir(dir)).length === 0;
}
