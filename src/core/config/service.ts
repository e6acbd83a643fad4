import { dirname, join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { type FSWatcher, watch as watchPaths } from "chokidar";
import { Low } from "lowdb";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { messageOf, SymphonyError, withHint } from "../model/errors.ts";
import { durableJson, removeLeftovers } from "../store/durable.ts";
import { hashOfFiles } from "./chain.ts";
import { type CheckDeps, type Checked, checkConfig, type Effective } from "./check.ts";
import { findingText, type Problem, refusal, reportText } from "./finding.ts";
import { leavesOf } from "./layers.ts";
import { checkOverlay, type Overlay } from "./overlay.ts";
import type { Sections } from "./sections.ts";
import { readWorkflow } from "./workflow.ts";

const checkIntervalMs = 1_000;
/** A file that is being written is read after this pause in the writes. */
const settleMs = 50;

export type ConfigChange =
  /** `keys` are the dotted paths that differ, including `prompt`; empty when a refused file was corrected. */
  | {
      readonly type: "changed";
      readonly keys: readonly string[];
      /** Warnings that are new. */
      readonly warnings: readonly string[];
    }
  /** Once for each new reason; the last valid pair stays in force. */
  | { readonly type: "rejected"; readonly problem: SymphonyError };

export interface ConfigService {
  /** The sections and kinds that a configuration may have. */
  readonly sections: Sections;
  readonly current: Effective;
  /** Why the current file is not in force; null when it is. While this is set, nothing is dispatched. */
  readonly problem: SymphonyError | null;
  /** One line each: settings without effect, and what `report` found. The same array until one changes. */
  readonly warnings: readonly string[];
  /**
   * Takes what a check of this machine and of the tracker found, in place of what the previous one did; it never refuses a file.
   * Returns the warnings that are new.
   */
  report(problems: readonly Problem[]): readonly string[];
  /** The operator's overrides, as written. */
  readonly overlay: Overlay;
  /**
   * Replaces the overlay by the result of `change`; it is on disk and in force when this resolves. Changes run one after
   * the other; an error of `change` rejects. Rejects with `invalid_config` or another fault of the whole; nothing is changed then.
   */
  changeOverlay(change: (current: Overlay) => Overlay): Promise<Overlay>;
  /** Reads the file now. Resolves to true when `current` was replaced. Never rejects. */
  reload(): Promise<boolean>;
  /** Calls `onChange`, which must not throw, for every later change or refusal. Returns how to stop that. */
  watch(onChange: (change: ConfigChange) => void): () => void;
  close(): Promise<void>;
}

/** Loads the file and follows its changes. Rejects with the error for which `reload` would refuse the file. */
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
  #loaded: Checked | null = null;
  #problem: SymphonyError | null = null;
  #reported: readonly string[] = [];
  #warnings: readonly string[] = [];
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
    this.#setWarnings();
    this.#checkLater();
    this.#watcher = this.#watchFiles();
  }

  get sections(): Sections {
    return this.#options.sections;
  }

  get current(): Effective {
    return this.#require().effective;
  }

  get problem(): SymphonyError | null {
    return this.#problem;
  }

  get warnings(): readonly string[] {
    return this.#warnings;
  }

  report(problems: readonly Problem[]): readonly string[] {
    const before = this.#reported;
    this.#reported = this.#require().locate(problems).map(reportText);
    this.#setWarnings();
    return this.#reported.filter((one) => !before.includes(one));
  }

  #setWarnings(): void {
    const all = [...this.#require().findings.map(findingText), ...this.#reported];
    if (!isDeepStrictEqual(all, this.#warnings)) this.#warnings = all;
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

  /** One after the other: a slow read must not undo the result of a later one. */
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
    checkOverlay(overlay, this.sections);
    const after = await this.#load(overlay).catch((error: unknown) => {
      // Otherwise the file itself is refused.
      const isOfOverlay = error instanceof SymphonyError && this.#problem === null;
      if (!isOfOverlay) throw error;
      throw withHint(error, "nothing was changed; symphony config get shows what is in force");
    });
    await saveOverlay(overlay);
    this.#overlay = overlay;
    this.#accept(this.#require(), after);
    return overlay;
  }

  async #load(overlay = this.#overlay): Promise<Checked> {
    const content = await readWorkflow(this.#options.workflowPath);
    return load(content, { ...this.#options, overlay });
  }

  async #look(): Promise<boolean> {
    if (this.#closed) return false;
    const before = this.#require();
    let after: Checked;
    try {
      // A refused file is checked again each time: the missing part may be outside of it.
      const isSame = async () => (await hashOfFiles(before.paths)) === before.hash;
      if (this.#problem === null && (await isSame())) return false;
      after = await this.#load();
    } catch (error) {
      this.#refuse(asSymphonyError(error));
      return false;
    }
    return this.#accept(before, after);
  }

  #accept(before: Checked, after: Checked): boolean {
    const keys = changedKeys(before.effective, after.effective, this.sections);
    const mended = this.#problem !== null;
    this.#problem = null;
    // The same values from other sources are not a change, but their origins differ.
    const same =
      keys.length === 0 && isDeepStrictEqual(before.effective.origins, after.effective.origins);
    this.#loaded = same ? { ...after, effective: before.effective } : after;
    this.#watcher?.add(foldersOf(after.paths));
    this.#setWarnings();
    // By what it says: an edit above it moves a warning to another line.
    const known = new Set(before.findings.map(({ message }) => message));
    const fresh = after.findings.filter(({ message }) => !known.has(message));
    const warnings = fresh.map(findingText);
    if (keys.length > 0 || mended || warnings.length > 0) {
      this.#notify({ type: "changed", keys, warnings });
    }
    return keys.length > 0;
  }

  #refuse(problem: SymphonyError): void {
    const known = this.#problem?.code === problem.code && this.#problem.message === problem.message;
    this.#problem = problem;
    if (!known) this.#notify({ type: "rejected", problem });
  }

  #notify(change: ConfigChange): void {
    for (const listener of this.#listeners) listener(change);
  }

  #checkLater(): void {
    this.#cancelCheck = this.#options.clock.after(checkIntervalMs, () => {
      void this.reload().finally(() => {
        if (!this.#closed) this.#checkLater();
      });
    });
  }

  #watchFiles(): FSWatcher {
    const isOurs = (path: string) => {
      const { paths } = this.#require();
      return paths.includes(path) || foldersOf(paths).includes(path);
    };
    const watcher = watchPaths(foldersOf(this.#require().paths), {
      depth: 0,
      ignoreInitial: true,
      ignored: (path) => !isOurs(path),
    });
    watcher.on("all", () => {
      this.#cancelSettle();
      if (this.#closed) return;
      this.#cancelSettle = this.#options.clock.after(settleMs, () => void this.reload());
    });
    // Watching is only faster; if the system refuses it, the regular check remains.
    watcher.on("error", () => void watcher.close());
    return watcher;
  }

  #require(): Checked {
    if (this.#loaded === null) throw new Error("the configuration is not open");
    return this.#loaded;
  }
}

function foldersOf(paths: readonly string[]): string[] {
  return [...new Set(paths.map((path) => dirname(path)))];
}

function asSymphonyError(error: unknown): SymphonyError {
  if (error instanceof SymphonyError) return error;
  return new SymphonyError("internal_error", messageOf(error), { cause: error });
}

export interface ConfigOptions extends CheckDeps {
  readonly clock: Clock;
  /** Saves a new overlay; if absent, the overlay cannot be changed. */
  saveOverlay?(overlay: Overlay): Promise<void>;
}

/** The workflow file with all other layers; its findings are warnings. Rejects with every fault of any of them. */
export async function load(content: Uint8Array, options: CheckDeps): Promise<Checked> {
  const checked = await checkConfig(content, options);
  if (checked.findings.some(({ severity }) => severity === "error")) {
    throw refusal(checked.findings, options.workflowPath);
  }
  return checked;
}

/** The dotted paths that differ, including `prompt`. */
function changedKeys(before: Effective, after: Effective, sections: Sections): readonly string[] {
  const old = leavesOf(before.written, sections);
  const now = leavesOf(after.written, sections);
  const paths = [...new Set([...old.keys(), ...now.keys()])];
  const differs = (path: string) => !isDeepStrictEqual(old.get(path), now.get(path));
  const prompt = before.promptTemplate === after.promptTemplate ? [] : ["prompt"];
  const states = [...new Set([...before.prompts.keys(), ...after.prompts.keys()])];
  const prompts = states
    .filter((state) => before.prompts.get(state)?.text !== after.prompts.get(state)?.text)
    .map((state) => `prompts.${state}`);
  return [...new Set([...paths.filter(differs), ...prompt, ...prompts])].sort();
}

const formatVersion = 1;

/** The operator's overlay in the data directory. */
export interface OverlayDocument {
  /** As it was when it was opened. */
  readonly overlay: Overlay;
  /** On disk (fsynced) when it resolves. Rejects with `storage_unavailable`; the file is then unchanged. */
  save(overlay: Overlay): Promise<void>;
}

/** Loads `overlay.json` in `dir`; the caller holds the data directory's lock. Rejects with `storage_corrupt`. */
export async function openOverlay(dir: string): Promise<OverlayDocument> {
  const document = await documentIn(dir);
  await removeLeftovers(overlayFile(dir));
  return {
    overlay: document.data,
    async save(overlay) {
      document.data = overlay;
      await document.write();
    },
  };
}

/** The overlay as last written, for callers without the lock. Rejects like `openOverlay`; changes nothing. */
export async function readOverlay(dir: string): Promise<Overlay> {
  return (await documentIn(dir)).data;
}

function overlayFile(dir: string): string {
  return join(dir, "overlay.json");
}

async function documentIn(dir: string): Promise<Low<Overlay>> {
  const schema = z.record(z.string(), z.unknown());
  const document = new Low<Overlay>(
    durableJson<Overlay>(overlayFile(dir), formatVersion, schema),
    {},
  );
  await document.read();
  return document;
}
