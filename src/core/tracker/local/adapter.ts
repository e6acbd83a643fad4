import type { TrackerAdapter } from "../kinds.ts";
import { openLocalIssues } from "./issues.ts";
import { localOptions } from "./settings.ts";
import { createLocalTracker } from "./tracker.ts";

/** Issues in the data directory. */
export const localAdapter: TrackerAdapter = {
  check(config) {
    localOptions(config);
  },
  create: (config, { dataDir, clock }) => createLocalTracker({ config, dataDir, clock }),
  openIssues: (config, { dataDir, clock }) => openLocalIssues(dataDir, localOptions(config), clock),
};
