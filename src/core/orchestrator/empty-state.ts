import { noTokens } from "../model/attempt.ts";
import type { State } from "./state.ts";

/** Nothing known, nothing done. */
export function emptyState(): State {
  return {
    candidates: [],
    queue: [],
    queuedFor: null,
    running: new Map(),
    retrying: new Map(),
    blocked: new Map(),
    held: new Map(),
    failed: new Map(),
    completed: new Map(),
    dismissed: new Map(),
    models: new Map(),
    templates: new Map(),
    allowances: new Map(),
    pauses: new Map(),
    day: { index: 0, tokens: 0, reached: false },
    fences: new Map(),
    listFence: 0,
    placed: new Map(),
    openRequests: new Set(),
    lastRequest: 0,
    poll: {
      phase: "idle",
      request: 0,
      tried: new Set(),
      again: false,
      startedAt: 0,
      lastWall: null,
      nextWall: null,
    },
    refill: { isDue: false, request: null, unblocked: new Set(), falseStarts: 0 },
    lastAttemptStamp: 0,
    usage: { tokens: noTokens, seconds: 0 },
    rateLimits: null,
    trackerError: null,
    storage: null,
    draining: false,
  };
}
