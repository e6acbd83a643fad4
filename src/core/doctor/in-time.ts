import { limited } from "../clock.ts";
import { SymphonyError } from "../model/errors.ts";

/** `work`, or after `ms` a `tracker_request` that says who did not answer. */
export async function inTime<T>(work: Promise<T>, ms: number, who: string): Promise<T> {
  return limited(work, ms, () => {
    throw new SymphonyError("tracker_request", `${who} did not answer in ${ms / 1_000} s`, {
      hint: "look at the network, and at HTTPS_PROXY and NO_PROXY if they are set",
    });
  });
}
