import { join } from "node:path";
import { Low } from "lowdb";
import { z } from "zod";
import type { AgentPause, DispatchPause } from "../model/gates.ts";
import { durableJson, OneByOne, removeLeftovers } from "./durable.ts";

const formatVersion = 1;

const Pause = z.strictObject({
  reason: z.string().nullable(),
  by: z.string(),
  sinceWall: z.number(),
}) satisfies z.ZodType<DispatchPause>;

const AgentPauses = z
  .array(
    z.strictObject({
      agent: z.string(),
      untilWall: z.number(),
      reason: z.string(),
      isStart: z.boolean().optional(),
      isNamed: z.boolean(),
      hits: z.number(),
      active: z.boolean(),
    }),
  )
  .readonly() satisfies z.ZodType<readonly AgentPause[]>;

/** One value in a file of its own: read once at start, written through. */
interface StoredValue<T> {
  /** As it is on disk. */
  current(): T;
  /** On disk (fsynced) when it resolves. Rejects with `storage_unavailable`, and then nothing has changed. */
  put(value: T): Promise<void>;
}

/** Whether an operator paused dispatch; null: not paused. */
export type StoredPause = StoredValue<DispatchPause | null>;

/** The pauses of agents after refusals of their providers. */
export type StoredAgentPauses = StoredValue<readonly AgentPause[]>;

/** A value whose opener waits for the last write before it exits. */
interface Opened<T> extends StoredValue<T> {
  /** Resolves when no write is running or waiting. */
  settled(): Promise<void>;
}

interface Kind<T> {
  readonly name: string;
  readonly schema: z.ZodType<T>;
  readonly empty: T;
}

const dispatch: Kind<DispatchPause | null> = {
  name: "pause.json",
  schema: Pause.nullable(),
  empty: null,
};
const agents: Kind<readonly AgentPause[]> = {
  name: "agent-pauses.json",
  schema: AgentPauses,
  empty: [],
};

/** Loads `pause.json` in `dir`; the caller holds the data directory's lock. Rejects with `storage_corrupt`. */
export const openPause = (dir: string) => open(dir, dispatch);

/** The pause as last written, for callers without the lock; changes nothing. Rejects like `openPause`. */
export const readPause = async (dir: string) => (await load(dir, dispatch)).data;

/** Loads `agent-pauses.json`, as `openPause` does. */
export const openAgentPauses = (dir: string) => open(dir, agents);

/** As `readPause`, of agents. */
export const readAgentPauses = async (dir: string) => (await load(dir, agents)).data;

async function open<T>(dir: string, kind: Kind<T>): Promise<Opened<T>> {
  await removeLeftovers(join(dir, kind.name));
  const document = new OneByOne(await load(dir, kind));
  return {
    current: () => document.current,
    async put(value) {
      await document.change(() => value);
    },
    settled: () => document.settled(),
  };
}

async function load<T>(dir: string, { name, schema, empty }: Kind<T>): Promise<Low<T>> {
  const document = new Low<T>(durableJson(join(dir, name), formatVersion, schema), empty);
  await document.read();
  return document;
}
