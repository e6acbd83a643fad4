// The scheduler: pure decisions about issues, and the shell that applies them in order.

import type { AgentEvent, Answer } from "../agent/agent.ts";
import type { Clock } from "../clock.ts";
import type { PollOutcome } from "../events/meter.ts";
import type { Attempt, Phase } from "../model/attempt.ts";
import { messageOf } from "../model/errors.ts";
import type { EventDraft } from "../model/event.ts";
import { type AgentPause, unsavedText } from "../model/gates.ts";
import type { Issue } from "../model/issue.ts";
import { isStorageError, nothingChanged } from "../store/durable.ts";
import type { IssueRecord, Used } from "../store/store.ts";
import type { Context, Prior } from "./decision.ts";
import {
  type AttemptOrder,
  type Effect,
  type EnteredWorkspace,
  type Exit,
  type Input,
  type OfferOrder,
  type TimerInput,
  type Turned,
  timerKey,
  type WorkspaceEnd,
} from "./messages.ts";
import { PollWatch } from "./poll-watch.ts";
import { type ReadPorts, readFrom } from "./reads.ts";
import { adoptionOf, recordOf } from "./records.ts";
import type { State } from "./state.ts";
import { step } from "./step.ts";

/**
 * The imperative shell: holds the state, performs the effects, and passes results back as inputs.
 * It decides nothing. It decides at once and then performs, so inputs never interleave (O-14).
 */
export class Orchestrator {
  #state: State;
  readonly #ports: Ports;
  readonly #timers = new Map<string, () => void>();
  readonly #polled = Promise.withResolvers<void>();
  readonly polls = new PollWatch();
  readonly #live = new Map<string, Promise<void>>();
  #endStandstills: (() => void) | undefined;
  /** Work on an issue's directory that continues after its claim was released. */
  readonly #clearing = new Map<string, Promise<void>>();

  constructor(ports: Ports, state: State) {
    this.#ports = ports;
    this.#state = state;
  }

  get state(): State {
    return this.#state;
  }

  /** Polls at once (O-1), sets timers for restored retries and pauses, adopts live attempts. */
  start(): void {
    const stood = (ms: number) => this.post({ type: "server.stood", ms });
    this.#endStandstills = this.#ports.clock.standstills?.(stood);
    for (const entry of this.#state.issues.of("running").values()) {
      // An attempt that an operator's command dispatched in the meantime already runs.
      if (!this.#live.has(entry.attemptId)) this.#startAttempt(adoptionOf(entry));
    }
    for (const [issueId, entry] of this.#state.issues.of("retrying")) {
      const delayMs = entry.dueAt - this.#ports.clock.now();
      this.#setTimer({ type: "retry.due", issueId }, delayMs);
    }
    for (const { agent, active, untilWall } of this.#state.pauses.values()) {
      if (!active) continue;
      const delayMs = untilWall - this.#ports.clock.wall();
      this.#setTimer({ type: "provider.due", agent }, delayMs);
    }
    this.post({ type: "poll.due" });
  }

  /** Resolves when the attempt's agent is gone, and its issue has its next status. */
  async gone(attemptId: string): Promise<void> {
    await this.#live.get(attemptId);
  }

  /** Resolves when the first poll and everything it started have ended; starts nothing else. */
  async once(): Promise<void> {
    await this.#polled.promise;
    this.post({ type: "drain.requested", stopAttempts: false });
    await this.#ended();
  }

  /** Stops dispatching and ends every attempt; resolves when the last one is gone. */
  async drain(): Promise<void> {
    this.post({ type: "drain.requested", stopAttempts: true });
    await this.#ended();
    this.#endStandstills?.();
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
  }

  async #ended(): Promise<void> {
    await Promise.allSettled(this.#live.values());
    await Promise.allSettled(this.#clearing.values());
  }

  /** Fire and forget; errors are reported to `failed`. */
  post(input: Input): void {
    this.apply(input).catch((error: unknown) => this.#ports.failed(input.type, error, input));
  }

  /**
   * Decides at once, then performs. Resolves with the results of all effects; rejects with the
   * refusal, or with the first effect that failed.
   */
  async apply(input: Input): Promise<readonly unknown[]> {
    const before = this.#state;
    const context = this.#context();
    const decision = this.#ports.decide(before, input, context);
    this.#state = decision.state;
    if (decision.state.poll.lastWall !== null) this.#polled.resolve();
    // Every effect is started, even if an earlier one failed: the state already includes all of
    // them.
    const work = Promise.all(decision.effects.map(async (effect) => this.#perform(effect)));
    const { problem } = context;
    this.polls.decided(before, decision, { work, problem, gone: (id) => this.gone(id) });
    return work;
  }

  /**
   * As `apply`, for an operator's request about one issue that must not take effect before it is
   * saved. Rejects with the refusal of the core or of the disk, and then nothing has changed.
   */
  async applySaved(issueId: string, input: Input): Promise<void> {
    const { state } = step(this.#state, input, this.#context());
    try {
      await this.#ports.saveRecordFirst(issueId, recordOf(state, issueId));
    } catch (error) {
      throw isStorageError(error) ? nothingChanged(error) : error;
    }
    try {
      await this.apply(input);
    } catch (error) {
      // Another input was faster: save the state that is now in force.
      await this.#perform({ type: "saveRecord", issueId });
      throw error;
    }
  }

  #context(): Context {
    const { clock } = this.#ports;
    const { config, problem, warnings } = this.#ports.config();
    return {
      config,
      problem,
      ...(warnings !== undefined && { warnings }),
      now: clock.now(),
      wall: clock.wall(),
      prior: (issueId, after) => this.#ports.prior(issueId, after),
    };
  }

  /** Starts one effect. Reads answer with a new input; results that a caller needs are returned. */
  #perform(effect: Effect): unknown {
    const ports = this.#ports;
    switch (effect.type) {
      case "refreshRunning":
      case "preflight":
      case "fetchCandidates":
      case "verifyIssues":
      case "checkIssue":
        void readFrom(ports, effect).then((input) => this.post(input));
        return;
      case "startAttempt":
        return this.#beginAttempt(effect);
      case "stopAttempt":
        return ports.stopAttempt(effect.attemptId, effect.reason, effect.graceMs);
      case "steerAttempt":
        return ports.steerAttempt(effect.attemptId, effect.steerId, effect.message);
      case "answerAttempt":
        return ports.answerAttempt(effect.attemptId, effect.askId, effect.answer);
      case "detachAttempt":
        return ports.detachAttempt?.(effect.attemptId);
      case "settleSteer":
        return ports.settleSteer(effect.steerId);
      case "removeWorkspace":
      case "lookAtWorkspace":
        return this.#endWorkspace(effect);
      case "offerWork":
        return ports.offerWork(effect);
      case "moveIssue":
        return ports.moveIssue(effect.issue, effect.to, effect.key);
      case "setTimer":
        return this.#setTimer(effect.input, effect.delayMs);
      case "clearTimer":
        return this.#clearTimer(effect.input);
      case "saveRecord":
        return ports.saveRecord(effect.issueId, recordOf(this.#state, effect.issueId));
      case "savePauses":
        return ports.savePauses?.(effect.pauses);
      case "saveAttempt":
        return ports.saveAttempt(effect.attempt);
      case "saveUsed":
        return ports.saveUsed(effect);
      case "publish":
        return ports.publish(effect.event);
      case "measurePoll":
        return ports.polled?.(effect.outcome, effect.durationMs);
    }
  }

  /**
   * A review is on disk before it is in force: else a crash would start another attempt about work
   * that is pushed.
   */
  async #saveReview(input: Exited): Promise<void> {
    const { issueId } = input;
    const { state } = step(this.#state, input, this.#context());
    if (!state.issues.of("review").has(issueId)) return;
    // A refused write is repeated by the one that the decision asks for.
    const saved = this.#ports.saveRecordFirst(issueId, recordOf(state, issueId));
    await saved.catch(() => {});
  }

  /**
   * An attempt that is not on disk must not start: after a crash its processes would run next to
   * the next attempt.
   */
  #beginAttempt({ row, ...order }: Extract<Effect, { type: "startAttempt" }>): void {
    const isSaved = this.#ports.saveAttempt(row);
    const { storage } = this.#state;
    if (isSaved && storage === null) return this.#startAttempt(order);
    const { attemptId } = order;
    const message = storage === null ? "it could not be saved" : unsavedText(storage);
    const exit = { kind: "unsaved", message, git: null } as const;
    this.post({ type: "attempt.exited", issueId: order.issue.id, attemptId, exit });
  }

  #startAttempt(order: AttemptOrder): void {
    const { attemptId } = order;
    const issueId = order.issue.id;
    const run = async () => {
      // The directory of a run that just ended may still be being removed.
      await this.#clearing.get(issueId);
      const exit = await this.#run(order);
      const input = { type: "attempt.exited", issueId, attemptId, exit } as const;
      if (exit.kind === "completed" && exit.made) await this.#saveReview(input);
      this.#live.delete(attemptId);
      this.post(input);
    };
    this.#live.set(attemptId, run());
  }

  async #run(order: AttemptOrder): Promise<Exit> {
    const { attemptId } = order;
    const issueId = order.issue.id;
    try {
      return await this.#ports.runAttempt(order, {
        entered: (phase, workspace) =>
          this.post({ type: "attempt.entered", issueId, attemptId, phase, workspace }),
        reported: (event) => this.post({ type: "attempt.reported", issueId, attemptId, event }),
        turned: (what) => this.post({ type: "attempt.turned", issueId, attemptId, ...what }),
      });
    } catch (error) {
      this.#ports.failed("runAttempt", error, { issueId, attemptId });
      return { kind: "failed", code: "spawn_failed", message: messageOf(error), git: null };
    }
  }

  /** The issue's next attempt waits for this: it must not get a directory that is being removed. */
  #endWorkspace({ type, issue, path }: WorkspaceEnd): void {
    const ports = this.#ports;
    const end = async () =>
      type === "removeWorkspace"
        ? ports.removeWorkspace(issue, path)
        : ports.examineWorkspace?.(issue, path);
    const work = end()
      .catch((error: unknown) => ports.failed(type, error, { issueId: issue.id }))
      .finally(() => {
        if (this.#clearing.get(issue.id) === work) this.#clearing.delete(issue.id);
      });
    this.#clearing.set(issue.id, work);
  }

  #setTimer(input: TimerInput, delayMs: number): void {
    this.#clearTimer(input);
    const key = timerKey(input);
    const cancel = this.#ports.clock.after(delayMs, () => {
      this.#timers.delete(key);
      this.post(input);
    });
    this.#timers.set(key, cancel);
  }

  #clearTimer(input: TimerInput): void {
    const key = timerKey(input);
    this.#timers.get(key)?.();
    this.#timers.delete(key);
  }
}

type Exited = Extract<Input, { type: "attempt.exited" }>;

/** What a live attempt reports while it runs. */
export interface AttemptReports {
  entered(phase: Phase, workspace: EnteredWorkspace | null): void;
  reported(event: AgentEvent): void;
  turned(what: Turned): void;
}

/** What an error is about; other fields are ignored. */
export interface About {
  readonly type?: string;
  readonly issueId?: string | null;
  readonly attemptId?: string | null;
}

/** All side effects of the orchestrator: the replaceable interfaces of the scheduler. */
export interface Ports extends ReadPorts {
  readonly clock: Clock;
  /** `step`, as it is recorded. */
  readonly decide: typeof step;
  /** The configuration in force, and why nothing new may start. */
  config(): Pick<Context, "config" | "problem" | "warnings">;
  /** Runs one attempt until it ends; never rejects once the agent's processes are gone. */
  runAttempt(order: AttemptOrder, reports: AttemptReports): Promise<Exit>;
  /** Ends it at once, or after `graceMs` in which its turn may end by itself. */
  stopAttempt(attemptId: string, reason: string, graceMs: number): void;
  /** Resolves with the turn that accepted it; rejects with the agent's refusal. */
  steerAttempt(attemptId: string, steerId: string, message: string): Promise<{ turnId: string }>;
  /** Throws the session's refusal: `nothing_asked`, `invalid_request`. */
  answerAttempt(attemptId: string, askId: string, answer: Answer): void;
  settleSteer(steerId: string): void;
  /** Detaches an attempt whose agent outlives the server; it then exits as `detached`. */
  detachAttempt?(attemptId: string): void;
  /** Keeps the workspace if it holds work that is nowhere else, and publishes that. */
  removeWorkspace(issue: Issue, path: string | null): Promise<void>;
  /** Brings work to its person. Durable when it returns; throws `storage_unavailable`. */
  offerWork(order: OfferOrder): void;
  /** Moves the issue in its tracker, as soon as that is possible. */
  moveIssue(issue: Issue, to: string, key: string): void;
  /** Publishes what the workspace of an issue holds that an operator completed. */
  examineWorkspace?(issue: Issue, path: string | null): Promise<void>;
  /** Rejects with `SavedLater` if refused: the write is then repeated until it succeeds. */
  saveRecord(issueId: string, record: IssueRecord | null): Promise<void>;
  /**
   * For a change that must not take effect before it is saved: rejects with `storage_unavailable`,
   * and is not repeated.
   */
  saveRecordFirst(issueId: string, record: IssueRecord | null): Promise<void>;
  /** Replaces those that are saved. Rejects like `saveRecord`. */
  savePauses?(pauses: readonly AgentPause[]): Promise<void>;
  /** False if not saved yet: the write is repeated until it succeeds. */
  saveAttempt(attempt: Attempt): boolean;
  saveUsed(used: Used): void;
  prior(issueId: string, after: string): Prior;
  publish(event: EventDraft): void;
  /** A poll has ended. */
  polled?(outcome: PollOutcome, durationMs: number): void;
  /** Reports a bug or a failing interface; no error is swallowed. `about` names the issue and the attempt, where it has them. */
  failed(what: string, error: unknown, about: About): void;
}
