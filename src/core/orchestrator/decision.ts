import type { Config } from "../config/config.ts";
import type { Idle, Tokens } from "../model/attempt.ts";
import type { EventDraft, EventType } from "../model/event.ts";
import type { IssueName } from "../model/issue.ts";
import type { Ended } from "./issues.ts";
import type { Effect } from "./messages.ts";
import type { Fault, State } from "./state.ts";

/** What a decision may read in addition to the state. */
export interface Context {
  readonly config: Config;
  /** Why nothing new may start (an invalid workflow file), or null. */
  readonly problem: Fault | null;
  /** What else is wrong with the configuration. No decision reads it: it is recorded, to be shown as of then. */
  readonly warnings?: readonly string[];
  /** Monotonic ms: for every duration and due time. */
  readonly now: number;
  /** Epoch ms: for display and ids. */
  readonly wall: number;
  /** Durable facts about an issue's earlier attempts; brakes count those newer than the attempt `after`. */
  prior(issueId: string, after: string): Prior;
}

export interface PriorThread {
  readonly threadId: string;
  readonly tokens: Tokens;
  /** The agent that owns the thread: no other agent can resume it. */
  readonly agent: string;
}

export interface Prior {
  readonly count: number;
  /** The thread of the last attempt, when it was cut off or ended with a question. */
  readonly resume: PriorThread | null;
  /** The thread of the last attempt, however that ended. */
  readonly thread: PriorThread | null;
  readonly tokens: number;
  readonly idle: Idle | null;
  /** The last attempt, if it has ended. Absent: there was none. */
  readonly last?: Ended | null;
  /** The worker that had the last attempt; absent or null: this machine. */
  readonly worker?: string | null;
}

export interface Decision {
  readonly state: State;
  readonly effects: readonly Effect[];
}

export function decided(state: State, ...effects: readonly Effect[]): Decision {
  return { state, effects };
}

/** Continues deciding from the state of `first`; effects keep their order. */
export function andThen(first: Decision, next: (state: State) => Decision): Decision {
  const second = next(first.state);
  return { state: second.state, effects: [...first.effects, ...second.effects] };
}

/** An event about one issue. */
export function tell(
  type: EventType,
  issue: IssueName,
  event: Omit<EventDraft, "type" | "issueId" | "issueIdentifier">,
): Effect {
  return {
    type: "publish",
    event: { type, issueId: issue.id, issueIdentifier: issue.identifier, ...event },
  };
}

/** Opens a read: its number fences off every answer to an earlier request. */
export function openRequest(state: State): { readonly state: State; readonly request: number } {
  const request = state.lastRequest + 1;
  return {
    request,
    state: {
      ...state,
      lastRequest: request,
      openRequests: new Set(state.openRequests).add(request),
    },
  };
}

/** Closes a read, and drops the fences that no open read can cross any more. */
export function closeRequest(state: State, request: number): State {
  const openRequests = new Set(state.openRequests);
  openRequests.delete(request);
  if (state.fences.size === 0) return { ...state, openRequests };
  const oldest = Math.min(...openRequests, Number.POSITIVE_INFINITY);
  const fences = new Map([...state.fences].filter(([, fence]) => fence > oldest));
  return { ...state, openRequests, fences };
}

/** True when a newer answer about the issue was already applied (INV-14). */
export function isStale(state: State, issueId: string, request: number): boolean {
  return Math.max(state.fences.get(issueId) ?? 0, state.listFence) > request;
}

/** Records that the answer to `request` included these issues. */
export function raiseFences(state: State, ids: readonly string[], request: number): State {
  if (ids.length === 0 || state.openRequests.size === 0) return state;
  const fences = new Map(state.fences);
  for (const id of ids) fences.set(id, Math.max(fences.get(id) ?? 0, request));
  return { ...state, fences };
}
