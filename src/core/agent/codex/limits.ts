import { SymphonyError } from "../../model/errors.ts";
import { isObject, type JsonObject, objectOf } from "../json-value.ts";
import type { TurnEnding } from "./protocol.ts";

const tooMany = 429;
/** codex rounds; a window this full is the one that is used up. */
const fullPercent = 99;
const windows = ["primary", "secondary"];

/**
 * The refusal of a provider for its limit, or null when the turn failed for another reason. `limits` are the last that were
 * heard: a window that is used up names the time from which turns are taken again.
 */
export function providerLimit(
  { message, info }: Pick<TurnEnding, "message" | "info">,
  limits: JsonObject | null,
): SymphonyError | null {
  if (info !== "usageLimitExceeded" && statusIn(info) !== tooMany) return null;
  return new SymphonyError("provider_limited", `the provider's limit is reached: ${message}`, {
    details: { info, untilWall: resetIn(limits) },
  });
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
    .map((window) => window["resetsAt"] ?? window["resets_at"])
    .filter((seconds) => typeof seconds === "number" && seconds > 0);
  return full.length === 0 ? null : Math.max(...full.map(Number)) * 1_000;
}
