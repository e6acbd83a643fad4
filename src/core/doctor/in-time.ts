import { systemClock } from "../clock.ts";
import { SymphonyError } from "../model/errors.ts";

/** `work`, or after `ms` a `tracker_request` that says who did not answer. */
export async function inTime<T>(work: Promise<T>, ms: number, who: string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const cancel = systemClock.after(ms, () => {
    const message = `${who} did not answer in ${ms / 1_000} s`;
    late.reject(
      new SymphonyError("tracker_request", message, {
        hint: "look at the network, and at HTTPS_PROXY and NO_PROXY if they are set",
      }),
    );
  });
  return Promise.race([work, late.promise]).finally(cancel);
}
