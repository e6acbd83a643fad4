/** What `promise` gives; rejects with the signal's reason once it aborts, and then the promise is left to itself. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: over, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, over]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
