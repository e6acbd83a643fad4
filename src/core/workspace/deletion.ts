import type { Dirent, Stats } from "node:fs";
import { chmod, lstat, readdir, rmdir, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { messageOf, systemCodeOf } from "../model/errors.ts";
import { fileAt, plainName } from "../text/text.ts";

// Deletes trees that build tools write-protected, and says what it cannot delete.

const atOnce = 16;
const maxDepth = 4_000;
/** Other processes may still write into a directory that is being deleted. */
const rounds = 3;
const ownerMayAll = 0o700;

/**
 * Deletes a directory with its content, or a file. Links are removed, never followed. Directories
 * that their owner may not write to (the caches of some build tools) are made writable first. `.git`
 * at the top is deleted last, so that what could not be deleted can still be examined. Nothing there
 * is no error. After a failure the rest is still deleted; rejects with the first path that could not
 * be deleted, and the cause.
 */
export async function deleteTree(path: string): Promise<void> {
  const deletion = new Deletion(path);
  await deletion.run();
  if (deletion.failure !== null) throw deletion.failure;
}

class Deletion {
  failure: Error | null = null;
  readonly #top: string;

  constructor(top: string) {
    this.#top = top;
  }

  async run(): Promise<void> {
    const found = await lstat(this.#top).catch((error: unknown) => {
      if (systemCodeOf(error) === "ENOENT") return null;
      throw error;
    });
    if (found === null) return;
    if (found.isDirectory()) await this.#directory("", 0);
    else await this.#file("");
  }

  async #directory(name: string, depth: number): Promise<void> {
    if (depth > maxDepth) return this.#failed(name, new Error("it is nested too deeply"));
    const path = fileAt(this.#top, name);
    await this.#attempt(name, () => unprotect(path));
    for (let round = 1; ; round++) {
      await this.#content(name, depth);
      const error = await rmdir(path).then(() => null, unlessMissing);
      if (error === null) return;
      // Something in it could not be deleted, which is the failure to report.
      if (this.failure !== null) return;
      if (systemCodeOf(error) !== "ENOTEMPTY" || round >= rounds) return this.#failed(name, error);
    }
  }

  async #content(name: string, depth: number): Promise<void> {
    const how = { withFileTypes: true, encoding: "latin1" } as const;
    let entries: Dirent[] = [];
    await this.#attempt(name, async () => {
      entries = await readdir(fileAt(this.#top, name), how);
    });
    const below = (entry: Dirent) => (name === "" ? entry.name : `${name}/${entry.name}`);
    const isLast = (entry: Dirent) => name === "" && entry.name === ".git";
    const files = entries.filter((entry) => !entry.isDirectory() && !isLast(entry));
    for (let at = 0; at < files.length; at += atOnce) {
      const batch = files.slice(at, at + atOnce);
      await Promise.all(batch.map((entry) => this.#file(below(entry))));
    }
    for (const entry of entries) {
      if (entry.isDirectory() && !isLast(entry)) await this.#directory(below(entry), depth + 1);
    }
    const last = entries.find(isLast);
    if (last === undefined || this.failure !== null) return;
    if (last.isDirectory()) await this.#directory(".git", depth + 1);
    else await this.#file(".git");
  }

  #file(name: string): Promise<void> {
    return this.#attempt(name, () => unlink(fileAt(this.#top, name)));
  }

  async #attempt(name: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (systemCodeOf(error) !== "ENOENT") await this.#failed(name, error);
    }
  }

  async #failed(name: string, cause: unknown): Promise<void> {
    if (this.failure !== null) return;
    // Reserved at once: files are deleted in parallel.
    this.failure = new Error(messageOf(cause), { cause });
    const owner = await this.#strangerAt(name);
    const why = owner === null ? messageOf(cause) : `it belongs to another user (uid ${owner})`;
    this.failure = new Error(`${plainName(name) || "."}: ${why}`, { cause });
  }

  /** The owner, if it is another user, of the entry or of the directory that it is in. */
  async #strangerAt(name: string): Promise<number | null> {
    const self = process.getuid?.() ?? 0;
    const above = name.includes("/") ? name.slice(0, name.lastIndexOf("/")) : "";
    const places = [fileAt(this.#top, above), fileAt(this.#top, name)];
    if (name === "") places[0] = Buffer.from(dirname(this.#top));
    for (const place of places) {
      const found: Stats | null = await lstat(place).catch(() => null);
      if (found !== null && found.uid !== self && self !== 0) return found.uid;
    }
    return null;
  }
}

/** Only the owner may do this; a directory of another user fails later, with a clear cause. */
async function unprotect(path: Buffer): Promise<void> {
  const { mode, uid } = await lstat(path);
  if ((mode & ownerMayAll) === ownerMayAll || uid !== process.getuid?.()) return;
  await chmod(path, (mode & 0o7777) | ownerMayAll);
}

function unlessMissing(error: unknown): unknown {
  return systemCodeOf(error) === "ENOENT" ? null : error;
}
