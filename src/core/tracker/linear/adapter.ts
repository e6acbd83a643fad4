import type { TrackerConfig } from "../../config/config.ts";
import type { Lookup, Tracker, TrackerDeps } from "../tracker.ts";
import { listProjects } from "./projects.ts";
import { linearSettings } from "./settings.ts";
import { createLinearTracker } from "./tracker.ts";

/** Issues of Linear. */
export const linearAdapter = {
  check(config: TrackerConfig, lookup: Lookup) {
    linearSettings(config, lookup);
  },
  create: (
    config: TrackerConfig,
    { clock, lookup, keeper, onMalformed, meter }: TrackerDeps,
  ): Tracker =>
    createLinearTracker({
      config,
      clock,
      lookup,
      keeper,
      onMalformed: (count) => onMalformed?.(count),
      onRequest: ({ outcome, budget }) =>
        meter?.report({
          type: "tracker.request",
          kind: config.kind,
          outcome,
          remaining: budget.requests?.remaining ?? null,
        }),
    }),
  projects: listProjects,
  openIssues: () => null,
};
