import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { Low } from "lowdb";
import { durableJson, removeLeftovers } from "./durable-json.ts";
import { IssueRecordPairs } from "./issue-record-schema.ts";
import type { IssueRecord, IssueRecords } from "./store.ts";

const formatVersion = 1;

type Pairs = readonly (readonly [string, IssueRecord])[];

/** Records whose opener waits for the last write before it leaves. */
interface OpenIssueRecords extends IssueRecords {
  /** Resolves when no write is under way or waiting. */
  settled(): Promise<void>;
}

/**
 * Loads `issue-records.json` in `dir`; the caller holds the data directory's lock. Rejects with `storage_corrupt`
 * rather than starting empty over a file that cannot be understood.
 */
export async function openIssueRecords(dir: string): Promise<OpenIssueRecords> {
  await removeLeftovers(fileIn(dir));
  return new WriteThrough(await load(dir));
}

/** The records as last written, for who does not hold the lock. Rejects like `openIssueRecords`; touches nothing. */
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

  /** Never rejects: every failure goes to those who wait for that write. */
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
