import type { Clock } from "../clock.ts";
import { messageOf } from "../model/errors.ts";
import type { StorageTrouble } from "../model/gates.ts";
import { isStorageError, reasonOf, SavedLater } from "./durable.ts";

const firstDelayMs = 1_000;
const longestDelayMs = 10_000;
/** Trouble that returns sooner counts as the same: a nearly full disk accepts one write and refuses the next. */
const calmMs = 60_000;

interface Kept {
  /** Writes the current state: an earlier write of the same key is obsolete. */
  write: () => unknown;
  /** The number of writes it represents. */
  count: () => number;
  version: number;
  isWaiting: boolean;
  /** Settled when its newest write succeeds, or the process ends before that. */
  readonly held: PromiseWithResolvers<void>;
}

/**
 * Writes that must not be lost because the disk refused them once. Each is tried immediately; a failed write is kept (the newest
 * of each key) and retried after 1, 2, 4, 8 and then every 10 s until it succeeds. The trouble is over only when such a retry
 * finds everything on disk.
 */
export class SaveQueue {
  readonly #clock: Clock;
  readonly #kept = new Map<string, Kept>();
  /** First tries that are still running. */
  readonly #underWay = new Set<Promise<void>>();
  /** Keys of writes that other parts retry themselves. */
  readonly #others = new Set<string>();
  /** Writes that are due later, by their key. */
  readonly #later = new Map<string, () => void>();
  #onChange: (trouble: StorageTrouble | null) => void = () => {};
  #trouble: StorageTrouble | null = null;
  #reason = "";
  #delayMs = firstDelayMs;
  #calmSince = Number.NEGATIVE_INFINITY;
  #cancel: (() => void) | null = null;
  #isRepeating = false;
  #isClosed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls `onChange`, at once and after each change, with the trouble; null: everything is on disk. There is one listener. */
  follow(onChange: (trouble: StorageTrouble | null) => void): void {
    this.#onChange = onChange;
    if (this.#trouble !== null) onChange(this.#trouble);
  }

  /** True while a write of `key` waits. */
  has(key: string): boolean {
    return this.#kept.get(key)?.isWaiting === true;
  }

  /** True when `write` succeeded. False: it replaces the waiting write of `key` and is retried. */
  now(key: string, write: () => void, count: () => number = () => 1): boolean {
    const known = this.#kept.get(key);
    try {
      write();
    } catch (error) {
      if (!isStorageError(error)) throw error;
      const kept = known ?? newKept(write);
      Object.assign(kept, { write, count });
      this.#wait(key, kept, error);
      return false;
    }
    if (known) this.#settle(key, known);
    return true;
  }

  /** As `now`, `delayMs` later; until then, further calls with this key change nothing. */
  soon(key: string, write: () => void, delayMs: number): void {
    if (this.#later.has(key)) return;
    const act = () => {
      cancel();
      this.#later.delete(key);
      this.now(key, write);
    };
    const cancel = this.#clock.after(delayMs, act);
    this.#later.set(key, act);
  }

  /** Resolves when `write` succeeds. Rejects with `SavedLater`: it replaces the waiting write of `key` and is retried. */
  async save(key: string, write: () => Promise<void>): Promise<void> {
    const kept = this.#kept.get(key) ?? newKept(write);
    this.#kept.set(key, kept);
    kept.write = write;
    kept.version += 1;
    const { version } = kept;
    const written = write();
    this.#underWay.add(written);
    try {
      await written;
    } catch (error) {
      if (!isStorageError(error)) {
        if (!kept.isWaiting) this.#kept.delete(key);
        throw error;
      }
      this.#wait(key, kept, error);
      throw new SavedLater(messageOf(error), error, kept.held.promise);
    } finally {
      this.#underWay.delete(written);
    }
    // A newer write of the same key reports its own result.
    if (kept.version === version) this.#settle(key, kept);
  }

  /** Another part retries its own writes of `key` and reports the cause of a failure; null: they succeed again. */
  tell(key: string, error: unknown): void {
    if (error === null) this.#others.delete(key);
    else this.#others.add(key);
    if (error !== null) this.#reason = reasonOf(error);
    this.#changed();
    // Its last try succeeded: no caller has to wait for a retry that is far away.
    const isCalm = error === null && this.#trouble !== null && this.#waiting() === 0;
    if (isCalm && !this.#isRepeating) this.#repeatIn(firstDelayMs);
  }

  /** Tries once more. Resolves with the keys that could not be saved. */
  async close(): Promise<readonly string[]> {
    this.#isClosed = true;
    this.#cancel?.();
    for (const act of this.#later.values()) act();
    await Promise.allSettled(this.#underWay);
    await Promise.all(this.#repeat());
    const lost = this.#giveUp();
    // Callers that waited for one of them may have a final write.
    await new Promise((done) => setImmediate(done));
    return [...lost, ...this.#giveUp(), ...this.#others];
  }

  #giveUp(): string[] {
    const lost = [...this.#kept].filter(([, { isWaiting }]) => isWaiting);
    for (const [key, { held }] of lost) {
      this.#kept.delete(key);
      held.reject(new Error(`not saved: ${key}`));
    }
    return lost.map(([key]) => key);
  }

  #wait(key: string, kept: Kept, error: unknown): void {
    kept.isWaiting = true;
    this.#kept.set(key, kept);
    this.#reason = reasonOf(error);
    this.#changed();
  }

  #settle(key: string, kept: Kept): void {
    if (this.#kept.get(key) === kept) this.#kept.delete(key);
    kept.held.resolve();
    if (kept.isWaiting) this.#changed();
  }

  /** Unless the next try is scheduled or running already. */
  #repeatLater(): void {
    if (this.#cancel === null && !this.#isRepeating) this.#repeatIn(this.#delayMs);
  }

  #repeatIn(delayMs: number): void {
    this.#cancel?.();
    if (this.#isClosed) return;
    this.#cancel = this.#clock.after(delayMs, () => {
      this.#cancel = null;
      this.#isRepeating = true;
      this.#delayMs = Math.min(this.#delayMs * 2, longestDelayMs);
      const tries = this.#repeat().filter((one) => one instanceof Promise);
      if (tries.length === 0) this.#repeated();
      else void Promise.all(tries).then(() => this.#repeated());
    });
  }

  #repeated(): void {
    this.#isRepeating = false;
    if (this.#waiting() > 0) return this.#repeatLater();
    this.#calmSince = this.#clock.now();
    this.#trouble = null;
    this.#onChange(null);
  }

  /** One try of everything that waits. */
  #repeat(): readonly (Promise<void> | undefined)[] {
    return [...this.#kept]
      .filter(([, { isWaiting }]) => isWaiting)
      .map(([key, kept]) => this.#again(key, kept));
  }

  #again(key: string, kept: Kept): Promise<void> | undefined {
    const { version } = kept;
    const held = () => {
      if (kept.version === version) this.#settle(key, kept);
    };
    const failed = (error: unknown) => {
      this.#reason = reasonOf(error);
      this.#changed();
    };
    try {
      const written = kept.write();
      if (written instanceof Promise) return written.then(held, failed);
      held();
    } catch (error) {
      failed(error);
    }
    return undefined;
  }

  #waiting(): number {
    return [...this.#kept.values()]
      .filter(({ isWaiting }) => isWaiting)
      .reduce((sum, { count }) => sum + count(), this.#others.size);
  }

  #changed(): void {
    const [waiting, before, reason] = [this.#waiting(), this.#trouble, this.#reason];
    if (before === null) {
      if (waiting === 0) return;
      if (this.#clock.now() - this.#calmSince >= calmMs) this.#delayMs = firstDelayMs;
    }
    this.#repeatLater();
    if (before?.waiting === waiting && before.reason === reason) return;
    const sinceWall = before?.sinceWall ?? this.#clock.wall();
    this.#trouble = { reason, waiting, sinceWall };
    this.#onChange(this.#trouble);
  }
}

function newKept(write: () => unknown): Kept {
  const held = Promise.withResolvers<void>();
  // Most callers do not wait for the outcome.
  held.promise.catch(() => {});
  return { write, count: () => 1, version: 0, isWaiting: false, held };
}
