import { type Attempt, addTokens } from "../model/attempt.ts";
import { SymphonyError } from "../model/errors.ts";
import { isStorageError } from "./durable.ts";
import type { SaveQueue } from "./saves.ts";
import type { AuditEntry, History, Store, Used } from "./store.ts";

/** Limit on audit entries that wait for the disk: a few hundred bytes each. */
const maxAuditEntries = 1_000;

/**
 * `store`, with retries for writes of facts that have already happened, if the disk refuses them: records of issues, pauses of agents, attempts
 * and their usage, completed issues, settled guidance, audit entries. Reads of attempts include waiting writes. Guidance, intents
 * and templates are not retried: they are saved before anything is done, and a refusal changes nothing.
 */
export function repeatedStore(store: Store, saves: SaveQueue): Store {
  const { history, records, agentPauses } = store;
  const attempts = new AttemptWrites(history, saves);
  const audit = new AuditWrites(history, saves);
  const newest = (row: Attempt | null) => row && attempts.newest(row);
  return {
    ...store,
    records: {
      all: () => records.all(),
      put: (id, record) => saves.save(`record ${id}`, () => records.put(id, record)),
    },
    agentPauses: {
      ...agentPauses,
      put: (pauses) => saves.save("pauses of agents", () => agentPauses.put(pauses)),
    },
    history: {
      ...history,
      saveAttempt: (attempt) => attempts.save(attempt),
      saveUsed: (used) => void attempts.save(used.attempt, used),
      attempt: (id) => newest(history.attempt(id)),
      latestAttempt: (issueId) => newest(history.latestAttempt(issueId)),
      attemptsOf(issueId, limit, offset) {
        const page = history.attemptsOf(issueId, limit, offset);
        return { ...page, attempts: page.attempts.map((row) => attempts.newest(row)) };
      },
      saveCompleted(record, most) {
        const save = () => history.saveCompleted(record, most);
        saves.now(`completed ${record.issue.id}`, save);
      },
      markDelivered: (id) => void saves.now(steerKey(id), () => history.markDelivered(id)),
      dropSteer: (id) => void saves.now(steerKey(id), () => history.dropSteer(id)),
      undelivered: (id) => history.undelivered(id).filter((one) => !saves.has(steerKey(one.id))),
      audit: (entry, intent) => audit.add({ entry, intent }),
      auditSoon: (entries) => audit.add({ entries }),
    },
  };
}

function steerKey(id: string): string {
  return `steer ${id}`;
}

interface Unsaved {
  readonly row: Attempt;
  /** Not counted yet, summed by model and day. */
  used: readonly Used[];
}

/** The newest row of each attempt that waits for the disk, and the tokens that are not counted yet. */
class AttemptWrites {
  readonly #history: History;
  readonly #saves: SaveQueue;
  readonly #unsaved = new Map<string, Unsaved>();

  constructor(history: History, saves: SaveQueue) {
    this.#history = history;
    this.#saves = saves;
  }

  newest(row: Attempt): Attempt {
    return this.#unsaved.get(row.id)?.row ?? row;
  }

  save(row: Attempt, used?: Used): boolean {
    const before = this.#unsaved.get(row.id)?.used ?? [];
    const unsaved: Unsaved = { row, used: used ? withUsed(before, used) : before };
    this.#unsaved.set(row.id, unsaved);
    return this.#saves.now(`attempt ${row.id}`, () => this.#write(unsaved));
  }

  #write(unsaved: Unsaved): void {
    const { row } = unsaved;
    if (unsaved.used.length === 0) this.#history.saveAttempt(row);
    for (const used of unsaved.used) {
      this.#history.saveUsed({ ...used, attempt: row, model: modelOf(used) });
      unsaved.used = unsaved.used.filter((one) => one !== used);
    }
    this.#unsaved.delete(row.id);
  }
}

function withUsed(all: readonly Used[], used: Used): readonly Used[] {
  const same = all.find(
    (one) => modelOf(one) === modelOf(used) && dayOf(one.at) === dayOf(used.at),
  );
  if (!same) return [...all, used];
  const sum = { ...same, tokens: addTokens(same.tokens, used.tokens) };
  return all.map((one) => (one === same ? sum : one));
}

function modelOf({ model, attempt }: Used): string {
  return model ?? attempt.model ?? "";
}

function dayOf(at: number): number {
  return Math.floor(at / 86_400_000);
}

type Group =
  | { readonly entry: AuditEntry; readonly intent: number | undefined }
  | { readonly entries: readonly AuditEntry[] };

/** How long the file that names the newest entry may name an earlier one. */
const headBehindMs = 100;

/** Audit entries in order: none is written before an earlier one that waits. */
class AuditWrites {
  readonly #history: History;
  readonly #saves: SaveQueue;
  #waiting: readonly Group[] = [];

  constructor(history: History, saves: SaveQueue) {
    this.#history = history;
    this.#saves = saves;
  }

  /** Throws `storage_unavailable` when too many wait already. */
  add(group: Group): boolean {
    if (this.#count() >= maxAuditEntries) {
      const message = `${maxAuditEntries} audit entries wait for the disk already`;
      throw new SymphonyError("storage_unavailable", message);
    }
    this.#waiting = [...this.#waiting, group];
    const isOnDisk = this.#saves.now(
      "audit",
      () => this.#write(),
      () => this.#count(),
    );
    if (isOnDisk && this.#history.isAuditHeadBehind()) {
      const write = () => this.#history.writeAuditHead();
      if ("entries" in group) this.#saves.soon("audit head", write, headBehindMs);
      else this.#saves.now("audit head", write);
    }
    return isOnDisk;
  }

  #count(): number {
    const sizes = this.#waiting.map((group) => ("entries" in group ? group.entries.length : 1));
    return sizes.reduce((sum, size) => sum + size, 0);
  }

  #write(): void {
    for (const group of this.#waiting) {
      try {
        this.#append(group);
      } catch (error) {
        // An error that does not come from the disk would fail again and block all later entries.
        if (!isStorageError(error)) this.#drop(group);
        throw error;
      }
      this.#drop(group);
    }
  }

  #append(group: Group): void {
    if ("entries" in group) this.#history.auditSoon(group.entries);
    else this.#history.audit(group.entry, group.intent);
  }

  #drop(group: Group): void {
    this.#waiting = this.#waiting.filter((one) => one !== group);
  }
}
