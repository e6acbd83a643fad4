import { dirname, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { type FSWatcher, watch as watchPaths } from "chokidar";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { readWorkflow } from "../workflow/load.ts";
import {
  type ConfigOptions,
  changedKeys,
  type Effective,
  hashOf,
  type Loaded,
  load,
} from "./loaded.ts";
import { checkOverlay, type Overlay } from "./overlay.ts";

const checkIntervalMs = 1_000;
/** A file that is being written is read once its writer has paused. */
const settleMs = 50;

export type ConfigChange =
  /** `keys` are the dotted paths that differ, `prompt` among them; none when a refused file was put right. */
  | {
      readonly type: "changed";
      readonly keys: readonly string[];
      /** Warnings that were not there before. */
      readonly warnings: readonly string[];
    }
  /** Once for each new reason; the last good pair stays. */
  | { readonly type: "rejected"; readonly problem: SymphonyError };

export interface ConfigService {
  readonly current: Effective;
  /** Why the file as it is now is not in force; null when it is. While there is one, nothing is dispatched. */
  readonly problem: SymphonyError | null;
  readonly warnings: readonly string[];
  /** What an operator put on top, as it was written. */
  readonly overlay: Overlay;
  /**
   * Puts what `change` makes of the overlay on top, on disk and in force when it resolves. One change after the other;
   * what `change` throws refuses it. Rejects with `invalid_config` or what else is wrong with the whole: nothing changed.
   */
  changeOverlay(change: (current: Overlay) => Overlay): Promise<Overlay>;
  /** Looks at the file now. Resolves to true when `current` was replaced. Never rejects. */
  reload(): Promise<boolean>;
  /** Tells `onChange`, which must not throw, of every later change or refusal. Returns how to stop that. */
  watch(onChange: (change: ConfigChange) => void): () => void;
  close(): Promise<void>;
}

/** Loads the file and keeps up with it. Rejects like `reload` would refuse: with what is wrong at start-up. */
export async function openConfig(options: ConfigOptions): Promise<ConfigService> {
  const workflowPath = resolve(options.workflowPath);
  const service = new WatchedConfig({ ...options, workflowPath });
  await service.open();
  return service;
}

class WatchedConfig implements ConfigService {
  readonly #options: ConfigOptions;
  readonly #listeners = new Set<(change: ConfigChange) => void>();
  #overlay: Overlay;
  #loaded: Loaded | null = null;
  #problem: SymphonyError | null = null;
  #queue: Promise<unknown> = Promise.resolve();
  #watcher: FSWatcher | null = null;
  #cancelCheck = () => {};
  #cancelSettle = () => {};
  #closed = false;

  constructor(options: ConfigOptions) {
    this.#options = options;
    this.#overlay = options.overlay ?? {};
  }

  async open(): Promise<void> {
    this.#loaded = await this.#load();
    this.#checkLater();
    this.#watcher = this.#watchFile();
  }

  get current(): Effective {
    return this.#require().effective;
  }

  get problem(): SymphonyError | null {
    return this.#problem;
  }

  get warnings(): readonly string[] {
    return this.#require().warnings;
  }

  get overlay(): Overlay {
    return this.#overlay;
  }

  reload(): Promise<boolean> {
    return this.#inTurn(() => this.#look());
  }

  changeOverlay(change: (current: Overlay) => Overlay): Promise<Overlay> {
    return this.#inTurn(() => this.#change(change));
  }

  watch(onChange: (change: ConfigChange) => void): () => void {
    this.#listeners.add(onChange);
    return () => void this.#listeners.delete(onChange);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelCheck();
    this.#cancelSettle();
    this.#listeners.clear();
    await Promise.all([this.#watcher?.close(), this.#queue]);
  }

  /** One after the other: a slow read must not undo what a later one found. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#queue.then(work);
    this.#queue = next.catch(() => {});
    return next;
  }

  async #change(change: (current: Overlay) => Overlay): Promise<Overlay> {
    const { saveOverlay } = this.#options;
    if (this.#closed || !saveOverlay) {
      throw new SymphonyError("unavailable", "the overlay cannot be changed now");
    }
    const overlay = change(this.#overlay);
    checkOverlay(overlay);
    const after = await this.#load(overlay);
    await saveOverlay(overlay);
    this.#overlay = overlay;
    this.#accept(this.#require(), after);
    return overlay;
  }

  async #load(overlay = this.#overlay): Promise<Loaded> {
    const content = await readWorkflow(this.#options.workflowPath);
    return load(content, { ...this.#options, overlay });
  }

  async #look(): Promise<boolean> {
    if (this.#closed) return false;
    const before = this.#require();
    let after: Loaded;
    try {
      const content = await readWorkflow(this.#options.workflowPath);
      // A refused file is judged again each time: what it lacked may lie outside of it.
      if (this.#problem === null && hashOf(content) === before.hash) return false;
      after = load(content, { ...this.#options, overlay: this.#overlay });
    } catch (error) {
      this.#refuse(asSymphonyError(error));
      return false;
    }
    return this.#accept(before, after);
  }

  #accept(before: Loaded, after: Loaded): boolean {
    const keys = changedKeys(before.effective, after.effective);
    const mended = this.#problem !== null;
    this.#problem = null;
    // The same values from other sources are no change, but are told apart by their origins.
    const same =
      keys.length === 0 && isDeepStrictEqual(before.effective.origins, after.effective.origins);
    this.#loaded = same ? { ...after, effective: before.effective } : after;
    const warnings = after.warnings.filter((warning) => !before.warnings.includes(warning));
    if (keys.length > 0 || mended || warnings.length > 0) {
      this.#tell({ type: "changed", keys, warnings });
    }
    return keys.length > 0;
  }

  #refuse(problem: SymphonyError): void {
    const known = this.#problem?.code === problem.code && this.#problem.message === problem.message;
    this.#problem = problem;
    if (!known) this.#tell({ type: "rejected", problem });
  }

  #tell(change: ConfigChange): void {
    for (const listener of this.#listeners) listener(change);
  }

  #checkLater(): void {
    this.#cancelCheck = this.#options.clock.after(checkIntervalMs, () => {
      void this.reload().finally(() => {
        if (!this.#closed) this.#checkLater();
      });
    });
  }

  #watchFile(): FSWatcher {
    const file = this.#options.workflowPath;
    const folder = dirname(file);
    const watcher = watchPaths(folder, {
      depth: 0,
      ignoreInitial: true,
      ignored: (path) => path !== folder && path !== file,
    });
    watcher.on("all", () => {
      this.#cancelSettle();
      if (this.#closed) return;
      this.#cancelSettle = this.#options.clock.after(settleMs, () => void this.reload());
    });
    // Watching is only the quick way; where the system refuses it the regular check remains.
    watcher.on("error", () => void watcher.close());
    return watcher;
  }

  #require(): Loaded {
    if (this.#loaded === null) throw new Error("the configuration is not open");
    return this.#loaded;
  }
}

function asSymphonyError(error: unknown): SymphonyError {
  if (error instanceof SymphonyError) return error;
  return new SymphonyError("internal_error", messageOf(error), { cause: error });
}
