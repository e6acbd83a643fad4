import type { SymphonyError } from "../../model/errors.ts";
import { isObject, type JsonObject, objectOf } from "../json-value.ts";
import { limitError } from "../limits.ts";
import { timeIn, timeOf } from "../reset-time.ts";
import type { TurnEnding } from "./protocol.ts";

const tooMany = 429;
/** codex rounds; a window this full is the one that is used up. */
const fullPercent = 99;
const windows = ["primary", "secondary"];

/**
 * The refusal of a provider for its limit, or null when the turn failed for another reason. `limits` are the last that were
 * received: a window that is used up names the time from which turns are accepted again, otherwise the message may.
 */
export function providerLimit(
  { message, info }: Pick<TurnEnding, "message" | "info">,
  { limits, wall }: { readonly limits: JsonObject | null; readonly wall: number },
): SymphonyError | null {
  if (info !== "usageLimitExceeded" && statusIn(info) !== tooMany) return null;
  return limitError(message, { untilWall: resetIn(limits) ?? timeIn(message, wall) }, { info });
}

/** The HTTP status of `{responseTooManyFailedAttempts: {httpStatusCode}}`. */
function statusIn(info: unknown): unknown {
  return objectOf(objectOf(info)["responseTooManyFailedAttempts"])["httpStatusCode"];
}

/** Epoch ms at which the last window that is used up begins anew. */
function resetIn(limits: JsonObject | null): number | null {
  const full = windows
    .map((name) => limits?.[name])
    .filter(isObject)
    .filter((window) => Number(window["usedPercent"] ?? window["used_percent"]) >= fullPercent)
    .map((window) => timeOf(window["resetsAt"] ?? window["resets_at"]))
    .filter((at) => at !== null);
  return full.length === 0 ? null : Math.max(...full);
}
