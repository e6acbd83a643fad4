import type { TrackerConfig } from "../../config/config.ts";
import type { Lookup } from "../tracker.ts";
import { commandSettings } from "./settings.ts";
import { createCommandTracker } from "./tracker.ts";

/** Issues of a program of the operator's. */
export const commandAdapter = {
  check(config: TrackerConfig, lookup: Lookup) {
    commandSettings(config, lookup);
  },
  create: createCommandTracker,
  openIssues: () => null,
};
