import { lstat, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { fileAt, plainName } from "../text/text.ts";
import { readSmall, unfinishedIn } from "./checkout.ts";
import { type Differing, differingIn } from "./differing.ts";
import { Forms } from "./forms.ts";
import { type Identity, openProtectedGit, type ProtectedGit } from "./git.ts";
import { noteUnchanged } from "./index-file.ts";
import {
  clearLocks,
  installIndex,
  installPacks,
  moveRef,
  packNew,
  plain,
  requireDirectory,
  whoOf,
  writeCommit,
} from "./install.ts";
import { pointersAmong, unchangedOf } from "./lfs-files.ts";
import { type LfsStore, pointerText } from "./lfs-store.ts";
import { type Entry, entriesIn, listed, wholeCall } from "./lists.ts";
import { isUndone, type MergeParts, openMerge } from "./merging.ts";
import { repositoryAt } from "./refs.ts";
import { attributesFile, attributesOf, layRules } from "./rules.ts";
import { type Signer, SigningFailure } from "./signing.ts";
import { type Cone, leaveOut } from "./sparse.ts";
import { type Copied, Copier, conflictsIn } from "./stage.ts";
import { type GitHead, gitHead } from "./survey.ts";

export interface CommitOrder {
  /** The workspace; its `.git` is a directory of its own. No agent works in it meanwhile. */
  readonly path: string;
  /** Complete, and safe to show. */
  readonly message: string;
  /** The author, and the committer. */
  readonly author: Identity;
  /** Signs the commit; null: it is not signed. */
  readonly signer?: Signer | null;
  /** Time of the commit, in ms since the epoch. */
  readonly wall: number;
  /**
   * The commit whose `.gitattributes` say how text is kept; null: those of HEAD. The files of the
   * workspace may have been written to hide changes.
   */
  readonly base: string | null;
  /**
   * Raw names of files, tracked and new ones, that have been as they are since the workspace was
   * made: they are no work.
   */
  readonly settled: readonly string[];
  /** Which files the workspace was made with; all if omitted. */
  readonly cone?: Cone;
  /** Gets the content of files of git LFS, and the commit their pointers; null: they are not committed. */
  readonly lfs?: LfsStore | null;
  /** A merge that `updateWorkspace` has begun: the commit ends it. */
  readonly merge?: MergeParts | null;
  readonly signal: AbortSignal;
}

/** A file that differs and was not committed. */
export interface LeftOut {
  readonly path: string;
  readonly why: string;
}

export type CommitResult =
  | (GitHead & { readonly outcome: "clean"; readonly leftOut: readonly LeftOut[] })
  | {
      readonly outcome: "committed";
      readonly head: string;
      readonly branch: string | null;
      readonly files: number;
      readonly leftOut: readonly LeftOut[];
    }
  /** A merge or the like is in progress, or its conflicts are still in the files: nothing was changed. */
  | { readonly outcome: "unfinished"; readonly what: string };

const maxFiles = 50_000;
const maxTotalBytes = 2 * 1024 ** 3;
const maxConfigBytes = 256 * 1024;
/** Files under a rule of encoding that are tried in one call of git, once one of them was refused. */
const triedAtOnce = 256;
const adding = ["--add", "--replace"];
const encodingRule = "working-tree-encoding";
/** What git says of the first file that it cannot convert to UTF-8; a name may be cut off, and a bare rule has none. */
const otherEncoding =
  /^fatal: (?:(?:failed to encode|BOM is \w+ in|encoding) '(?:(.*)' (?:from|if encoded as) )?|true\/false are no valid )/;

/**
 * Commits everything that an agent left in a workspace, as `git add -A` would take it, as one commit
 * on HEAD. Git runs on symphony's own directory, so nothing that an agent configured is run. Rejects
 * with `no_repository` when the workspace has no repository of its own, and with `workspace_error`
 * when a file cannot be read, or something changes meanwhile; then nothing was committed.
 */
export async function commitWork(order: CommitOrder): Promise<CommitResult> {
  const { path, signal } = order;
  const place = await placeOf(path);
  const what = await unfinishedIn(place.gitDir);
  if (what !== null) return { outcome: "unfinished", what: `${what} is in progress` };
  const { head, branch, gitDir, format } = place;
  try {
    await clearLocks(gitDir, branch);
    await using git = await openProtectedGit(gitDir, { head, worktree: path, format, signal });
    const merge = head === null ? null : await openMerge(git, order.merge ?? null, head);
    const found = await differingIn(git, {
      ...order,
      ...(merge && { tree: merge.tree }),
      head,
      lfs: order.lfs != null,
    });
    return await new Work(git, { ...order, merge }, place, found).commit();
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SymphonyError || error instanceof SigningFailure) throw error;
    const message = `nothing was committed: ${messageOf(error)}`;
    throw new SymphonyError("workspace_error", message, { cause: error });
  }
}

interface Place extends GitHead {
  readonly gitDir: string;
  readonly format: "sha1" | "sha256";
}

async function placeOf(path: string): Promise<Place> {
  const why = "the workspace has no repository of its own";
  const repository = await repositoryAt(path).catch((cause) => {
    throw new SymphonyError("no_repository", `${why}: ${messageOf(cause)}`, { cause });
  });
  const gitDir = join(path, ".git");
  const at = await gitHead(path);
  if (repository === null || repository.gitDir !== gitDir || repository.linked || at === null)
    throw new SymphonyError("no_repository", why);
  await requireDirectory(join(gitDir, "objects"));
  await requireDirectory(join(gitDir, "refs"));
  const config = (await readSmall(join(gitDir, "config"), maxConfigBytes)) ?? "";
  const is256 = at.head?.length === 64 || /^\s*objectformat\s*=\s*"?sha256"?\s*$/im.test(config);
  return { ...at, gitDir, format: is256 ? "sha256" : "sha1" };
}

class Work {
  readonly #git: ProtectedGit;
  readonly #order: CommitOrder;
  readonly #place: Place;
  readonly #left: Map<string, string>;
  readonly #copied = new Map<string, Copied>();
  /** Raw names of files whose pointer is in the index, and whose content is in the workspace. */
  readonly #contents = new Set<string>();
  /** What the base had, by name. */
  #ofBase: ReadonlyMap<string, Entry> = new Map();
  readonly #found: Differing;
  /** What the files are compared with. */
  readonly #from: string;

  constructor(git: ProtectedGit, order: CommitOrder, place: Place, found: Differing) {
    this.#git = git;
    this.#order = order;
    this.#place = place;
    this.#found = found;
    this.#left = new Map(found.left);
    this.#from = order.merge?.tree ?? "HEAD";
  }

  async commit(): Promise<CommitResult> {
    const { head, branch } = this.#place;
    const { merge } = this.#order;
    const names = [...new Set([...this.#found.names, ...(merge?.marked ?? [])])];
    if (names.length > maxFiles) throw new Error(`more than ${maxFiles} files differ`);
    const copier = await Copier.of(this.#order.path);
    const conflicts = await this.#stage(names, copier);
    if (conflicts.length > 0) {
      const more = conflicts.length > 1 ? ` and ${conflicts.length - 1} more` : "";
      const first = plainName(conflicts[0] ?? "");
      return { outcome: "unfinished", what: `conflicts of a merge are written in ${first}${more}` };
    }
    const forms = new Forms(this.#git, this.#place, this.#found.tracked);
    const left = await forms.leaveOut(this.#from, this.#left);
    const changes = left ?? (await forms.changes("HEAD"));
    const kept = new Set(changes.map(({ name }) => name));
    if (merge && (await isUndone(this.#git, merge, kept))) {
      return { outcome: "unfinished", what: "what came from the base was taken out of the files" };
    }
    const leftOut = [...this.#left].map(([name, why]) => ({ path: plainName(name), why }));
    if (changes.length === 0 && !merge) {
      if (head !== null && (await this.#isStale())) await this.#finishIndex();
      return { outcome: "clean", head, branch, leftOut };
    }
    const made = await this.#makeCommit(copier);
    return { outcome: "committed", head: made, branch, files: changes.length, leftOut };
  }

  /** Puts the work into symphony's index; returns the names of files with conflicts. */
  async #stage(names: readonly string[], copier: Copier): Promise<readonly string[]> {
    const tree = join(this.#git.dir, "tree");
    const plain = join(this.#git.dir, "plain");
    await mkdir(plain);
    const base = this.#order.base ?? (this.#place.head === null ? null : "HEAD");
    this.#ofBase = await layRules(this.#git, { tree, base, tracked: this.#found.tracked });
    const filters = await attributesOf(this.#git, { tree, attribute: "filter", names });
    const gone: string[] = [];
    const there: string[] = [];
    const conflicts: string[] = [];
    let bytes = 0;
    for (const name of names) {
      this.#order.signal.throwIfAborted();
      const copied = await copier.copy(name, attributesFile.test(name) ? plain : tree);
      this.#copied.set(name, copied);
      bytes += copied.bytes;
      if (bytes > maxTotalBytes) throw new Error("the files that differ have more than 2 GiB");
      if (copied.kind === "other") this.#left.set(name, "it is neither a file nor a link");
      else if (copied.kind !== "file" && copied.kind !== "link") gone.push(name);
      else if (!(await this.#isFiltered(name, copied, filters.get(name) ?? null, tree)))
        there.push(name);
      if (copied.conflicts > 0 && copied.conflicts > (await this.#conflictsBefore(name)))
        conflicts.push(name);
    }
    if (conflicts.length > 0) return conflicts;
    await this.#update("", ["--force-remove"], gone);
    const rules = new Set(there.filter((name) => attributesFile.test(name)));
    const others = there.filter((name) => !rules.has(name));
    await this.#add(tree, others);
    await this.#add(plain, [...rules]); // Last: git reads rules that `tree` lacks from its index.
    return [];
  }

  /** A file that is not in the encoding that the base's rules name is left out, and the others are added. */
  async #add(tree: string, names: readonly string[]): Promise<void> {
    if ((await this.#refused(tree, names)) === null) return;
    const rules = await attributesOf(this.#git, { tree, attribute: encodingRule, names });
    const ruled = names.filter((name) => rules.has(name));
    const right = names.filter((name) => !rules.has(name));
    let size = triedAtOnce;
    // Each file is read twice, and each wrong one costs a call.
    for (let at = 0; at < ruled.length; ) {
      this.#order.signal.throwIfAborted();
      const part = ruled.slice(at, at + size);
      const refused = await this.#refused(tree, part);
      const good = refused === null ? part.length : part.length === 1 ? 0 : part.indexOf(refused);
      // The message has another name than the file where that has unusual characters.
      size = good === -1 ? part.length >> 1 : Math.min(size * 2, triedAtOnce);
      if (good === -1) continue;
      at += good;
      if (refused === null) continue;
      right.push(...part.slice(0, good));
      const name = ruled[at++] ?? "";
      const rule = `${encodingRule}=${plainName(rules.get(name) ?? "")}`;
      this.#left.set(name, `it is not in the encoding of .gitattributes (${rule})`);
    }
    await this.#update(tree, adding, right);
  }

  /** Adds files; where git refuses to convert one, none, and resolves with the name that it says, as bytes. */
  async #refused(tree: string, names: readonly string[]): Promise<string | null> {
    try {
      await this.#update(tree, adding, names);
      return null;
    } catch (error) {
      const found = otherEncoding.exec(messageOf(error));
      if (found === null) throw error;
      return Buffer.from(found[1] ?? "").toString("latin1");
    }
  }

  async #update(tree: string, flags: readonly string[], names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    const place = tree === "" ? [] : [`--work-tree=${tree}`];
    const args = [...place, "update-index", ...flags, "-z", "--stdin"];
    await this.#git.run(args, { ...wholeCall, input: listed(names) });
  }

  /** Whether a file must not be committed as it is: its filter, which symphony does not run, would change it. */
  async #isFiltered(
    name: string,
    copied: Copied,
    filter: string | null,
    tree: string,
  ): Promise<boolean> {
    if (filter === null || copied.kind !== "file") return false;
    if (filter !== "lfs") {
      this.#left.set(
        name,
        `it is under the filter ${plainName(filter)}, which symphony does not run`,
      );
      return true;
    }
    // A file without content is its own pointer.
    if (copied.isPointer || (this.#order.lfs && copied.bytes === 0)) return false;
    if (this.#order.lfs) return !(await this.#keepContent(name, copied, tree, this.#order.lfs));
    const before = await this.#before(name);
    if (!before.includes(`\noid sha256:${copied.sha256}\n`))
      this.#left.set(name, "it belongs to git LFS, and is not a pointer");
    return true;
  }

  /** Puts the content into the workspace's storage of git LFS, and its pointer in place of the copy. */
  async #keepContent(
    name: string,
    { sha256, bytes, executable }: Copied,
    tree: string,
    store: LfsStore,
  ): Promise<boolean> {
    const file = fileAt(tree, name);
    const pointer = { oid: sha256, bytes };
    if (!(await store.add(file, pointer))) throw new Error(`${plainName(name)} was not copied`);
    await rm(file);
    await writeFile(file, pointerText(pointer), { mode: executable ? 0o700 : 0o600 });
    this.#contents.add(name);
    return true;
  }

  async #conflictsBefore(name: string): Promise<number> {
    if (!this.#order.merge || name.includes("\n")) return conflictsIn(await this.#before(name));
    // The marks that the merge wrote are no part of HEAD.
    const input = `HEAD:${name}\n`;
    return conflictsIn(
      (await this.#git.begin(["cat-file", "--batch"], { ...wholeCall, input })).text,
    );
  }

  /** The content of a file before the work; empty for a new one. */
  async #before(name: string): Promise<string> {
    const entry = this.#found.tracked.get(name);
    if (entry === undefined || entry.mode === "160000") return "";
    return (await this.#git.begin(["cat-file", "blob", entry.id], wholeCall)).text;
  }

  /** Objects first, then the ref, then the index: whatever a crash leaves is a whole repository. */
  async #makeCommit(copier: Copier): Promise<string> {
    const git = this.#git;
    const { message, author, wall, signal, merge } = this.#order;
    const { head, branch, gitDir } = this.#place;
    // A partial clone does not have every object.
    const tree = (await git.run(["write-tree", "--missing-ok"], wholeCall)).trim();
    const who = whoOf(author, wall);
    const parents = [head, merge?.base].flatMap((id) => (id ? [id] : []));
    const to = await writeCommit(git, { tree, parents, who, message }, this.#order);
    const packs = await packNew(git);
    for (const [name, { state }] of this.#copied) {
      if ((await copier.state(name)).state === state) continue;
      throw new Error(`${plainName(name)} has changed meanwhile`);
    }
    signal.throwIfAborted();
    await installPacks(gitDir, packs);
    const subject = plain(message.split("\n")[0] ?? "");
    await moveRef(gitDir, { branch, from: head, to, who, subject });
    await this.#finishIndex();
    return to;
  }

  /** Whether what the agent's index holds is not HEAD, as after a crash before it was replaced. */
  async #isStale(): Promise<boolean> {
    const index = join(this.#git.dir, "agents-index");
    const args = ["diff-index", "--cached", "--raw", "-z", "HEAD"];
    if ((await lstat(index).catch(() => null)) === null) return true;
    return this.#git.run(args, { ...wholeCall, index }).then(
      (text) => text !== "",
      () => true,
    );
  }

  /** The agent's git then takes files of git LFS for unchanged, without a filter. */
  async #noteContents(index: string): Promise<void> {
    if (!this.#order.lfs) return;
    const entries = entriesIn(await this.#git.run(["ls-files", "--stage", "-z"], wholeCall));
    const settled = this.#order.settled.flatMap((name) => {
      const entry = entries.get(name);
      return entry === undefined ? [] : [[name, entry] as const];
    });
    const pointers = [...(await pointersAmong(this.#git, new Map(settled)))];
    // Since the workspace was made, neither the file nor its pointer has changed.
    const isOld = (name: string) => this.#ofBase.get(name)?.id === entries.get(name)?.id;
    const newer = new Map(pointers.filter(([name]) => !isOld(name)));
    const old = pointers.flatMap(([name]) => (isOld(name) ? [name] : []));
    const same = await unchangedOf(this.#order.path, newer);
    const names = [...old, ...same, ...this.#contents, ...this.#found.contents];
    await noteUnchanged(index, this.#order.path, new Set(names));
  }

  async #finishIndex(): Promise<void> {
    const refresh = ["update-index", "-q", "--ignore-submodules", "--refresh"];
    await leaveOut(this.#git, this.#found.sparse);
    await this.#git.run(refresh, { ...wholeCall, mayExit: 1 });
    await this.#noteContents(join(this.#git.dir, "index"));
    await installIndex(this.#place.gitDir, join(this.#git.dir, "index"));
  }
}
