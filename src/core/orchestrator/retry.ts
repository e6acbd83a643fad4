const continuationDelayMs = 1_000;
const firstFailureDelayMs = 10_000;
/** The longest delay a Node timer keeps; anything above fires at once (O-20). */
const longestDelayMs = 2 ** 31 - 1;

/** Delay in ms before retry number `attempt` (1-based): 10 s, 20 s, 40 s, … up to `maxMs` (O-19). */
export function failureDelay(attempt: number, maxMs: number): number {
  return Math.min(firstFailureDelayMs * 2 ** (Math.max(attempt, 1) - 1), maxMs, longestDelayMs);
}

/** Delay in ms before looking again at an issue whose attempt ended normally (O-17). */
export function continuationDelay(): number {
  return continuationDelayMs;
}
