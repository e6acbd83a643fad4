import { type Clock, pause } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { SilenceWatch } from "../../process/program.ts";
import type { Quirks } from "../agent.ts";
import { limitError } from "../limits.ts";
import { askChat } from "./chat-api.ts";
import { addressOf, clientFor, keyNameOf, keyOf } from "./client.ts";
import { type Failure, judgeFailure } from "./failures.ts";
import type { Learned } from "./learned.ts";
import { shapeOf } from "./request.ts";
import { askResponses } from "./responses-api.ts";
import { defaultRequestTimeoutMs, type OpenaiConfig } from "./settings.ts";
import type { Listening, ModelReply, ModelRequest } from "./thread.ts";

const firstWaitMs = 1_000;
/** How often a silence that the settings allow is reported as a sign of life. */
const waitingMs = 1_000;
const maxWaitMs = 30_000;

export interface ProviderOptions {
  config(): OpenaiConfig;
  lookup(name: string): string | undefined;
  /** Registers the key for redaction: a file of the workspace may contain it too. */
  hide(value: string): void;
  readonly clock: Clock;
  readonly learned: Learned;
  /** Data was received from the provider. */
  received(): void;
  notice(message: string): void;
}

/** Thrown when the conversation no longer fits into the model's context. */
export class TooLong extends Error {
  /** The size of that context, if the provider names it. */
  readonly contextTokens: number | null;

  constructor(message: string, contextTokens: number | null = null) {
    super(message);
    this.contextTokens = contextTokens;
  }
}

/**
 * Sends requests to the provider: with the API that it has, again after temporary failures, with
 * the key as it is at that time.
 */
export class Provider {
  readonly #options: ProviderOptions;
  /** The other API is tried; it is remembered only after it has answered. */
  #tryChat = false;
  #hidden: string | null = null;

  constructor(options: ProviderOptions) {
    this.#options = options;
  }

  /**
   * Rejects with `provider_error`, `provider_limited`, `agent_unavailable`, TooLong, or the reason
   * of the signal.
   */
  async ask(request: ModelRequest, signal: AbortSignal): Promise<ModelReply> {
    const { notice } = this.#options;
    for (let [retries, badCalls] = [0, 0]; ; ) {
      // What another issue teaches in the meantime does not explain this refusal.
      const sent = this.#quirks(request);
      const failure = await this.#once(request, signal);
      if ("reply" in failure) {
        this.#answered(request);
        return failure.reply;
      }
      signal.throwIfAborted();
      if (this.#learned(failure, request, sent)) continue;
      if (failure.kind === "bad call" && badCalls++ === 0) {
        notice(`the model made a call that the provider could not read: ${failure.message}`);
        continue;
      }
      const waitMs = this.#waitAfter(failure, retries);
      retries++;
      notice(`the provider failed, trying again in ${waitMs} ms: ${failure.message}`);
      await pause(this.#options.clock, waitMs, signal);
    }
  }

  async #once(
    request: ModelRequest,
    signal: AbortSignal,
  ): Promise<{ readonly reply: ModelReply } | Exclude<Failure, { kind: "final" }>> {
    const { clock, lookup, hide } = this.#options;
    const config = this.#options.config();
    const key = keyOf(config, lookup);
    // A literal key may be any word, such as the name of a provider that needs no key.
    if (keyNameOf(config) !== null && key !== this.#hidden) hide(key);
    this.#hidden = key;
    let hasEnded = false;
    const abort = new AbortController();
    const stop = () => abort.abort(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    const silent = `nothing was received for ${config.requestTimeoutMs} ms`;
    const watch = new SilenceWatch(clock, config.requestTimeoutMs, {
      waits: () => false,
      onSilence: () => abort.abort(new Error(silent)),
    });
    const received = () => {
      watch.received();
      this.#options.received();
    };
    // Else `agent.silence_timeout_ms` would end a wait that was chosen.
    const waiting = config.requestTimeoutMs > defaultRequestTimeoutMs ? this.#waiting() : null;
    try {
      const client = await clientFor(config, key, {
        lookup: (name) => this.#secret(name),
        received,
        ended: () => {
          hasEnded = true;
        },
      });
      const listening = { signal: abort.signal, hasEnded: () => hasEnded };
      return { reply: await this.#send(client, request, listening) };
    } catch (error) {
      signal.throwIfAborted();
      const thrown = abort.signal.aborted ? abort.signal.reason : error;
      const failure = judgeFailure(thrown, {
        wall: clock.wall(),
        key,
        keyName: keyNameOf(config),
      });
      if (failure.kind === "final") throw failure.error;
      return failure;
    } finally {
      watch.stop();
      waiting?.();
      signal.removeEventListener("abort", stop);
    }
  }

  /** Reports signs of life until the result is called. */
  #waiting(): () => void {
    const { clock, received } = this.#options;
    let cancel = () => {};
    const next = () => {
      cancel = clock.after(waitingMs, () => {
        received();
        next();
      });
    };
    next();
    return () => cancel();
  }

  #send(
    client: Awaited<ReturnType<typeof clientFor>>,
    request: ModelRequest,
    { signal, hasEnded }: Listening,
  ): Promise<ModelReply> {
    const config = this.#options.config();
    const quirks = this.#quirks(request);
    const listening = { signal, hasEnded, shape: shapeOf(config, quirks) };
    const chatOnly = this.#tryChat || quirks.chatOnly;
    if (config.api === "chat" || (config.api === "auto" && chatOnly))
      return askChat(client, request, listening);
    return askResponses(client, { ...request, sealed: !quirks.unsealed }, listening);
  }

  /** The size of the model's context, if an answer named it. */
  contextTokensOf(model: string): number | null {
    return this.#quirks({ model }).contextTokens;
  }

  #quirks({ model }: Pick<ModelRequest, "model">): Quirks {
    return this.#options.learned.of({ baseUrl: addressOf(this.#options.config()).baseUrl, model });
  }

  #learn({ model }: Pick<ModelRequest, "model">, news: Partial<Quirks>): void {
    this.#options.learned.add({ baseUrl: addressOf(this.#options.config()).baseUrl, model }, news);
  }

  /** A value of a header is a secret, too. */
  #secret(name: string): string | undefined {
    const value = this.#options.lookup(name);
    if (value !== undefined && value.trim() !== "") this.#options.hide(value.trim());
    return value;
  }

  #answered(request: ModelRequest): void {
    if (!this.#tryChat) return;
    this.#tryChat = false;
    this.#learn(request, { chatOnly: true });
    this.#options.notice("the provider has no Responses API: Chat Completions is used from now on");
  }

  /** True when more is known than when the request was `sent`, so that the next one is different. */
  #learned(failure: Failure, request: ModelRequest, sent: Quirks): boolean {
    const config = this.#options.config();
    switch (failure.kind) {
      case "other api":
        if (config.api !== "auto") return false;
        this.#tryChat = !this.#tryChat && !sent.chatOnly;
        return this.#tryChat;
      case "no sealing":
        if (sent.unsealed) return false;
        this.#learn(request, { unsealed: true });
        return true;
      case "parts":
        return this.#learnedParts(failure, request, sent);
      case "too long":
        if (failure.contextTokens !== null) {
          this.#learn(request, { contextTokens: failure.contextTokens });
        }
        return false;
      default:
        return false;
    }
  }

  #learnedParts(
    { names, message }: Failure & { kind: "parts" },
    request: ModelRequest,
    { omit, newMaxTokens }: Quirks,
  ): boolean {
    const wantsNew = names.includes("max_completion_tokens") && names.includes("max_tokens");
    if (wantsNew && !newMaxTokens) {
      this.#learn(request, { newMaxTokens: true });
    } else {
      const left = names.filter((name) => !omit.includes(name));
      if (left.length === 0) return false;
      this.#learn(request, { omit: left });
    }
    this.#options.notice(
      `the provider does not take a part of the request, so it is left out: ${message}`,
    );
    return true;
  }

  /** Throws when the request must not be tried again. */
  #waitAfter(failure: Exclude<Failure, { kind: "final" }>, retries: number): number {
    const { message } = failure;
    if (failure.kind === "too long") throw new TooLong(message, failure.contextTokens);
    if (failure.kind === "limited") throw limitError(message, failure);
    if (failure.kind !== "passing") {
      throw new SymphonyError("provider_error", `the provider refused: ${message}`, {
        hint: "symphony config get openai",
      });
    }
    if (retries >= this.#options.config().maxRetries) {
      if (failure.limited) throw limitError(message, { untilWall: null });
      throw new SymphonyError(
        "provider_unavailable",
        `the provider failed ${retries + 1} times: ${message}`,
      );
    }
    const { waitMs } = failure;
    // `Retry-After: 0` or a date that has passed is no reason to ask without a pause, nor 15 ms again and again.
    const isLong = waitMs !== null && waitMs >= (retries === 0 ? 1 : firstWaitMs);
    if (isLong) return waitMs;
    return Math.min(firstWaitMs * 2 ** retries, maxWaitMs);
  }
}
