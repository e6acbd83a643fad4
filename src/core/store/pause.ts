import { join } from "node:path";
import { Low } from "lowdb";
import { z } from "zod";
import type { DispatchPause } from "../model/gates.ts";
import { durableJson, OneByOne, removeLeftovers } from "./durable.ts";

const formatVersion = 1;

const Pause = z.strictObject({
  reason: z.string().nullable(),
  by: z.string(),
  sinceWall: z.number(),
}) satisfies z.ZodType<DispatchPause>;

/** Whether an operator paused dispatch: read once at start, written through. */
export interface StoredPause {
  /** As it is on disk; null: not paused. */
  current(): DispatchPause | null;
  /** On disk (fsynced) when it resolves. Rejects with `storage_unavailable`, and then nothing has changed. */
  put(pause: DispatchPause | null): Promise<void>;
}

/** A pause whose opener waits for the last write before it exits. */
interface OpenPause extends StoredPause {
  /** Resolves when no write is running or waiting. */
  settled(): Promise<void>;
}

/** Loads `pause.json` in `dir`; the caller holds the data directory's lock. Rejects with `storage_corrupt`. */
export async function openPause(dir: string): Promise<OpenPause> {
  await removeLeftovers(fileIn(dir));
  const document = new OneByOne(await load(dir));
  return {
    current: () => document.current,
    async put(pause) {
      await document.change(() => pause);
    },
    settled: () => document.settled(),
  };
}

/** The pause as last written, for callers without the lock; changes nothing. Rejects like `openPause`. */
export async function readPause(dir: string): Promise<DispatchPause | null> {
  return (await load(dir)).data;
}

async function load(dir: string): Promise<Low<DispatchPause | null>> {
  const adapter = durableJson<DispatchPause | null>(fileIn(dir), formatVersion, Pause.nullable());
  const document = new Low<DispatchPause | null>(adapter, null);
  await document.read();
  return document;
}

function fileIn(dir: string): string {
  return join(dir, "pause.json");
}
