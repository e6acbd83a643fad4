import type { TrackerConfig } from "../config/config.ts";
import { loadTracker, type TrackerAdapter, type TrackerKind } from "./kinds.ts";
import type { Tracker, TrackerDeps } from "./tracker.ts";

type OpenIssues = ReturnType<TrackerAdapter["openIssues"]>;

interface TrackerUse {
  readonly key: string;
  readonly tracker: Tracker;
  readonly issues: OpenIssues;
  unwatch(): void;
}

/** The tracker of the configuration in force, and its watch; an edit of its section creates a new tracker. */
export class TrackerInUse {
  readonly #kinds: readonly TrackerKind[];
  readonly #deps: TrackerDeps;
  #onChange = () => {};
  /** By kind. A configuration comes into force only after its adapter, which is loaded for that, has checked it. */
  readonly #adapters = new Map<string, TrackerAdapter>();
  #current: TrackerUse | null = null;

  constructor(kinds: readonly TrackerKind[], deps: TrackerDeps) {
    this.#kinds = kinds;
    this.#deps = deps;
  }

  /** Calls `onChange` when issues changed outside a poll. */
  watch(onChange: () => void): void {
    this.#onChange = onChange;
  }

  /** Rejects with `unsupported_tracker_kind` or the adapter's own codes for unusable settings. Sends no request. */
  async check(config: TrackerConfig): Promise<void> {
    const known = this.#adapters.get(config.kind);
    const adapter = known ?? (await loadTracker(this.#kinds, config));
    this.#adapters.set(config.kind, adapter);
    adapter.check(config, this.#deps.lookup);
  }

  get tracker(): Tracker {
    return this.#require().tracker;
  }

  /** null for a tracker whose issues are not stored by symphony. */
  get localIssues(): OpenIssues {
    return this.#require().issues;
  }

  /**
   * Applies a checked configuration. Sessions keep the tracker they were bound to (T-14), so the old one is dropped
   * without being closed. Throws when the new one cannot be opened; the old one then stays in use.
   */
  follow(config: TrackerConfig): void {
    if (JSON.stringify(config) === this.#current?.key) return;
    const current = this.#open(config);
    this.#current?.unwatch();
    this.#current?.issues?.close();
    this.#current = current;
  }

  async close(): Promise<void> {
    this.#current?.unwatch();
    this.#current?.issues?.close();
    await this.#current?.tracker.close();
  }

  #open(config: TrackerConfig): TrackerUse {
    const adapter = this.#adapters.get(config.kind);
    if (!adapter) throw new Error(`the tracker ${config.kind} was not checked`);
    const tracker = adapter.create(config, this.#deps);
    // Before the watch, which is a timer: a tracker that cannot be opened must leave nothing running.
    const issues = adapter.openIssues(config, this.#deps);
    return {
      key: JSON.stringify(config),
      tracker,
      issues,
      unwatch: tracker.watch(() => this.#onChange()),
    };
  }

  #require(): TrackerUse {
    if (this.#current === null) throw new Error("no tracker is open");
    return this.#current;
  }
}
