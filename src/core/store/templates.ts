import { join } from "node:path";
import { Low } from "lowdb";
import { z } from "zod";
import { durableJson, removeLeftovers } from "./durable.ts";

const formatVersion = 1;

const Template = z.strictObject({
  id: z.string().min(1),
  name: z.string().min(1),
  body: z.string(),
  /** Milliseconds since the epoch. */
  createdAt: z.number(),
  updatedAt: z.number(),
});

/** A named prompt template as it is stored. */
export type StoredTemplate = Readonly<z.output<typeof Template>>;

type Templates = readonly StoredTemplate[];

/** Named prompt templates, oldest first (lowdb): read once at start, one write after the other. */
export interface StoredTemplates {
  /** As they are on disk. */
  all(): Templates;
  /**
   * Replaces the list by the result of `change`; an error of `change` changes nothing. On disk (fsynced) when it
   * resolves, with the new list. Rejects with `storage_unavailable`.
   */
  change(change: (all: Templates) => Templates): Promise<Templates>;
}

/** Templates whose opener waits for the last write before it exits. */
interface OpenTemplates extends StoredTemplates {
  /** Resolves when no write is running or waiting. */
  settled(): Promise<void>;
}

/**
 * Loads `templates.json` in `dir`; the caller holds the data directory's lock. Rejects with `storage_corrupt`
 * instead of starting empty over a file that cannot be parsed.
 */
export async function openTemplates(dir: string): Promise<OpenTemplates> {
  const file = join(dir, "templates.json");
  await removeLeftovers(file);
  const adapter = durableJson<Templates>(file, formatVersion, z.array(Template));
  const document = new Low<Templates>(adapter, []);
  await document.read();
  return new OneByOne(document);
}

class OneByOne implements OpenTemplates {
  readonly #document: Low<Templates>;
  #current: Templates;
  #last: Promise<unknown> = Promise.resolve();

  constructor(document: Low<Templates>) {
    this.#document = document;
    this.#current = document.data;
  }

  all(): Templates {
    return this.#current;
  }

  change(change: (all: Templates) => Templates): Promise<Templates> {
    const done = this.#last.then(() => this.#write(change));
    // The caller of this change gets its error; the next change starts anyway.
    this.#last = done.catch(() => undefined);
    return done;
  }

  async settled(): Promise<void> {
    await this.#last;
  }

  async #write(change: (all: Templates) => Templates): Promise<Templates> {
    const next = change(this.#current);
    this.#document.data = next;
    await this.#document.write();
    this.#current = next;
    return next;
  }
}
