import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Step } from "./script.ts";
import type { Thread } from "./threads.ts";
import type { Wire } from "./wire.ts";

export interface Steer {
  readonly clientId: string | null;
  readonly text: string;
}

export interface Playing {
  perform(step: Step): Promise<void>;
  /** Called before the client is told, so that it may start the next turn at once. */
  ended(status: string): void;
}

/** Ends a turn as failed, with a message for the client. */
export class TurnFailure extends Error {
  readonly info: unknown;

  constructor(message: string, info: unknown = "other") {
    super(message);
    this.info = info;
  }
}

/** One turn on the wire: its items, the guidance it gets, its end. */
export class Turn {
  readonly id = randomUUID();
  readonly thread: Thread;
  readonly #wire: Wire;
  readonly #abort = new AbortController();
  readonly #waiting: Steer[] = [];
  readonly #taken: Steer[] = [];
  #wake: () => void = () => {};

  constructor(thread: Thread, wire: Wire) {
    this.thread = thread;
    this.#wire = wire;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  interrupt(): void {
    this.#abort.abort(new Error("interrupted"));
  }

  steer(steer: Steer): void {
    this.#waiting.push(steer);
    this.#wake();
  }

  /** Plays the steps to the end of the turn, whichever it is. Never rejects. */
  async play(prompt: Steer, steps: readonly Step[], { perform, ended }: Playing): Promise<void> {
    this.#notify("thread/status/changed", { status: { type: "active", activeFlags: [] } });
    this.#notify("turn/started", { turn: this.#state("inProgress", null) });
    this.#userMessage(prompt);
    try {
      for (const step of steps) {
        // As with codex, guidance that is pending when a turn breaks is lost.
        if (step.do !== "fail" && step.do !== "exit") this.#takeSteers();
        await perform(step);
        this.signal.throwIfAborted();
      }
      this.#takeSteers();
      ended("completed");
      this.#end("completed", null);
    } catch (error) {
      const status = this.signal.aborted ? "interrupted" : "failed";
      ended(status);
      const reason = error instanceof Error ? error.message : String(error);
      const info = error instanceof TurnFailure ? error.info : "other";
      this.#end(status, this.signal.aborted ? null : reason, info);
    }
  }

  say(text: string): void {
    const itemId = `msg_${randomUUID()}`;
    for (const delta of text.match(/.{1,40}/gs) ?? [])
      this.notify("item/agentMessage/delta", { itemId, delta });
    this.item("completed", { type: "agentMessage", id: itemId, text, phase: null });
  }

  item(stage: "started" | "completed", item: Readonly<Record<string, unknown>>): void {
    this.notify(`item/${stage}`, { item, [`${stage}AtMs`]: Date.now() });
  }

  /** A notification about this turn. */
  notify(method: string, params: Readonly<Record<string, unknown>>): void {
    this.#notify(method, { turnId: this.id, ...params });
  }

  /** The next guidance, or null after `ms`. */
  async nextSteer(ms: number): Promise<Steer | null> {
    const end = performance.now() + ms;
    while (this.#taken.length === 0) {
      const left = end - performance.now();
      if (left <= 0) return null;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await this.pause(left, promise);
      this.#takeSteers();
    }
    return this.#taken.shift() ?? null;
  }

  /** Waits `ms`, or until `sooner`; rejects when the turn is interrupted. */
  async pause(ms: number, sooner: Promise<void> = new Promise(() => {})): Promise<void> {
    const timer = new AbortController();
    const signal = AbortSignal.any([this.signal, timer.signal]);
    try {
      await Promise.race([delay(ms, null, { signal }), sooner]);
    } finally {
      timer.abort();
    }
  }

  #takeSteers(): void {
    for (const steer of this.#waiting.splice(0)) {
      this.#userMessage(steer);
      this.say(`steered: ${steer.text}`);
      this.#taken.push(steer);
    }
  }

  #userMessage({ clientId, text }: Steer): void {
    const content = [{ type: "text", text }];
    const item = { type: "userMessage", id: randomUUID(), clientId, content };
    this.item("started", item);
    this.item("completed", item);
  }

  #end(status: string, message: string | null, info: unknown = "other"): void {
    const error = message === null ? null : { message, codexErrorInfo: info };
    if (error) this.notify("error", { error, willRetry: false });
    this.#notify("thread/status/changed", { status: { type: error ? "systemError" : "idle" } });
    this.#notify("turn/completed", { turn: this.#state(status, error) });
  }

  #state(status: string, error: unknown): Readonly<Record<string, unknown>> {
    return { id: this.id, status, items: [], error };
  }

  #notify(method: string, params: Readonly<Record<string, unknown>>): void {
    this.#wire.notify(method, { threadId: this.thread.id, ...params });
  }
}
