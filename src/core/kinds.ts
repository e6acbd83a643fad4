import { type AgentKind, agentKinds } from "./agent/kinds.ts";
import { type Sections, sectionsOf } from "./config/sections.ts";
import { type TrackerKind, trackerKinds } from "./tracker/kinds.ts";

/** The tables that symphony chooses trackers and agents from: a new kind of either is one folder and one row. */
export interface Kinds {
  readonly trackers: readonly TrackerKind[];
  readonly agents: readonly AgentKind[];
}

/** The kinds that symphony comes with. */
export const kinds: Kinds = { trackers: trackerKinds, agents: agentKinds };

/** Everything that a configuration can be made of, for whoever reads one without a server. */
export const sections: Sections = sectionsOf(kinds);
