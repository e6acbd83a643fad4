import type { Clock } from "../clock.ts";
import type { TrackerConfig } from "../config/config.ts";
import type { Meter } from "../events/meter.ts";
import { SymphonyError } from "../model/errors.ts";
import { linearSettings } from "./linear/settings.ts";
import { createLinearTracker } from "./linear/tracker.ts";
import { type LocalIssues, openLocalIssues } from "./local/issues.ts";
import { localOptions } from "./local/settings.ts";
import { createLocalTracker } from "./local/tracker.ts";
import type { Tracker } from "./tracker.ts";

export interface TrackerDeps {
  readonly dataDir: string;
  readonly clock: Clock;
  /** Told how many records of a read could not be used (T-6). */
  onMalformed?(count: number): void;
  /** Told of every request as it ended. */
  readonly meter?: Meter;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
}

/** Checks a tracker's settings without asking anybody. Throws `unsupported_tracker_kind` or the adapter's own code. */
export function checkTracker(config: TrackerConfig, edges: TrackerDeps): void {
  switch (config.kind) {
    case "local":
      localOptions(config);
      return;
    case "linear":
      linearSettings(config, edges.lookup);
      return;
    default:
      throw unsupported(config.kind);
  }
}

export function createTracker(config: TrackerConfig, edges: TrackerDeps): Tracker {
  switch (config.kind) {
    case "local":
      return createLocalTracker({ config, dataDir: edges.dataDir, clock: edges.clock });
    case "linear":
      return createLinearTracker({
        config,
        clock: edges.clock,
        lookup: edges.lookup,
        onMalformed: (count) => edges.onMalformed?.(count),
        onRequest: ({ outcome, budget }) =>
          edges.meter?.report({
            type: "tracker.request",
            kind: config.kind,
            outcome,
            remaining: budget.requests?.remaining ?? null,
          }),
      });
    default:
      throw unsupported(config.kind);
  }
}

function unsupported(kind: string): SymphonyError {
  return new SymphonyError("unsupported_tracker_kind", `tracker.kind "${kind}" is not supported`, {
    details: { path: "tracker.kind", kind, supported: ["linear", "local"] },
    hint: "set tracker.kind to linear or local",
  });
}

/** The tracker of the configuration in force, and its watch; an edit of its section makes a new one. */
export class TrackerInUse {
  readonly #edges: TrackerDeps;
  readonly #onChange: () => void;
  #made: { key: string; tracker: Tracker; unwatch: () => void; issues: LocalIssues | null };

  constructor(config: TrackerConfig, edges: TrackerDeps, onChange: () => void) {
    this.#edges = edges;
    this.#onChange = onChange;
    this.#made = this.#make(config);
  }

  get tracker(): Tracker {
    return this.#made.tracker;
  }

  /** null with any tracker but the embedded one. */
  get localIssues(): LocalIssues | null {
    return this.#made.issues;
  }

  /**
   * Sessions keep the one they were bound to (T-14), so the old one is not closed but forgotten. Throws when the new one
   * cannot be opened; then the old one stays.
   */
  follow(config: TrackerConfig): void {
    if (JSON.stringify(config) === this.#made.key) return;
    const made = this.#make(config);
    this.#made.unwatch();
    this.#made.issues?.close();
    this.#made = made;
  }

  close(): void {
    this.#made.unwatch();
    this.#made.issues?.close();
    this.#made.tracker.close();
  }

  #make(config: TrackerConfig) {
    const { dataDir, clock } = this.#edges;
    const tracker = createTracker(config, this.#edges);
    const local = config.kind === "local";
    // Before the watch, which is a timer: what cannot be opened must leave nothing running.
    const issues = local ? openLocalIssues(dataDir, localOptions(config), clock) : null;
    return {
      key: JSON.stringify(config),
      tracker,
      issues,
      unwatch: tracker.watch(this.#onChange),
    };
  }
}
