import { followEvents } from "../client/events.ts";
import type { Server } from "../client/transport.ts";

/**
 * The number of the last event before `time` (ms since the epoch), at most `newest`. The series has no gaps and its
 * times only grow, so that a few single looks find it in any length of history.
 */
export async function seqBefore(time: number, newest: number, server: Server): Promise<number> {
  let low = 0;
  let high = newest;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const next = await firstAfter(middle, server);
    if (next === null || next.at >= time) high = middle;
    else low = next.seq;
  }
  return low;
}

/** The first event after `seq` that is still kept. */
async function firstAfter(seq: number, server: Server) {
  for await (const item of followEvents(server, { since: seq })) {
    if (item.kind === "event") return { seq: item.event.seq, at: Date.parse(item.event.at) };
  }
  return null;
}
