import { setTimeout as pause } from "node:timers/promises";

/** Parts of one stream that may wait in the engine for their reader. */
export const mostParts = 1_000;
const againMs = 50;
const longestMs = 1_000;

/**
 * A writer that is quicker than the reader waits here, so that what waits does not fill the engine and a short letter of
 * another attempt is not late. Not for long: the reader may be gone. `waiting` counts the parts now.
 */
export async function untilRoom(waiting: () => Promise<number>): Promise<void> {
  const end = performance.now() + longestMs;
  while (performance.now() < end && (await waiting().catch(() => 0)) > mostParts)
    await pause(againMs);
}
