import type { Presence } from "./lease.ts";

/** What the orchestrator has seen of a member's process, by its own clock. */
export interface Sighting {
  /** The latest; it stays when the lease is not there any more. */
  readonly presence: Presence | null;
  /** Since when its lease is not there, epoch ms; null: it is. */
  readonly missingWall: number | null;
  readonly beat: number;
  /** When a beat was seen that was not seen before, monotonic ms. */
  readonly lastBeatAt: number;
}

/**
 * The next sighting, after `presence` was read; null: there is no lease. `isGap`: the engine was not read for a while, so
 * that beats may have come and gone unseen: then a lease that is missing counts as renewed now.
 */
export function sighted(
  before: Sighting | null,
  presence: Presence | null,
  { now, wall, isGap }: { now: number; wall: number; isGap: boolean },
): Sighting {
  const isSame = presence !== null && before?.presence?.instance === presence.instance;
  // An engine that failed over may show an earlier one again.
  if (presence !== null && !(isSame && presence.beat < before.beat)) {
    const isNew = !isSame || presence.beat > before.beat;
    const lastBeatAt = isNew ? now : before.lastBeatAt;
    return { presence, missingWall: null, beat: presence.beat, lastBeatAt };
  }
  const isFirst = before === null || before.missingWall === null;
  return {
    presence: before?.presence ?? null,
    beat: before?.beat ?? 0,
    missingWall: before?.missingWall ?? wall,
    lastBeatAt: before === null || (isFirst && isGap) ? now : before.lastBeatAt,
  };
}
