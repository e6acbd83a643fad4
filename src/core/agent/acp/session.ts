// Agents that speak the Agent Client Protocol.

import { randomUUID } from "node:crypto";
import { within } from "../../clock.ts";
import { addTokens, noTokens } from "../../model/attempt.ts";
import { SymphonyError } from "../../model/errors.ts";
import { displayText, type JsonObject, objectOf } from "../../text/text.ts";
import type { AgentEvent, TurnOptions } from "../agent.ts";
import { noticeEvent } from "../event-makers.ts";
import { plainPrompt } from "../guard/disarm.ts";
import { noActiveTurn, Session, type SessionTurn, turnCancelled } from "../session.ts";
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

interface Turn extends SessionTurn {
  readonly id: string;
  /** Rejects when the turn is given up. */
  readonly failed: Promise<never>;
}

/** A session of an agent that speaks the Agent Client Protocol. */
export class AcpSession extends Session<Turn> {
  readonly #options: LinkOptions;
  readonly #link: AcpLink;
  readonly #updates: Updates;
  readonly #chosen = new Map<string, string>();
  #choices: Choices = { model: null, effort: null, mode: null };
  #steers = false;
  /** The turn as the agent sees it: it may still run after the session's turn was given up. */
  #prompting: Promise<unknown> | null = null;
  #counted = noTokens;

  constructor(options: LinkOptions) {
    const { spec, clock, config } = options;
    super({ spec, clock, silenceLimitMs: config.turnTimeoutMs });
    this.#options = options;
    this.#updates = new Updates(spec.workspace);
    this.#link = new AcpLink(options, {
      received: () => this.received(),
      updated: (params) => this.#updated(params),
      permissionRequested: (params) => this.#permit(params),
      stray: (line) => this.#stray(line),
      ended: (error) => {
        this.questions.close();
        this.live?.fail(error);
      },
    });
  }

  get pid(): number | null {
    return this.#link.pid;
  }

  async open(): Promise<void> {
    const { spec, config, guarded, bridge } = this.#options;
    const link = this.#link;
    const notice = (message: string) => this.notice(message);
    const opened = await openSession({
      ...{ link, spec, config, guarded, notice },
      bridge: bridge?.server ?? null,
    });
    this.threadId = opened.sessionId;
    this.resumed = opened.resumed;
    this.#choices = opened.choices;
    this.#steers = opened.steers;
    const { threadId, resumed } = this;
    // The agent counts tokens from the start of its process.
    this.emit({ type: "session.started", threadId, resumed, countsAnew: resumed });
  }

  async turn(prompt: string, options: TurnOptions): Promise<void> {
    this.requireIdle();
    await this.#choose("model", options.model ?? this.#options.spec.model);
    await this.#choose("effort", options.effort ?? null);
    const turn = newTurn();
    await this.runTurn(turn, async () => {
      this.emit({ type: "turn.started", turnId: turn.id });
      try {
        this.#finish(objectOf(await Promise.race([this.#prompt(prompt), turn.failed])));
      } catch (error) {
        throw await this.#causeOf(error);
      }
    });
  }

  async steer(steerId: string, message: string): Promise<{ readonly turnId: string }> {
    const turn = this.live;
    if (!turn) throw noActiveTurn("none is running");
    // Guidance that the agent refuses now is added to the next turn.
    if (this.#steers && (await this.#injected(message))) {
      this.emit({ type: "steer.delivered", steerId });
    }
    return { turnId: turn.id };
  }

  async interrupt(): Promise<void> {
    if (this.live) this.#link.notify("session/cancel", { sessionId: this.threadId });
  }

  protected async close(): Promise<void> {
    if (this.#prompting !== null) {
      // Lets the agent record the turn as cancelled, without waiting for an answer.
      this.#link.notify("session/cancel", { sessionId: this.threadId });
      await within(this.#prompting, cancelGraceMs);
    }
    this.questions.close();
    await this.#link.stop();
    await this.#options.opened[Symbol.asyncDispose]();
  }

  /** The agent used the bridge to the tracker's tools. */
  toolUsed(event: AgentEvent | null): void {
    this.received();
    if (event !== null && !this.isClosed) this.emit(event);
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
    for (const event of this.#updates.flush()) this.emit(event);
    const used = readUsage(result);
    if (used) {
      this.#counted = addTokens(this.#counted, used);
      this.emit({ type: "tokens", total: this.#counted });
    }
    const { stopReason } = result;
    switch (stopReason) {
      case "cancelled":
        throw turnCancelled();
      case "refusal":
        throw new SymphonyError("turn_failed", "the turn failed: the agent refuses to continue");
      case "max_tokens":
      case "max_turn_requests":
        return this.notice(`the agent ended its turn early: ${stopReason}`);
      default:
        return;
    }
  }

  /**
   * Gemini waits for its quota without an event, and writes so to stderr only when it exits: after
   * a stop for silence, this is where the cause becomes known.
   */
  async #causeOf(error: unknown): Promise<unknown> {
    const code = error instanceof SymphonyError ? error.code : null;
    const silent = code === "turn_timeout" || this.isClosed;
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

  /** Sets the model or the effort if it has changed. */
  async #choose(what: "model" | "effort", value: string | null): Promise<void> {
    const choice = this.#choices[what];
    if (value === null || value === (this.#chosen.get(what) ?? choice?.current)) return;
    if (!choice) {
      if (this.#chosen.get(what) === value) return;
      this.#chosen.set(what, value);
      return this.notice(`the agent offers no choice of ${what}: ${value} is not set`);
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
      const message = `the agent does not accept ${what} ${value}: ${error.message}; it offers ${offered}`;
      throw new SymphonyError("response_error", message, { details: error.details });
    }
  }

  #updated(params: JsonObject): void {
    // Before the session is open this is the history of a loaded one; after that it may be the
    // update of a sub-agent.
    if (this.threadId === "" || params["sessionId"] !== this.threadId) return;
    for (const event of this.#updates.read(objectOf(params["update"]))) this.emit(event);
  }

  #stray(line: string): void {
    if (line.trimStart().startsWith("{")) this.emit(noticeEvent(line, true));
    else this.#options.spec.onLog(displayText(line, maxLogChars));
  }

  async #permit(params: JsonObject): Promise<Outcome> {
    const { approvals } = this.#options.spec.askPolicy;
    if (approvals !== "ask") {
      const outcome = outcomeOf(params, approvals === "auto");
      const { outcome: chosen } = outcome;
      const decision = chosen.outcome === "selected" ? chosen.optionId : chosen.outcome;
      this.emit({ type: "approval.resolved", decision, automatic: true });
      return outcome;
    }
    try {
      const answer = await this.questions.ask(permissionNeeds(params), 0);
      this.received();
      return outcomeOf(params, answer.type === "decision" && answer.approve);
    } catch (error) {
      this.live?.fail(error);
      return unanswered;
    }
  }
}

function newTurn(): Turn {
  const { promise: failed, reject: fail } = Promise.withResolvers<never>();
  // Without a waiting caller a failure must not crash the process.
  failed.catch(() => {});
  return { id: randomUUID(), failed, fail };
}
