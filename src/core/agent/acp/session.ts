import { randomUUID } from "node:crypto";
import { within } from "../../clock.ts";
import { addTokens, noTokens } from "../../model/attempt.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { SilenceWatch } from "../../process/program.ts";
import { displayText, type JsonObject, objectOf } from "../../text/text.ts";
import {
  type AgentEvent,
  type AgentSession,
  type Answer,
  Asks,
  type TurnOptions,
} from "../agent.ts";
import { noticeEvent } from "../event-makers.ts";
import { plainPrompt } from "../guard/disarm.ts";
import { type Choice, type Choices, openSession } from "./handshake.ts";
import { AcpLink, type LinkOptions } from "./link.ts";
import {
  type Outcome,
  outcomeOf,
  permissionNeeds,
  readUsage,
  Updates,
  unanswered,
} from "./updates.ts";

const cancelGraceMs = 2_000;
const maxLogChars = 1_000;

interface Turn {
  readonly id: string;
  /** Rejects when the turn is given up. */
  readonly fails: PromiseWithResolvers<never>;
}

/** A session of an agent that speaks the Agent Client Protocol. */
export class AcpSession implements AgentSession {
  threadId = "";
  resumed = false;
  readonly #options: LinkOptions;
  readonly #link: AcpLink;
  readonly #asks: Asks;
  readonly #updates: Updates;
  readonly #chosen = new Map<string, string>();
  #choices: Choices = { model: null, effort: null, mode: null };
  #steers = false;
  #turn: Turn | null = null;
  /** The turn as the agent sees it: it may still run when ours was given up. */
  #prompting: Promise<unknown> | null = null;
  #watch: SilenceWatch | null = null;
  #counted = noTokens;
  #disposed: Promise<void> | null = null;

  constructor(options: LinkOptions) {
    this.#options = options;
    const { spec, clock } = options;
    this.#updates = new Updates(spec.workspace);
    this.#asks = new Asks({ people: spec.people, clock, emit: (event) => this.#emit(event) });
    this.#link = new AcpLink(options, {
      heard: () => this.#watch?.heard(),
      updated: (params) => this.#updated(params),
      permissionAsked: (params) => this.#permit(params),
      stray: (line) => this.#stray(line),
      ended: (error) => {
        this.#asks.close();
        this.#turn?.fails.reject(error);
      },
    });
  }

  get pid(): number | null {
    return this.#link.pid;
  }

  async open(): Promise<void> {
    const { spec, config, guarded } = this.#options;
    const notice = (message: string) => this.#emit(noticeEvent(message));
    const opened = await openSession({ link: this.#link, spec, config, guarded, notice });
    this.threadId = opened.sessionId;
    this.resumed = opened.resumed;
    this.#choices = opened.choices;
    this.#steers = opened.steers;
    const { threadId, resumed } = this;
    // What an agent counts begins with its process.
    this.#emit({ type: "session.started", threadId, resumed, countsAnew: resumed });
  }

  async turn(prompt: string, options: TurnOptions): Promise<void> {
    if (this.#turn) throw new Error("a turn is in flight already");
    const { clock, config, spec } = this.#options;
    await this.#choose("model", options.model ?? spec.model);
    await this.#choose("effort", options.effort ?? null);
    const turn: Turn = { id: randomUUID(), fails: Promise.withResolvers<never>() };
    turn.fails.promise.catch(() => {});
    this.#turn = turn;
    this.#watch = new SilenceWatch(clock, config.turnTimeoutMs, {
      waits: () => this.#asks.waiting,
      onSilence: () => turn.fails.reject(silent(config.turnTimeoutMs)),
    });
    this.#emit({ type: "turn.started", turnId: turn.id });
    try {
      const result = await Promise.race([this.#prompt(prompt), turn.fails.promise]);
      this.#finish(objectOf(result));
      this.#emit({ type: "turn.completed", turnId: turn.id });
    } catch (thrown) {
      const error = await this.#causeOf(thrown);
      this.#emit({ type: "turn.failed", turnId: turn.id, message: messageOf(error) });
      throw error;
    } finally {
      this.#watch.stop();
      this.#turn = null;
    }
  }

  async steer(steerId: string, message: string): Promise<{ readonly turnId: string }> {
    const turn = this.#turn;
    if (!turn) throw new SymphonyError("no_active_turn", "no turn can be steered: none is running");
    // What the agent does not take now opens the next turn.
    if (this.#steers && (await this.#injected(message))) {
      this.#emit({ type: "steer.delivered", steerId });
    }
    return { turnId: turn.id };
  }

  answer(askId: string, answer: Answer): void {
    this.#asks.answer(askId, answer);
  }

  async interrupt(): Promise<void> {
    if (this.#turn) this.#link.notify("session/cancel", { sessionId: this.threadId });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  async #dispose(): Promise<void> {
    if (this.#prompting !== null) {
      // Lets the agent record the turn as cancelled; one that does not answer is not waited for.
      this.#link.notify("session/cancel", { sessionId: this.threadId });
      await within(this.#prompting, cancelGraceMs);
    }
    this.#asks.close();
    await this.#link.stop();
  }

  #prompt(text: string): Promise<unknown> {
    const prompt = [{ type: "text", text: plainPrompt(text) }];
    const params = { sessionId: this.threadId, prompt };
    const asked = this.#link.request("session/prompt", params, null);
    this.#prompting = asked
      .catch(() => {})
      .finally(() => {
        this.#prompting = null;
      });
    return asked;
  }

  #finish(result: JsonObject): void {
    for (const event of this.#updates.flush()) this.#emit(event);
    const used = readUsage(result);
    if (used) {
      this.#counted = addTokens(this.#counted, used);
      this.#emit({ type: "tokens", total: this.#counted });
    }
    const { stopReason } = result;
    switch (stopReason) {
      case "cancelled":
        throw new SymphonyError("turn_cancelled", "the turn was interrupted");
      case "refusal":
        throw new SymphonyError("turn_failed", "the turn failed: the agent refuses to go on");
      case "max_tokens":
      case "max_turn_requests":
        return this.#emit(noticeEvent(`the agent ended its turn early: ${stopReason}`));
      default:
        return;
    }
  }

  /** Gemini waits for its quota without a word, and writes so to stderr only as it exits: who ended it for its silence learns it then. */
  async #causeOf(error: unknown): Promise<unknown> {
    const code = error instanceof SymphonyError ? error.code : null;
    const silent = code === "turn_timeout" || this.#disposed !== null;
    if (!silent) return error;
    await this[Symbol.asyncDispose]();
    return this.#link.silentLimit() ?? error;
  }

  async #injected(text: string): Promise<boolean> {
    const prompt = [{ type: "text", text: plainPrompt(text) }];
    const params = { sessionId: this.threadId, prompt };
    const limitMs = this.#options.config.readTimeoutMs;
    const result = await this.#link.request("_session/steering", params, limitMs).catch(() => null);
    return objectOf(result)["outcome"] === "injected";
  }

  /** Sets the model or the effort where it is another than before. */
  async #choose(what: "model" | "effort", value: string | null): Promise<void> {
    const choice = this.#choices[what];
    if (value === null || value === (this.#chosen.get(what) ?? choice?.current)) return;
    if (!choice) {
      if (this.#chosen.get(what) === value) return;
      this.#chosen.set(what, value);
      return this.#emit(noticeEvent(`the agent offers no choice of ${what}: ${value} is not set`));
    }
    await this.#set(what, choice, value);
    this.#chosen.set(what, value);
  }

  async #set(what: string, choice: Choice, value: string): Promise<void> {
    const params = { sessionId: this.threadId, ...choice.params(value) };
    try {
      await this.#link.request(choice.method, params, this.#options.config.readTimeoutMs);
    } catch (error) {
      if (!(error instanceof SymphonyError) || error.code !== "response_error") throw error;
      const offered = choice.offered.slice(0, 20).join(", ");
      const message = `the agent does not take ${what} ${value}: ${error.message}; it offers ${offered}`;
      throw new SymphonyError("response_error", message, { details: error.details });
    }
  }

  #updated(params: JsonObject): void {
    // Until the session is open this is the history of a loaded one, after that it may be a sub-agent's.
    if (this.threadId === "" || params["sessionId"] !== this.threadId) return;
    for (const event of this.#updates.read(objectOf(params["update"]))) this.#emit(event);
  }

  #stray(line: string): void {
    if (line.trimStart().startsWith("{")) this.#emit(noticeEvent(line, true));
    else this.#options.spec.onLog(displayText(line, maxLogChars));
  }

  async #permit(params: JsonObject): Promise<Outcome> {
    const { approvals } = this.#options.spec.people;
    if (approvals !== "ask") {
      const outcome = outcomeOf(params, approvals === "auto");
      const { outcome: chosen } = outcome;
      const decision = chosen.outcome === "selected" ? chosen.optionId : chosen.outcome;
      this.#emit({ type: "approval.resolved", decision, automatic: true });
      return outcome;
    }
    try {
      const answer = await this.#asks.ask(permissionNeeds(params), 0);
      this.#watch?.heard();
      return outcomeOf(params, answer.type === "decision" && answer.approve);
    } catch (error) {
      this.#turn?.fails.reject(error);
      return unanswered;
    }
  }

  #emit(event: AgentEvent): void {
    const { spec } = this.#options;
    try {
      spec.onEvent(event);
    } catch (error) {
      // A consumer's fault must not end the reading of the agent's output.
      spec.onLog(`an event could not be handled: ${messageOf(error)}`);
    }
  }
}

function silent(limitMs: number): SymphonyError {
  return new SymphonyError("turn_timeout", `the agent was silent for ${limitMs} ms`, {
    details: { limitMs },
  });
}
