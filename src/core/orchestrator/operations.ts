import { randomUUID } from "node:crypto";
import type { Answer } from "../agent/agent.ts";
import { type Clock, limited } from "../clock.ts";
import type { Needs } from "../model/attempt.ts";
import type { Overlap } from "../model/delivery.ts";
import { SymphonyError } from "../model/errors.ts";
import type { Issue } from "../model/issue.ts";
import { SavedLater } from "../store/durable.ts";
import type { History, Steer } from "../store/store.ts";
import type { FoundIssue, Tracker } from "../tracker/tracker.ts";
import { choiceApplies } from "./choice.ts";
import { storageGate } from "./gates.ts";
import type { Input } from "./messages.ts";
import type { Orchestrator } from "./orchestrator.ts";
import { isPollNear } from "./poll.ts";
import type { PollReport } from "./poll-watch.ts";
import {
  type IssueStatusView,
  knownIssue,
  type Paused,
  pausedNow,
  secondsRunning,
  statusOf,
  statusOfFound,
  statusOfIdentifier,
  statusWith,
} from "./snapshot.ts";
import type { State } from "./state.ts";
import {
  moveInTracker,
  type Transitioned,
  type TransitionsView,
  transitionsOf,
} from "./transitions.ts";
import { healthOf, type InForce, type View, viewIn } from "./view.ts";
import type { Waiting } from "./waits.ts";

export interface OperationsDeps {
  readonly orchestrator: Orchestrator;
  readonly history: History;
  readonly clock: Clock;
  tracker(): Tracker;
  config(): InForce;
  /** What a person who is attached to the issue changed opens its next turn; the result takes that back. */
  handOver(issue: Issue): Promise<() => void>;
}

const statusTargets = ["queued", "held", "completed"] as const;

/** What an operator may request. A promise resolves once the operation is done or durable. */
export class Operations {
  readonly #deps: OperationsDeps;

  constructor(deps: OperationsDeps) {
    this.#deps = deps;
  }

  /** The current state; changes nothing. */
  view(limit: number): View {
    const now = this.#deps.clock.now();
    return viewIn(this.#state, this.#deps.config(), { now, limit });
  }

  /** What a view depends on in addition to the time: while these are equal, so is the view. */
  marks(): readonly unknown[] {
    const { config, problem, warnings } = this.#deps.config();
    return [this.#state, config, warnings, problem?.code, problem?.message];
  }

  /** Live branches that change the same files, as last compared. */
  overlaps(): readonly Overlap[] {
    return this.#state.overlaps;
  }

  /** Of ended and live attempts together. */
  secondsRunning(): number {
    return secondsRunning(this.#state, this.#deps.clock.now());
  }

  /** How many refused writes are not saved yet. */
  unsaved(): number {
    return this.#state.storage?.waiting ?? 0;
  }

  /** Whether the last read of the tracker succeeded; null: the first has not ended. */
  trackerHealthy(): boolean | null {
    return healthOf(this.#state).healthy;
  }

  /** What keeps issues from starting now. */
  paused(): readonly Paused[] {
    return pausedNow(this.#state, this.#deps.config().config);
  }

  /** The issue with `identifier` in any case, or null when it is not in memory. */
  statusOf(identifier: string): IssueStatusView | null {
    const { config, history } = this.#deps;
    return statusOfIdentifier(this.#state, config(), identifier, history);
  }

  /** The status of an issue that only the tracker knows; changes nothing. */
  statusOfFound(found: FoundIssue & { readonly atWall: number }): IssueStatusView {
    return statusOfFound(this.#state, this.#deps.config(), found);
  }

  /** `status` with the issue as the tracker has just described it; changes nothing. */
  statusWith(
    status: IssueStatusView,
    found: FoundIssue & { readonly atWall: number },
  ): IssueStatusView {
    return statusWith(this.#state, this.#deps.config(), { status, found });
  }

  /** The newest snapshot of the issue, also of one that is neither listed nor claimed any more. */
  remembered(issueId: string): Issue | null {
    return this.#state.issues.get(issueId)?.issue ?? null;
  }

  /** Orders a poll; `coalesced` if one is due or running. Throws `unavailable` while draining. */
  refresh(): { readonly coalesced: boolean; readonly requestedWall: number } {
    const { orchestrator, clock } = this.#deps;
    if (this.#state.draining) throw new SymphonyError("unavailable", "the server is stopping");
    const wall = clock.wall();
    const coalesced = isPollNear(this.#state, { wall });
    orchestrator.post({ type: "refresh.requested" });
    return { coalesced, requestedWall: wall };
  }

  /**
   * The same, and resolves when that poll has ended and what it decided is done. A poll that runs already may have read too
   * early: then it is the one after it. Rejects with its fault, and with `timed_out` after `limitMs`.
   */
  async refreshed(limitMs: number): Promise<Refreshed> {
    const { orchestrator, clock } = this.#deps;
    const done = orchestrator.polls.next();
    // Of one that rejects after the limit.
    done.catch(() => {});
    const requested = this.refresh();
    if (this.#state.poll.phase !== "idle") orchestrator.post({ type: "tracker.changed" });
    const late = () => {
      const message = `the poll has not ended within ${limitMs / 1_000} s; it continues`;
      throw new SymphonyError("timed_out", message);
    };
    const report = await limited(done, limitMs, late, clock);
    return { ...requested, ...report, finishedWall: clock.wall() };
  }

  /** Stops the attempt and holds the issue. Rejects with `issue_not_found`, `not_running`, and as `transition` does. */
  async abort(identifier: string, reason: string | null): Promise<Aborted> {
    const { orchestrator, clock } = this.#deps;
    const issue = this.#require(identifier);
    const alreadyStopping = this.#state.issues.of("running").get(issue.id)?.stopping != null;
    const requestedWall = clock.wall();
    const stopped = orchestrator.apply({ type: "operator.aborted", issueId: issue.id, reason });
    await tookEffect(stopped, `${issue.identifier}: the stop`);
    return { identifier: issue.identifier, alreadyStopping, requestedWall };
  }

  /**
   * Rejects with `issue_not_found`, `no_active_turn` or the agent's refusal. Guidance is durable before it is sent; a repeated
   * `key` sends nothing and returns the first answer. `rate_limited`: too much guidance waits already.
   */
  async steer(identifier: string, message: string, key: string | null): Promise<Steered> {
    const { orchestrator, history, clock } = this.#deps;
    const issue = this.#require(identifier);
    const earlier = key === null ? null : history.steerByKey(issue.id, key);
    if (earlier) return steeredBy(earlier, issue);
    requireSteerRoom(history, issue);
    const entry = this.#state.issues.of("running").get(issue.id);
    const steer: Steer = {
      id: `str_${randomUUID()}`,
      issueId: issue.id,
      attemptId: entry?.attemptId ?? "",
      turnId: entry?.turnId ?? "",
      message,
      key,
      at: clock.wall(),
      delivered: false,
    };
    if (steer.turnId !== "") history.addSteer(steer);
    try {
      const input = {
        type: "operator.steered",
        issueId: issue.id,
        steerId: steer.id,
        message,
      } as const;
      await orchestrator.apply(input);
    } catch (error) {
      if (steer.turnId !== "") history.dropSteer(steer.id);
      throw error;
    }
    return steeredBy(steer, issue);
  }

  /**
   * Rejects with `transition_not_allowed` (`details.allowed`) or a tracker error; `issue` may be one that only the tracker knows.
   * If the disk refuses the write, a transition that stops an agent takes effect and rejects with `SavedLater`; any other changes nothing.
   */
  async transition(issue: Issue, to: string, reason: string | null): Promise<Transitioned> {
    const status = statusTargets.find((target) => target === to);
    const isKnown = knownIssue(this.#state, issue.id) !== null;
    if (status === undefined || !isKnown) return this.#moveInTracker(issue, to);
    const from = statusOf(this.#state, issue) ?? issue.state;
    const input = { type: "operator.transitioned", issueId: issue.id, to: status, reason } as const;
    const undo = status === "queued" ? await this.#deps.handOver(issue) : () => {};
    try {
      await this.#move(issue, input);
    } catch (error) {
      undo();
      throw error;
    }
    return { identifier: issue.identifier, from, to: status, kind: "status" };
  }

  /** Stops its attempt and holds the issue, also one that only the tracker knows; it is not moved there. Rejects as `transition`. */
  async hold(issue: Issue, reason: string): Promise<void> {
    const held = { type: "operator.transitioned", to: "held", reason, unlisted: issue } as const;
    await this.#move(issue, { ...held, issueId: issue.id });
  }

  async #move(issue: Issue, input: Extract<Input, { type: "operator.transitioned" }>) {
    const { orchestrator } = this.#deps;
    const isRunning = this.#state.issues.of("running").has(issue.id);
    if (!isRunning) return orchestrator.applySaved(issue.id, input);
    await tookEffect(orchestrator.apply(input), `${issue.identifier}: the move to ${input.to}`);
  }

  /**
   * Answers the agent's question. Rejects with `issue_not_found`, `nothing_asked`, `invalid_request`. If the run has ended with
   * its question, the answer is durable and opens the next turn of its thread. No other request than `askId` gets it.
   */
  async respond(identifier: string, answer: Answer, askId?: string): Promise<Responded> {
    const { orchestrator, history, clock } = this.#deps;
    const issue = this.#require(identifier);
    const wait = this.statusOf(identifier)?.blocked ?? null;
    const answered = { identifier: issue.identifier, needs: wait?.needs ?? null };
    const input = { type: "operator.responded", issueId: issue.id, answer, askId } as const;
    if (!wait || wait.attemptId !== undefined) {
      await orchestrator.apply(input);
      return { ...answered, applies: "now" };
    }
    const steer = answerAsSteer(wait, answer, { id: `str_${randomUUID()}`, at: clock.wall() });
    history.addSteer(steer);
    try {
      await orchestrator.applySaved(issue.id, input);
    } catch (error) {
      history.dropSteer(steer.id);
      throw error;
    }
    return { ...answered, applies: "next_attempt" };
  }

  /** Durable when it resolves; says when it takes effect. A null model is the configured one. */
  async chooseModel(
    issue: Issue,
    choice: { model: string | null; effort: string | null; agent: string | null },
  ) {
    const input = { issue, ...choice };
    const applies = choiceApplies(this.#state, input, this.#deps.config().config);
    const chosen = { type: "operator.modelChosen", ...input } as const;
    await this.#deps.orchestrator.applySaved(issue.id, chosen);
    return applies;
  }

  /** Durable when it resolves; `from`: the worker of the live attempt, `stops`: that is stopped for it. */
  async move(issue: Issue, worker: string | null) {
    const live = this.#state.issues.of("running").get(issue.id);
    const from = live?.worker ?? null;
    await this.#deps.orchestrator.applySaved(issue.id, { type: "operator.moved", issue, worker });
    return { from, stops: !!live && !live.stopping && worker !== null && from !== worker };
  }

  /** Of one issue, which may be one that only the tracker knows, or of all known issues (null). */
  transitions(issue: Issue | null): Promise<TransitionsView> {
    const issues = issue === null ? this.#known() : [issue];
    return transitionsOf(this.#state, issues, this.#deps.tracker());
  }

  async #moveInTracker(issue: Issue, to: string): Promise<Transitioned> {
    const { orchestrator, tracker } = this.#deps;
    const gate = storageGate(this.#state);
    if (gate) throw new SymphonyError("storage_unavailable", `nothing was changed: ${gate.detail}`);
    const name = await moveInTracker(this.#state, { issue, to, tracker: tracker() });
    orchestrator.post({ type: "issue.hinted", issueId: issue.id });
    return { identifier: issue.identifier, from: issue.state, to: name, kind: "tracker" };
  }

  #require(identifier: string): Issue {
    const issue = this.statusOf(identifier)?.issue;
    if (!issue) {
      throw new SymphonyError("issue_not_found", `no issue ${identifier} is known here`, {
        hint: "symphony state",
      });
    }
    return issue;
  }

  /** Every issue in memory, active work first. */
  #known(): readonly Issue[] {
    const state = this.#state;
    const rows = [...state.issues.values()];
    const open = rows.filter(({ claim }) => claim !== "free" && claim !== "completed");
    const byId = new Map(open.map(({ issue }) => [issue.id, issue]));
    for (const issue of state.queue) if (!byId.has(issue.id)) byId.set(issue.id, issue);
    for (const [id, { issue }] of state.issues.of("completed")) byId.set(id, issue);
    return [...byId.values()];
  }

  get #state(): State {
    return this.#deps.orchestrator.state;
  }
}

export interface Refreshed extends PollReport {
  readonly coalesced: boolean;
  readonly requestedWall: number;
  readonly finishedWall: number;
}

/** Guidance for one issue that no turn has taken up yet. */
const maxQueuedSteers = 64;

/** Throws `rate_limited` when so much guidance waits for the issue's agent that no more is taken. */
export function requireSteerRoom(
  history: Pick<History, "undelivered">,
  { id, identifier }: Pick<Issue, "id" | "identifier">,
): void {
  const queued = history.undelivered(id).length;
  if (queued < maxQueuedSteers) return;
  const message = `${queued} messages wait for the agent of ${identifier} already; this one was not taken`;
  throw new SymphonyError("rate_limited", message, {
    details: { queued, limit: maxQueuedSteers },
    hint: `send it after the agent has taken some up: symphony events --issue ${identifier}`,
  });
}

/** A stop takes effect even if the disk refuses it; `SavedLater` tells the caller both. */
async function tookEffect(work: Promise<unknown>, what: string): Promise<void> {
  try {
    await work;
  } catch (error) {
    throw error instanceof SavedLater ? error.as(what) : error;
  }
}

function steeredBy(steer: Steer, issue: Issue): Steered {
  return {
    identifier: issue.identifier,
    steerId: steer.id,
    attemptId: steer.attemptId,
    turnId: steer.turnId,
    status: steer.delivered ? "delivered" : "accepted",
  };
}

interface Aborted {
  readonly identifier: string;
  readonly alreadyStopping: boolean;
  readonly requestedWall: number;
}

interface Steered {
  readonly identifier: string;
  readonly steerId: string;
  readonly attemptId: string;
  readonly turnId: string;
  readonly status: "accepted" | "delivered";
}

interface Responded {
  readonly identifier: string;
  /** The question. */
  readonly needs: Needs | null;
  /** `now`: a live agent received it. `next_attempt`: the next run of the issue begins with it. */
  readonly applies: "now" | "next_attempt";
}

/** The answer as guidance that opens the next turn of the agent's thread. */
function answerAsSteer(
  { issue, needs }: Waiting,
  answer: Answer,
  { id, at }: { readonly id: string; readonly at: number },
): Steer {
  return {
    id,
    issueId: issue.id,
    attemptId: "",
    turnId: "",
    message: `You asked: ${needs.prompt}\nThe answer: ${wordsOf(answer)}`,
    key: null,
    at,
    delivered: false,
  };
}

function wordsOf(answer: Answer): string {
  if (answer.type === "answers") return answer.answers.join("\n");
  return answer.approve ? "Yes, approved." : "No, declined. Continue without it.";
}
