import { randomUUID } from "node:crypto";
import {
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
} from "node:fs/promises";
import { join } from "node:path";
import { noTokens, type Tokens } from "../../model/attempt.ts";
import { isObject, listOf, objectOf } from "../json-value.ts";
import { tokensIn } from "./compaction.ts";
import { type Item, readItem, withAnswers } from "./items.ts";

const idForm = /^thr_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const maxFileBytes = 64 * 1024 * 1024;

/**
 * One conversation, kept line by line in a private file, so that it goes on after a crash. What was added
 * is in the file when `add` resolves.
 */
export class Thread {
  readonly id: string;
  #items: readonly Item[];
  #totals: Tokens;
  readonly #path: string;
  #file: FileHandle | null = null;
  /** As the provider counted them last, and how many items that were. */
  #counted = { tokens: 0, items: 0 };

  private constructor(path: string, id: string, kept: { items: readonly Item[]; totals: Tokens }) {
    this.#path = path;
    this.id = id;
    this.#items = kept.items;
    this.#totals = kept.totals;
  }

  static async create(dir: string): Promise<Thread> {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const id = `thr_${randomUUID()}`;
    const thread = new Thread(join(dir, `${id}.jsonl`), id, { items: [], totals: noTokens });
    await thread.#rewrite();
    return thread;
  }

  /** null for a thread that is not kept here, or not in a form that can be read. */
  static async open(dir: string, id: string): Promise<Thread | null> {
    if (!idForm.test(id)) return null;
    const path = join(dir, `${id}.jsonl`);
    const text = await readFile(path, "utf8").catch(() => null);
    const kept = text === null || text.length > maxFileBytes ? null : read(text);
    if (!kept) return null;
    const thread = new Thread(path, id, { ...kept, items: withAnswers(kept.items) });
    // Mends a torn end, and keeps the answers that were made up.
    await thread.#rewrite();
    return thread;
  }

  get items(): readonly Item[] {
    return this.#items;
  }

  /** Absolute, over all that was ever asked on this thread. */
  get totals(): Tokens {
    return this.#totals;
  }

  /** What it takes of the model's context, in tokens: as counted, and a rough number for what came since. */
  get size(): number {
    return this.#counted.tokens + tokensIn(this.#items.slice(this.#counted.items));
  }

  /** The whole of it takes so much, says the provider. */
  counted(tokens: number): void {
    this.#counted = { tokens, items: this.#items.length };
  }

  async add(items: readonly Item[], used: Tokens | null = null): Promise<void> {
    this.#items = [...this.#items, ...items];
    if (used) this.#totals = sum(this.#totals, used);
    await this.#file?.appendFile(line({ items, totals: this.#totals }));
  }

  /** A shorter conversation in the place of the whole. */
  async replace(items: readonly Item[], used: Tokens | null): Promise<void> {
    this.#items = items;
    this.#counted = { tokens: 0, items: 0 };
    if (used) this.#totals = sum(this.#totals, used);
    await this.#rewrite();
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = null;
    await file?.close();
  }

  async #rewrite(): Promise<void> {
    await this.close();
    const draft = `${this.#path}.new`;
    await rm(draft, { force: true });
    const file = await open(draft, "wx", 0o600);
    await file.appendFile(line({ items: this.#items, totals: this.#totals }));
    await file.sync();
    await rename(draft, this.#path);
    this.#file = file;
  }
}

/** Removes threads that nothing was added to since `wall`: nobody goes on with them. */
export async function forgetThreads(dir: string, wall: number): Promise<void> {
  const names = await readdir(dir).catch(() => []);
  for (const name of names.filter((one) => one.startsWith("thr_"))) {
    const stats = await stat(join(dir, name)).catch(() => null);
    if (stats && stats.mtimeMs < wall) await rm(join(dir, name), { force: true });
  }
}

function line(value: { items: readonly Item[]; totals: Tokens }): string {
  return `${JSON.stringify(value)}\n`;
}

/** A last line that a crash tore is left out; anything else that cannot be read makes it null. */
function read(text: string): { items: readonly Item[]; totals: Tokens } | null {
  const items: Item[] = [];
  let totals: Tokens = noTokens;
  const lines = text.split("\n").slice(0, -1);
  for (const written of lines) {
    const value = parsed(written);
    if (value === null) return null;
    for (const item of listOf(value["items"])) {
      const known = readItem(item);
      if (known) items.push(known);
    }
    totals = totalsOf(value["totals"]);
  }
  return lines.length === 0 ? null : { items, totals };
}

function parsed(written: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(written);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function totalsOf(value: unknown): Tokens {
  const counts = objectOf(value);
  const count = (name: string) => {
    const found = counts[name];
    return typeof found === "number" && Number.isSafeInteger(found) && found >= 0 ? found : 0;
  };
  return {
    input: count("input"),
    cachedInput: count("cachedInput"),
    output: count("output"),
    reasoningOutput: count("reasoningOutput"),
    total: count("total"),
  };
}

function sum(a: Tokens, b: Tokens): Tokens {
  return {
    input: a.input + b.input,
    cachedInput: a.cachedInput + b.cachedInput,
    output: a.output + b.output,
    reasoningOutput: a.reasoningOutput + b.reasoningOutput,
    total: a.total + b.total,
  };
}
