import { type AgentKind, agentKinds } from "./agent/kinds.ts";
import { type Sections, sectionsOf } from "./config/sections.ts";
import { type TrackerKind, trackerKinds } from "./tracker/kinds.ts";

/** The tables of trackers and agents: a new kind of either is one folder and one row. */
export interface Kinds {
  readonly trackers: readonly TrackerKind[];
  readonly agents: readonly AgentKind[];
}

/** The kinds that symphony includes. */
export const kinds: Kinds = { trackers: trackerKinds, agents: agentKinds };

/** Every section that a configuration may have, for commands that read one without a server. */
export const sections: Sections = sectionsOf(kinds);
