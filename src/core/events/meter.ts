import type { ErrorCode } from "../model/errors.ts";

/** A measurement that is not recorded as an event. */
export type Measure =
  | {
      readonly type: "poll";
      readonly outcome: PollOutcome;
      readonly durationMs: number;
    }
  | {
      readonly type: "tracker.request";
      /** The tracker's kind. */
      readonly kind: string;
      /** `ok` or the error code. */
      readonly outcome: string;
      /** Requests the tracker still allows; null when it does not report them. */
      readonly remaining: number | null;
    }
  | { readonly type: "webhook.delivery"; readonly outcome: DeliveryOutcome };

/** A delivery of a webhook: accepted, a duplicate, or the error code of its refusal. */
export type DeliveryOutcome = "accepted" | "duplicate" | ErrorCode;

/** `invalid_config`: no candidates were read from the tracker, because the workflow file cannot be used. */
export type PollOutcome = "ok" | "tracker_error" | "invalid_config";

/** Passes measurements to a listener; without one they are dropped. */
export class Meter {
  readonly #listeners = new Set<(measure: Measure) => void>();

  report(measure: Measure): void {
    for (const listener of this.#listeners) listener(measure);
  }

  /** Returns how to stop. A listener must neither throw nor wait. */
  listen(listener: (measure: Measure) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
