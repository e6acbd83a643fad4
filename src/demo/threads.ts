import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface Tokens {
  input: number;
  cachedInput: number;
  output: number;
  reasoningOutput: number;
}

export interface Thread {
  readonly id: string;
  model: string;
  readonly turns: { readonly id: string; status: string }[];
  readonly tokens: Tokens;
}

/** How often an issue was worked on, over all processes. */
export interface Counts {
  attempts: number;
  turns: number;
}

/**
 * What outlives the process: threads to resume and the counts of each issue, as files in `dir`; with null,
 * nothing does. A thread is on disk from its first turn on and has one writer at a time, as with codex.
 */
export class Threads {
  readonly #dir: string | null;
  readonly #held = new Set<string>();
  readonly #unsaved = new Map<string, Counts>();

  constructor(dir: string | null) {
    this.#dir = dir;
    if (dir !== null) mkdirSync(dir, { recursive: true });
  }

  create(model: string): Thread {
    const tokens = { input: 0, cachedInput: 0, output: 0, reasoningOutput: 0 };
    return { id: randomUUID(), model, turns: [], tokens };
  }

  /** Throws an Error with codex's words when there is no such thread or another process holds it. */
  resume(id: string): Thread {
    const thread = this.#read<Thread>(threadFile(id));
    if (!thread) throw new Error(`no rollout found for thread id ${id}`);
    const holder = this.#read<{ pid: number }>(lockFile(id))?.pid;
    if (holder !== undefined && holder !== process.pid && isAlive(holder))
      throw new Error(`thread ${id} already has an active writer`);
    this.#hold(id);
    for (const turn of thread.turns) {
      if (turn.status === "inProgress") turn.status = "interrupted";
    }
    return thread;
  }

  save(thread: Thread): void {
    if (!this.#held.has(thread.id)) this.#hold(thread.id);
    this.#write(threadFile(thread.id), thread);
  }

  /** Gives up every thread, as the end of the process would. */
  release(): void {
    if (this.#dir === null) return;
    for (const id of this.#held) rmSync(join(this.#dir, lockFile(id)), { force: true });
  }

  /** Adds to the counts of an issue and tells the new ones. */
  count(identifier: string, added: Partial<Counts>): Counts {
    const file = `issue-${encodeURIComponent(identifier)}.json`;
    const old = this.#read<Counts>(file) ?? this.#unsaved.get(file) ?? { attempts: 0, turns: 0 };
    const counts = {
      attempts: old.attempts + (added.attempts ?? 0),
      turns: old.turns + (added.turns ?? 0),
    };
    this.#unsaved.set(file, counts);
    this.#write(file, counts);
    return counts;
  }

  #hold(id: string): void {
    this.#held.add(id);
    this.#write(lockFile(id), { pid: process.pid });
  }

  #read<Value>(name: string): Value | null {
    if (this.#dir === null) return null;
    try {
      return JSON.parse(readFileSync(join(this.#dir, name), "utf8"));
    } catch {
      return null;
    }
  }

  #write(name: string, value: unknown): void {
    if (this.#dir === null) return;
    const file = join(this.#dir, name);
    // Renamed into place: a kill in mid-write must not cost the thread.
    writeFileSync(`${file}.${process.pid}`, JSON.stringify(value));
    renameSync(`${file}.${process.pid}`, file);
  }
}

function threadFile(id: string): string {
  return `thread-${encodeURIComponent(id)}.json`;
}

function lockFile(id: string): string {
  return `thread-${encodeURIComponent(id)}.lock`;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
