import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

const maxThreads = 1_000;
/** As for other documents of the data directory; a larger one is of another program. */
const maxBytes = 4 * 1024 * 1024;

const Pairs = z.array(z.tuple([z.string(), z.array(z.string())]));

/** The images of one thread, by their addresses. */
export interface ShownToThread {
  readonly addresses: ReadonlySet<string>;
  add(addresses: readonly string[]): void;
  /** The thread has none: it is new, or it keeps none. */
  clear(): void;
}

/**
 * Which images each thread was given, so that it gets none twice; kept in the data directory (`images.json`), because threads
 * outlive a server. Only a memory: where it cannot be read or written, a thread gets its images again. Never throws.
 */
export class ShownImages {
  readonly #file: string | null;
  #known: Map<string, ReadonlySet<string>> | null = null;

  /** `dir` null: only in memory. */
  constructor(dir: string | null) {
    this.#file = dir === null ? null : join(dir, "images.json");
  }

  of(threadId: string): ShownToThread {
    const addresses = () => this.#threads.get(threadId) ?? new Set<string>();
    return {
      get addresses() {
        return addresses();
      },
      add: (more) => {
        const known = addresses();
        const all = new Set([...known, ...more]);
        if (all.size > known.size) this.#put(threadId, all);
      },
      clear: () => {
        if (addresses().size > 0) this.#put(threadId, null);
      },
    };
  }

  get #threads(): Map<string, ReadonlySet<string>> {
    this.#known ??= new Map(this.#file === null ? [] : read(this.#file));
    return this.#known;
  }

  /** The newest stand last; the oldest are forgotten. */
  #put(threadId: string, addresses: ReadonlySet<string> | null): void {
    const threads = this.#threads;
    threads.delete(threadId);
    if (addresses !== null) threads.set(threadId, addresses);
    for (const oldest of threads.keys()) {
      if (threads.size <= maxThreads) break;
      threads.delete(oldest);
    }
    if (this.#file === null) return;
    try {
      const draft = `${this.#file}.new`;
      const pairs = [...threads].map(([id, known]) => [id, [...known]]);
      writeFileSync(draft, JSON.stringify(pairs), { mode: 0o600 });
      renameSync(draft, this.#file);
    } catch {
      // An older one would say that a thread has what it has not.
      rmSync(this.#file, { force: true });
    }
  }
}

function read(file: string): readonly (readonly [string, ReadonlySet<string>])[] {
  try {
    const text = readFileSync(file, "utf8");
    if (text.length > maxBytes) return [];
    return Pairs.parse(JSON.parse(text)).map(([id, all]) => [id, new Set(all)] as const);
  } catch {
    return [];
  }
}
