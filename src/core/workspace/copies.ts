// Copies of the work of workspaces that were removed: made, read back, listed, restored.

import { randomUUID } from "node:crypto";
import { lstat, mkdir, open, readdir, readFile, rename, rmdir, statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { messageOf, SymphonyError, systemCodeOf } from "../model/errors.ts";
import type { IssueName } from "../model/issue.ts";
import { type Work, workInWords } from "../model/work.ts";
import { isWorkspaceKey } from "../repository/key.ts";
import { syncDirectory, writeSynced } from "../store/durable.ts";
import { archiveName, restoreArchive, writeArchive } from "./archive.ts";
import { BundleFacts, bundleName, fitsBundle, restoreBundle, writeBundle } from "./bundle.ts";
import { deleteTree } from "./deletion.ts";
import { digestOf, fileDigest, TooLarge } from "./tree-digest.ts";
import { findingsIn } from "./work.ts";

const Manifest = z.object({
  version: z.literal(1),
  key: z.string(),
  issue: z.object({ id: z.string(), identifier: z.string() }).nullable(),
  workspace: z.string(),
  at: z.number(),
  summary: z.string(),
  /** null: it is an archive of the whole directory. */
  bundle: BundleFacts.nullable(),
  bytes: z.number(),
  sha256: z.string(),
  /** Of the tree that a restored directory had when the copy was read back. */
  tree: z.string(),
});

/** The work of a workspace that was removed. */
export interface KeptCopy {
  /** Its name: the key of the workspace, and when it was made. */
  readonly key: string;
  /** The directory of the copy. */
  readonly path: string;
  /** null: the issue is not known. */
  readonly issue: IssueName | null;
  /** Where the workspace was. */
  readonly workspace: string;
  /** When it was made, in ms since the epoch. */
  readonly at: number;
  /** What it holds, in words. */
  readonly summary: string;
  readonly form: "bundle" | "archive";
  /** The commit that the work is compared with; null: not known. */
  readonly base: string | null;
  /** Size of the bundle or archive. */
  readonly bytes: number;
}

interface CopiesDeps {
  /** Made with the first copy. */
  readonly dir: string;
  readonly clock: Clock;
  /** The mirrors that the workspace and its submodules borrow objects from; null: none. */
  lentTo?(path: string): Promise<Lent | null>;
  /** The largest copy in bytes; 0: none is made. */
  maxBytes(): number;
}

interface Lent {
  readonly mirror: string;
  readonly submodules: readonly { readonly path: string; readonly mirror: string }[];
}

interface KeepOptions {
  readonly issue: IssueName | null;
  /** For the list. */
  readonly work: readonly Work[];
  readonly signal?: AbortSignal;
}

const manifestName = "manifest.json";
const making = ".making-";
const reading = ".reading-";
/** A command without a server may be reading a copy. */
const longestReadMs = 24 * 3_600_000;
/** Free space that stays, so that the history can still be written. */
const spareBytes = 256 * 1024 * 1024;
const maxSuffix = 1_000;

export class KeptCopies {
  readonly #deps: CopiesDeps;
  #last: Promise<unknown> = Promise.resolve();
  #tidied: Promise<void> | null = null;

  constructor(deps: CopiesDeps) {
    this.#deps = deps;
  }

  /**
   * Copies the work in the workspace at `path`, which is not changed: as a git bundle, or as an
   * archive where a bundle cannot hold all of it. The copy is restored and compared before it
   * counts. Rejects, with the reason for operators, when there is no such copy. One at a time: each
   * may need several times its size.
   */
  keep(path: string, options: KeepOptions): Promise<KeptCopy> {
    const made = this.#last.then(() => this.#keep(path, options));
    this.#last = made.catch(() => {});
    return made;
  }

  /** Newest first. A directory that is not a whole copy is left out. */
  async list(): Promise<readonly KeptCopy[]> {
    const names = await readdir(this.#deps.dir).catch(() => []);
    const found = await Promise.all(names.filter(isWorkspaceKey).map((name) => this.#read(name)));
    const copies = found.flatMap((one) => one?.copy ?? []);
    return copies.sort((a, b) => b.at - a.at || (a.key < b.key ? 1 : -1));
  }

  /**
   * The copy with this key, or the only one of the workspace with this key, else of the issue with this
   * id or identifier. Rejects with `workspace_not_found` or `workspace_ambiguous`.
   */
  async find(key: string, issueId: string | null = null): Promise<KeptCopy> {
    const all = await this.list();
    const exact = all.find((one) => one.key === key);
    if (exact) return exact;
    const ofPlace = all.filter(({ workspace }) => basename(workspace) === key);
    const isNamed = ({ issue }: KeptCopy) =>
      issue !== null &&
      (issue.id === issueId || issue.identifier.toLowerCase() === key.toLowerCase());
    const [one, ...others] = ofPlace.length > 0 ? ofPlace : all.filter(isNamed);
    const hint = "symphony workspaces list";
    if (one === undefined) {
      throw new SymphonyError("workspace_not_found", `there is no kept copy ${key}`, { hint });
    }
    if (others.length === 0) return one;
    const names = [one, ...others].map((copy) => copy.key).join(", ");
    throw new SymphonyError("workspace_ambiguous", `several copies are kept of ${key}: ${names}`, {
      hint: `symphony workspaces restore ${one.key}`,
    });
  }

  /**
   * Restores the copy into `to`, which must not exist or be an empty directory. The copy stays.
   * Rejects with `workspace_error`; then `to` is as it was.
   */
  async restore({ key }: KeptCopy, to: string, signal?: AbortSignal): Promise<void> {
    const manifest = (await this.#read(key))?.manifest;
    const refuse = (why: string, cause?: unknown) =>
      new SymphonyError("workspace_error", `${key} was not restored: ${why}`, { cause });
    if (!manifest) throw refuse("it is gone");
    const from = join(this.#deps.dir, key);
    if ((await fileDigest(join(from, fileOf(manifest)))) !== manifest.sha256) {
      throw refuse(`${join(from, fileOf(manifest))} has changed since it was written`);
    }
    const temporary = join(dirname(to), `.${basename(to)}.${randomUUID()}`);
    try {
      await unpack(from, manifest, temporary, signal);
      // Only an empty directory can be removed.
      await rmdir(to).catch((error: unknown) => {
        if (systemCodeOf(error) !== "ENOENT")
          throw new Error(`${to} is in the way`, { cause: error });
      });
      await rename(temporary, to);
    } catch (cause) {
      throw refuse(messageOf(cause), cause);
    } finally {
      await deleteTree(temporary);
    }
  }

  /** Calls `read` with a temporary directory that holds the restored copy. */
  async within<T>(copy: KeptCopy, read: (path: string) => Promise<T>): Promise<T> {
    const path = join(this.#deps.dir, `${reading}${randomUUID()}`);
    try {
      await this.restore(copy, path);
      return await read(path);
    } finally {
      await deleteTree(path);
    }
  }

  /** Deletes the copy for good. */
  async remove({ key }: KeptCopy): Promise<void> {
    const gone = join(this.#deps.dir, `${making}${randomUUID()}`);
    await rename(join(this.#deps.dir, key), gone);
    await deleteTree(gone);
  }

  /** Deletes what a crash left half made; before the first copy, so that none is being made. */
  async #tidy(): Promise<void> {
    const names = await readdir(this.#deps.dir).catch(() => []);
    for (const name of names) {
      const path = join(this.#deps.dir, name);
      const found = await lstat(path).catch(() => null);
      const isRead = Date.now() - (found?.mtimeMs ?? 0) > longestReadMs;
      const isLeft = name.startsWith(making) || (name.startsWith(reading) && isRead);
      if (isLeft) await deleteTree(path).catch(() => {});
    }
  }

  async #keep(path: string, { issue, work, signal }: KeepOptions): Promise<KeptCopy> {
    const { dir, clock, maxBytes } = this.#deps;
    if (maxBytes() === 0) throw new Error("workspace.keep_max is 0");
    await mkdir(dir, { recursive: true, mode: 0o700 });
    this.#tidied ??= this.#tidy();
    await this.#tidied;
    const into = join(dir, `${making}${randomUUID()}`);
    await mkdir(into, { mode: 0o700 });
    try {
      const made = await this.#write(path, into, signal);
      const file = join(into, made.bundle === null ? archiveName : bundleName);
      await syncFile(file);
      const { size: bytes } = await lstat(file);
      if (bytes > maxBytes()) throw tooLarge(maxBytes());
      const at = clock.wall();
      const key = await this.#freeKey(basename(path), at);
      const summary = workInWords(work);
      const rest = { key, issue, workspace: path, at, summary, bytes, ...made };
      const manifest: Manifest = { version: 1, ...rest, sha256: await fileDigest(file) };
      await writeSynced(join(into, manifestName), `${JSON.stringify(manifest)}\n`);
      await syncDirectory(into);
      await rename(into, join(dir, key));
      await syncDirectory(dir);
      return copyOf(manifest, dir);
    } catch (error) {
      throw error instanceof TooLarge ? tooLarge(maxBytes()) : error;
    } finally {
      await deleteTree(into);
    }
  }

  /** Writes the copy and reads it back. */
  async #write(
    path: string,
    into: string,
    signal?: AbortSignal,
  ): Promise<Pick<Manifest, "bundle" | "tree">> {
    const maxBytes = await this.#room();
    const options = { into, maxBytes, ...(signal && { signal }) };
    const found = await findingsIn(path, signal);
    const restored = join(into, "restored");
    if (await fitsBundle(found)) {
      try {
        const { facts, names, digest } = await writeBundle(path, found, options);
        await restoreBundle(into, facts, restored, signal);
        const { sha256 } = await digestOf(restored, { names });
        if (sha256 !== digest.sha256) throw new Error("the restored files are not the same");
        await deleteTree(restored);
        return { bundle: facts, tree: sha256 };
      } catch (error) {
        if (error instanceof TooLarge || signal?.aborted) throw error;
        // An archive of everything holds what git cannot.
        await deleteTree(restored);
        await deleteTree(join(into, bundleName));
      }
    }
    if (found.repository?.linked) {
      throw new Error("its commits are in another repository, and no bundle can be made of them");
    }
    const { mirror = null, submodules = [] } = (await this.#deps.lentTo?.(path)) ?? {};
    const lent = { mirror, submodules, lfs: found.lfs };
    const isSame = await writeArchive(path, { ...options, ...lent });
    await restoreArchive(into, restored, signal);
    if (!(await isSame(restored))) throw new Error("the restored files are not the same");
    const { sha256 } = await digestOf(restored, signal && { signal });
    for (const name of [restored, join(into, "borrowed")]) await deleteTree(name);
    return { bundle: null, tree: sha256 };
  }

  /** The largest copy: reading it back needs its size once more. */
  async #room(): Promise<number> {
    const disk = await statfs(this.#deps.dir);
    const free = (disk.bavail * disk.bsize - spareBytes) / 2;
    if (free <= 0) throw new Error(`the disk of ${this.#deps.dir} is full`);
    return Math.min(this.#deps.maxBytes(), free);
  }

  async #freeKey(workspace: string, at: number): Promise<string> {
    const time = new Date(at).toISOString().replaceAll(/[-:]|\.\d+/g, "");
    for (let number = 1; number <= maxSuffix; number++) {
      const suffix = number === 1 ? "" : `-${number}`;
      const key = `${workspace.slice(0, 170)}-${time}${suffix}`;
      if ((await lstat(join(this.#deps.dir, key)).catch(() => null)) === null) return key;
    }
    throw new Error("too many copies were made in this second");
  }

  async #read(key: string): Promise<{ copy: KeptCopy; manifest: Manifest } | null> {
    try {
      const text = await readFile(join(this.#deps.dir, key, manifestName), "utf8");
      const manifest = Manifest.parse(JSON.parse(text));
      return manifest.key === key ? { manifest, copy: copyOf(manifest, this.#deps.dir) } : null;
    } catch {
      return null;
    }
  }
}

type Manifest = z.output<typeof Manifest>;

function copyOf({ bundle, ...manifest }: Manifest, dir: string): KeptCopy {
  const { key, issue, workspace, at, summary, bytes } = manifest;
  const form = bundle === null ? "archive" : "bundle";
  const path = join(dir, key);
  return { key, path, issue, workspace, at, summary, form, base: bundle?.base ?? null, bytes };
}

function fileOf({ bundle }: Manifest): string {
  return bundle === null ? archiveName : bundleName;
}

function unpack(from: string, { bundle }: Manifest, to: string, signal?: AbortSignal) {
  return bundle === null
    ? restoreArchive(from, to, signal)
    : restoreBundle(from, bundle, to, signal);
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

function tooLarge(maxBytes: number): Error {
  return new Error(`a copy would be larger than workspace.keep_max (${maxBytes} bytes)`);
}
