import { createHash } from "node:crypto";
import { homedir } from "node:os";
import { dirname, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { type FSWatcher, watch as watchPaths } from "chokidar";
import type { Clock } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { parseWorkflow, readWorkflow } from "../workflow/load.ts";
import type { Config } from "./config.ts";
import { leavesOf, type Origin } from "./layers.ts";
import { type ConfigFlags, resolveConfig } from "./resolve.ts";
import { workspaceRoot } from "./root.ts";
import { toConfig, type Written } from "./schema.ts";

const checkIntervalMs = 1_000;
/** A file that is being written is read once its writer has paused. */
const settleMs = 50;

/** A configuration and the prompt that came with it: they change together or not at all. */
export interface Effective {
  readonly config: Config;
  readonly promptTemplate: string;
  /** The same configuration with the keys of the file, unknown ones included; `$NAME` is not looked up. */
  readonly written: Written;
  /** By dotted path, for every leaf of `written`. */
  readonly origins: Readonly<Record<string, Origin>>;
}

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
  /** Looks at the file now. Resolves to true when `current` was replaced. Never rejects. */
  reload(): Promise<boolean>;
  /** Tells `onChange`, which must not throw, of every later change or refusal. Returns how to stop that. */
  watch(onChange: (change: ConfigChange) => void): () => void;
  close(): Promise<void>;
}

export interface ConfigOptions {
  readonly workflowPath: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags: ConfigFlags;
  readonly clock: Clock;
  /** The user's home directory; the system's answer if left out. */
  readonly home?: string;
  readonly overlay?: Readonly<Record<string, unknown>>;
  /** A further check, such as the tracker adapter's; what it throws refuses the file. */
  validate?(config: Config): void;
}

/** Loads the file and keeps up with it. Rejects like `reload` would refuse: with what is wrong at start-up. */
export async function openConfig(options: ConfigOptions): Promise<ConfigService> {
  const workflowPath = resolve(options.workflowPath);
  const service = new WatchedConfig({ ...options, workflowPath });
  await service.open();
  return service;
}

interface Loaded {
  readonly hash: string;
  readonly effective: Effective;
  readonly warnings: readonly string[];
}

class WatchedConfig implements ConfigService {
  readonly #options: ConfigOptions;
  readonly #listeners = new Set<(change: ConfigChange) => void>();
  #loaded: Loaded | null = null;
  #problem: SymphonyError | null = null;
  #queue: Promise<unknown> = Promise.resolve();
  #watcher: FSWatcher | null = null;
  #cancelCheck = () => {};
  #cancelSettle = () => {};
  #closed = false;

  constructor(options: ConfigOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    this.#loaded = load(await readWorkflow(this.#options.workflowPath), this.#options);
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

  reload(): Promise<boolean> {
    // One after the other: a slow read must not undo what a later one found.
    const next = this.#queue.then(() => this.#look());
    this.#queue = next.catch(() => {});
    return next;
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

  async #look(): Promise<boolean> {
    if (this.#closed) return false;
    const before = this.#require();
    let after: Loaded;
    try {
      const content = await readWorkflow(this.#options.workflowPath);
      // A refused file is judged again each time: what it lacked may lie outside of it.
      if (this.#problem === null && hashOf(content) === before.hash) return false;
      after = load(content, this.#options);
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
    this.#loaded = keys.length > 0 ? after : { ...after, effective: before.effective };
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

function load(content: Uint8Array, options: ConfigOptions): Loaded {
  const { workflowPath, env, flags, overlay = {}, home = homedir() } = options;
  const workflow = parseWorkflow(content, workflowPath);
  const resolved = resolveConfig({ workflow: workflow.config, env, overlay, flags });
  const root = workspaceRoot(resolved.written.workspace.root, { workflowPath, env, home });
  const written = { ...resolved.written, workspace: { ...resolved.written.workspace, root } };
  const config = toConfig(written, root);
  options.validate?.(config);
  return {
    hash: hashOf(content),
    effective: {
      config,
      promptTemplate: workflow.promptTemplate,
      written,
      origins: { "workspace.root": "default", ...resolved.origins },
    },
    warnings: resolved.warnings,
  };
}

function changedKeys(before: Effective, after: Effective): readonly string[] {
  const old = leavesOf(before.written);
  const now = leavesOf(after.written);
  const paths = [...new Set([...old.keys(), ...now.keys()])];
  const differs = (path: string) => !isDeepStrictEqual(old.get(path), now.get(path));
  const prompt = before.promptTemplate === after.promptTemplate ? [] : ["prompt"];
  return [...paths.filter(differs), ...prompt].sort();
}

function hashOf(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

function asSymphonyError(error: unknown): SymphonyError {
  if (error instanceof SymphonyError) return error;
  return new SymphonyError("internal_error", messageOf(error), { cause: error });
}
