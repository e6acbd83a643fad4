import { appendFile, lstat, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileAt, rawName } from "../text/text.ts";
import { copyIndex } from "./checkout.ts";
import type { ProtectedGit } from "./git.ts";

// Workspaces with a part of the files: `sparse` of a repository, in git's cone mode
// (git-sparse-checkout: INTERNALS).

/** For lists of all files; names are bytes, one character each. */
const call = { encoding: "latin1", timeoutMs: 120_000, maxBytes: 256 * 1024 * 1024 } as const;

const agentsIndex = "agents-index";

/** The directories whose files a workspace has, as the configuration names them; empty: all files. */
export type Cone = readonly string[];

/** Whether a file, by raw name, is one that a workspace with this cone leaves out. */
export function outsideOf(cone: Cone): (name: string) => boolean {
  const known = new Map<string, boolean>();
  const dirs = cone.map(rawName);
  const isOutside = (dir: string) =>
    dirs.every((one) => dir !== one && !below(dir, one) && !below(one, dir));
  return (name) => {
    const dir = parentOf(name);
    if (dir === "" || dirs.length === 0) return false;
    const found = known.get(dir) ?? isOutside(dir);
    known.set(dir, found);
    return found;
  };
}

function below(name: string, dir: string): boolean {
  return name.startsWith(`${dir}/`);
}

function parentOf(name: string): string {
  return name.slice(0, Math.max(name.lastIndexOf("/"), 0));
}

/** Makes the repository at `gitDir` check out only the files of the cone. */
export async function useCone(gitDir: string, cone: Cone): Promise<void> {
  if (cone.length === 0) return;
  const settings = "[core]\n\tsparseCheckout = true\n\tsparseCheckoutCone = true\n";
  await appendFile(join(gitDir, "config"), settings);
  await mkdir(join(gitDir, "info"), { recursive: true });
  await writeFile(join(gitDir, "info", "sparse-checkout"), patternsOf(cone));
}

function patternsOf(cone: Cone): string {
  const whole = cone.filter((dir) => !cone.some((other) => below(dir, other)));
  const above = whole.flatMap((dir) => {
    const parts = dir.split("/");
    return parts.slice(1).map((_, at) => parts.slice(0, at + 1).join("/"));
  });
  const parents = [...new Set(above)].toSorted().map((dir) => `/${dir}/\n!/${dir}/*/\n`);
  return ["/*\n!/*/\n", ...parents, ...whole.toSorted().map((dir) => `/${dir}/\n`)].join("");
}

interface Sparse {
  /** The workspace. */
  readonly path: string;
  readonly cone: Cone;
  /** Raw names of the files that are tracked. */
  readonly tracked: ReadonlyMap<string, unknown> | ReadonlySet<string>;
}

/**
 * The tracked files that a workspace leaves out: they are not there, and are no deletions. The agent's
 * index says so, by a mark, or as it never wrote a file outside of the cone; where it marks no file at
 * all, as when another program wrote it, the cone does.
 */
export async function leftOutOf(
  git: ProtectedGit,
  { path, cone, tracked }: Sparse,
): Promise<readonly string[]> {
  const marked = await markedIn(git, path);
  const isOutside = outsideOf(cone);
  const isThere = thereIn(path);
  const gone: string[] = [];
  for (const name of tracked.keys()) {
    if ((marked.has(name) || isOutside(name)) && !(await isThere(name))) gone.push(name);
  }
  if (marked.size === 0 || gone.every((name) => marked.has(name))) return gone;
  const unwritten = await unwrittenIn(git);
  return gone.filter((name) => marked.has(name) || unwritten.has(name));
}

/** What the copied index has without the times of a file: it is in no tree that git wrote, as after `git apply --cached`. */
async function unwrittenIn(git: ProtectedGit): Promise<ReadonlySet<string>> {
  const index = join(git.dir, agentsIndex);
  const said = await git.run(["ls-files", "-z", "--debug"], { ...call, index }).catch(() => "");
  const entries = said.matchAll(/([^\0]+)\0((?: {2}\S.*\n)*)/g);
  const isUnwritten = /^ {2}ctime: 0:0\n {2}mtime: 0:0\n/;
  return new Set(
    [...entries].flatMap(([, name = "", facts = ""]) => (isUnwritten.test(facts) ? [name] : [])),
  );
}

/** What the agent's index marks as left out. */
async function markedIn(git: ProtectedGit, path: string): Promise<ReadonlySet<string>> {
  const index = join(git.dir, agentsIndex);
  try {
    if (!(await copyIndex(join(path, ".git"), index))) return new Set();
    const tags = (await git.run(["ls-files", "-t", "-z"], { ...call, index })).split("\0");
    return new Set(tags.filter((entry) => /^S /i.test(entry)).map((entry) => entry.slice(2)));
  } catch {
    // An index that git cannot read says nothing.
    await rm(index, { force: true });
    return new Set();
  }
}

/** Takes `names` for unchanged in the index of `git`, as they are left out. */
export async function leaveOut(git: ProtectedGit, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const args = ["update-index", "--skip-worktree", "-z", "--stdin"];
  await git.run(args, { ...call, input: names.map((name) => `${name}\0`).join("") });
}

/** Whether a file is in the workspace. A directory that is not there is looked for once. */
function thereIn(path: string): (name: string) => Promise<boolean> {
  const dirs = new Map<string, Promise<boolean>>();
  const stands = (name: string) => lstat(fileAt(path, name)).then(Boolean, () => false);
  const dirStands = (dir: string): Promise<boolean> => {
    const known = dirs.get(dir);
    if (known !== undefined) return known;
    const parent = parentOf(dir);
    const found =
      parent === "" ? stands(dir) : dirStands(parent).then((there) => there && stands(dir));
    dirs.set(dir, found);
    return found;
  };
  return async (name) => {
    const parent = parentOf(name);
    return (parent === "" || (await dirStands(parent))) && stands(name);
  };
}
