import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { Low } from "lowdb";
import { z } from "zod";
import { withholders } from "../model/issue.ts";
import { heldStepIn } from "../model/next-step.ts";
import { durableJson, removeLeftovers } from "./durable.ts";
import type { IssueRecord, IssueRecords } from "./store.ts";

const formatVersion = 2;

type Pairs = readonly (readonly [string, IssueRecord])[];

/** Records whose opener waits for the last write before it exits. */
interface OpenIssueRecords extends IssueRecords {
  /** Resolves when no write is running or waiting. */
  settled(): Promise<void>;
}

/**
 * Loads `issue-records.json` in `dir`; the caller holds the data directory's lock. Rejects with `storage_corrupt`
 * instead of starting empty over a file that cannot be parsed.
 */
export async function openIssueRecords(dir: string): Promise<OpenIssueRecords> {
  await removeLeftovers(fileIn(dir));
  return new WriteThrough(await load(dir));
}

/** The records as last written, for callers without the lock. Rejects like `openIssueRecords`; changes nothing. */
export async function readIssueRecords(dir: string): Promise<ReadonlyMap<string, IssueRecord>> {
  return new Map((await load(dir)).data);
}

async function load(dir: string): Promise<Low<Pairs>> {
  const document = new Low<Pairs>(durableJson(fileIn(dir), formatVersion, IssueRecordPairs), []);
  await document.read();
  return document;
}

function fileIn(dir: string): string {
  return join(dir, "issue-records.json");
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

class WriteThrough implements OpenIssueRecords {
  readonly #document: Low<Pairs>;
  #current: ReadonlyMap<string, IssueRecord>;
  #changes = new Map<string, IssueRecord | null>();
  #writtenNow: ReadonlyMap<string, IssueRecord | null> = new Map();
  #waiters: Waiter[] = [];
  #writing: Promise<void> | null = null;

  constructor(document: Low<Pairs>) {
    this.#document = document;
    this.#current = new Map(document.data);
  }

  all(): ReadonlyMap<string, IssueRecord> {
    return this.#current;
  }

  put(issueId: string, record: IssueRecord | null): Promise<void> {
    if (this.#isOnDisk(issueId, record)) return Promise.resolve();
    this.#changes.set(issueId, record);
    const done = new Promise<void>((resolve, reject) => this.#waiters.push({ resolve, reject }));
    this.#writing ??= this.#writeAll();
    return done;
  }

  async settled(): Promise<void> {
    await this.#writing;
  }

  #isOnDisk(issueId: string, record: IssueRecord | null): boolean {
    if (this.#changes.has(issueId) || this.#writtenNow.has(issueId)) return false;
    return isDeepStrictEqual(this.#current.get(issueId) ?? null, record);
  }

  /** Never rejects: a failure is reported to the callers that wait for that write. */
  async #writeAll(): Promise<void> {
    while (this.#waiters.length > 0) await this.#writeOnce();
    this.#writing = null;
  }

  async #writeOnce(): Promise<void> {
    const waiters = this.#waiters;
    const next = withChanges(this.#current, this.#changes);
    this.#waiters = [];
    this.#writtenNow = this.#changes;
    this.#changes = new Map();
    try {
      this.#document.data = [...next];
      await this.#document.write();
      this.#current = next;
      for (const waiter of waiters) waiter.resolve();
    } catch (error) {
      for (const waiter of waiters) waiter.reject(error);
    } finally {
      this.#writtenNow = new Map();
    }
  }
}

function withChanges(
  current: ReadonlyMap<string, IssueRecord>,
  changes: ReadonlyMap<string, IssueRecord | null>,
): ReadonlyMap<string, IssueRecord> {
  const next = new Map(current);
  for (const [issueId, record] of changes) {
    if (record === null) next.delete(issueId);
    else next.set(issueId, record);
  }
  return next;
}

const time = z.number();

const LinkSchema = z.strictObject({
  id: z.string().nullable(),
  identifier: z.string().nullable(),
  // Older records know neither.
  title: z.string().nullable().default(null),
  state: z.string().nullable(),
  url: z.string().nullable().default(null),
});

/** Strict, so that a field of a later release is refused, not dropped at the next write. */
export const IssueSchema = z.strictObject({
  id: z.string().min(1),
  nativeRef: z.record(z.string(), z.unknown()).nullable(),
  identifier: z.string().min(1),
  title: z.string(),
  description: z.string().nullable(),
  priority: z.number().int().nullable(),
  state: z.string(),
  // Older records do not have these relations.
  stateType: z.string().nullable().default(null),
  branchName: z.string().nullable(),
  url: z.string().nullable(),
  assigneeId: z.string().nullable(),
  assignee: z
    .strictObject({ id: z.string(), name: z.string().nullable() })
    .nullable()
    .default(null),
  team: z
    .strictObject({ id: z.string(), key: z.string().nullable(), name: z.string().nullable() })
    .nullable()
    .default(null),
  project: z
    .strictObject({ id: z.string(), slug: z.string().nullable(), name: z.string().nullable() })
    .nullable()
    .default(null),
  parent: LinkSchema.nullable().default(null),
  subIssues: z.array(LinkSchema).default([]),
  labels: z.array(z.string()),
  blockedBy: z.array(LinkSchema),
  dispatchable: z.boolean(),
  withheld: z.string().nullable().default(null),
  withheldBy: z.enum(withholders).nullable().default(null),
  createdAt: time.nullable(),
  updatedAt: time.nullable(),
});

const wait = z.discriminatedUnion("gate", [
  z.strictObject({ gate: z.enum(["paused", "active_hours", "host", "day_budget"]) }),
  z.strictObject({
    gate: z.literal("provider"),
    agent: z.string().min(1),
    isOpen: z.literal(true).exactOptional(),
  }),
  z.strictObject({ gate: z.literal("agent"), agent: z.string().min(1) }),
  z.strictObject({ gate: z.literal("conflicts") }),
]);

/** Strict, so that a field of a later release is refused, not dropped at the next write. */
const IssueRecordSchema = z.strictObject({
  issue: IssueSchema,
  held: z
    .strictObject({
      reason: z.string(),
      since: time,
      attached: z
        .strictObject({ path: z.string(), head: z.string().nullable(), dirty: z.boolean() })
        .optional(),
      templateId: z.string().optional(),
      next: z.enum(["deliver", "complete", "look"]).optional(),
    })
    .transform((held) => {
      const next = held.next ?? heldStepIn(held.reason);
      return next === null ? held : { ...held, next };
    })
    .nullable(),
  failed: z
    .strictObject({ reason: z.string(), error: z.string().nullable(), since: time })
    .nullable(),
  retry: z
    .strictObject({
      attempt: z.number().int(),
      failures: z.number().int(),
      dueAt: time,
      error: z.string().nullable(),
      waits: wait.nullable().default(null),
      stays: z.string().min(1).exactOptional(),
      losses: z.array(z.string()).exactOptional(),
    })
    .nullable(),
  dismissed: z.strictObject({ state: z.string(), since: time }).nullable(),
  model: z.string().nullable(),
  // Records from before templates existed have no such key.
  templateId: z.string().nullable().default(null),
  // Older records do not have this key.
  effort: z.string().nullable().default(null),
  agent: z.string().nullable().default(null),
  allowanceAfter: z.string().nullable().default(null),
  worker: z.string().nullable().default(null),
  // Version 1 did not know work that was offered.
  review: z
    .strictObject({ since: time, workspacePath: z.string().nullable() })
    .nullable()
    .default(null),
  offer: z
    .strictObject({
      attemptId: z.string(),
      head: z.string().nullable(),
      revision: z.string(),
      restsIn: z.array(z.string()),
      rounds: z.number().int(),
      waits: z.union([z.boolean(), z.literal("branch")]).exactOptional(),
      exhausted: z.boolean().exactOptional(),
    })
    .nullable()
    .default(null),
}) satisfies z.ZodType<IssueRecord>;

/** Pairs, not an object: an issue id may be any text, including `__proto__`. */
export const IssueRecordPairs: z.ZodType<readonly (readonly [string, IssueRecord])[]> = z.array(
  z.tuple([z.string().min(1), IssueRecordSchema]),
);
