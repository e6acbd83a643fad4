import { messageOf, SymphonyError } from "../../../model/errors.ts";
import { maxLineBytes } from "../../lines.ts";
import type { TransportEvents } from "../transport.ts";

/** A connection to an agent that listens on a socket: one message is one text frame. */
export interface Socket {
  /** From now on lines are told; none is lost that comes after the opening. */
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
