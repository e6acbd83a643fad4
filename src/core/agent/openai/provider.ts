import { type Clock, pause } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { SilenceWatch } from "../../process/program.ts";
import { askChat } from "./chat-api.ts";
import { baseUrlOf, clientFor, type Failure, judgeFailure, keyNameOf, keyOf } from "./failures.ts";
import { askResponses } from "./responses-api.ts";
import type { OpenaiConfig } from "./settings.ts";
import type { ModelReply, ModelRequest } from "./thread.ts";

const firstWaitMs = 1_000;
const maxWaitMs = 30_000;

/** What earlier requests showed about a provider; kept while the server runs, by base URL. */
export interface Known {
  readonly chatOnly: Set<string>;
  readonly unsealed: Set<string>;
}

export interface ProviderOptions {
  config(): OpenaiConfig;
  lookup(name: string): string | undefined;
  /** Registers the key for redaction: a file of the workspace may contain it too. */
  hide(value: string): void;
  readonly clock: Clock;
  readonly known: Known;
  /** Data was received from the provider. */
  received(): void;
  notice(message: string): void;
}

/** Thrown when the conversation no longer fits into the model's context. */
export class TooLong extends Error {}

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
    for (let retries = 0; ; ) {
      const failure = await this.#once(request, signal);
      if ("reply" in failure) {
        this.#answered();
        return failure.reply;
      }
      signal.throwIfAborted();
      if (this.#learned(failure, request)) continue;
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
    try {
      const client = await clientFor(config, key);
      return { reply: await this.#send(client, request, { signal: abort.signal, received }) };
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
      signal.removeEventListener("abort", stop);
    }
  }

  #send(
    client: Awaited<ReturnType<typeof clientFor>>,
    request: ModelRequest,
    listening: { signal: AbortSignal; received(): void },
  ): Promise<ModelReply> {
    const { known } = this.#options;
    const config = this.#options.config();
    const chatOnly = this.#tryChat || known.chatOnly.has(baseUrlOf(config));
    if (config.api === "chat" || (config.api === "auto" && chatOnly))
      return askChat(client, request, listening);
    const sealed = !known.unsealed.has(sealOf(config, request));
    return askResponses(client, { ...request, sealed }, listening);
  }

  #answered(): void {
    if (!this.#tryChat) return;
    this.#tryChat = false;
    this.#options.known.chatOnly.add(baseUrlOf(this.#options.config()));
    this.#options.notice("the provider has no Responses API: Chat Completions is used from now on");
  }

  /** True when the failure changed what is known, so that the next request is different. */
  #learned(failure: Failure, request: ModelRequest): boolean {
    const { known } = this.#options;
    const config = this.#options.config();
    if (failure.kind === "other api" && config.api === "auto") {
      this.#tryChat = !this.#tryChat && !known.chatOnly.has(baseUrlOf(config));
      return this.#tryChat;
    }
    const seal = sealOf(config, request);
    if (failure.kind !== "no sealing" || known.unsealed.has(seal)) return false;
    known.unsealed.add(seal);
    return true;
  }

  /** Throws when the request must not be tried again. */
  #waitAfter(failure: Exclude<Failure, { kind: "final" }>, retries: number): number {
    const { message } = failure;
    if (failure.kind === "too long") throw new TooLong(message);
    if (failure.kind === "limited") throw limited(message, failure.untilWall);
    if (failure.kind !== "passing") {
      throw new SymphonyError("provider_error", `the provider refused: ${message}`, {
        hint: "symphony config get openai",
      });
    }
    if (retries >= this.#options.config().maxRetries) {
      if (failure.limited) throw limited(message, null);
      throw new SymphonyError(
        "provider_error",
        `the provider failed ${retries + 1} times: ${message}`,
      );
    }
    return failure.waitMs ?? Math.min(firstWaitMs * 2 ** retries, maxWaitMs);
  }
}

function sealOf(config: OpenaiConfig, { model }: ModelRequest): string {
  return `${config.baseUrl} ${model}`;
}

function limited(message: string, untilWall: number | null): SymphonyError {
  return new SymphonyError("provider_limited", `the provider's limit is reached: ${message}`, {
    details: { untilWall },
  });
}
