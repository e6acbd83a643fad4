import { noTokens, type Tokens } from "../../model/attempt.ts";
import { SymphonyError } from "../../model/errors.ts";
import { displayText, oneLine } from "../../text/text.ts";
import type { AgentEvent } from "../agent.ts";
import type { AgentImage } from "../images.ts";
import { type Provider, TooLong } from "./provider.ts";
import {
  type Call,
  type Item,
  type ModelReply,
  type ModelRequest,
  shortened,
  summaryPrompt,
  type Thread,
  tailStart,
  tokensIn,
  userMessage,
} from "./thread.ts";
import type { Toolbox } from "./toolbox.ts";

const maxMessageChars = 32_768;
/**
 * Fractions of the model's context: at `full` the conversation is shortened; the newest `keptPart`
 * is kept.
 */
const full = 0.8;
const keptPart = 0.25;

/** How often one request is tried with a shorter conversation. */
const maxShortenings = 4;

const filtered = "the provider's filter stopped the answer";
const continueShorter =
  "Your answer was cut off because it was too long. Continue, in smaller steps.";

const nowhere = { hint: "symphony models, then symphony config overlay set openai.model NAME" };
const emptyAnswer = "Your answer was empty. Continue with the task.";

// Each answer is paid, also those of a model that gets nowhere.
/** Answers in a row that were cut off, or of which no call could be carried out. */
const maxFruitless = 10;
/** Answers in a row with the same calls and the same results: a command may wait for something. */
const maxSame = 50;

export interface TurnDeps {
  readonly thread: Thread;
  readonly provider: Provider;
  readonly toolbox: Toolbox;
  readonly instructions: string;
  readonly model: string;
  readonly effort: string | null;
  readonly contextTokens: number;
  readonly maxOutputTokens: number | null;
  readonly maxRequests: number;
  /** The provider reports no usage: it is estimated. */
  uncounted(): void;
  emit(event: AgentEvent): void;
}

interface Counted extends ModelReply {
  readonly usage: Tokens;
}

interface Steer {
  readonly id: string;
  readonly message: string;
  readonly images?: readonly AgentImage[] | undefined;
}

/** One turn: sends requests to the model and runs the calls that it makes, until it makes none. */
export class Turn {
  readonly #deps: TurnDeps;
  readonly #signal: AbortSignal;
  readonly #steers: Steer[] = [];
  #over = false;
  #unfinished = false;
  #fruitless = 0;
  #same = 0;
  #lastRound = "";
  #hasActed = false;
  #wasEmpty = false;

  constructor(deps: TurnDeps, signal: AbortSignal) {
    this.#deps = deps;
    this.#signal = signal;
  }

  /** Adds guidance to the next request; false when there will be none. */
  steer(steer: Steer): boolean {
    if (this.#over) return false;
    this.#steers.push(steer);
    return true;
  }

  /** Rejects with the reason why the turn failed, or with the signal's reason. */
  async run(prompt: string, images: readonly AgentImage[] = []): Promise<void> {
    const { thread, maxRequests } = this.#deps;
    try {
      await thread.add([userMessage(prompt, images)]);
      for (let requests = 0; requests < maxRequests; requests++) {
        await this.#deliver();
        const calls = await this.#step();
        if (calls.length > 0) await this.#answer(calls);
        else if (this.#steers.length > 0) this.#fruitless = 0;
        else if (this.#unfinished) this.#requireProgress(true, "");
        else return;
      }
      throw new SymphonyError("turn_failed", `the turn took more than ${maxRequests} requests`, {
        hint: "symphony config overlay set openai.max_requests_per_turn NUMBER",
      });
    } finally {
      this.#over = true;
    }
  }

  async #deliver(): Promise<void> {
    const { thread, emit } = this.#deps;
    for (const steer of this.#steers.splice(0)) {
      await thread.add([userMessage(steer.message, steer.images)]);
      emit({ type: "steer.delivered", steerId: steer.id });
    }
  }

  async #step(): Promise<readonly Call[]> {
    const { thread, emit } = this.#deps;
    if (thread.size > this.#contextTokens * full) await this.#shorten(this.#contextTokens);
    const reply = await this.#fitting();
    await thread.add(reply.items, reply.usage);
    this.#report(reply);
    thread.counted(reply.usage.input + reply.usage.output);
    const calls = reply.items.filter((item) => item.type === "function_call");
    if (reply.cut === "filter") throw new SymphonyError("turn_failed", filtered);
    const isCut = reply.cut === "length" && calls.length === 0;
    this.#unfinished = isCut || this.#isEmpty(reply);
    if (this.#unfinished) {
      const message = isCut
        ? "an answer was cut off: it was too long"
        : "an answer was empty: the model is asked once more";
      emit({ type: "notice", message, malformed: false });
      await thread.add([userMessage(isCut ? continueShorter : emptyAnswer)]);
    }
    return calls;
  }

  /** The turn has only begun, and the model says and does nothing. Throws when it does so again. */
  #isEmpty({ items }: ModelReply): boolean {
    if (this.#hasActed || items.some(({ type }) => type === "message" || type === "function_call"))
      return false;
    if (this.#wasEmpty)
      throw new SymphonyError("turn_failed", "the model's answers are empty", nowhere);
    this.#wasEmpty = true;
    return true;
  }

  /** Ends the turn of a model that gets nowhere. `round`: the calls of an answer, and their results. */
  #requireProgress(isFruitless: boolean, round: string): void {
    this.#fruitless = isFruitless ? this.#fruitless + 1 : 0;
    this.#same = round !== "" && round === this.#lastRound ? this.#same + 1 : 0;
    this.#lastRound = round;
    if (this.#fruitless < maxFruitless && this.#same < maxSame) return;
    const message =
      this.#same >= maxSame
        ? `the model made the same calls ${maxSame} times, with the same results`
        : `${maxFruitless} answers in a row were cut off, or made no call that could be carried out`;
    throw new SymphonyError("turn_failed", message, nowhere);
  }

  /** The size of the model's context, as configured or as the provider said. */
  get #contextTokens(): number {
    const { contextTokens, provider, model } = this.#deps;
    return Math.min(contextTokens, provider.contextTokensOf(model) ?? contextTokens);
  }

  /** The answer, after the conversation was made as short as the provider needs it. */
  async #fitting(): Promise<Counted> {
    const { thread } = this.#deps;
    for (let tries = 0; ; tries++) {
      try {
        return await this.#ask(thread.items);
      } catch (error) {
        if (!(error instanceof TooLong)) throw error;
        if (tries >= maxShortenings) return tooLong(error);
        // A provider that names no size has one below what was sent.
        const size = error.contextTokens ?? Math.floor(thread.size / 2);
        await this.#shorten(Math.min(this.#contextTokens, size) / 2 ** tries);
      }
    }
  }

  async #answer(calls: readonly Call[]): Promise<void> {
    const { thread, toolbox } = this.#deps;
    const open = new Set(calls.map((call) => call.call_id));
    const round = calls.map((call) => [call.name, call.arguments]);
    this.#hasActed = true;
    try {
      const failures = await toolbox.answer(calls, this.#signal, async (item) => {
        open.delete(item.call_id);
        round.push([item.output]);
        await thread.add([item]);
      });
      this.#requireProgress(failures === calls.length, JSON.stringify(round));
    } finally {
      // The thread may continue with another turn, and then each call must have an answer.
      const output = "interrupted before it ended; whether it had an effect is not known";
      const left = [...open].map(
        (id): Item => ({ type: "function_call_output", call_id: id, output }),
      );
      if (left.length > 0) await thread.add(left);
    }
  }

  #report({ items, limits }: ModelReply): void {
    const { emit, thread } = this.#deps;
    for (const item of items) {
      if (item.type === "message")
        emit({ type: "message", text: displayText(item.content, maxMessageChars) });
    }
    emit({ type: "tokens", total: thread.totals });
    if (limits) emit({ type: "rate_limits", limits });
  }

  async #shorten(contextTokens: number): Promise<void> {
    const { thread, emit } = this.#deps;
    const { items } = thread;
    const start = tailStart(items, contextTokens * keptPart);
    const { summary, usage } = await this.#summary(items, contextTokens);
    const left = shortened(items, start, summary);
    await thread.replace(left, usage);
    if (usage) emit({ type: "tokens", total: thread.totals });
    const message = `the conversation was shortened from ${items.length} to ${left.length} items`;
    emit({ type: "notice", message: oneLine(message, 1_000), malformed: false });
  }

  /** Without a summary if even that is too long for the model. */
  async #summary(
    items: readonly Item[],
    contextTokens: number,
  ): Promise<{
    summary: string | null;
    usage: ModelReply["usage"];
  }> {
    const newest = items.slice(tailStart(items, contextTokens * full));
    try {
      const reply = await this.#ask([...newest, userMessage(summaryPrompt)]);
      const texts = reply.items.flatMap((item) => (item.type === "message" ? [item.content] : []));
      return { summary: texts.join("\n") || null, usage: reply.usage };
    } catch (error) {
      if (!(error instanceof TooLong)) throw error;
      return { summary: null, usage: null };
    }
  }

  async #ask(items: readonly Item[]): Promise<Counted> {
    const { thread, model, effort, instructions, toolbox, maxOutputTokens } = this.#deps;
    const request: ModelRequest = {
      threadId: thread.id,
      ...{ model, effort, instructions, items, maxOutputTokens },
      tools: toolbox.specs,
    };
    const reply = await this.#deps.provider.ask(request, this.#signal);
    if (reply.usage !== null) return { ...reply, usage: reply.usage };
    this.#deps.uncounted();
    return { ...reply, usage: estimate(request, reply) };
  }
}

/** From the text, for a provider that reports no usage. */
function estimate({ instructions, tools, items }: ModelRequest, reply: ModelReply): Tokens {
  const fixed = userMessage(JSON.stringify([instructions, tools]));
  const [input, output] = [tokensIn([fixed, ...items]), tokensIn(reply.items)];
  return { ...noTokens, input, output, total: input + output };
}

function tooLong(error: unknown): never {
  if (!(error instanceof TooLong)) throw error;
  throw new SymphonyError(
    "provider_error",
    `the conversation is too long for the model: ${error.message}`,
    {
      hint: "symphony config overlay set openai.context_tokens NUMBER",
    },
  );
}
