import { exitCodes } from "./exit-codes.ts";
import { leave } from "./leave.ts";

const stopping = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Aborts at the first SIGINT, SIGTERM or SIGHUP; a second one leaves at once, and takes every agent along.
 *
 * One that came through the launcher of `bin/symphony.js` has the number 0. A signal to the whole group, such as that of
 * Ctrl-C, comes both ways, so of each signal the more frequent way counts. A terminal that goes away says so several times.
 */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  const received = stopping.map((signal) => {
    const counts = { direct: 0, passedOn: 0 };
    process.on(signal, (_: NodeJS.Signals, number?: number) => {
      counts[number === 0 ? "passedOn" : "direct"] += 1;
      heed();
    });
    return () => Math.min(Math.max(counts.direct, counts.passedOn), signal === "SIGHUP" ? 1 : 2);
  });
  const heed = () => {
    const count = received.reduce((sum, times) => sum + times(), 0);
    if (count > 1) leave(exitCodes.interrupted);
    controller.abort();
  };
  return controller.signal;
}

/** Resolves once `signal` is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  else signal.addEventListener("abort", () => resolve(), { once: true });
  return promise;
}
