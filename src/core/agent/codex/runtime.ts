import type { Clock } from "../../clock.ts";
import type { CodexConfig } from "../../config/config.ts";
import type { AgentRuntime, AgentSession } from "../agent.ts";
import type { CodexHomes } from "./home.ts";
import { CodexSession, type SessionOptions } from "./session.ts";

export interface CodexRuntimeOptions {
  /** Read at each start: a live session keeps the settings it was started with. */
  config(): CodexConfig;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** Without it codex uses the operator's own home. */
  readonly homes?: CodexHomes;
}

/** Runs `codex app-server`, or whatever else `codex.command` names that speaks its protocol. */
export function createCodexRuntime({
  config,
  clock,
  env,
  homes,
}: CodexRuntimeOptions): AgentRuntime {
  const firsts = new Map<string, Promise<void>>();
  const probed = new Map<string, Promise<void>>();
  return {
    kind: "codex",
    async start(spec, signal) {
      signal.throwIfAborted();
      const settings = config();
      const home = (await homes?.prepare(settings)) ?? null;
      const scratch = (await home?.scratch(spec.runId)) ?? null;
      const leave = home ? await enter(firsts, home.path) : () => {};
      try {
        signal.throwIfAborted();
        const probedOnce = (key: string, probe: () => Promise<void>) => onceFor(probed, key, probe);
        const own = { spec, config: settings, clock, env, home, scratch, probedOnce };
        return await openSession(own, signal);
      } finally {
        leave();
      }
    },
  };
}

/** As `AgentRuntime.start`, with a process of its own or a host that runs already. */
export async function openSession(
  options: SessionOptions,
  signal: AbortSignal,
): Promise<AgentSession> {
  const session = new CodexSession(options);
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

/** The first start in a home is alone in it: codex sets up its databases then. Resolves with how to let the others in. */
async function enter(firsts: Map<string, Promise<void>>, path: string): Promise<() => void> {
  const first = firsts.get(path);
  if (first !== undefined) {
    await first;
    return () => {};
  }
  const { promise, resolve } = Promise.withResolvers<void>();
  firsts.set(path, promise);
  return resolve;
}

/** Success is remembered; what failed is tried again, since the operator may have mended it. */
export async function onceFor(
  done: Map<string, Promise<void>>,
  key: string,
  work: () => Promise<void>,
): Promise<void> {
  const known = done.get(key);
  if (known !== undefined) return known;
  const running = work();
  done.set(key, running);
  try {
    await running;
  } catch (error) {
    done.delete(key);
    throw error;
  }
}
