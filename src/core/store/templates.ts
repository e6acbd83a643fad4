import { join } from "node:path";
import { Low } from "lowdb";
import { z } from "zod";
import { durableJson, OneByOne, removeLeftovers } from "./durable.ts";

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
  await removeLeftovers(fileIn(dir));
  const document = await load(dir);
  const templates = new OneByOne(document);
  return {
    all: () => templates.current,
    change: (change) => templates.change(change),
    settled: () => templates.settled(),
  };
}

/** As last written, for callers without the lock. Rejects like `openTemplates`; changes nothing. */
export async function readTemplates(dir: string): Promise<readonly StoredTemplate[]> {
  return (await load(dir)).data;
}

async function load(dir: string): Promise<Low<Templates>> {
  const adapter = durableJson<Templates>(fileIn(dir), formatVersion, z.array(Template));
  const document = new Low<Templates>(adapter, []);
  await document.read();
  return document;
}

function fileIn(dir: string): string {
  return join(dir, "templates.json");
}
