import { SymphonyError } from "../../model/errors.ts";
import type { JsonRpcPeer } from "../json-rpc.ts";
import type { JsonObject } from "../json-value.ts";
import { providerLimit } from "./limits.ts";
import type { TurnEnding } from "./protocol.ts";
import { saysNoTurn } from "./refusals.ts";

/** Rejects with `turn_failed`, `provider_limited` or `turn_cancelled` unless the turn was completed. */
export async function finishTurn(
  peer: JsonRpcPeer,
  {
    threadId,
    ending: { status, message, info },
    limits,
    wall,
  }: { threadId: string; ending: TurnEnding; limits: JsonObject | null; wall: number },
): Promise<void> {
  if (status === "completed") return;
  if (status === "failed") {
    const limited = providerLimit({ message, info }, { limits, wall });
    if (limited) throw limited;
    throw new SymphonyError("turn_failed", `the turn failed: ${message}`, { details: { info } });
  }
  // An interrupted turn leaves its commands running; the workspace is to be quiet.
  await peer.request("thread/backgroundTerminals/clean", { threadId }).catch(() => {});
  throw new SymphonyError("turn_cancelled", "the turn was interrupted");
}

/** False when the turn has just ended, which needs no interrupt. */
export async function interruptTurn(
  peer: JsonRpcPeer,
  threadId: string,
  turnId: string,
): Promise<boolean> {
  try {
    await peer.request("turn/interrupt", { threadId, turnId });
    return true;
  } catch (error) {
    if (saysNoTurn(error)) return false;
    throw error;
  }
}
