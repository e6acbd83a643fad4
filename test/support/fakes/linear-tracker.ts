import { setImmediate } from "node:timers/promises";
import {
  createLinearTracker,
  type LinearTracker,
  type LinearTrackerOptions,
} from "../../../src/core/tracker/linear/tracker.ts";
import { config } from "../makers/issue.ts";
import { FakeClock } from "./fake-clock.ts";
import type { FakeLinear } from "./fake-linear.ts";

interface Made {
  readonly tracker: LinearTracker;
  readonly clock: FakeClock;
}

interface Parts extends Partial<Omit<LinearTrackerOptions, "config" | "clock">> {
  readonly provider?: Readonly<Record<string, unknown>>;
}

/** The adapter for a double of Linear, or for any server with a url, a project and a key. */
export function linearTracker(
  fake: Pick<FakeLinear, "url" | "project" | "apiKey">,
  { provider, ...parts }: Parts = {},
): Made {
  const clock = new FakeClock();
  const tracker = createLinearTracker({
    config: config({
      tracker: {
        kind: "linear",
        provider: { endpoint: fake.url, project_slug: fake.project, ...provider },
      },
    }).tracker,
    lookup: (name) => (name === "LINEAR_API_KEY" ? fake.apiKey : undefined),
    clock,
    ...parts,
  });
  return { tracker, clock };
}

/** Waits for real answers; advances the clock only while a timer waits for it, exactly to the due time. */
export async function driven<T>(clock: FakeClock, promise: Promise<T>): Promise<T> {
  let settled = false;
  const done = promise.finally(() => {
    settled = true;
  });
  done.catch(() => {});
  while (!settled) {
    await setImmediate();
    const waiting = clock.pending;
    while (waiting > 0 && clock.pending === waiting) clock.advance(1);
  }
  return done;
}
