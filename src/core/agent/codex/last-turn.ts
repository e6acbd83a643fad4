import type { JsonRpcPeer } from "../json-rpc.ts";
import { listOf, objectOf, textOf } from "../json-value.ts";
import { readEnding, type TurnEnding } from "./protocol.ts";

/**
 * Asks for a thread's newest turn; false when it never had one. `take` hears its id and how it ended, null while
 * it runs, before any later line of the agent is handled.
 */
export async function lastTurn(
  peer: JsonRpcPeer,
  threadId: string,
  take: (turnId: string, ending: TurnEnding | null) => void,
): Promise<boolean> {
  let found = false;
  const params = { threadId, limit: 1, sortDirection: "desc" };
  await peer.request("thread/turns/list", params, (result) => {
    const [last] = listOf(objectOf(result)["data"]);
    const ending = readEnding("turn/completed", { turn: last }, null);
    if (!ending?.turnId) return;
    found = true;
    take(ending.turnId, textOf(objectOf(last)["status"]) === "inProgress" ? null : ending);
  });
  return found;
}
