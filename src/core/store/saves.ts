import type { Clock } from "../clock.ts";
import { messageOf } from "../model/errors.ts";
import type { StorageTrouble } from "../model/event.ts";
import { isStorageError, reasonOf, SavedLater } from "./durable.ts";

const firstDelayMs = 1_000;
const longestDelayMs = 10_000;
/** Trouble that comes back sooner is still the same: a disk that is nearly full takes one write and refuses the next. */
const calmMs = 60_000;

interface Kept {
  /** Writes what is to be on disk now: an earlier write of the same key is of no interest any more. */
  write: () => unknown;
  /** How many writes it stands for. */
  count: () => number;
  version: number;
  isWaiting: boolean;
  /** Settled when the newest of its writes holds, or the process ends before that. */
  readonly held: PromiseWithResolvers<void>;
}

/**
 * Writes that must not be lost because the disk refused them once. Each is tried at once; what fails is kept, the newest of each
 * key, and tried again after 1, 2, 4, 8 and then every 10 s until it holds. The trouble is over when such a try finds that all is
 * on disk, and not before.
 */
export class SaveQueue {
  readonly #clock: Clock;
  readonly #kept = new Map<string, Kept>();
  /** First tries that have not ended. */
  readonly #underWay = new Set<Promise<void>>();
  /** Writes that other parts repeat by themselves. */
  readonly #others = new Set<string>();
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

  /** Calls `onChange`, at once and whenever it changes, with what is wrong; null: all is on disk. There is one listener. */
  follow(onChange: (trouble: StorageTrouble | null) => void): void {
    this.#onChange = onChange;
    if (this.#trouble !== null) onChange(this.#trouble);
  }

  /** True while a write of `key` waits. */
  has(key: string): boolean {
    return this.#kept.get(key)?.isWaiting === true;
  }

  /** True when `write` holds. False: it is kept in place of what waited under `key`, and repeated. */
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

  /** Resolves when `write` holds. Rejects with `SavedLater`: it is kept in place of what waited under `key`, and repeated. */
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
    // A newer write of the same key says by itself how it went.
    if (kept.version === version) this.#settle(key, kept);
  }

  /** Another part repeats its own writes of `key` and says how they go; null: they hold again. */
  tell(key: string, error: unknown): void {
    if (error === null) this.#others.delete(key);
    else this.#others.add(key);
    if (error !== null) this.#reason = reasonOf(error);
    this.#changed();
    // Its last try went well: no caller has to wait for a retry that is far away.
    const isCalm = error === null && this.#trouble !== null && this.#waiting() === 0;
    if (isCalm && !this.#isRepeating) this.#repeatIn(firstDelayMs);
  }

  /** Tries once more. Resolves with the keys of what could not be saved. */
  async close(): Promise<readonly string[]> {
    this.#isClosed = true;
    this.#cancel?.();
    await Promise.allSettled(this.#underWay);
    await Promise.all(this.#repeat());
    const lost = this.#giveUp();
    // Who waited for one of them may have a last word to write.
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

  /** Unless the next try has its time already, or is under way. */
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
