import type { TrackerConfig } from "../../config/config.ts";
import type { Tracker, TrackerDeps } from "../tracker.ts";
import { openLocalIssues } from "./issues.ts";
import { localOptions } from "./settings.ts";
import { createLocalTracker } from "./tracker.ts";

/** Issues in the data directory. */
export const localAdapter = {
  check(config: TrackerConfig) {
    localOptions(config);
  },
  create: (config: TrackerConfig, { dataDir, clock }: TrackerDeps): Tracker =>
    createLocalTracker({ config, dataDir, clock }),
  openIssues: (config: TrackerConfig, { dataDir, clock }: TrackerDeps) =>
    openLocalIssues(dataDir, localOptions(config), clock),
};
