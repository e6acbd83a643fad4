import { type ErrorCode, SymphonyError, withHint } from "../../model/errors.ts";
import { ForgeError } from "../../model/forge-error.ts";

const hints: Partial<Record<ForgeError["category"], string>> = {
  unauthorized: "check the token: symphony secrets list",
  forbidden: "the token needs the permission issues: write for these repositories",
  not_found:
    "check tracker.provider.repositories; a token that may not see one gets the same answer",
};

/** What `work` returns; a failure of GitHub as the tracker's error (T-9). */
export async function tracked<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof ForgeError ? trackerError(error) : error;
  }
}

/** As `tracked`, for what a person writes: after a lost answer it may have been done. `look` shows whether it was. */
export async function written<T>(look: string, work: () => Promise<T>): Promise<T> {
  return tracked(work).catch((error: unknown) => {
    const isLost = error instanceof SymphonyError && error.details["category"] === "unavailable";
    throw isLost
      ? withHint(error, `whether it was done is not known: look with ${look} before you try again`)
      : error;
  });
}

/** A failure of GitHub as the tracker's error (T-9). */
export function trackerError(error: ForgeError): SymphonyError {
  const { category, status, retryAt } = error;
  // The permission is there, the issue takes nothing.
  const isShut = /archived|locked/i.test(error.message);
  const hint = isShut ? undefined : hints[category];
  return new SymphonyError(codeOf(error), error.message, {
    cause: error,
    details: {
      ...{ category, status, retryable: category === "unavailable" },
      ...(retryAt !== null && { retryAt: new Date(retryAt).toISOString() }),
    },
    ...(hint && { hint }),
  });
}

function codeOf({ category, status }: ForgeError): ErrorCode {
  if (category === "rate_limited") return "tracker_rate_limited";
  if (category === "malformed") return "tracker_response";
  if (status !== null) return "tracker_status";
  if (category === "unavailable") return "tracker_request";
  return category === "unauthorized" ? "missing_tracker_secret" : "tracker_response";
}
