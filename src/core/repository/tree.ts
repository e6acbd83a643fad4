import type { Dirent } from "node:fs";
import { opendir } from "node:fs/promises";
import { messageOf, systemCodeOf } from "../model/errors.ts";
import { fileAt, plainName } from "../text/text.ts";

/**
 * The checks that a walk needs. Names are raw, relative to the top, without a slash at either end.
 */
export interface WalkQuestions {
  /** True for a tracked file, which is skipped. */
  isTracked(file: string): boolean;
  /**
   * Returns the ignored ones of these names; a directory's name ends in `/`. Names below an ignored
   * directory are not passed in.
   */
  ignored(names: readonly string[]): Promise<ReadonlySet<string>>;
  /** Whether to search ignored directories for repositories too, even if they are large. */
  readonly intoIgnored: boolean;
  readonly signal?: AbortSignal;
}

export interface Walked {
  /** Files and links that are neither tracked nor ignored. */
  readonly files: readonly string[];
  /** Directories that are repositories themselves; their content is not read. */
  readonly repositories: readonly string[];
  /** Directories that could not be read, and why. */
  readonly unreadable: readonly string[];
}

const maxEntries = 1_500_000;
const maxFiles = 200_000;
const maxDepth = 200;
/** Limit for directories read at the same time: other code uses the thread pool too. */
const atOnce = 8;

interface Dir {
  readonly name: string;
  readonly isIgnored: boolean;
}

/**
 * Walks the tree at `top`, level by level; links are not followed. Rejects when the tree exceeds a
 * limit, and when `signal` ends the walk.
 */
export async function walkTree(top: string, questions: WalkQuestions): Promise<Walked> {
  const walk = new Walk(top, questions);
  let level: readonly Dir[] = [{ name: "", isIgnored: false }];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > maxDepth) throw new Error(`it is more than ${maxDepth} directories deep`);
    level = await walk.descend(level);
  }
  return walk;
}

class Walk implements Walked {
  readonly files: string[] = [];
  readonly repositories: string[] = [];
  readonly unreadable: string[] = [];
  readonly #top: string;
  readonly #questions: WalkQuestions;
  #left = maxEntries;

  constructor(top: string, questions: WalkQuestions) {
    this.#top = top;
    this.#questions = questions;
  }

  /** Reads these directories; resolves with their subdirectories. */
  async descend(level: readonly Dir[]): Promise<Dir[]> {
    const open: {
      readonly name: string;
      readonly below: boolean;
      readonly isDirectory: boolean;
    }[] = [];
    for (let at = 0; at < level.length; at += atOnce) {
      this.#questions.signal?.throwIfAborted();
      const batch = level.slice(at, at + atOnce);
      const read = await Promise.all(batch.map((dir) => this.#read(dir)));
      for (const [index, dir] of batch.entries()) {
        for (const entry of read[index] ?? []) {
          const name = dir.name === "" ? entry.name : `${dir.name}/${entry.name}`;
          const isDirectory = entry.isDirectory();
          if (isDirectory || !dir.isIgnored) open.push({ name, below: dir.isIgnored, isDirectory });
        }
      }
    }
    const { isTracked, intoIgnored } = this.#questions;
    const candidates = open.filter(
      ({ name, below, isDirectory }) => !below && (isDirectory || !isTracked(name)),
    );
    const ignored =
      candidates.length === 0
        ? new Set<string>()
        : await this.#questions.ignored(
            candidates.map(({ name, isDirectory }) => (isDirectory ? `${name}/` : name)),
          );
    for (const { name, isDirectory } of candidates) {
      if (isDirectory || ignored.has(name)) continue;
      if (this.files.length >= maxFiles) throw new Error(`it has more than ${maxFiles} new files`);
      this.files.push(name);
    }
    return open.flatMap(({ name, below, isDirectory }) => {
      const isIgnored = below || ignored.has(`${name}/`);
      return isDirectory && (intoIgnored || !isIgnored) ? [{ name, isIgnored }] : [];
    });
  }

  /** The entries of one directory; none when it is a repository, or cannot be read. */
  async #read(dir: Dir): Promise<readonly Dirent[]> {
    const entries: Dirent[] = [];
    try {
      const options = { encoding: "latin1", bufferSize: 256 } as const;
      for await (const entry of await opendir(fileAt(this.#top, dir.name), options)) {
        if (--this.#left < 0) throw new TooMany(`it has more than ${maxEntries} entries`);
        // Neither pipes nor sockets nor devices hold work.
        if (entry.isDirectory() || entry.isFile() || entry.isSymbolicLink()) entries.push(entry);
      }
    } catch (error) {
      if (error instanceof TooMany) throw error;
      const code = systemCodeOf(error);
      // It was removed in the meantime, as files of build tools often are.
      if (code !== "ENOENT")
        this.unreadable.push(`${plainName(dir.name) || "."}: ${messageOf(error)}`);
      return [];
    }
    if (dir.name === "") return entries.filter(({ name }) => name !== ".git");
    if (!this.#isRepository(dir.name, entries)) return entries;
    this.repositories.push(dir.name);
    return [];
  }

  /**
   * A checkout, or a bare repository that is not itself tracked in the repository around it (as
   * test data is).
   */
  #isRepository(dir: string, entries: readonly Dirent[]): boolean {
    const names = new Map(entries.map((entry) => [entry.name, entry]));
    if ([...names.keys()].some((name) => name.toLowerCase() === ".git")) return true;
    return (
      names.get("HEAD")?.isFile() === true &&
      names.get("objects")?.isDirectory() === true &&
      names.get("refs")?.isDirectory() === true &&
      !this.#questions.isTracked(`${dir}/HEAD`)
    );
  }
}

class TooMany extends Error {}
