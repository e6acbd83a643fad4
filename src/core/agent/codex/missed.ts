import type { JsonRpcPeer } from "../json-rpc.ts";
import { type JsonObject, listOf, objectOf, textOf } from "../json-value.ts";

/** Few at a time: one command's output may be a mebibyte. */
const pageSize = 5;
const mostItems = 200;

/**
 * What the agent completed on its thread after `sinceWall`, oldest first, as `item/completed` would have told it.
 * An agent that refuses to say has missed nothing: the history is no audit of its work.
 */
export async function missedItems(
  peer: JsonRpcPeer,
  threadId: string,
  sinceWall: number,
): Promise<readonly JsonObject[]> {
  const missed: JsonObject[] = [];
  let cursor: string | null = null;
  try {
    do {
      const params = { threadId, cursor, limit: pageSize, sortDirection: "desc" };
      const page = objectOf(await peer.request("thread/items/list", params));
      for (const entry of listOf(page["data"]).map(objectOf)) {
        const item = objectOf(entry["item"]);
        const at = item["completedAtMs"];
        if (typeof at === "number" && at <= sinceWall) return missed.reverse();
        if (typeof at === "number") missed.push({ threadId, turnId: entry["turnId"], item });
      }
      cursor = textOf(page["nextCursor"]);
    } while (cursor !== null && missed.length < mostItems);
  } catch {
    return missed.reverse();
  }
  return missed.reverse();
}
