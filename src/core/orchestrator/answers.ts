import type { Needs } from "../model/attempt.ts";
import type { TrackerState } from "../model/issue.ts";
import type { IssueStatus } from "../model/status.ts";
import type { StorageTrouble } from "../model/storage.ts";
import type { TrackerHealth } from "../tracker/tracker.ts";
import type { Snapshot } from "./snapshot.ts";
import type { Fault } from "./state.ts";

export interface View {
  readonly snapshot: Snapshot;
  readonly polling: {
    readonly intervalMs: number;
    readonly lastWall: number | null;
    readonly nextWall: number | null;
    readonly lastError: Fault | null;
  };
  readonly tracker: TrackerHealth;
  /** Why nothing new is started. */
  readonly problem: Fault | null;
  /** Writes that the disk refused and that are repeated; nothing new is started while there are any. */
  readonly storage: StorageTrouble | null;
}

export interface Aborted {
  readonly identifier: string;
  readonly alreadyStopping: boolean;
  readonly requestedWall: number;
}

export interface Steered {
  readonly identifier: string;
  readonly steerId: string;
  readonly attemptId: string;
  readonly turnId: string;
  readonly status: "accepted" | "delivered";
}

export interface Responded {
  readonly identifier: string;
  /** What was asked. */
  readonly needs: Needs | null;
  /** A live agent has heard it; or the run had ended, and the next attempt begins with it. */
  readonly applies: "now" | "next_attempt";
}

export interface Target {
  readonly to: string;
  readonly kind: "status" | "tracker";
}

export interface Transitioned {
  readonly identifier: string;
  readonly from: string;
  readonly to: string;
  readonly kind: "status" | "tracker";
}

export interface TransitionsView {
  readonly trackerStates: readonly TrackerState[];
  readonly issues: readonly {
    readonly identifier: string;
    readonly status: IssueStatus | null;
    readonly state: string;
    readonly targets: readonly Target[];
  }[];
}
