import { randomUUID } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { Needs } from "../model/attempt.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { SilenceWatch } from "../process/program.ts";
import type {
  AgentEvent,
  AgentSession,
  Answer,
  AskPolicy,
  SessionSpec,
  TurnOptions,
} from "./agent.ts";
import { noticeEvent } from "./event-makers.ts";
import type { AgentImage } from "./images.ts";

/** A turn in progress, as the base of a session sees it. */
export interface SessionTurn {
  /** null until the agent has named it. */
  readonly id: string | null;
  /** Ends the turn with `error`; does nothing once it has ended. */
  fail(error: unknown): void;
}

export interface SessionDeps {
  readonly spec: SessionSpec;
  readonly clock: Clock;
  /**
   * A turn without any output for this time fails with `turn_timeout`; null: the kind of agent
   * checks this itself.
   */
  readonly silenceLimitMs: number | null;
}

/**
 * Common parts of the sessions of all kinds of agents: events, the turn in progress, the questions
 * to a person, and ending once. A kind adds how a turn is run, steered and interrupted, and what
 * `close` ends.
 */
export abstract class Session<Turn extends SessionTurn> implements AgentSession {
  threadId = "";
  resumed = false;
  abstract readonly pid: number | null;
  protected readonly questions: Questions;
  readonly #deps: SessionDeps;
  #turn: Turn | null = null;
  #idle: Promise<void> = Promise.resolve();
  #watch: SilenceWatch | null = null;
  #closed: Promise<void> | null = null;

  constructor(deps: SessionDeps) {
    const { spec, clock } = deps;
    this.#deps = deps;
    this.questions = new Questions({
      askPolicy: spec.askPolicy,
      clock,
      emit: (event) => this.emit(event),
    });
  }

  abstract turn(prompt: string, options: TurnOptions): Promise<void>;
  abstract steer(
    steerId: string,
    message: string,
    images?: readonly AgentImage[],
  ): Promise<{ readonly turnId: string }>;
  abstract interrupt(): Promise<void>;
  /** Ends everything that belongs to the session, in bounded time. Called at most once. */
  protected abstract close(): Promise<void>;

  answer(askId: string, answer: Answer): void {
    this.questions.answer(askId, answer);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.close();
    return this.#closed;
  }

  emit(event: AgentEvent): void {
    const { spec } = this.#deps;
    try {
      spec.onEvent(event);
    } catch (error) {
      // A consumer's fault must not end the reading of the agent's output.
      spec.onLog(`an event could not be handled: ${messageOf(error)}`);
    }
  }

  notice(message: string): void {
    this.emit(noticeEvent(message));
  }

  /** The turn in progress. */
  protected get live(): Turn | null {
    return this.#turn;
  }

  /** Resolves once no turn is in progress. */
  protected get idle(): Promise<void> {
    return this.#idle;
  }

  protected get isClosed(): boolean {
    return this.#closed !== null;
  }

  /** After this, disposing ends nothing. */
  protected letGo(): void {
    this.#closed ??= Promise.resolve();
  }

  /** Records a sign of life from the agent. */
  protected received(): void {
    this.#watch?.received();
  }

  /** Throws unless a turn may begin. */
  protected requireIdle(): void {
    if (this.#turn) throw new Error("a turn is already in flight");
  }

  /**
   * Runs `work` as the turn in progress and emits how it ended. `work` emits `turn.started`,
   * because only the kind of agent knows when the turn has started.
   */
  protected async runTurn(turn: Turn, work: () => Promise<void>): Promise<void> {
    this.requireIdle();
    const idle = Promise.withResolvers<void>();
    this.#turn = turn;
    this.#idle = idle.promise;
    this.#watch = this.#watchOver(turn);
    try {
      await work();
      if (turn.id !== null) this.emit({ type: "turn.completed", turnId: turn.id });
    } catch (failure) {
      // A program that did not end its turn in time is ended with it.
      const isOurs = this.isClosed && failure instanceof SymphonyError;
      const error =
        isOurs && failure.code === "port_exit" ? turnCancelled("the session was ended") : failure;
      const message = messageOf(error);
      if (turn.id !== null) this.emit({ type: "turn.failed", turnId: turn.id, message });
      throw error;
    } finally {
      this.#watch?.stop();
      this.#turn = null;
      idle.resolve();
    }
  }

  #watchOver(turn: Turn): SilenceWatch | null {
    const { clock, silenceLimitMs: limitMs } = this.#deps;
    if (limitMs === null) return null;
    return new SilenceWatch(clock, limitMs, {
      waits: () => this.questions.waiting,
      onSilence: () => turn.fail(silent(limitMs)),
    });
  }
}

function silent(limitMs: number): SymphonyError {
  return new SymphonyError("turn_timeout", `the agent was silent for ${limitMs} ms`, {
    details: { limitMs },
  });
}

export function noActiveTurn(reason: string): SymphonyError {
  return new SymphonyError("no_active_turn", `no turn can be steered: ${reason}`);
}

export function turnCancelled(message = "the turn was interrupted"): SymphonyError {
  return new SymphonyError("turn_cancelled", message);
}

export interface QuestionsOptions {
  readonly askPolicy: AskPolicy;
  readonly clock: Clock;
  emit(event: AgentEvent): void;
}

interface Open {
  readonly needs: Needs;
  /** The number of questions that each need an answer; 0 for an approval. */
  readonly questions: number;
  readonly settle: PromiseWithResolvers<Answer>;
  readonly cancel: () => void;
}

/**
 * The open asks of one live session. No ask waits indefinitely: after `people.timeoutMs` it is
 * refused with `approval_required` or `turn_input_required`, and its `details.needs` says what was
 * requested.
 */
export class Questions {
  readonly #options: QuestionsOptions;
  readonly #open = new Map<string, Open>();

  constructor(options: QuestionsOptions) {
    this.#options = options;
  }

  /** True while a person has to answer: then the agent's silence does not count. */
  get waiting(): boolean {
    return this.#open.size > 0;
  }

  /**
   * Resolves with the person's answer. Rejects after the time limit, or immediately when the settings
   * do not allow waiting, or the agent no longer waits (`withdrawn`).
   */
  ask(needs: Needs, questions: number, withdrawn?: AbortSignal): Promise<Answer> {
    const { askPolicy, clock, emit } = this.#options;
    const { timeoutMs } = askPolicy;
    if (timeoutMs <= 0 || (needs.kind === "question" && askPolicy.approvals === "decline")) {
      emit({ type: "approval.requested", needs, ask: null });
      return Promise.reject(unanswered(needs));
    }
    const id = `ask_${randomUUID()}`;
    const settle = Promise.withResolvers<Answer>();
    const cancel = clock.after(timeoutMs, () => {
      this.#open.delete(id);
      settle.reject(unanswered(needs));
    });
    this.#open.set(id, { needs, questions, settle, cancel });
    withdrawn?.addEventListener("abort", () => this.#withdraw(id));
    emit({
      type: "approval.requested",
      needs,
      ask: { id, sinceWall: clock.wall(), untilWall: clock.wall() + timeoutMs },
    });
    if (withdrawn?.aborted) this.#withdraw(id);
    return settle.promise;
  }

  /**
   * Throws `nothing_asked` when the ask has ended, `invalid_request` when the answer does not fit
   * it.
   */
  answer(id: string, answer: Answer): void {
    const open = this.#open.get(id);
    if (!open)
      throw new SymphonyError("nothing_asked", "the agent no longer waits for this answer");
    checkFits(open, answer);
    this.#open.delete(id);
    open.cancel();
    this.#options.emit({
      type: "approval.resolved",
      decision: decisionOf(answer),
      automatic: false,
      askId: id,
    });
    open.settle.resolve(answer);
  }

  /** No answer reaches the agent any more, so no person is asked. */
  #withdraw(id: string): void {
    const open = this.#open.get(id);
    if (!open) return;
    this.#open.delete(id);
    open.cancel();
    const decision = "withdrawn by the agent";
    this.#options.emit({ type: "approval.resolved", decision, automatic: true, askId: id });
    open.settle.reject(unanswered(open.needs));
  }

  /** The turn is over, and the agent has not waited for these. */
  withdraw(): void {
    for (const id of [...this.#open.keys()]) this.#withdraw(id);
  }

  /** Drops all open asks; they neither resolve nor reject. */
  close(): void {
    for (const [id, { cancel }] of this.#open) {
      cancel();
      this.#open.delete(id);
    }
  }
}

/** The error of an ask that was not answered. */
export function unanswered(needs: Needs): SymphonyError {
  const what = needs.kind === "approval" ? "an approval" : "an answer";
  const code = needs.kind === "approval" ? "approval_required" : "turn_input_required";
  return new SymphonyError(code, `the agent waits for ${what}: ${needs.prompt}`, {
    details: { needs },
  });
}

function checkFits({ needs, questions }: Open, answer: Answer): void {
  if (needs.kind === "approval" && answer.type !== "decision") {
    throw misfit("an approval is requested: approve or decline");
  }
  if (needs.kind === "question" && answer.type !== "answers") {
    throw misfit("a question was asked: it needs a text answer");
  }
  if (answer.type === "answers" && answer.answers.length !== questions) {
    throw misfit(`${questions} answers are needed, ${answer.answers.length} were given`);
  }
}

function misfit(message: string): SymphonyError {
  return new SymphonyError("invalid_request", message, { hint: "symphony inbox" });
}

function decisionOf(answer: Answer): string {
  if (answer.type === "answers") return "answered";
  return answer.approve ? "approved" : "declined";
}
