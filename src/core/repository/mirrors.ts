import { createHash, randomUUID } from "node:crypto";
import { lstat, mkdir, readdir, realpath, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Clock } from "../clock.ts";
import { SymphonyError } from "../model/errors.ts";
import { readSmall } from "./checkout.ts";
import { LfsStore } from "./lfs-store.ts";
import { Mirror, type MirrorRef, makingPrefix, mirrorIn, pushingPrefix } from "./mirror.ts";
import type { FetchOrder } from "./mirror-call.ts";

/** What a workspace borrows; stored where no agent writes. */
export interface Loan {
  /** The name of the mirror's directory. */
  readonly mirror: string;
  /** The name of what is kept for the workspace. */
  readonly keep: string;
  /** The name of the prepared results that it uses; absent: none. */
  readonly prepared?: string | undefined;
  /** The directories whose files it has; absent: all files. */
  readonly sparse?: readonly string[] | undefined;
  /** It has the contents of git LFS. */
  readonly lfs?: boolean | undefined;
  /** Those that symphony checked out. */
  readonly submodules?: readonly SubmoduleLoan[] | undefined;
}

/** A submodule that borrows from a mirror of its own. */
export interface SubmoduleLoan {
  /** Below the top of the workspace. */
  readonly path: string;
  readonly mirror: string;
  readonly keep: string;
}

export interface MirrorsOptions {
  /** The directory of all mirrors, which only this process uses; made when it is needed. */
  readonly dir: string;
  readonly clock: Clock;
  /** The server's environment; git gets a part of it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A mirror that was fetched in the last `intervalMs` is not fetched again. */
  readonly intervalMs?: number;
}

const defaultIntervalMs = 10_000;
/** Contents of git LFS that no workspace names are looked for not more often. */
const pruneMs = 24 * 3_600_000;
const maxAlternatesBytes = 16_384;

/** A fetch that several callers wait for; it ends when none of them waits any more. */
interface Fetch {
  readonly ended: Promise<void>;
  readonly stop: AbortController;
  readonly listeners: Set<(line: string) => void>;
  /** Completes a history that `depth` cut. */
  readonly whole: boolean;
}

/** The mirrors of all remotes: each is fetched once for all workspaces that are made together. */
export class Mirrors {
  readonly #options: MirrorsOptions;
  readonly #running = new Map<string, Fetch>();
  readonly #fetchedAt = new Map<string, number>();
  readonly #prunedAt = new Map<string, number>();
  /** Mirrors in which nothing of a killed git can be left. */
  readonly #clean = new Set<string>();
  #opened: Promise<void> | null = null;

  constructor(options: MirrorsOptions) {
    this.#options = options;
  }

  get dir(): string {
    return this.#options.dir;
  }

  /**
   * The mirror of the address, made or fetched if needed. The signal must also limit the time.
   * Rejects with `MirrorFailure`, `git_not_found`, `workspace_error` or the signal's reason.
   */
  async ensure(order: FetchOrder): Promise<Mirror> {
    order.signal.throwIfAborted();
    const mirror = this.#mirrorOf(mirrorName(order));
    const fetchedAt = this.#fetchedAt.get(mirror.path) ?? Number.NEGATIVE_INFINITY;
    const { clock, intervalMs = defaultIntervalMs } = this.#options;
    if (clock.now() - fetchedAt < intervalMs && (await mirror.exists())) return mirror;
    await this.#join(await this.#next(mirror, order), order);
    return mirror;
  }

  /**
   * As `ensure`, with a fetch that begins after the call. `whole` also completes a history that
   * `depth` cut.
   */
  async refresh(order: FetchOrder, { whole = false } = {}): Promise<Mirror> {
    const mirror = this.#mirrorOf(mirrorName(order));
    const earlier = this.#running.get(mirror.path);
    if (earlier) await this.#join(earlier, order).catch(() => order.signal.throwIfAborted());
    await this.#join(await this.#next(mirror, order, whole), order);
    return mirror;
  }

  /** The commit of a branch that the remote has now; null when there is no such branch. */
  async fetchBranch(order: FetchOrder, branch: string): Promise<string | null> {
    return (await this.refresh(order)).commitOf(branch);
  }

  /**
   * Whether the branch `base` of the remote contains the commit now. Refs that an agent can write
   * have no part in it. Where `depth` cut the history, the rest is fetched before the answer is no.
   */
  async isContained(order: FetchOrder, commit: string, base: string): Promise<boolean> {
    const mirror = await this.refresh(order);
    if (await mirror.contains(commit, base)) return true;
    if ((await mirror.shallow()) === null) return false;
    return (await this.refresh(order, { whole: true })).contains(commit, base);
  }

  /** Keeps what `refs` lead to for a new workspace. */
  async keep(mirror: Mirror, refs: readonly MirrorRef[]): Promise<Loan> {
    const loan = { mirror: basename(dirname(mirror.path)), keep: randomUUID() };
    await mirror.keep(loan.keep, refs, this.#options.clock.wall());
    return loan;
  }

  /** For a workspace that is gone. */
  async release({ mirror, keep, submodules = [] }: Loan): Promise<void> {
    const failures: unknown[] = [];
    for (const one of [{ mirror, keep }, ...submodules]) {
      const found = this.#mirrorOf(one.mirror);
      if (!(await found.exists())) continue;
      // The others are not kept for ever because of one.
      await found.release(one.keep).catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
  }

  /**
   * Makes the workspace at `path` borrow from its mirror again if the directory of mirrors has
   * moved or the file was changed. Resolves with the mirror's path, which an agent has to be able to
   * read. Rejects with `workspace_error`.
   */
  repair(path: string, loan: Loan): Promise<string> {
    return this.#repair(path, loan.mirror);
  }

  /** As `repair`, for the workspace's submodules. */
  async repairSubmodules(path: string, { submodules = [] }: Loan): Promise<readonly string[]> {
    const places: string[] = [];
    for (const { path: name, mirror } of submodules) {
      const place = join(path, name);
      // Behind a link that an agent made is another place.
      const isThere = (await realpath(place).catch(() => null)) === place;
      places.push(isThere ? await this.#repair(place, mirror) : this.#mirrorOf(mirror).path);
    }
    return [...new Set(places)];
  }

  async #repair(path: string, name: string): Promise<string> {
    const mirror = this.#mirrorOf(name);
    if (!(await mirror.exists())) {
      throw new SymphonyError("workspace_error", `${path}: its mirror ${mirror.path} is missing`, {
        details: { path },
        hint: "restore the directory, or copy the work and remove the workspace",
      });
    }
    const info = join(path, ".git", "objects", "info");
    const file = join(info, "alternates");
    const line = `${mirror.objects}\n`;
    if ((await readSmall(file, maxAlternatesBytes)) === line) return mirror.path;
    // A link could lead to a place outside of the workspace.
    for (const dir of [join(path, ".git"), join(path, ".git", "objects"), info]) {
      if ((await lstat(dir).catch(() => null))?.isDirectory() !== true) return mirror.path;
    }
    const temporary = `${file}-${randomUUID()}`;
    try {
      await writeFile(temporary, line, { flag: "wx" });
      await rename(temporary, file);
    } finally {
      await rm(temporary, { force: true });
    }
    return mirror.path;
  }

  /** The mirror of a loan, as it is. */
  lent({ mirror }: Pick<Loan, "mirror">): Mirror {
    return this.#mirrorOf(mirror);
  }

  #mirrorOf(name: string): Mirror {
    const { dir, env } = this.#options;
    return new Mirror(mirrorIn(dir, name), env);
  }

  /** The fetch that runs, if it is enough, else a new one: there is one at a time for each mirror. */
  async #next(mirror: Mirror, order: FetchOrder, whole = false): Promise<Fetch> {
    for (;;) {
      const running = this.#running.get(mirror.path);
      if (running === undefined) return this.#fetch(mirror, order, whole);
      if (!running.stop.signal.aborted && (running.whole || !whole)) return running;
      await running.ended.catch(() => {});
      order.signal.throwIfAborted();
    }
  }

  #fetch(mirror: Mirror, order: FetchOrder, whole: boolean): Fetch {
    const stop = new AbortController();
    const listeners = new Set<(line: string) => void>();
    const onLine = (line: string) => {
      for (const listener of listeners) listener(line);
    };
    const shared = { ...order, signal: stop.signal, onLine };
    const ended = this.#update(mirror, shared, whole).finally(() => {
      this.#running.delete(mirror.path);
    });
    const fetch: Fetch = { ended, stop, listeners, whole };
    this.#running.set(mirror.path, fetch);
    return fetch;
  }

  async #update(mirror: Mirror, order: FetchOrder, whole: boolean): Promise<void> {
    const { path } = mirror;
    const startedAt = this.#options.clock.now();
    await this.#open();
    try {
      if (await mirror.exists()) {
        if (!this.#clean.has(path)) await mirror.unlock();
        await mirror.tidy();
        // A history is also completed when the setting that cut it is gone.
        await mirror.fetch(order, { whole: whole || order.depth === null });
        await this.#pruneContents(mirror, startedAt);
      } else {
        await Mirror.make(path, order);
      }
    } catch (error) {
      this.#clean.delete(path);
      throw error;
    }
    this.#clean.add(path);
    this.#fetchedAt.set(path, startedAt);
  }

  async #pruneContents(mirror: Mirror, now: number): Promise<void> {
    const prunedAt = this.#prunedAt.get(mirror.path) ?? Number.NEGATIVE_INFINITY;
    if (now - prunedAt < pruneMs) return;
    this.#prunedAt.set(mirror.path, now);
    await new LfsStore(mirror.path).prune(await mirror.keptSince());
  }

  async #join(fetch: Fetch, { signal, onLine }: FetchOrder): Promise<void> {
    const listener = (line: string) => onLine?.(line);
    fetch.listeners.add(listener);
    const aborted = Promise.withResolvers<"aborted">();
    const abort = () => aborted.resolve("aborted");
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    try {
      const end = await Promise.race([fetch.ended, aborted.promise]);
      if (end !== "aborted") return;
    } finally {
      signal.removeEventListener("abort", abort);
      fetch.listeners.delete(listener);
    }
    if (fetch.listeners.size === 0) {
      fetch.stop.abort(signal.reason);
      // Afterwards no process of it is left.
      await fetch.ended.catch(() => {});
    } else {
      fetch.ended.catch(() => {});
    }
    throw signal.reason;
  }

  /** Removes what a crash left of mirrors that were being made. */
  #open(): Promise<void> {
    this.#opened ??= this.#prepare().catch((error: unknown) => {
      this.#opened = null;
      throw error;
    });
    return this.#opened;
  }

  async #prepare(): Promise<void> {
    const { dir } = this.#options;
    if (dir.includes("\n")) throw new Error("a path with a line break cannot hold mirrors");
    await mkdir(dir, { recursive: true, mode: 0o700 });
    for (const name of await readdir(dir)) {
      if (!name.startsWith(makingPrefix) && !name.startsWith(pushingPrefix)) continue;
      const found = await lstat(join(dir, name)).catch(() => null);
      // A push of this process may be under way before the mirrors are opened.
      const isNew = found === null || found.mtimeMs >= performance.timeOrigin;
      if (isNew && name.startsWith(pushingPrefix)) continue;
      await rm(join(dir, name), { recursive: true, force: true });
    }
  }
}

/** The name of a mirror's directory, as a loan has it. */
export function mirrorName({ address }: Pick<FetchOrder, "address">): string {
  return createHash("sha256").update(address.address).digest("hex").slice(0, 32);
}
