import type { TrackerAdapter } from "../kinds.ts";
import { linearSettings } from "./settings.ts";
import { createLinearTracker } from "./tracker.ts";

/** Issues of Linear. */
export const linearAdapter: TrackerAdapter = {
  check(config, lookup) {
    linearSettings(config, lookup);
  },
  create: (config, { clock, lookup, onMalformed, meter }) =>
    createLinearTracker({
      config,
      clock,
      lookup,
      onMalformed: (count) => onMalformed?.(count),
      onRequest: ({ outcome, budget }) =>
        meter?.report({
          type: "tracker.request",
          kind: config.kind,
          outcome,
          remaining: budget.requests?.remaining ?? null,
        }),
    }),
  openIssues: () => null,
};
