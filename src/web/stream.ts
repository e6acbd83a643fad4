import type { z } from "zod";
import type { EventView } from "../contract/values.ts";
import { authorization, Refusal } from "./api.ts";

export type StreamEvent = z.output<typeof EventView>;

export interface Listener {
  event(event: StreamEvent): void;
  /** Events are missing, or the connection is a new one: what is shown must be read again. `last`: the next event comes after it. */
  anew(last: number): void;
  /** `lost`: trying again. `locked`: the server wants its token. */
  connection(state: "live" | "lost" | "locked"): void;
  /** The server has sent something, if only a comment. */
  alive?(): void;
}

/** The server sends a comment every 15 s; after three missing comments the connection is dead. */
const silenceMs = 45_000;
const firstPauseMs = 250;
const longestPauseMs = 10_000;

/** Follows the server's events from `since` on, each once and in order, through restarts, until `signal` is aborted. */
export async function follow(
  since: number,
  listener: Listener,
  signal: AbortSignal,
): Promise<void> {
  let last = since;
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      await connect(last, signal, {
        alive: () => listener.alive?.(),
        opened() {
          if (failures > 0) listener.anew(last);
          failures = 0;
          listener.connection("live");
        },
        message(type, data) {
          if (type === "gap") {
            last = (JSON.parse(data) as { oldest_seq: number }).oldest_seq - 1;
            listener.anew(last);
            return;
          }
          const event = JSON.parse(data) as StreamEvent;
          if (event.seq <= last) return;
          last = event.seq;
          listener.event(event);
        },
      });
    } catch (error) {
      if (error instanceof Refusal && error.status === 401) return listener.connection("locked");
    }
    if (signal.aborted) return;
    listener.connection("lost");
    await pause(Math.min(firstPauseMs * 2 ** failures, longestPauseMs), signal);
  }
}

interface Opened {
  alive(): void;
  opened(): void;
  message(type: string, data: string): void;
}

/** One connection until it ends. By fetch, because an EventSource cannot send the token. */
async function connect(since: number, signal: AbortSignal, { opened, message, alive }: Opened) {
  const silent = new AbortController();
  const response = await fetch(`/api/v1/events?since=${since}`, {
    headers: { accept: "text/event-stream", ...authorization() },
    signal: AbortSignal.any([signal, silent.signal]),
    cache: "no-store",
  });
  if (!response.ok || response.body === null) throw new Refusal(response.status, {});
  opened();
  let timer = setTimeout(() => silent.abort(), silenceMs);
  try {
    let rest = "";
    for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), silenceMs);
      alive();
      const blocks = (rest + part).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) read(block, message);
    }
  } finally {
    clearTimeout(timer);
  }
}

function read(block: string, message: Opened["message"]): void {
  const lines = block.split("\n");
  const data = lines.flatMap((line) => (line.startsWith("data: ") ? [line.slice(6)] : []));
  const type = lines.find((line) => line.startsWith("event: "))?.slice(7) ?? "message";
  if (data.length > 0) message(type, data.join("\n"));
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
