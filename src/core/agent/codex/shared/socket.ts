import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "../../../clock.ts";
import { messageOf, SymphonyError } from "../../../model/errors.ts";
import { maxLineBytes } from "../../../process/lines.ts";
import { objectOf, textOf } from "../../../text/text.ts";
import { JsonRpcPeer } from "../../json-rpc.ts";
import type { TransportEvents } from "../connection.ts";
import { lastTurn } from "../session.ts";

/** A connection to an agent that listens on a socket: one message is one text frame. */
export interface Socket {
  /** From now on lines are passed on; no line that arrives after the opening is lost. */
  listen(events: Pick<TransportEvents, "onLine" | "onEnd">): void;
  send(line: string): void;
  close(): void;
}

/** Connects to the unix socket at `path`. Rejects with `codex_daemon_lost`. */
export async function openSocket(path: string, limitMs: number): Promise<Socket> {
  const { WebSocket } = await import("ws");
  const socket = new WebSocket(`ws+unix:${path}:/`, {
    perMessageDeflate: false,
    maxPayload: maxLineBytes,
    handshakeTimeout: limitMs,
  });
  let events: Pick<TransportEvents, "onLine" | "onEnd"> | null = null;
  let fault: unknown = null;
  const early: string[] = [];
  const opened = Promise.withResolvers<void>();
  socket.on("open", () => opened.resolve());
  socket.on("error", (error) => {
    fault = error;
  });
  socket.on("message", (data: Buffer) => {
    const line = data.toString("utf8");
    if (events) events.onLine(line);
    else early.push(line);
  });
  socket.on("close", () => {
    const error = endOf(fault);
    opened.reject(error);
    events?.onEnd(error);
  });
  await opened.promise;
  return {
    listen(next) {
      events = next;
      for (const line of early.splice(0)) next.onLine(line);
      if (socket.readyState === WebSocket.CLOSED) next.onEnd(endOf(fault));
    },
    send(line) {
      if (socket.readyState === WebSocket.OPEN) socket.send(line.trimEnd());
    },
    close: () => socket.terminate(),
  };
}

function endOf(fault: unknown): SymphonyError {
  if (fault instanceof Error && "code" in fault && fault.code === tooLong) {
    const message = `the agent sent a message of more than ${maxLineBytes} bytes`;
    return new SymphonyError("line_too_long", message, { details: { maxBytes: maxLineBytes } });
  }
  const why = fault === null ? "it closed the connection" : messageOf(fault);
  return new SymphonyError("codex_daemon_lost", `the shared codex is gone: ${why}`);
}

const tooLong = "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH";

const requestLimitMs = 5_000;
const quietLimitMs = 10_000;
const pollMs = 50;

/**
 * Opens a separate connection for short requests to a shared agent; it is subscribed to no thread.
 */
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

/** The version that an agent reports, or null. */
export async function versionOf(socketPath: string, clock: Clock): Promise<string | null> {
  return withControl(socketPath, clock, async (peer) => {
    const [, version] = /\/(\S+)/.exec(agents.get(peer) ?? "") ?? [];
    return version ?? null;
  });
}

/**
 * Ends the turn in flight and every command of the thread. Resolves with true when the agent
 * confirms that none runs, with false when it did not.
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
      lastTurn(peer, threadId, (id, outcome) => {
        if (outcome === null) turnId = id;
      }),
    );
    if (turnId !== null) await tolerant(peer.request("turn/interrupt", { threadId, turnId }));
    await delay(pollMs);
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

/** A refusal means that there is nothing to end. */
async function tolerant(request: Promise<unknown>): Promise<void> {
  try {
    await request;
  } catch (error) {
    if (!(error instanceof SymphonyError) || error.code !== "response_error") throw error;
  }
}
