import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Issue } from "../model/issue.ts";
import { IssueSchema } from "../store/documents.ts";
import { backupOf, writeDurably } from "../store/durable.ts";
import { parseJson } from "../text/text.ts";

/** What the next server needs to continue an attempt whose agent outlives this server. */
export interface Lease {
  readonly attemptId: string;
  readonly issue: Issue;
  readonly attempt: number | null;
  readonly threadId: string;
  /** The agent that holds the thread, as `LastingSession.host` names it. */
  readonly host: string;
  readonly headBefore: string | null;
}

const LeaseText: z.ZodType<Lease> = z.object({
  attemptId: z.string(),
  issue: IssueSchema,
  attempt: z.number().nullable(),
  threadId: z.string(),
  host: z.string(),
  headBefore: z.string().nullable(),
});

const fileName = /^(att_[0-9a-z]+)\.json$/;

/** Attempts whose agents outlive the server: one small file each, written before the first turn. */
export class Leases {
  readonly #dir: string;
  readonly #kept = new Map<string, Lease>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Reads what a previous server left; an incomplete file is ignored. */
  async restore(): Promise<void> {
    for (const name of await readdir(this.#dir).catch(() => [])) {
      if (!fileName.test(name)) continue;
      const text = await readFile(join(this.#dir, name), "utf8").catch(() => "");
      const lease = LeaseText.safeParse(parseJson(text));
      if (lease.success) this.#kept.set(lease.data.attemptId, lease.data);
    }
  }

  get all(): readonly Lease[] {
    return [...this.#kept.values()];
  }

  of(attemptId: string): Lease | null {
    return this.#kept.get(attemptId) ?? null;
  }

  /** Resolves when the lease is on disk. Rejects with `storage_unavailable`. */
  async keep(lease: Lease): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    await writeDurably(this.#file(lease.attemptId), `${JSON.stringify(lease)}\n`);
    this.#kept.set(lease.attemptId, lease);
  }

  async drop(attemptId: string): Promise<void> {
    if (!this.#kept.delete(attemptId)) return;
    await rm(this.#file(attemptId), { force: true });
    await rm(backupOf(this.#file(attemptId)), { force: true });
  }

  #file(attemptId: string): string {
    return join(this.#dir, `${attemptId}.json`);
  }
}
