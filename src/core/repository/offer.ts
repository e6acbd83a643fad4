import { commitId } from "../config/git.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { plainName } from "../text/text.ts";
import { gitDirOf } from "./checkout.ts";
import { commitsOnlyHere, hasCommit, type Known, mergeBase } from "./commits.ts";
import { openProtectedGit, type ProtectedGit } from "./git.ts";
import type { Contents } from "./lfs.ts";
import { examineOffered } from "./lfs-offer.ts";
import { type Pointer, pointerIn } from "./lfs-store.ts";
import { split } from "./lists.ts";
import { refsOf, repositoryAt } from "./refs.ts";
import { gitHead } from "./survey.ts";

export interface OfferRules {
  /** Limit for one file, in bytes. */
  readonly maxFileBytes: number;
  readonly allowWorkflows: boolean;
  readonly allowSubmodules: boolean;
  readonly allowLfs: boolean;
  /** The contents that are pushed along with their pointers; null: none are. */
  readonly lfs: Contents | null;
  /** The kind or name of a secret in `bytes`, never its value; null for none. */
  holdsSecret(bytes: Buffer): string | null;
}

/** Why something must not be pushed. */
export interface Objection {
  /** A file, or `commit <id>` for a commit's message. */
  readonly path: string;
  readonly kind:
    | "secret"
    | "too_large"
    | "outside_link"
    | "workflow"
    | "submodule"
    | "lfs"
    | "unreadable";
  readonly detail: string;
}

/** What a push of `head` would offer. */
export interface Offered {
  /** The whole history is here, and the base has no part of it: the branch cannot be merged. */
  readonly isUnrelated: boolean;
  readonly base: string | null;
  readonly head: string;
  readonly branch: string | null;
  /** Commits that `base` does not reach. */
  readonly commits: number;
  /** Files and lines that differ between where the work began and `head`. */
  readonly files: number;
  readonly additions: number;
  readonly deletions: number;
  /** At most 1,000. */
  readonly objections: readonly Objection[];
}

interface OfferOrder {
  /** The workspace. */
  readonly path: string;
  /** The tip of the base branch, as last fetched. */
  readonly base: string;
  /** Commits that a remote has, or that were examined before: they and their history are not looked at; unknown ones do not count. */
  readonly examined?: readonly string[];
  readonly head: string;
  readonly rules: OfferRules;
  readonly signal: AbortSignal;
}

/** A content that a commit adds, by raw path. */
export interface Blob {
  readonly path: string;
  readonly mode: string;
  readonly id: string;
  readonly bytes: number;
}

const timeoutMs = 120_000;
const maxBytes = 256 * 1024 * 1024;
const call = { encoding: "latin1", timeoutMs, maxBytes } as const;
const maxObjections = 1_000;
/** Limit for the contents that are read at once. */
const batchBytes = 16 * 1024 * 1024;
const pointer = /^version https:\/\/git-lfs\.github\.com\/spec\/v1\n/;
const flags = ["--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=none"];

/**
 * Looks at every commit from `base` to `head` that neither `base` nor `examined` reaches, because all of them are
 * pushed: a secret that a later commit removed is still in an earlier one. What a merge took over
 * unchanged from the base's side does not count. Rejects with `no_repository` when git cannot read
 * them.
 */
export async function examineOffer(order: OfferOrder): Promise<Offered> {
  const { path, base, examined = [], head, rules, signal } = order;
  const branch = (await gitHead(path))?.branch ?? null;
  return withGit(order, [base, head], async (git) => {
    const ids = lines(await git.run(["rev-list", head, `^${base}`], call));
    const known = await Promise.all(examined.map(async (id) => (await hasCommit(git, id)) && id));
    const range = [head, ...[base, ...known].flatMap((id) => (id === false ? [] : [`^${id}`]))];
    const objections = new Objections();
    await examineMessages(git, range, rules, objections);
    const isAll = range.length === 2;
    const looked = isAll ? ids : lines(await git.run(["rev-list", ...range], call));
    const blobs = await changedBlobs(git, looked);
    for (const blob of blobs.values()) examineEntry(blob, rules, objections);
    const pointers = new Map<string, Pointer>();
    await examineContents(git, [...blobs.values()], { rules, objections, signal, pointers });
    await examineOffered(pointers, rules, { objections, signal });
    const from = await mergeBase(git, [base, head], timeoutMs);
    const stat = from === null ? [] : await numstat(git, from, head);
    const [isShallow] = lines(await git.run(["rev-parse", "--is-shallow-repository"], call));
    return {
      base: from,
      isUnrelated: from === null && isShallow === "false",
      head,
      branch,
      commits: ids.length,
      files: stat.length,
      additions: stat.reduce((sum, { added }) => sum + added, 0),
      deletions: stat.reduce((sum, { deleted }) => sum + deleted, 0),
      objections: objections.all,
    };
  });
}

/** Work of a repository that a push of its HEAD leaves behind. */
export interface Elsewhere {
  /** Branches, tags and other worktrees with commits that HEAD does not have. */
  readonly refs: readonly string[];
  readonly stashes: number;
}

/**
 * What `head` and `base` do not have, nor what the repository knows of its remotes. `known`: how the workspace was made. Where
 * it cannot be read, nothing; rejects only with the signal's reason.
 */
export async function workElsewhere(
  order: Pick<OfferOrder, "path" | "base" | "head" | "signal">,
  known: Known | null,
): Promise<Elsewhere> {
  const { path, base, head, signal } = order;
  try {
    const repository = await repositoryAt(path);
    if (repository === null) return { refs: [], stashes: 0 };
    const refs = await refsOf(repository);
    const { linked } = repository;
    const tracked = [...refs.all].filter(([name]) => name.startsWith("refs/remotes/"));
    const remote = [base, head, ...tracked.map(([, id]) => id)];
    return await withGit(order, [base, head], async (git) => {
      const found = await commitsOnlyHere(git, refs, { linked, known, remote });
      return { refs: found.refs.map(plainName), stashes: refs.stashes };
    });
  } catch {
    signal.throwIfAborted();
    return { refs: [], stashes: 0 };
  }
}

async function withGit<T>(
  { path, head, signal }: Pick<OfferOrder, "path" | "head" | "signal">,
  commits: readonly string[],
  work: (git: ProtectedGit) => Promise<T>,
): Promise<T> {
  const gitDir = await gitDirOf(path);
  if (gitDir === null || !commits.every((id) => commitId.test(id)))
    throw new SymphonyError("no_repository", "there is no commit to offer");
  try {
    await using git = await openProtectedGit(gitDir, { head, worktree: null, signal });
    return await work(git);
  } catch (error) {
    signal.throwIfAborted();
    const message = `what would be offered cannot be read: ${messageOf(error)}`;
    throw new SymphonyError("no_repository", message, { cause: error });
  }
}

async function numstat(git: ProtectedGit, from: string, to: string) {
  const text = await git.run(["diff-tree", "-r", "-z", "--numstat", ...flags, from, to], call);
  return split(text).map((line) => {
    const [, added = "", deleted = ""] = /^(\d+|-)\t(\d+|-)\t/.exec(line) ?? [];
    return { added: Number(added) || 0, deleted: Number(deleted) || 0 };
  });
}

class Objections {
  readonly all: Objection[] = [];
  readonly #seen = new Set<string>();

  add(path: string, kind: Objection["kind"], detail: string): void {
    const key = `${kind}\0${path}\0${detail}`;
    if (this.#seen.has(key) || this.all.length >= maxObjections) return;
    this.#seen.add(key);
    this.all.push({ path: plainName(path), kind, detail });
  }
}

/** Whole commits, names and addresses included. */
async function examineMessages(
  git: ProtectedGit,
  range: readonly string[],
  rules: OfferRules,
  objections: Objections,
): Promise<void> {
  const text = await git.run(["log", "-z", "--no-show-signature", "--format=raw", ...range], call);
  for (const entry of split(text)) {
    const kind = rules.holdsSecret(Buffer.from(entry, "latin1"));
    const id = /^commit ([0-9a-f]+)/.exec(entry)?.[1] ?? "";
    if (kind !== null) objections.add(`commit ${id}`, "secret", kind);
  }
}

/** What each commit has that none of its parents has at that path, once for each content. */
export async function changedBlobs(
  git: ProtectedGit,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Blob>> {
  const blobs = new Map<string, Blob>();
  if (ids.length === 0) return blobs;
  const args = ["diff-tree", "--stdin", "--root", "-r", "-c", "-z", "--raw", "--abbrev=64"];
  const input = ids.map((id) => `${id}\n`).join("");
  const parts = split(await git.run([...args, ...flags], { ...call, input }));
  for (let at = 0; at < parts.length; at++) {
    // A merge has a colon, a mode and an id for each parent.
    const found = /^(:+)(.+)$/.exec(parts[at] ?? "");
    if (found === null) continue;
    const parents = found[1]?.length ?? 1;
    const words = (found[2] ?? "").split(" ");
    const [mode = "", id = ""] = [words[parents], words[2 * parents + 1]];
    at += 1;
    const path = parts[at] ?? "";
    if (mode !== "000000") blobs.set(`${mode} ${id} ${path}`, { path, mode, id, bytes: 0 });
  }
  const readable = [...blobs.values()].filter(({ mode }) => mode !== "160000");
  const sizes = await sizesOf(git, new Set(readable.map(({ id }) => id)));
  for (const [key, blob] of blobs) blobs.set(key, { ...blob, bytes: sizes.get(blob.id) ?? -1 });
  return blobs;
}

async function sizesOf(git: ProtectedGit, ids: ReadonlySet<string>): Promise<Map<string, number>> {
  if (ids.size === 0) return new Map();
  const input = [...ids].map((id) => `${id}\n`).join("");
  const format = "--batch-check=%(objectname) %(objecttype) %(objectsize)";
  const found = lines(await git.run(["cat-file", format], { ...call, input }));
  return new Map(
    found.flatMap((line) => {
      const [id = "", type, bytes] = line.split(" ");
      return type === "blob" ? [[id, Number(bytes)] as const] : [];
    }),
  );
}

function examineEntry(
  { path, mode, bytes }: Blob,
  rules: OfferRules,
  objections: Objections,
): void {
  const { maxFileBytes } = rules;
  const isModules = /^\.gitmodules$/i.test(path);
  if (!rules.allowSubmodules && (mode === "160000" || isModules))
    objections.add(path, "submodule", isModules ? "it names submodules" : "it is a submodule");
  if (!rules.allowWorkflows && /^\.github\/(?:workflows|actions)\//i.test(path))
    objections.add(path, "workflow", "it runs with the rights of the repository");
  const held = secretOf(path, rules);
  if (held !== null) objections.add(held.path, "secret", `${held.kind} is in its name`);
  if (mode === "160000") return;
  if (bytes < 0) objections.add(path, "unreadable", "its content is not here");
  if (bytes > maxFileBytes)
    objections.add(path, "too_large", `${bytes} bytes; the limit is ${maxFileBytes}`);
}

/** What kind of secret the name of a file holds, and the name without it. */
function secretOf(path: string, { holdsSecret }: OfferRules) {
  const kindOf = (name: string) => holdsSecret(Buffer.from(name, "latin1"));
  const kind = kindOf(path);
  if (kind === null) return null;
  const parts = path.split("/");
  const shown = parts.map((part) => (kindOf(part) === null ? part : "[redacted]")).join("/");
  return { kind, path: shown === path ? "[redacted]" : shown };
}

interface Reading {
  readonly rules: OfferRules;
  readonly objections: Objections;
  readonly signal: AbortSignal;
  /** Gets the pointers of git LFS, by path. */
  readonly pointers: Map<string, Pointer>;
}

/** Reads the contents in parts, each content once; what is too large is refused without it. */
async function examineContents(
  git: ProtectedGit,
  blobs: readonly Blob[],
  reading: Reading,
): Promise<void> {
  const { maxFileBytes } = reading.rules;
  const users = new Map<string, Blob[]>();
  for (const blob of blobs) {
    if (blob.mode === "160000" || blob.bytes < 0 || blob.bytes > maxFileBytes) continue;
    users.set(blob.id, [...(users.get(blob.id) ?? []), blob]);
  }
  let batch: string[] = [];
  let bytes = 0;
  const read = async () => {
    reading.signal.throwIfAborted();
    await examineBatch(git, batch, { ...reading, users });
    batch = [];
    bytes = 0;
  };
  for (const [id, [blob]] of users) {
    const size = blob?.bytes ?? 0;
    if (batch.length > 0 && bytes + size > batchBytes) await read();
    batch.push(id);
    bytes += size;
  }
  if (batch.length > 0) await read();
}

async function examineBatch(
  git: ProtectedGit,
  ids: readonly string[],
  {
    rules,
    objections,
    users,
    pointers,
  }: Reading & { readonly users: ReadonlyMap<string, readonly Blob[]> },
): Promise<void> {
  const most = Math.max(batchBytes, rules.maxFileBytes) + 200 * ids.length + 1_024;
  const input = ids.map((id) => `${id}\n`).join("");
  const text = await git.run(["cat-file", "--batch"], { ...call, maxBytes: most, input });
  const output = Buffer.from(text, "latin1");
  let at = 0;
  for (const id of ids) {
    const end = output.indexOf("\n", at);
    const bytes = Number(output.toString("latin1", at, end).split(" ")[2]);
    const content = output.subarray(end + 1, end + 1 + bytes);
    at = end + 1 + bytes + 1;
    const secret = rules.holdsSecret(content);
    for (const { path, mode } of users.get(id) ?? []) {
      if (secret !== null) objections.add(path, "secret", secret);
      const target = content.toString("latin1", 0, 4_096);
      if (mode === "120000" && leadsOutside(path, target))
        objections.add(path, "outside_link", `it leads to ${plainName(target)}`);
      if (mode === "120000" || !pointer.test(target)) continue;
      const found = rules.lfs === null ? null : pointerIn(content.toString("latin1"));
      if (found !== null) pointers.set(path, found);
      else if (!rules.allowLfs)
        objections.add(path, "lfs", "it is a pointer of git LFS, whose content is not pushed");
    }
  }
}

/** Whether the link at `path` names a place outside of the tree, or in its `.git`. */
function leadsOutside(path: string, target: string): boolean {
  if (target.startsWith("/") || /^[A-Za-z]:[\\/]|^\\/.test(target)) return true;
  const at = path.split("/").slice(0, -1);
  for (const part of target.split("/")) {
    if (part === "..") {
      if (at.pop() === undefined) return true;
    } else if (part !== "" && part !== ".") at.push(part);
    if (at[0]?.toLowerCase() === ".git") return true;
  }
  return false;
}

function lines(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}
