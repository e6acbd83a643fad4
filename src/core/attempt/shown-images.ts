import { join } from "node:path";
import { z } from "zod";
import { recalled, remember } from "../agent/memory.ts";

const maxThreads = 1_000;

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
    if (this.#known === null) {
      const pairs = this.#file === null ? null : recalled(this.#file, Pairs);
      this.#known = new Map(pairs?.map(([id, all]) => [id, new Set(all)]));
    }
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
    const pairs = [...threads].map(([id, known]) => [id, [...known]]);
    remember(this.#file, pairs);
  }
}
