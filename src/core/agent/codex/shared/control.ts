import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "../../../clock.ts";
import { SymphonyError } from "../../../model/errors.ts";
import { JsonRpcPeer } from "../../json-rpc.ts";
import { objectOf, textOf } from "../../json-value.ts";
import { lastTurn } from "../last-turn.ts";
import { openSocket } from "./socket.ts";

const requestLimitMs = 5_000;
const quietLimitMs = 10_000;
const lookMs = 50;

/** A connection of its own for a few words with a shared agent; hears of no thread. */
export async function withControl<T>(
  socketPath: string,
  clock: Clock,
  work: (peer: JsonRpcPeer) => Promise<T>,
): Promise<T> {
  const socket = await openSocket(socketPath, requestLimitMs);
  const peer = new JsonRpcPeer({
    clock,
    timeoutMs: requestLimitMs,
    write: (line) => socket.send(line),
    onNotification: () => {},
    onRequest: () => {},
    onStray: () => {},
  });
  socket.listen({ onLine: (line) => peer.receive(line), onEnd: (error) => peer.close(error) });
  try {
    const hello = await peer.request("initialize", {
      clientInfo: { name: "symphony-control", title: "Symphony", version: "1" },
      capabilities: { experimentalApi: true, requestAttestation: false },
    });
    agents.set(peer, textOf(objectOf(hello)["userAgent"]) ?? "");
    peer.notify("initialized");
    return await work(peer);
  } finally {
    socket.close();
  }
}

const agents = new WeakMap<JsonRpcPeer, string>();

/** The version an agent gives of itself, or null. */
export async function versionOf(socketPath: string, clock: Clock): Promise<string | null> {
  return withControl(socketPath, clock, async (peer) => {
    const [, version] = /\/(\S+)/.exec(agents.get(peer) ?? "") ?? [];
    return version ?? null;
  });
}

/**
 * Ends the turn in flight and every command of the thread. Resolves with true when the agent says it is quiet,
 * with false when that could not be had.
 */
export async function silenceThread(
  socketPath: string,
  threadId: string,
  clock: Clock,
): Promise<boolean> {
  try {
    return await withControl(socketPath, clock, async (peer) => {
      if (!(await becomesIdle(peer, threadId))) return false;
      await tolerant(peer.request("thread/backgroundTerminals/clean", { threadId }));
      return true;
    });
  } catch {
    return false;
  }
}

async function becomesIdle(peer: JsonRpcPeer, threadId: string): Promise<boolean> {
  const end = performance.now() + quietLimitMs;
  while (performance.now() < end) {
    if ((await statusOf(peer, threadId)) !== "active") return true;
    let turnId: string | null = null;
    await tolerant(
      lastTurn(peer, threadId, (id, ending) => {
        if (ending === null) turnId = id;
      }),
    );
    if (turnId !== null) await tolerant(peer.request("turn/interrupt", { threadId, turnId }));
    await delay(lookMs);
  }
  return false;
}

/** `notLoaded` also for a thread that the agent does not know: nothing of it runs. */
async function statusOf(peer: JsonRpcPeer, threadId: string): Promise<string> {
  try {
    const result = await peer.request("thread/read", { threadId });
    const { status } = objectOf(objectOf(result)["thread"]);
    return textOf(objectOf(status)["type"]) ?? "active";
  } catch (error) {
    if (error instanceof SymphonyError && error.code === "response_error") return "notLoaded";
    throw error;
  }
}

/** A refusal says that there is nothing to end. */
async function tolerant(request: Promise<unknown>): Promise<void> {
  try {
    await request;
  } catch (error) {
    if (!(error instanceof SymphonyError) || error.code !== "response_error") throw error;
  }
}
