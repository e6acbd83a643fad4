// Agents that speak the Agent Client Protocol.

import { randomUUID } from "node:crypto";
import { within } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { displayText, type JsonObject, objectOf, textOf } from "../../text/text.ts";
import type { AgentEvent, TurnOptions } from "../agent.ts";
import { noticeEvent } from "../event-makers.ts";
import type { AgentImage } from "../images.ts";
import { noActiveTurn, Session, type SessionTurn, turnCancelled } from "../session.ts";
import { type Choice, type Choices, offersOf, valueIn } from "./choices.ts";
import { openSession, promptBlocks } from "./handshake.ts";
import { AcpLink, type LinkOptions } from "./link.ts";
import {
  isTrackerCall,
  type Outcome,
  outcomeOf,
  permissionNeeds,
  unanswered,
} from "./permissions.ts";
import { TokenCount } from "./token-count.ts";
import { Updates } from "./updates.ts";

const cancelGraceMs = 2_000;
/** The silence after which a replay is over, the limit for the wait, 10 s, and for its first part, 2 s: it must come. */
const replayQuietMs = 200;
const maxReplayWaits = 50;
const maxFirstWaits = 10;
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
  readonly #isTrackerCall: (call: JsonObject) => boolean;
  readonly #chosen = new Map<string, string>();
  #choices: Choices = { model: null, effort: null, mode: null, options: [] };
  #steers = false;
  takesImages = false;
  /** The turn as the agent sees it: it may still run after the session's turn was given up. */
  #prompting: Promise<unknown> | null = null;
  /** Guidance in mid-turn, until the agent has answered it. */
  readonly #folded = new Set<Promise<void>>();
  /** Before the first prompt, an agent that loads a session replays its history. */
  #wasPrompted = false;
  /** An update was received. */
  #isReplaying = false;
  /** The turn in progress was asked to end. */
  #wasCancelled = false;
  readonly #said = new Set<string>();
  readonly #count: TokenCount;

  constructor(options: LinkOptions) {
    const { spec, clock, config } = options;
    super({ spec, clock, silenceLimitMs: config.turnTimeoutMs });
    this.#options = options;
    const tools = spec.tools.specs.map(({ name }) => name);
    this.#isTrackerCall = (call) => isTrackerCall(call, tools);
    this.#count = new TokenCount(options.guarded.agents, {
      total: (total) => this.emit({ type: "tokens", total }),
      say: (message) => this.#sayOnce(message),
    });
    this.#updates = new Updates(spec.workspace, this.#isTrackerCall);
    this.#link = new AcpLink(options, {
      received: () => this.received(),
      updated: (params) => this.#updated(params),
      permissionRequested: (params, withdrawn) => this.#permit(params, withdrawn),
      stray: (line) => this.#stray(line),
      ended: (error) => {
        this.questions.close();
        this.live?.fail(error);
      },
    });
  }

  /** Without the tracker's tools it cannot move its issue, in no further turn either. */
  get isPlain(): boolean {
    return this.#options.lacksTools;
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
    this.takesImages = opened.takesImages;
    if (opened.replays) await this.#replayEnded();
    const { threadId, resumed } = this;
    // The agent counts tokens from the start of its process.
    this.emit({ type: "session.started", threadId, resumed, countsAnew: resumed });
  }

  /** Waits until a replay that came after the answer to `session/load` has been silent. */
  async #replayEnded(): Promise<void> {
    const { promise: never } = Promise.withResolvers<void>();
    let hasBegun = this.#isReplaying;
    for (let waits = 0; waits < maxReplayWaits && !this.isClosed; waits += 1) {
      this.#isReplaying = false;
      await within(never, replayQuietMs);
      if (!this.#isReplaying && (hasBegun || waits >= maxFirstWaits)) return;
      hasBegun ||= this.#isReplaying;
    }
  }

  async turn(prompt: string, options: TurnOptions): Promise<void> {
    this.requireIdle();
    await this.#choose("model", options.model ?? this.#options.spec.model);
    await this.#choose("effort", options.effort ?? null);
    const turn = newTurn();
    await this.runTurn(turn, async () => {
      // What came after the end of the last turn belongs to it.
      this.#flush();
      this.emit({ type: "turn.started", turnId: turn.id });
      try {
        this.#finish(await this.#answered(this.#prompt(prompt, options.images), turn));
      } catch (error) {
        throw await this.#causeOf(error);
      }
    });
  }

  async steer(
    steerId: string,
    message: string,
    images?: readonly AgentImage[],
  ): Promise<{ readonly turnId: string }> {
    const turn = this.live;
    if (!turn) throw noActiveTurn("none is running");
    // Guidance that the agent refuses now is added to the next turn.
    if (this.#steers && (await this.#injected(message, images))) {
      this.emit({ type: "steer.delivered", steerId });
    } else if (this.#foldsPrompts) this.#fold(steerId, message, images);
    return { turnId: turn.id };
  }

  /** opencode adds a second prompt to the turn in progress; gemini would cancel that turn. */
  get #foldsPrompts(): boolean {
    const { agents } = this.#options.guarded;
    return agents.size === 1 && agents.has("opencode");
  }

  /** The turn ends with the answers to all its prompts. */
  #fold(steerId: string, message: string, images?: readonly AgentImage[]): void {
    const work = async () => {
      const result = await this.#request(message, images).catch(() => null);
      if (objectOf(result)["stopReason"] === "end_turn") {
        this.emit({ type: "steer.delivered", steerId });
      }
    };
    const folded: Promise<void> = work().finally(() => this.#folded.delete(folded));
    this.#folded.add(folded);
  }

  async interrupt(): Promise<void> {
    if (this.live) this.#cancel();
  }

  #cancel(): void {
    this.#wasCancelled = true;
    this.#link.notify("session/cancel", { sessionId: this.threadId });
  }

  protected async close(): Promise<void> {
    if (this.#prompting !== null) {
      // Lets the agent record the turn as cancelled, without waiting for an answer.
      this.#cancel();
      await within(this.#prompting, cancelGraceMs);
    }
    this.questions.close();
    await this.#link.stop();
    this.#flush();
    await this.#options.opened[Symbol.asyncDispose]();
  }

  /** The agent used the bridge to the tracker's tools. */
  toolUsed(event: AgentEvent | null): void {
    this.received();
    if (event !== null && !this.isClosed) this.emit(event);
  }

  #request(text: string, images: readonly AgentImage[] = []): Promise<unknown> {
    const prompt = promptBlocks(text, images);
    return this.#link.request("session/prompt", { sessionId: this.threadId, prompt }, null);
  }

  #prompt(text: string, images?: readonly AgentImage[]): Promise<unknown> {
    this.#wasPrompted = true;
    this.#wasCancelled = false;
    this.#count.begin(text);
    const asked = this.#request(text, images);
    this.#prompting = asked
      .catch(() => {})
      .finally(() => {
        this.#prompting = null;
      });
    return asked;
  }

  /** The answer to the prompt; the turn is counted, also one that fails. */
  async #answered(prompted: Promise<unknown>, turn: Turn): Promise<JsonObject> {
    let answer: JsonObject | null = null;
    try {
      answer = objectOf(await Promise.race([prompted, turn.failed]));
      while (this.#folded.size > 0) await Promise.race([...this.#folded, turn.failed]);
      return answer;
    } finally {
      this.questions.withdraw();
      this.#flush();
      this.#count.ended(answer);
    }
  }

  #flush(): void {
    for (const event of this.#updates.flush()) this.emit(event);
  }

  #sayOnce(message: string): void {
    if (this.#said.has(message)) return;
    this.#said.add(message);
    this.notice(message);
  }

  #finish(result: JsonObject): void {
    const { stopReason } = result;
    switch (stopReason) {
      case "cancelled":
        if (this.#wasCancelled) throw turnCancelled();
        return this.notice("the agent ended its turn early: it cancelled it by itself");
      case "refusal":
        throw new SymphonyError("turn_failed", "the turn failed: the agent refuses to continue");
      case "end_turn":
        return;
      case "error":
      case "failed":
        throw new SymphonyError("turn_failed", `the turn failed: ${wordsOf(result)}`);
      default:
        if (stopReason) this.notice(`the agent ended its turn early: ${wordsOf(result)}`);
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

  async #injected(text: string, images?: readonly AgentImage[]): Promise<boolean> {
    const prompt = promptBlocks(text, images);
    const params = { sessionId: this.threadId, prompt };
    const limitMs = this.#options.config.readTimeoutMs;
    const result = await this.#link.request("_session/steering", params, limitMs).catch(() => null);
    const { outcome } = objectOf(result);
    // The turn had just ended. What the agent has begun is no turn of this session, and the
    // guidance opens the next one.
    if (outcome === "startedNewTurn") {
      this.#link.notify("session/cancel", { sessionId: this.threadId });
    }
    return outcome === "injected";
  }

  /** Sets the model or the effort if it has changed. */
  async #choose(what: "model" | "effort", wanted: string | null): Promise<void> {
    const choice = this.#choices[what];
    const value = wanted === null || choice === null ? wanted : valueIn(choice, wanted);
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
      const message = `the agent does not accept ${what} ${value}: ${error.message}; it offers ${offersOf(choice)}`;
      throw new SymphonyError("response_error", message, { details: error.details });
    }
  }

  #updated(params: JsonObject): void {
    this.#isReplaying = true;
    // Another session is that of a sub-agent.
    if (!this.#wasPrompted || params["sessionId"] !== this.threadId) return;
    const update = objectOf(params["update"]);
    for (const event of this.#updates.read(update)) this.emit(event);
    if (this.live) this.#count.read(update);
  }

  #stray(line: string): void {
    if (line.trimStart().startsWith("{")) this.emit(noticeEvent(line, true));
    else this.#options.spec.onLog(displayText(line, maxLogChars));
  }

  #permitted(call: JsonObject): void {
    for (const event of this.#updates.permitted(call)) this.emit(event);
  }

  async #permit(params: JsonObject, withdrawn: AbortSignal): Promise<Outcome> {
    const call = objectOf(params["toolCall"]);
    // gemini reports a call only when it has ended.
    if (this.live) this.#count.read({ ...call, sessionUpdate: "tool_call" });
    if (this.#isTrackerCall(call)) return outcomeOf(params, true);
    const { approvals } = this.#options.spec.askPolicy;
    if (approvals !== "ask") {
      const outcome = outcomeOf(params, approvals === "auto");
      const { outcome: chosen } = outcome;
      const decision = String(chosen.outcome === "selected" ? chosen.optionId : chosen.outcome);
      this.emit({ type: "approval.resolved", decision, automatic: true });
      return this.#decided(call, outcome, approvals === "auto");
    }
    const turn = this.live;
    try {
      // A person's decision could not be passed on.
      if ([true, false].every((one) => outcomeOf(params, one) === unanswered)) {
        return this.#decided(call, unanswered, false);
      }
      const answer = await this.questions.ask(permissionNeeds(params), 0, withdrawn);
      this.received();
      const isGranted = answer.type === "decision" && answer.approve;
      return this.#decided(call, outcomeOf(params, isGranted), isGranted);
    } catch (error) {
      if (!withdrawn.aborted) turn?.fail(error);
      return unanswered;
    }
  }

  #decided(call: JsonObject, outcome: Outcome, isGranted: boolean): Outcome {
    if (outcome === unanswered) this.#sayOnce(noSuchOption);
    else if (isGranted) this.#permitted(call);
    return outcome;
  }
}

/** Why the turn ended, and what the agent says of it. */
function wordsOf({ stopReason, message, error }: JsonObject): string {
  const why = textOf(message) ?? textOf(error) ?? textOf(objectOf(error)["message"]);
  return displayText([stopReason, why].filter(Boolean).join(": "), maxLogChars);
}

const noSuchOption =
  "the agent offered no option that fits the decision: its request was answered as cancelled";

function newTurn(): Turn {
  const { promise: failed, reject: fail } = Promise.withResolvers<never>();
  // Without a waiting caller a failure must not crash the process.
  failed.catch(() => {});
  return { id: randomUUID(), failed, fail };
}
