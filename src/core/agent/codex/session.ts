import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { messageOf } from "../../model/errors.ts";
import type { AgentSession, Answer, LastingSession, TurnOptions } from "../agent.ts";
import { objectOf, textOf } from "../json-value.ts";
import { within } from "../process.ts";
import { SilenceWatch } from "../silence.ts";
import { CodexConnection, type ConnectionOptions } from "./connection.ts";
import { idIn, openThread, textInput, turnParams } from "./handshake.ts";
import { lastTurn } from "./last-turn.ts";
import type { TurnEnding } from "./protocol.ts";
import { codeOf, noActiveTurn, saysNoTurn, silent, threadLost } from "./refusals.ts";
import { LiveTurn } from "./turn.ts";
import { finishTurn, interruptTurn } from "./turn-end.ts";

const interruptGraceMs = 2_000;

export interface SessionOptions extends ConnectionOptions {
  /** Runs `probe` unless one with this key has succeeded. */
  probedOnce(key: string, probe: () => Promise<void>): Promise<void>;
}

/** One `codex app-server`, or another program that speaks its protocol, with one thread. */
export class CodexSession implements AgentSession {
  threadId = "";
  resumed = false;
  readonly lasting?: LastingSession;
  readonly #options: SessionOptions;
  readonly #connection: CodexConnection;
  #turn: LiveTurn | null = null;
  /** The turn as the agent sees it: it may still run when ours was given up. */
  #running: { readonly id: string; readonly over: PromiseWithResolvers<void> } | null = null;
  #watch: SilenceWatch | null = null;
  #disposed: Promise<void> | null = null;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#connection = new CodexConnection(options, {
      heard: () => this.#watch?.heard(),
      turnEnded: (ending) => this.#turnEnded(ending),
      personNeeded: (error) => {
        this.#turn?.fail(error);
        return this.#turn !== null;
      },
      turnInFlight: () => this.#turn !== null,
      ended: (error) => {
        this.#turn?.fail(error);
        this.#runningEnded();
      },
    });
    const { host } = options;
    if (!host) return;
    const detach = () => {
      this.#disposed ??= Promise.resolve();
      host.detach();
    };
    this.lasting = { host: host.id, detach, follow: () => this.#follow() };
  }

  get pid(): number | null {
    return this.#connection.pid;
  }

  async open(): Promise<void> {
    const connection = this.#connection;
    const opened = await openThread({
      ...this.#options,
      peer: connection.peer,
      onNotice: (message) => connection.notice(message),
    });
    this.threadId = opened.threadId;
    this.resumed = opened.resumed;
    connection.threadId = opened.threadId;
    const { spec, host } = this.#options;
    if (spec.adoption && !opened.resumed) throw threadLost();
    connection.emit({ type: "session.started", ...opened, ...(host && { lasting: true }) });
    // Of a turn that is under way the agent asks again at once; `follow` is there to hear it.
    if (!spec.adoption) host?.ready(opened.threadId);
  }

  turn(prompt: string, options: TurnOptions): Promise<void> {
    return this.#live((turn) => this.#startTurn(turn, prompt, options));
  }

  async #follow(): Promise<boolean> {
    const { threadId } = this;
    const { host } = this.#options;
    const { peer } = this.#connection;
    const found = await lastTurn(peer, threadId, () => {});
    if (!found) {
      host?.ready(threadId);
      return false;
    }
    await this.#connection.catchUp();
    await this.#live(async (turn) => {
      const heard = lastTurn(peer, threadId, (id, ending) => {
        this.#turnOpened(turn, id);
        if (ending) this.#turnEnded(ending);
      });
      await heard.catch((error: unknown) => turn.fail(error));
      host?.ready(threadId);
    });
    return true;
  }

  async #live(begin: (turn: LiveTurn) => Promise<void>): Promise<void> {
    if (this.#turn) throw new Error("a turn is in flight already");
    const { clock, config } = this.#options;
    const turn = new LiveTurn();
    this.#turn = turn;
    this.#watch = new SilenceWatch(clock, config.turnTimeoutMs, {
      waits: () => this.#connection.waits,
      onSilence: () => turn.fail(silent(config.turnTimeoutMs)),
    });
    try {
      void begin(turn);
      const ending = await turn.done;
      const { peer, limits } = this.#connection;
      const { threadId } = this;
      await finishTurn(peer, { threadId, ending, limits, wall: clock.wall() });
      this.#connection.emit({ type: "turn.completed", turnId: await turn.opened });
    } catch (error) {
      const { id } = turn;
      const message = messageOf(error);
      if (id !== null) this.#connection.emit({ type: "turn.failed", turnId: id, message });
      throw error;
    } finally {
      this.#watch.stop();
      this.#turn = null;
    }
  }

  async steer(steerId: string, message: string): Promise<{ readonly turnId: string }> {
    const expectedTurnId = await this.#turnId();
    if (expectedTurnId === null) throw noActiveTurn("the agent is between two turns");
    const { peer, steers } = this.#connection;
    steers.add(steerId);
    try {
      const result = await peer.request("turn/steer", {
        threadId: this.threadId,
        expectedTurnId,
        clientUserMessageId: steerId,
        input: textInput(message),
      });
      return { turnId: textOf(objectOf(result)["turnId"]) ?? expectedTurnId };
    } catch (error) {
      // Without an answer it may be taken up all the same, which is then told.
      if (codeOf(error) === "response_error") steers.delete(steerId);
      throw saysNoTurn(error) ? noActiveTurn(messageOf(error)) : error;
    }
  }

  answer(askId: string, answer: Answer): void {
    this.#connection.answer(askId, answer);
  }

  async interrupt(): Promise<void> {
    const turnId = await this.#turnId();
    if (turnId !== null) await interruptTurn(this.#connection.peer, this.threadId, turnId);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  async #dispose(): Promise<void> {
    const running = this.#running;
    if (running) {
      // Lets the agent record the turn as interrupted; one that does not answer is not waited for.
      const asked = interruptTurn(this.#connection.peer, this.threadId, running.id);
      const settled = asked.then((accepted) => (accepted ? running.over.promise : undefined));
      await within(
        settled.catch(() => {}),
        interruptGraceMs,
      );
    }
    if (this.threadId !== "") await this.#options.host?.leave(this.threadId);
    await this.#connection.stop();
    const { scratch } = this.#options;
    if (scratch !== null) await rm(scratch, { recursive: true, force: true, maxRetries: 3 });
  }

  /** The id of the turn in flight, as soon as the agent told it; null without a turn. */
  async #turnId(): Promise<string | null> {
    return (await this.#turn?.opened.catch(() => null)) ?? null;
  }

  async #startTurn(turn: LiveTurn, prompt: string, options: TurnOptions): Promise<void> {
    const { spec, config } = this.#options;
    const { threadId } = this;
    const params = turnParams(
      { threadId, messageId: randomUUID(), prompt, ...options },
      spec,
      config,
    );
    try {
      await this.#connection.peer.request("turn/start", params, (result) =>
        this.#turnOpened(turn, idIn(result, "turn")),
      );
    } catch (error) {
      turn.fail(error);
    }
  }

  #turnOpened(turn: LiveTurn, id: string): void {
    if (turn === this.#turn) this.#connection.emit({ type: "turn.started", turnId: id });
    turn.open(id);
    // Given up or not, it runs in the agent until its end is told.
    if (!turn.ended) this.#running = { id, over: Promise.withResolvers() };
  }

  #turnEnded(ending: TurnEnding): void {
    this.#turn?.end(ending);
    if (ending.turnId === null || ending.turnId === this.#running?.id) this.#runningEnded();
  }

  #runningEnded(): void {
    this.#running?.over.resolve();
    this.#running = null;
  }
}
