import type { TrackerConfig } from "../../config/config.ts";
import { ForgeError } from "../../model/forge-error.ts";
import type { Lookup, Tracker, TrackerDeps } from "../tracker.ts";
import { trackerError } from "./errors.ts";
import { listRepositories } from "./projects.ts";
import { githubTrackerSettings } from "./settings.ts";
import { createGithubTracker } from "./tracker.ts";

/** Issues of GitHub. */
export const githubAdapter = {
  check(config: TrackerConfig, lookup: Lookup) {
    githubTrackerSettings(config, lookup);
  },
  create: (
    config: TrackerConfig,
    { clock, lookup, onMalformed, onLeftOut, meter }: TrackerDeps,
  ): Tracker =>
    createGithubTracker({
      ...{ config, clock, lookup },
      onMalformed: (count) => onMalformed?.(count),
      onLeftOut: (what) => onLeftOut?.(what),
      onRequest: (outcome, budget) =>
        meter?.report({
          type: "tracker.request",
          kind: config.kind,
          outcome: outcome instanceof ForgeError ? trackerError(outcome).code : outcome,
          remaining: budget?.remaining ?? null,
        }),
    }),
  projects: listRepositories,
  openIssues: () => null,
};
