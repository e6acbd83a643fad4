// The words of notices: what they are about, who receives them, and why one did not arrive.

/** What a notice may be about. */
export const occasions = [
  ...(["needs", "failed", "held", "done", "delivered", "budget"] as const),
  "stopped",
] as const;
export type OccasionName = (typeof occasions)[number];

export const receiverKinds = ["slack", "discord", "webhook", "desktop", "command"] as const;
export type ReceiverKind = (typeof receiverKinds)[number];

/** `brief`: titles and reasons. `full`: also what was asked, and numbers. */
export const noticeDetails = ["brief", "full"] as const;
export type NoticeDetail = (typeof noticeDetails)[number];

/**
 * Why a message was not accepted. `not_configured`: a secret is not set, or holds no address. `refused`: a retry cannot
 * succeed. `receiver_error`: the receiver has a fault of its own.
 */
export const failureCategories = [
  "not_configured",
  "unreachable",
  "timeout",
  "rate_limited",
  "refused",
  "receiver_error",
  "program_missing",
  "program_failed",
] as const;
export type FailureCategory = (typeof failureCategories)[number];
