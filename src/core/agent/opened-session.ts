import type { AgentSession } from "./agent.ts";

/** Opens `session` and resolves with it. When that fails, or `signal` is aborted meanwhile, nothing of it is left. */
export async function openedSession<S extends AgentSession & { open(): Promise<void> }>(
  session: S,
  signal: AbortSignal,
): Promise<S> {
  signal.addEventListener("abort", () => void session[Symbol.asyncDispose](), { once: true });
  try {
    await session.open();
    signal.throwIfAborted();
    return session;
  } catch (error) {
    await session[Symbol.asyncDispose]();
    signal.throwIfAborted();
    throw error;
  }
}
