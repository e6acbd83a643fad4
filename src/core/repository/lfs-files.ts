import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { chmod, copyFile, lstat, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileAt, plainName } from "../text/text.ts";
import { openProtectedGit, type ProtectedGit } from "./git.ts";
import {
  isContent,
  type LfsStore,
  maxPointerBytes,
  type Pointer,
  pointerIn,
  pointerText,
} from "./lfs-store.ts";
import { type Entry, entriesIn, listed, split, wholeCall } from "./lists.ts";
import { Copier } from "./stage.ts";

// The files of a workspace whose content git LFS has.

const atOnce = 8;
const writingPrefix = "symphony-content-";

/** The pointers among blobs, by name. */
export async function pointersAmong(
  git: ProtectedGit,
  entries: ReadonlyMap<string, Entry>,
): Promise<ReadonlyMap<string, Pointer>> {
  const files = [...entries].filter(([, { mode }]) => mode.startsWith("100"));
  if (files.length === 0) return new Map();
  const input = `${[...new Set(files.map(([, { id }]) => id))].join("\n")}\n`;
  const sizes = await git.run(["cat-file", "--batch-check"], { ...wholeCall, input });
  const small = sizes.split("\n").flatMap((line) => {
    const [, id, bytes] = /^(\w+) blob (\d+)$/.exec(line) ?? [];
    return id !== undefined && Number(bytes) <= maxPointerBytes ? [id] : [];
  });
  const pointers = new Map<string, Pointer>();
  if (small.length > 0) {
    const wanted = { ...wholeCall, input: `${small.join("\n")}\n` };
    const text = await git.run(["cat-file", "--batch"], wanted);
    let at = 0;
    for (const id of small) {
      const end = text.indexOf("\n", at);
      const bytes = Number(text.slice(at, end).split(" ")[2]);
      const pointer = pointerIn(text.slice(end + 1, end + 1 + bytes));
      if (pointer !== null) pointers.set(id, pointer);
      at = end + 1 + bytes + 1;
    }
  }
  return new Map(
    files.flatMap(([name, { id }]) => {
      const pointer = pointers.get(id);
      return pointer === undefined ? [] : [[name, pointer] as const];
    }),
  );
}

/** The files of a commit or tree that its own `.gitattributes` give to git LFS, by raw name. */
export async function lfsFilesOf(
  gitDir: string,
  tree: string,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, Pointer>> {
  const format = tree.length === 64 ? "sha256" : "sha1";
  const place = { head: null, format, worktree: null, ...(signal && { signal }) } as const;
  await using git = await openProtectedGit(gitDir, place);
  await git.run(["read-tree", tree], wholeCall);
  const entries = entriesIn(await git.run(["ls-files", "--stage", "-z"], wholeCall));
  if (entries.size === 0) return new Map();
  const check = ["check-attr", "--cached", "-z", "--stdin", "filter"];
  const asked = { ...wholeCall, input: listed([...entries.keys()]) };
  const parts = split(await git.run(check, asked));
  const isLfs = new Set<string>();
  for (let at = 0; at + 2 < parts.length; at += 3) {
    if (parts[at + 2] === "lfs") isLfs.add(parts[at] ?? "");
  }
  return await pointersAmong(git, new Map([...entries].filter(([name]) => isLfs.has(name))));
}

/**
 * Puts the content into each file that holds its pointer; resolves with the raw names of those. Rejects
 * when the store lacks one.
 */
export async function writeContents(
  path: string,
  files: ReadonlyMap<string, Pointer>,
  store: LfsStore,
): Promise<readonly string[]> {
  const copier = await Copier.of(path);
  // A crash may have left some. Next to the files they would be work.
  for (const name of await readdir(join(path, ".git")))
    if (name.startsWith(writingPrefix)) await rm(join(path, ".git", name), { force: true });
  const written: string[] = [];
  await inParts([...files], async ([name, pointer]) => {
    if ((await copier.state(name)).kind !== "file") return;
    const file = fileAt(path, name);
    const { mode, size } = await lstat(file);
    const text = pointerText(pointer);
    if (size !== text.length || (await contentOf(file)) !== text) return;
    const content = await store.find(pointer);
    if (content === null) throw new Error(`the content of ${plainName(name)} is not in the mirror`);
    const temporary = join(path, ".git", `${writingPrefix}${randomUUID()}`);
    try {
      await copyFile(content, temporary, constants.COPYFILE_FICLONE);
      await chmod(temporary, mode & 0o777);
      await rename(temporary, file);
    } finally {
      await rm(temporary, { force: true });
    }
    written.push(name);
  });
  return written;
}

/** Those of `files` that the workspace has; a sparse one leaves some out. */
export async function presentOf(
  path: string,
  files: ReadonlyMap<string, Pointer>,
): Promise<ReadonlyMap<string, Pointer>> {
  const there = new Map<string, Pointer>();
  await inParts([...files], async ([name, pointer]) => {
    if ((await lstat(fileAt(path, name)).catch(() => null)) !== null) there.set(name, pointer);
  });
  return there;
}

/** Those of `files` whose content in the workspace is the one that the pointer names. */
export async function unchangedOf(
  path: string,
  files: ReadonlyMap<string, Pointer>,
): Promise<ReadonlySet<string>> {
  const same = new Set<string>();
  await inParts([...files], async ([name, pointer]) => {
    if (await isContent(fileAt(path, name), pointer)) same.add(name);
  });
  return same;
}

async function contentOf(file: Buffer): Promise<string> {
  await using content = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  return await content.readFile("latin1");
}

async function inParts<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < all.length; at += atOnce) {
    await Promise.all(all.slice(at, at + atOnce).map(work));
  }
}

/** The settings of a workspace, so that the agent's git compares the content and not the pointer. */
export const lfsConfig = `[filter "lfs"]
\tclean = git-lfs clean -- %f
\tsmudge = git-lfs smudge -- %f
\tprocess = git-lfs filter-process
\trequired = false
`;
