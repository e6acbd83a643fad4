// The agent `codex app-server`: its protocol, private home, sandbox profile and models.

import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { within } from "../../clock.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { type JsonObject, listOf, objectOf, textOf } from "../../text/text.ts";
import type { DetachableSession, TurnOptions } from "../agent.ts";
import type { AgentImage } from "../images.ts";
import type { JsonRpcPeer } from "../json-rpc.ts";
import { unavailableError } from "../refusals.ts";
import { noActiveTurn, Session, type SessionTurn, turnCancelled } from "../session.ts";
import {
  CodexConnection,
  type ConnectionOptions,
  codeOf,
  saysNoTurn,
  threadLost,
} from "./connection.ts";
import { idIn, inputOf, openThread, turnParams } from "./handshake.ts";
import {
  isOutage,
  providerLimit,
  providerRefusal,
  readOutcome,
  type TurnOutcome,
} from "./protocol.ts";
import { missingLogin } from "./provider.ts";

const interruptGraceMs = 2_000;

export interface SessionOptions extends ConnectionOptions {
  /** Runs `probe` unless one with this key has succeeded. */
  probedOnce(key: string, probe: () => Promise<void>): Promise<void>;
}

/** One `codex app-server`, or another program that uses its protocol, with one thread. */
export class CodexSession extends Session<LiveTurn> {
  readonly takesImages = true;
  readonly detachable?: DetachableSession;
  readonly #options: SessionOptions;
  readonly #connection: CodexConnection;
  /** Why no turn would succeed. */
  #refusal: SymphonyError | null = null;
  /** The turn as the agent sees it: it may still run after the session's turn was given up. */
  #running: { readonly id: string; readonly over: PromiseWithResolvers<void> } | null = null;

  constructor(options: SessionOptions) {
    const { spec, clock, config, host } = options;
    super({ spec, clock, silenceLimitMs: config.turnTimeoutMs });
    this.#options = options;
    this.#connection = new CodexConnection(options, {
      asks: this.questions,
      emit: (event) => this.emit(event),
      received: () => this.received(),
      turnEnded: (outcome) => this.#turnEnded(outcome),
      unreached: (why) => this.live?.fail(unavailableError(why)),
      personNeeded: (error) => {
        this.live?.fail(error);
        return this.live !== null;
      },
      turnInFlight: () => this.live !== null,
      ended: (error) => {
        this.live?.fail(error);
        this.#runningEnded();
      },
    });
    if (!host) return;
    const detach = () => {
      this.letGo();
      host.detach();
    };
    this.detachable = { host: host.id, detach, follow: () => this.#follow() };
  }

  get pid(): number | null {
    return this.#connection.pid;
  }

  async open(): Promise<void> {
    const connection = this.#connection;
    const opened = await openThread({
      ...this.#options,
      peer: connection.peer,
      onNotice: (message) => this.notice(message),
    });
    this.threadId = opened.threadId;
    this.resumed = opened.resumed;
    connection.threadId = opened.threadId;
    const { spec, host } = this.#options;
    if (spec.adoption && !opened.resumed) throw threadLost();
    this.emit({ type: "session.started", ...opened, ...(host && { detached: true }) });
    // For a turn in progress the agent sends its requests again at once; `follow` is ready to
    // receive them.
    if (!spec.adoption) host?.ready(opened.threadId);
    void this.#lookAtLogin();
  }

  /** The first turn does not wait for it. */
  async #lookAtLogin(): Promise<void> {
    const { config } = this.#options;
    this.#refusal = await missingLogin(this.#connection.peer, config, this.#options);
    if (this.#refusal !== null) this.live?.fail(this.#refusal);
  }

  async turn(prompt: string, options: TurnOptions): Promise<void> {
    if (this.#refusal !== null) throw this.#refusal;
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
      const following = lastTurn(peer, threadId, (id, outcome) => {
        this.#turnOpened(turn, id);
        if (outcome) this.#turnEnded(outcome);
      });
      await following.catch((error: unknown) => turn.fail(error));
      host?.ready(threadId);
    });
    return true;
  }

  async #live(begin: (turn: LiveTurn) => Promise<void>): Promise<void> {
    const turn = new LiveTurn();
    await this.runTurn(turn, async () => {
      void begin(turn);
      const outcome = await turn.done;
      const { peer, limits } = this.#connection;
      const { threadId } = this;
      const wall = this.#options.clock.wall();
      await finishTurn(peer, { threadId, outcome, limits, wall });
    });
  }

  async steer(
    steerId: string,
    message: string,
    images?: readonly AgentImage[],
  ): Promise<{ readonly turnId: string }> {
    const expectedTurnId = await this.#turnId();
    if (expectedTurnId === null) throw noActiveTurn("the agent is between two turns");
    const { peer, steers } = this.#connection;
    steers.add(steerId);
    try {
      const result = await peer.request("turn/steer", {
        threadId: this.threadId,
        expectedTurnId,
        clientUserMessageId: steerId,
        input: inputOf(message, images),
      });
      return { turnId: textOf(objectOf(result)["turnId"]) ?? expectedTurnId };
    } catch (error) {
      // Without an answer the guidance may still be accepted, which is then reported.
      if (codeOf(error) === "response_error") steers.delete(steerId);
      throw saysNoTurn(error) ? noActiveTurn(messageOf(error)) : error;
    }
  }

  async interrupt(): Promise<void> {
    const turnId = await this.#turnId();
    if (turnId !== null) await interruptTurn(this.#connection.peer, this.threadId, turnId);
  }

  protected async close(): Promise<void> {
    const running = this.#running;
    if (running) {
      // Lets the agent record the turn as interrupted, without waiting for an answer.
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

  /** The id of the turn in flight, as soon as the agent has reported it; null without a turn. */
  async #turnId(): Promise<string | null> {
    return (await this.live?.opened.catch(() => null)) ?? null;
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
    if (turn === this.live) this.emit({ type: "turn.started", turnId: id });
    turn.open(id);
    // Given up or not, it runs in the agent until its end is reported.
    if (!turn.ended) this.#running = { id, over: Promise.withResolvers() };
  }

  #turnEnded(outcome: TurnOutcome): void {
    this.live?.end(outcome);
    if (outcome.turnId === null || outcome.turnId === this.#running?.id) this.#runningEnded();
  }

  #runningEnded(): void {
    this.#running?.over.resolve();
    this.#running = null;
  }
}

/**
 * One turn in flight. Its end may be reported before its id is known; it is then kept until
 * the id is known.
 */
class LiveTurn implements SessionTurn {
  readonly #opened = Promise.withResolvers<string>();
  readonly #done = Promise.withResolvers<TurnOutcome>();
  readonly #early: TurnOutcome[] = [];
  #id: string | null = null;
  #ended = false;

  constructor() {
    // Callers that wait receive the failure; without one it must not crash the process.
    this.#opened.promise.catch(() => {});
    this.#done.promise.catch(() => {});
  }

  get id(): string | null {
    return this.#id;
  }

  /** True once the agent has reported its end; a turn that was given up may still run. */
  get ended(): boolean {
    return this.#ended;
  }

  /** The id, once the agent has answered; rejects when the turn failed before. */
  get opened(): Promise<string> {
    return this.#opened.promise;
  }

  get done(): Promise<TurnOutcome> {
    return this.#done.promise;
  }

  open(id: string): void {
    this.#id = id;
    this.#opened.resolve(id);
    for (const outcome of this.#early) this.end(outcome);
  }

  /** The end of a turn with another id is ignored. */
  end(outcome: TurnOutcome): void {
    if (this.#id === null) {
      this.#early.push(outcome);
    } else if (outcome.turnId === null || outcome.turnId === this.#id) {
      this.#ended = true;
      this.#done.resolve(outcome);
    }
  }

  fail(error: unknown): void {
    this.#opened.reject(error);
    this.#done.reject(error);
  }
}

/** Rejects with `turn_failed`, `provider_limited`, `provider_refused`, `provider_unavailable` or `turn_cancelled` unless the turn was completed. */
async function finishTurn(
  peer: JsonRpcPeer,
  {
    threadId,
    outcome: { status, message, info },
    limits,
    wall,
  }: { threadId: string; outcome: TurnOutcome; limits: JsonObject | null; wall: number },
): Promise<void> {
  if (status === "completed") return;
  if (status === "failed") {
    const limited = providerLimit({ message, info }, { limits, wall });
    if (limited) throw limited;
    const refused = providerRefusal({ message, info });
    if (refused) throw refused;
    if (isOutage(info)) throw unavailableError(message, { info });
    throw new SymphonyError("turn_failed", `the turn failed: ${message}`, { details: { info } });
  }
  // An interrupted turn leaves its commands running; nothing may change the workspace after it.
  await peer.request("thread/backgroundTerminals/clean", { threadId }).catch(() => {});
  throw turnCancelled();
}

/** False when the turn has just ended and needs no interrupt. */
async function interruptTurn(
  peer: JsonRpcPeer,
  threadId: string,
  turnId: string,
): Promise<boolean> {
  try {
    await peer.request("turn/interrupt", { threadId, turnId });
    return true;
  } catch (error) {
    if (saysNoTurn(error)) return false;
    throw error;
  }
}

/**
 * Requests a thread's newest turn; false when it never had one. `take` receives its id and how it
 * ended (null while it runs) before any later line of the agent is handled.
 */
export async function lastTurn(
  peer: JsonRpcPeer,
  threadId: string,
  take: (turnId: string, outcome: TurnOutcome | null) => void,
): Promise<boolean> {
  let found = false;
  const params = { threadId, limit: 1, sortDirection: "desc" };
  await peer.request("thread/turns/list", params, (result) => {
    const [last] = listOf(objectOf(result)["data"]);
    const outcome = readOutcome("turn/completed", { turn: last }, null);
    if (!outcome?.turnId) return;
    found = true;
    take(outcome.turnId, textOf(objectOf(last)["status"]) === "inProgress" ? null : outcome);
  });
  return found;
}
