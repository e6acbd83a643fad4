import { randomUUID } from "node:crypto";
import type { Answer } from "../agent/agent.ts";
import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import type { Needs } from "../model/attempt.ts";
import { SymphonyError } from "../model/errors.ts";
import type { StorageTrouble } from "../model/event.ts";
import { type Issue, type IssueStatus, normalState, type TrackerState } from "../model/issue.ts";
import { SavedLater } from "../store/durable.ts";
import type { History, Steer } from "../store/store.ts";
import type { Tracker, TrackerHealth } from "../tracker/tracker.ts";
import { choiceApplies } from "./choice.ts";
import { storageGate } from "./dispatch.ts";
import { targetsOf } from "./operator.ts";
import type { Orchestrator } from "./orchestrator.ts";
import { isPollNear } from "./poll.ts";
import {
  type IssueStatusView,
  idOf,
  knownIssue,
  type Snapshot,
  secondsRunning,
  snapshot,
  statusOf,
  statusOfIdentifier,
  type Waiting,
} from "./snapshot.ts";
import type { Fault, State } from "./state.ts";

export interface OperationsDeps {
  readonly orchestrator: Orchestrator;
  readonly history: History;
  readonly clock: Clock;
  tracker(): Tracker;
  config(): { readonly config: Config; readonly problem: Fault | null };
}

const statusTargets = ["queued", "held", "completed"] as const;

/** What a person may ask of the orchestrator. A promise resolves once the thing is done or durable. */
export class Operations {
  readonly #parts: OperationsDeps;

  constructor(parts: OperationsDeps) {
    this.#parts = parts;
  }

  /** The state now; pure reading. */
  view(limit: number): View {
    const { orchestrator, clock } = this.#parts;
    const { config, problem } = this.#parts.config();
    const { state } = orchestrator;
    const { poll, trackerError } = state;
    return {
      snapshot: snapshot(state, config, { now: clock.now(), limit }),
      polling: {
        intervalMs: config.polling.intervalMs,
        lastWall: poll.lastWall,
        nextWall: poll.nextWall,
        lastError: trackerError,
      },
      tracker: {
        kind: config.tracker.kind,
        healthy: trackerError === null,
        lastError: trackerError,
      },
      problem,
      storage: this.#state.storage,
    };
  }

  /** What a view depends on beside the time: as long as each of them is the same, so is the view. */
  marks(): readonly unknown[] {
    const { config, problem } = this.#parts.config();
    return [this.#state, config, problem?.code, problem?.message];
  }

  /** Of ended attempts and live ones together. */
  secondsRunning(): number {
    return secondsRunning(this.#state, this.#parts.clock.now());
  }

  /** How many writes the disk has refused and not taken since. */
  unsaved(): number {
    return this.#state.storage?.waiting ?? 0;
  }

  /** Issue `identifier` in any case, or null when memory knows none. */
  sight(identifier: string): IssueStatusView | null {
    return statusOfIdentifier(this.#state, this.#parts.config().config, identifier);
  }

  /** Orders a poll; `coalesced` when one is due at once or running. Throws `unavailable` while draining. */
  refresh(): { readonly coalesced: boolean; readonly requestedWall: number } {
    const { orchestrator, clock } = this.#parts;
    if (this.#state.draining) {
      throw new SymphonyError("unavailable", "the server is stopping");
    }
    const wall = clock.wall();
    const coalesced = isPollNear(this.#state, { wall });
    orchestrator.post({ type: "refresh.requested" });
    return { coalesced, requestedWall: wall };
  }

  /** Stops the attempt and holds the issue. Rejects with `issue_not_found`, `not_running`, and as `transition` does. */
  async abort(identifier: string, reason: string | null): Promise<Aborted> {
    const { orchestrator, clock } = this.#parts;
    const issue = this.#require(identifier);
    const alreadyStopping = this.#state.issues.of("running").get(issue.id)?.stopping != null;
    const requestedWall = clock.wall();
    const stopped = orchestrator.apply({ type: "operator.aborted", issueId: issue.id, reason });
    await tookEffect(stopped, `${issue.identifier}: the stop`);
    return { identifier: issue.identifier, alreadyStopping, requestedWall };
  }

  /**
   * Rejects with `issue_not_found`, `no_active_turn`, or the agent's refusal. The guidance is durable before
   * the agent hears it; a repeated `key` sends nothing and answers like the first.
   */
  async steer(identifier: string, message: string, key: string | null): Promise<Steered> {
    const { orchestrator, history, clock } = this.#parts;
    const issue = this.#require(identifier);
    const earlier = key === null ? null : history.steerByKey(issue.id, key);
    if (earlier) return steeredBy(earlier, issue);
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
   * Rejects with `transition_not_allowed` (`details.allowed`) or a tracker error; `issue` may be one that only the tracker knows. On a
   * disk that refuses, what stops an agent takes effect and rejects with `SavedLater`; all else changes nothing.
   */
  async transition(issue: Issue, to: string, reason: string | null): Promise<Transitioned> {
    const status = statusTargets.find((target) => target === to);
    const isKnown = knownIssue(this.#state, issue.id) !== null;
    if (status === undefined || !isKnown) return this.#moveInTracker(issue, to);
    const from = statusOf(this.#state, issue) ?? issue.state;
    const input = { type: "operator.transitioned", issueId: issue.id, to: status, reason } as const;
    const { orchestrator } = this.#parts;
    if (status === "queued") await orchestrator.applySaved(issue.id, input);
    else await tookEffect(orchestrator.apply(input), `${issue.identifier}: the move to ${status}`);
    return { identifier: issue.identifier, from, to: status, kind: "status" };
  }

  /**
   * Answers what the issue's agent waits for. Rejects with `issue_not_found`, `nothing_asked`, `invalid_request`. Where the
   * run has ended with its question, the answer is durable and opens the next turn of its thread.
   */
  async respond(identifier: string, answer: Answer): Promise<Responded> {
    const { orchestrator, history, clock } = this.#parts;
    const issue = this.#require(identifier);
    const wait = this.sight(identifier)?.blocked ?? null;
    const answered = { identifier: issue.identifier, needs: wait?.needs ?? null };
    const input = { type: "operator.responded", issueId: issue.id, answer } as const;
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

  /** Durable when it resolves; says when it is felt. A null model is the configured one again. */
  async chooseModel(
    issue: Issue,
    choice: { model: string | null; effort: string | null; agent: string | null },
  ) {
    const input = { issue, ...choice };
    const applies = choiceApplies(this.#state, input, this.#parts.config().config);
    const chosen = { type: "operator.modelChosen", ...input } as const;
    await this.#parts.orchestrator.applySaved(issue.id, chosen);
    return applies;
  }

  /** Of one issue, which may be one that only the tracker knows, or of all that are known (null). */
  transitions(issue: Issue | null): Promise<TransitionsView> {
    const issues = issue === null ? this.#known() : [issue];
    return transitionsOf(this.#state, issues, this.#parts.tracker());
  }

  async #moveInTracker(issue: Issue, to: string): Promise<Transitioned> {
    const { orchestrator, tracker } = this.#parts;
    const gate = storageGate(this.#state);
    if (gate) throw new SymphonyError("storage_unavailable", `nothing was changed: ${gate.detail}`);
    const name = await moveInTracker(this.#state, { issue, to, tracker: tracker() });
    orchestrator.post({ type: "issue.hinted", issueId: issue.id });
    return { identifier: issue.identifier, from: issue.state, to: name, kind: "tracker" };
  }

  #require(identifier: string): Issue {
    const id = idOf(this.#state, identifier);
    const issue = id === null ? null : knownIssue(this.#state, id);
    if (!issue) {
      throw new SymphonyError("issue_not_found", `no issue ${identifier} is known here`, {
        hint: "symphony state",
      });
    }
    return issue;
  }

  /** Every issue in memory, what is worked on first. */
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
    return this.#parts.orchestrator.state;
  }
}

/** A stop that the disk does not take is a stop all the same, and whoever asked is told both. */
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

export interface View {
  readonly snapshot: Snapshot;
  readonly polling: {
    readonly intervalMs: number;
    readonly lastWall: number | null;
    readonly nextWall: number | null;
    readonly lastError: Fault | null;
  };
  readonly tracker: TrackerHealth;
  /** Why nothing new is started. */
  readonly problem: Fault | null;
  /** Writes that the disk refused and that are repeated; nothing new is started while there are any. */
  readonly storage: StorageTrouble | null;
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
  /** What was asked. */
  readonly needs: Needs | null;
  /** A live agent has heard it; or the run had ended, and the next attempt begins with it. */
  readonly applies: "now" | "next_attempt";
}

interface Target {
  readonly to: string;
  readonly kind: "status" | "tracker";
}

interface Transitioned {
  readonly identifier: string;
  readonly from: string;
  readonly to: string;
  readonly kind: "status" | "tracker";
}

interface TransitionsView {
  readonly trackerStates: readonly TrackerState[];
  readonly issues: readonly {
    readonly identifier: string;
    readonly status: IssueStatus | null;
    readonly state: string;
    readonly targets: readonly Target[];
  }[];
}

/** Issues that are listed at most: one tracker asks nothing, another one a request a team. */
const maxListed = 1_000;

/** Where each of `issues` may go: symphony's own statuses, and the states of the tracker. */
async function transitionsOf(
  state: State,
  issues: readonly Issue[],
  tracker: Tracker,
): Promise<TransitionsView> {
  const states = new Map<string, TrackerState>();
  const rows: TransitionsView["issues"][number][] = [];
  for (const issue of issues.slice(0, maxListed)) {
    const own = await tracker.workflow.states(issue);
    for (const one of own) states.set(normalState(one.name), one);
    rows.push({
      identifier: issue.identifier,
      status: statusOf(state, issue),
      state: issue.state,
      targets: targetsIn(state, issue, own),
    });
  }
  return { trackerStates: [...states.values()], issues: rows };
}

/** Moves the issue to a state of its tracker and resolves with that state's name. Rejects with `transition_not_allowed`. */
async function moveInTracker(
  state: State,
  { issue, to, tracker }: { readonly issue: Issue; readonly to: string; readonly tracker: Tracker },
): Promise<string> {
  const states = await tracker.workflow.states(issue);
  const wanted = states.find(({ name }) => normalState(name) === normalState(to));
  if (!wanted) {
    const allowed = targetsIn(state, issue, states).map((target) => target.to);
    throw new SymphonyError("transition_not_allowed", `${issue.identifier} cannot go to ${to}`, {
      details: { allowed },
    });
  }
  await tracker.workflow.move(issue, wanted.name);
  return wanted.name;
}

function targetsIn(state: State, issue: Issue, states: readonly TrackerState[]): readonly Target[] {
  const own = states.filter(({ name }) => normalState(name) !== normalState(issue.state));
  return [
    ...targetsOf(state, issue).map((to): Target => ({ to, kind: "status" })),
    ...own.map(({ name }): Target => ({ to: name, kind: "tracker" })),
  ];
}

/** The answer in the words the agent is given: guidance that opens the next turn of its thread. */
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
  return answer.approve ? "Yes, approved." : "No, declined. Go on without it.";
}
