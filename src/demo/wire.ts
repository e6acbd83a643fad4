import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A message of the app-server protocol, in either direction. */
export interface Message {
  readonly id?: number | string;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly code: number; readonly message: string };
}

/** The agent's side of the protocol: JSON lines on stdout, and the replies to its requests. */
export class Wire {
  readonly #waiting = new Map<number | string, (reply: Message) => void>();
  /** Request ids start at 0, as in the real program: a valid id that is falsy. */
  #nextId = 0;

  send(message: Message | Readonly<Record<string, unknown>>): void {
    this.raw(`${JSON.stringify(message)}\n`);
  }

  notify(method: string, params: Readonly<Record<string, unknown>>): void {
    this.send({ method, params, emittedAtMs: Date.now() });
  }

  raw(bytes: string | Buffer): void {
    process.stdout.write(bytes);
  }

  /** Sends a request to the client; rejects when `signal` is aborted, after which a reply is ignored. */
  async request(
    method: string,
    params: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<Message> {
    signal.throwIfAborted();
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<Message>();
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    this.#waiting.set(id, resolve);
    this.send({ method, id, params });
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", abort);
      this.#waiting.delete(id);
    }
  }

  /** Takes a reply of the client; a reply to no open request is ignored. */
  answered(reply: Message): void {
    if (reply.id !== undefined) this.#waiting.get(reply.id)?.(reply);
  }
}

/** Calls `onLine` for every line of stdin; only byte 10 ends one. */
export function readLines(onLine: (line: string) => void, onEnd: () => void): void {
  let rest = "";
  process.stdin.setEncoding("utf8");
  process.stdin.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  });
  process.stdin.on("end", onEnd);
}

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
 * What outlives the process: threads to resume and the counts of each issue, as files in `dir`; nothing when `dir` is
 * null. A thread is on disk from its first turn on and has one writer at a time, as with codex.
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

  /** Throws an Error with codex's text when there is no such thread or another process holds it. */
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

  /** Releases every thread, as the end of the process does. */
  release(): void {
    if (this.#dir === null) return;
    for (const id of this.#held) rmSync(join(this.#dir, lockFile(id)), { force: true });
  }

  /** Adds to the counts of an issue and returns the new ones. */
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

/** One that was killed and is not waited for yet holds nothing any more. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return !existsSync("/proc/self/stat");
  }
}
