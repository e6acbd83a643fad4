import assert from "node:assert/strict";
import type { AgentEvent } from "../../../src/core/agent/agent.ts";
import type { Clock } from "../../../src/core/clock.ts";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { EventDraft } from "../../../src/core/model/event.ts";
import type { DispatchPause } from "../../../src/core/model/gates.ts";
import { type ActiveHours, openingAt } from "../../../src/core/model/hours.ts";
import { type Issue, normalState } from "../../../src/core/model/issue.ts";
import type { Decision } from "../../../src/core/orchestrator/decision.ts";
import { standingOf } from "../../../src/core/orchestrator/dispatch.ts";
import { dispatchGates } from "../../../src/core/orchestrator/explain.ts";
import type { Running } from "../../../src/core/orchestrator/issues.ts";
import {
  type Effect,
  type Exit,
  type Input,
  timerKey,
} from "../../../src/core/orchestrator/messages.ts";
import { recordOf, restoredState } from "../../../src/core/orchestrator/records.ts";
import type { State } from "../../../src/core/orchestrator/state.ts";
import { step } from "../../../src/core/orchestrator/step.ts";
import type { IssueRecord } from "../../../src/core/store/store.ts";
import { FaultyDisk } from "../fakes/faulty-disk.ts";
import { config, issue } from "../makers/issue.ts";
import { AgentWatch } from "./agent-watch.ts";
import { BrakeLedger } from "./brake-ledger.ts";
import { ClaimWatch } from "./claim-watch.ts";
import { GateWatch } from "./gate-watch.ts";
import { SlotWatch } from "./slot-watch.ts";
import { StatusWatch, titleOf } from "./status-watch.ts";

interface Hooks {
  /** Decides in the place of `step`. */
  readonly decide?: typeof step;
  /** The process was killed; the next decision is made by its successor. */
  crashed?(): void;
}

interface Process {
  readonly issueId: string;
  stopOrdered: boolean;
}

/** The wall clock at the start of a world. */
const epochWall = 1e12;

const states = ["Todo", "In Progress", " todo ", "Done", "Backlog", "Canceled"];

/** A seeded world around the pure core: slow and failing reads, agents that crash and hang, operators, crashes. */
export class Simulation {
  readonly #random: () => number;
  readonly #settings;
  readonly #tracker = new Map<string, Issue>();
  readonly #processes = new Map<string, Process>();
  /** Of all processes. */
  #lastId = "";
  /** Of this process: answers do not outlive it. */
  #lastRequest = 0;
  readonly #timers = new Map<string, number>();
  readonly #slots: SlotWatch;
  readonly gates: GateWatch;
  readonly #claims = new ClaimWatch();
  readonly #statuses: StatusWatch;
  readonly disk: FaultyDisk;
  /** Until this time the disk refuses most writes. */
  #fullUntil = 0;
  /** The last answer: time only goes forward. */
  #opening = { open: true, untilWall: 0 };
  /** As on disk. */
  #paused: DispatchPause | null = null;
  /** Inputs that the shell posts while it performs effects; handled right after them. */
  #said: Input[] = [];
  #agenda: { at: number; order: number; epoch: number | null; run: () => void }[] = [];
  #state: State;
  #now = 0;
  #order = 0;
  /** The number of changes in the tracker. */
  #version = 0;
  #epoch = 0;
  #faults = true;
  events = 0;
  dispatches = 0;
  restarts = 0;
  pauses = 0;
  trail: string[] = [];
  readonly ledger: BrakeLedger;
  readonly agents: AgentWatch;
  /** Decides what concerns agents, so that everything else happens as in a world with one agent. */
  readonly #ownRandom: () => number;
  readonly #hooks: Hooks;

  constructor(seed: number, hooks: Hooks = {}) {
    this.#hooks = hooks;
    this.#random = randomFrom(seed);
    this.#ownRandom = randomFrom(seed + 1_000_003);
    const cap = 1 + this.#pick(5);
    this.#settings = config({
      agent: {
        maxConcurrentAgents: cap,
        maxRetries: this.#chance(0.3) ? 3 : null,
        maxConcurrentAgentsByState: this.#chance(0.5) ? { todo: 1 + this.#pick(cap) } : {},
        stallTimeoutMs: this.#chance(0.3) ? 0 : 120_000,
        activeHours: this.#hours(),
        fallback: this.#ownRandom() < 0.5 ? ["codex", "claude", "local"] : [],
        handover: this.#ownRandom() < 0.4,
      },
      brakes: {
        tokensPerIssue: this.#chance(0.25) ? 100 : null,
        tokensPerDay: this.#chance(0.2) ? 600 : null,
        turnsWithoutProgress: this.#chance(0.25) ? 4 : null,
        attemptTimeoutMs: this.#chance(0.2) ? 60_000 : null,
      },
    });
    this.ledger = new BrakeLedger(this.#settings.brakes);
    this.agents = new AgentWatch(this.#settings);
    this.#slots = new SlotWatch(this.#settings);
    this.gates = new GateWatch(this.#settings);
    this.#statuses = new StatusWatch(this.#settings);
    for (let n = 1; n <= 12; n++) {
      const made = issue(`SIM-${n}`, {
        title: titleOf(0),
        priority: this.#pick(6),
        dispatchable: this.#chance(0.9),
      });
      this.#tracker.set(made.id, made);
    }
    this.disk = new FaultyDisk({
      clock: this.#clock(),
      fails: () => this.#faults && this.#chance(this.#now < this.#fullUntil ? 0.8 : 0.01),
      onTrouble: (trouble) => this.#said.push({ type: "storage.changed", trouble }),
    });
    this.#state = this.#restored();
    this.#begin();
  }

  /** Plays `count` inputs with faults enabled, and checks every invariant after each. */
  run(count: number): void {
    while (this.events < count) this.#next();
  }

  /** How long the world has existed, in ms. */
  get age(): number {
    return this.#now;
  }

  get state(): State {
    return this.#state;
  }

  /** Ends all faults, then requires progress: no eligible issue may wait while a slot is free (LIVE-2). */
  heal(): void {
    this.#faults = false;
    if (this.#paused !== null) this.#apply({ type: "dispatch.resumed", by: "cli" });
    if (this.#state.host !== null) this.#apply({ type: "host.changed", trouble: null });
    for (const agent of this.agents.broken) this.#checkAgent(agent, false);
    const { day, pauses } = this.#state;
    const gates = [...pauses.values()].filter(({ active }) => active).map((p) => p.untilWall);
    if (day.reached) gates.push((day.index + 1) * 86_400_000);
    const opening = this.#settings.agent.activeHours;
    if (opening !== null) {
      // The whole time until everything has settled, in one window.
      let next = openingAt(opening, epochWall + this.#now);
      if (next.open) next = openingAt(opening, next.untilWall);
      gates.push(next.untilWall);
    }
    this.#now = Math.max(this.#now, ...gates.map((wall) => wall - epochWall));
    this.#slots.woke();
    this.gates.woke();
    this.#passes(20 * 60_000);
    const { issues, storage } = this.#state;
    const running = issues.of("running");
    assert.equal(storage, null, "FAULT-9: all is saved once the disk takes it");
    const looked = [...issues.of("retrying").values()].filter(({ waits }) => waits === null);
    for (const id of [...running.keys(), ...looked.map((entry) => entry.issue.id)]) {
      const standing = this.#standing(id);
      assert.ok(standing === "routable", `LIVE-1: ${id} is claimed but ${standing}`);
    }
    this.#statuses.settled(this.#state, this.#tracker.values());
    if (this.#state.day.reached) return;
    // An agent may have ended at this very moment: the slot is then filled within a poll.
    for (let polls = 0; polls < 3 && this.#waitsForNothing(); polls++) this.#passes(60_000);
    assert.ok(!this.#waitsForNothing(), "LIVE-2: work waits beside a free slot");
  }

  #waitsForNothing(): boolean {
    const { issues, day } = this.#state;
    const { maxConcurrentAgents, maxConcurrentAgentsByState } = this.#settings.agent;
    if (day.reached || Object.keys(maxConcurrentAgentsByState).length > 0) return false;
    const isWaiting = [...this.#tracker.values()].some(
      ({ id }) => this.#standing(id) === "routable" && (issues.get(id)?.claim ?? "free") === "free",
    );
    return isWaiting && issues.of("running").size < maxConcurrentAgents;
  }

  /** A person closes every issue: afterwards only the list of completed issues may contain them. */
  closeAll(): void {
    for (const id of this.#tracker.keys()) this.#move(id, "Done");
    this.#passes(20 * 60_000);
    this.#statuses.settled(this.#state, this.#tracker.values());
    assert.equal(
      this.disk.records.size,
      this.#choices(),
      "M3: something is kept of a closed issue",
    );
  }

  #passes(ms: number): void {
    const until = this.#now + ms;
    while (this.#now < until && this.#agenda.length > 0) this.#next();
  }

  /** Records that are kept because of an operator's choice. */
  #choices(): number {
    const isChosen = (one: IssueRecord) => one.allowanceAfter !== null || one.model !== null;
    return [...this.disk.records.values()].filter(isChosen).length;
  }

  #next(): void {
    if (this.#faults && this.#chance(0.03)) this.#disturb();
    if (this.#faults && this.#ownRandom() < 0.004) this.#breakAgent();
    const entry = this.#agenda.shift();
    assert.ok(entry, "the world has stopped: no timer, no reply, no process");
    this.#now = Math.max(this.#now, entry.at);
    if (entry.epoch === null || entry.epoch === this.#epoch) entry.run();
  }

  #apply(input: Input): void {
    this.events++;
    this.trail = [...this.trail.slice(-30), `${Math.round(this.#now)} ${describe(input)}`];
    const before = this.#state;
    if (input.type === "candidates.fetched") this.#slots.listed();
    this.#statuses.answered(input);
    try {
      if (input.type === "dispatch.paused") this.#paused = input.pause;
      if (input.type === "dispatch.resumed") this.#paused = null;
      const decide = this.#hooks.decide ?? step;
      const decision = decide(before, input, {
        config: this.#settings,
        problem: null,
        now: this.#now,
        wall: epochWall + this.#now,
        prior: (issueId, after) => {
          const resume = this.agents.thread(issueId);
          const last = this.agents.ended(issueId);
          return { ...this.ledger.prior(issueId, after), resume, thread: resume, last };
        },
      });
      if (isSavedFirst(input, before)) {
        const issueId = "issue" in input ? input.issue.id : input.issueId;
        this.disk.saveRecordFirst(issueId, recordOf(decision.state, issueId));
      }
      this.#state = decision.state;
      this.#noteOperator(input);
      if (before.storage !== null) {
        const starts = decision.effects.filter(({ type }) => type === "startAttempt");
        assert.equal(starts.length, 0, "FAULT-9: something is started while a save is outstanding");
      }
      this.#checkGates(decision);
      this.gates.decided(before, decision);
      this.#claims.decided(before, input, decision, this.#now);
      const hasPolled = decision.effects.some(({ type }) => type === "measurePoll");
      if (hasPolled && !decision.state.draining) this.gates.polled(before, decision.state);
      for (const effect of decision.effects) {
        if (effect.type === "startAttempt") this.agents.started(effect, before);
        this.#perform(effect);
      }
    } catch (error) {
      if (!(error instanceof SymphonyError)) throw error;
      assert.equal(this.#state, before, "a refusal changes nothing");
    }
    const next = this.#said.shift();
    if (next) this.#apply(next);
    else this.#check();
  }

  /** A gate that is shown closed is closed, and the reverse. */
  #checkGates({ state, effects }: Decision): void {
    const starts = effects.filter((effect) => effect.type === "startAttempt");
    const wall = epochWall + this.#now;
    const mayStart = this.#paused === null && this.#isOpenNow();
    assert.ok(mayStart || starts.length === 0, "a closed gate lets an issue start");
    if (this.events % 10 > 0) return;
    for (const own of state.queue.slice(0, 1)) {
      const shown = dispatchGates(own, state, { config: this.#settings, problem: null });
      const isOpen = (name: string) => shown.find(({ gate }) => gate === name)?.pass;
      if (state.issues.get(own.id)?.claim === "running") continue;
      assert.equal(isOpen("paused"), this.#paused === null, "the pause is shown as it is");
      const isKnown = state.hours !== null && wall < state.hours.untilWall;
      if (isKnown)
        assert.equal(isOpen("active_hours"), this.#isOpenNow(), "the hours are shown as they are");
    }
  }

  #isOpenNow(): boolean {
    const hours = this.#settings.agent.activeHours;
    if (hours === null) return true;
    const wall = epochWall + this.#now;
    if (wall >= this.#opening.untilWall) this.#opening = openingAt(hours, wall);
    return this.#opening.open;
  }

  /** Notes an accepted request of an operator, which all later decisions must respect. */
  #noteOperator(input: Input): void {
    if (input.type === "operator.aborted") this.disk.stopped(input.issueId);
    if (input.type !== "operator.transitioned") return;
    this.ledger.released(input.issueId, input.to);
    if (input.to === "held") this.disk.stopped(input.issueId);
    else this.disk.released(input.issueId);
  }

  /** The tracker has closed the issue: earlier decisions about it no longer apply. */
  #noteCompleted({ type, issueId, data }: EventDraft): void {
    if (type !== "issue.completed" || !issueId) return;
    const { terminalStates } = this.#settings.tracker;
    const isClosed = terminalStates.some(
      (one) => normalState(one) === normalState(`${data?.["state"]}`),
    );
    if (!isClosed) return;
    this.ledger.released(issueId, "completed");
    this.disk.released(issueId);
  }

  #check(): void {
    const running = this.#state.issues.of("running");
    for (const [id, entry] of running) {
      assert.equal(
        this.#processes.get(entry.attemptId)?.issueId,
        id,
        `INV-5, INV-10: ${id} has no process`,
      );
      this.#checkBrakes(entry);
    }
    for (const attemptId of this.#processes.keys()) {
      const claimed = [...running.values()].some((entry) => entry.attemptId === attemptId);
      assert.ok(claimed, `INV-5, INV-10: process ${attemptId} has no claim`);
    }
    for (const [id, entry] of this.#state.issues.of("retrying")) {
      const due = this.#timers.has(`retry.due ${id}`) || entry.checking !== null;
      assert.ok(due, `O-27, LIVE-3: ${id} waits for a retry that nobody will make`);
    }
    this.#slots.look(this.#state, this.#now);
    this.gates.look(this.#state, { now: this.#now, isReading: this.#slots.isReading });
    this.#statuses.look(this.#state, this.#tracker.keys(), this.#now);
    this.disk.look(this.#state, this.#tracker.keys());
    assert.ok(this.#state.fences.size <= this.#tracker.size, "INV-29: fences grow");
    assert.ok(this.#state.openRequests.size < 60, "INV-29: requests leak");
    const known = this.#tracker.size;
    assert.ok(this.#state.issues.size <= known, "INV-29: rows of issues grow");
    assert.ok(this.#state.candidates.length <= known, "INV-29: the list grows");
    assert.ok(this.#state.pauses.size <= this.agents.agents.length, "INV-29: pauses grow");
  }

  /** An attempt that has reached a limit is stopped at once. */
  #checkBrakes({ issue: own, stopping, spentBefore, tokens, idle }: Running): void {
    if (stopping) return;
    const { tokensPerIssue, turnsWithoutProgress } = this.#settings.brakes;
    const spent = spentBefore + tokens.total;
    assert.ok(tokensPerIssue === null || spent < tokensPerIssue, `B5: ${own.id} goes on spending`);
    const { turns } = idle;
    assert.ok(turnsWithoutProgress === null || turns < turnsWithoutProgress, `B6: ${own.id} idles`);
  }

  #perform(effect: Effect): void {
    this.ledger.heard(effect);
    this.agents.heard(effect);
    this.#slots.heard(effect);
    this.#statuses.heard(effect);
    switch (effect.type) {
      case "startAttempt": {
        if (this.disk.saveAttempt(effect.row) && !this.disk.isTroubled) return this.#start(effect);
        const { attemptId } = effect;
        const exit = { kind: "unsaved", message: "cannot save", git: null } as const;
        this.#said.push({ type: "attempt.exited", issueId: effect.issue.id, attemptId, exit });
        return;
      }
      case "stopAttempt": {
        const process = this.#processes.get(effect.attemptId);
        assert.ok(process && !process.stopOrdered, "INV-9: a stop for what is gone or stopping");
        process.stopOrdered = true;
        return this.#exit(effect.attemptId, { kind: "stopped", git: null }, this.#pick(12_000));
      }
      case "removeWorkspace": {
        const alive = [...this.#processes.values()].some((p) => p.issueId === effect.issue.id);
        return assert.ok(!alive, "INV-12: a workspace is removed under a live process");
      }
      case "setTimer": {
        const key = timerKey(effect.input);
        const order = this.#order;
        this.#timers.set(key, order);
        return this.#later(effect.delayMs, () => {
          if (this.#timers.get(key) !== order) return;
          this.#timers.delete(key);
          this.#apply(effect.input);
        });
      }
      case "clearTimer":
        this.#timers.delete(timerKey(effect.input));
        return;
      case "publish":
        return this.#noteCompleted(effect.event);
      case "saveRecord":
        return this.disk.saveRecord(effect.issueId, recordOf(this.#state, effect.issueId));
      case "savePauses":
        return this.disk.savePauses(effect.pauses);
      case "saveAttempt":
      case "saveUsed":
        return void this.disk.saveAttempt(effect.attempt);
      case "refreshRunning":
      case "preflight":
      case "fetchCandidates":
      case "verifyIssues":
      case "checkIssue":
        return this.#answer(effect);
      default:
    }
  }

  #start(order: Extract<Effect, { type: "startAttempt" }>): void {
    const { attemptId } = order;
    const { id } = order.issue;
    this.dispatches++;
    this.disk.mayStart(id);
    assert.ok(attemptId > this.#lastId, "INV-4: an attempt id does not grow, or is used twice");
    this.#lastId = attemptId;
    for (const process of this.#processes.values()) {
      assert.notEqual(process.issueId, id, `INV-1: two processes for ${id}`);
    }
    assert.equal(standingOf(order.issue, this.#settings.tracker), "routable", "INV-18");
    assert.equal(this.#state.issues.get(id)?.claim, "running", "INV-22");
    this.ledger.mayStart(order.issue, order.agent, epochWall + this.#now);
    this.#processes.set(attemptId, { issueId: id, stopOrdered: false });
    const { maxConcurrentAgents, maxConcurrentAgentsByState } = this.#settings.agent;
    assert.ok(this.#processes.size <= maxConcurrentAgents, "INV-2: more agents than slots");
    const ownState = normalState(order.issue.state);
    const cap = maxConcurrentAgentsByState[ownState];
    const same = [...this.#state.issues.of("running").values()].filter(
      (entry) => normalState(entry.issue.state) === ownState,
    );
    if (cap !== undefined)
      assert.ok(same.length <= cap, "INV-3: more agents than the state's slots");
    const attemptRef = { issueId: id, attemptId };
    const own = { ...noTokens, total: this.#pick(50) };
    const starts = this.#chance(0.6);
    const { resumeThreadId } = order;
    const resumed = resumeThreadId !== null && this.#ownRandom() < 0.9;
    const before = resumed ? order.row.threadTokens.total : 0;
    const total = { ...own, total: before + own.total };
    this.#later(5, () => {
      if (!this.#processes.has(attemptId)) return;
      const turnId = "turn-1";
      const threadId = resumed ? resumeThreadId : `t-${attemptId}`;
      this.#hear(attemptRef, { type: "session.started", threadId, resumed });
      if (starts) this.#hear(attemptRef, { type: "turn.started", turnId });
      this.#hear(attemptRef, { type: "tokens", total });
      // Agents report a count from before, and repeat one.
      const again = Math.floor(total.total * this.#ownRandom());
      this.#hear(attemptRef, { type: "tokens", total: { ...total, total: again } });
      this.#hear(attemptRef, { type: "tokens", total });
    });
    this.#turn(attemptId, id);
    if (this.#faults && this.#chance(0.15)) return; // hangs until it is stopped
    const failed = { kind: "failed", code: "turn_failed", message: "boom", git: null } as const;
    const untilWall = this.#limitEnd();
    const code = this.#chance(0.5) ? "provider_limited" : "provider_refused";
    const limited = { ...failed, code, message: "limit", untilWall };
    const unusable = { ...failed, code: "template_render_error", message: "no such variable" };
    const failure = this.#faults && this.#chance(0.04) ? unusable : failed;
    const refused = this.#faults && this.#chance(0.04) ? limited : failure;
    const usual: Exit = this.#chance(0.5) ? { kind: "completed", git: null } : refused;
    const isLimited = this.#faults && this.agents.agents.length > 1 && this.#ownRandom() < 0.1;
    const exit: Exit = isLimited ? limited : usual;
    if (this.#faults && exit.kind === "completed" && this.#chance(0.6)) this.#move(id, "Done");
    this.#exit(attemptId, exit, this.#pick(90_000));
  }

  /** One turn that ends well, with or without a change by the agent. */
  #turn(attemptId: string, issueId: string): void {
    const moved = this.#chance(0.3);
    this.#later(6 + this.#pick(1_000), () => {
      if (!this.#processes.has(attemptId)) return;
      const attemptRef = { issueId, attemptId };
      this.#hear(attemptRef, { type: "turn.completed", turnId: "turn-1" });
      const seen = this.#tracker.get(issueId) ?? null;
      const delivered = this.#processes.get(attemptId)?.stopOrdered === false;
      this.#apply({ type: "attempt.turned", ...attemptRef, moved, issue: seen });
      if (delivered) this.ledger.turned(issueId, seen?.state ?? "", moved);
    });
  }

  #hear(of: { issueId: string; attemptId: string }, event: AgentEvent): void {
    this.#apply({ type: "attempt.reported", ...of, event });
  }

  /** The time from which a limited provider says it accepts turns: none, in the past, or soon. */
  #limitEnd(): number | null {
    if (this.#chance(0.5)) return null;
    return epochWall + this.#now + this.#pick(1_200_000) - 60_000;
  }

  #exit(attemptId: string, exit: Exit, delayMs: number): void {
    this.#later(delayMs, () => {
      const process = this.#processes.get(attemptId);
      if (!process) return;
      this.#processes.delete(attemptId);
      const input = { type: "attempt.exited", issueId: process.issueId, attemptId, exit } as const;
      this.#apply(input);
      // INV-30: the last words of the attempt again, late, when the issue may already have a newer one.
      this.#later(this.#pick(40_000), () => {
        const of = { issueId: process.issueId, attemptId };
        const event = { type: "turn.completed", turnId: "turn-1" } as const;
        const issue = this.#tracker.get(process.issueId) ?? null;
        for (const late of [
          input,
          { type: "attempt.turned", ...of, moved: false, issue },
          { type: "attempt.reported", ...of, event },
        ] satisfies Input[]) {
          const before = this.#state;
          this.#apply(late);
          assert.equal(this.#state, before, `INV-30: a late ${late.type} changed something`);
        }
      });
    });
  }

  /** Delivers later what the tracker held at the time of the request, or a failure. */
  #answer(effect: Effect & { readonly request: number }): void {
    if (effect.type === "verifyIssues") this.#slots.asked(effect);
    const { request } = effect;
    assert.ok(request > this.#lastRequest, "INV-4: the number of a request is used again");
    this.#lastRequest = request;
    const late = this.#faults ? this.#pick(8_000) : 1;
    const fails = this.#faults && this.#chance(0.15);
    const error = { code: "tracker_request", message: "down" };
    const reply = this.#reply(effect, fails ? error : null);
    this.#later(late, () => {
      this.#slots.answered(request);
      if (reply) this.#apply({ ...reply, request } as Input);
    });
  }

  #reply(effect: Effect, error: { code: string; message: string } | null): object | null {
    const read = (ids: readonly string[]) => ids.flatMap((id) => this.#tracker.get(id) ?? []);
    switch (effect.type) {
      case "preflight":
        return { type: "preflight.ended", problem: null };
      case "refreshRunning":
        return error
          ? { type: "running.refreshFailed", error }
          : { type: "running.refreshed", ids: effect.ids, issues: read(effect.ids) };
      case "verifyIssues":
        return error
          ? { type: "issues.verifyFailed", error }
          : { type: "issues.verified", ids: effect.ids, issues: read(effect.ids) };
      case "fetchCandidates": {
        const active = this.#settings.tracker.activeStates.map(normalState);
        const issues = [...this.#tracker.values()].filter(({ state }) =>
          active.includes(normalState(state)),
        );
        return error
          ? { type: "candidates.failed", error }
          : { type: "candidates.fetched", issues };
      }
      case "checkIssue": {
        const { issueId } = effect;
        return error
          ? { type: "issue.checkFailed", issueId, error }
          : { type: "issue.checked", issueId, issue: this.#tracker.get(issueId) ?? null };
      }
      default:
        return null;
    }
  }

  /** One event that may happen at any time: from the tracker or a person, a suspended machine, or a power cut. */
  #disturb(): void {
    const ids = [...this.#tracker.keys()];
    const issueId = ids[this.#pick(ids.length)] ?? "";
    const dice = this.#pick(100);
    if (dice < 35) return this.#move(issueId, states[this.#pick(states.length)] ?? "Todo");
    if (dice < 40) return this.#edit(issueId, {});
    if (dice < 50) return this.#apply({ type: "operator.aborted", issueId, reason: null });
    if (dice < 75) {
      const to = (["queued", "held", "completed", "queued"] as const)[this.#pick(4)] ?? "queued";
      return this.#apply({ type: "operator.transitioned", issueId, to, reason: null });
    }
    if (dice < 85) {
      this.ledger.refreshed();
      return this.#apply({ type: "refresh.requested" });
    }
    if (dice < 88) {
      if (this.#ownRandom() < 0.5) return this.#chooseModel(issueId);
      return this.#apply({ type: "issue.hinted", issueId });
    }
    if (dice < 89) return this.#changePrompt();
    if (dice < 90) return this.#chance(0.5) ? this.#pause() : this.#runShort();
    if (dice < 94) {
      this.#fullUntil = this.#now + this.#pick(150_000);
      return;
    }
    if (dice < 96) {
      const ms = this.#pick(this.#settings.brakes.tokensPerDay ? 43_200_000 : 3_600_000);
      this.#now += ms;
      this.#slots.woke();
      this.gates.woke();
      if (ms > 5_000 && this.#ownRandom() < 0.1) this.#stood(ms);
      return;
    }
    this.#crash();
  }

  /** An operator chooses a model, or takes the choice back. */
  #chooseModel(issueId: string): void {
    const { issue: own } = this.#state.issues.get(issueId) ?? {};
    if (!own) return;
    const model = this.#ownRandom() < 0.5 ? "other" : null;
    const choice = { issue: own, model, effort: null, agent: null };
    this.#apply({ type: "operator.modelChosen", ...choice });
  }

  /** The server stood still, and notices before anything else: no attempt is stopped for what it could not say or do. */
  #stood(ms: number): void {
    const limitMs = this.#settings.brakes.attemptTimeoutMs ?? Number.POSITIVE_INFINITY;
    const since = this.#now - ms;
    // One may have reached its time limit before, and be stopped by the next poll for that.
    const before = [...this.#state.issues.of("running").values()].filter(
      ({ stopping, startedAt }) => stopping === null && since - startedAt <= limitMs,
    );
    this.#apply({ type: "server.stood", ms });
    this.#apply({ type: "poll.due" });
    const after = this.#state.issues.of("running");
    for (const { issue: own } of before) {
      const isStopped = after.get(own.id)?.stopping !== null;
      assert.ok(!isStopped, "FAULT-15: an attempt is stopped for a standstill");
    }
  }

  /** Afterwards no issue may wait for a template. */
  #changePrompt(): void {
    this.#apply({ type: "prompt.changed", templateId: "workflow" });
    const held = [...this.#state.issues.of("held").values()];
    assert.ok(
      held.every(({ templateId }) => templateId === undefined),
      "S7: an issue is held for a template that has changed",
    );
  }

  /** An operator pauses all dispatch, and later resumes it. */
  #pause(): void {
    const pause = { reason: "simulated", by: "cli", sinceWall: epochWall + this.#now };
    this.pauses++;
    this.#apply({ type: "dispatch.paused", pause });
    const at = this.#now + this.#pick(120_000);
    const run = () => this.#apply({ type: "dispatch.resumed", by: "cli" });
    const place = this.#agenda.findLastIndex((other) => other.at <= at);
    this.#agenda.splice(place + 1, 0, { at, order: this.#order++, epoch: null, run });
  }

  /** The host runs short of something for a while; a new process finds it out by itself. */
  #runShort(): void {
    const trouble = { detail: "simulated", sinceWall: epochWall + this.#now };
    this.#apply({ type: "host.changed", trouble });
    this.#later(this.#pick(60_000), () => this.#apply({ type: "host.changed", trouble: null }));
  }

  /** The program of an agent goes missing for a while; a new process finds it out by itself. */
  #breakAgent(): void {
    const { agents } = this.agents;
    const agent = agents[Math.floor(this.#ownRandom() * agents.length)] ?? "codex";
    this.#checkAgent(agent, true);
    const ms = Math.floor(this.#ownRandom() * 120_000);
    this.#later(ms, () => this.#checkAgent(agent, false));
  }

  #checkAgent(agent: string, isBroken: boolean): void {
    const sinceWall = epochWall + this.#now;
    const trouble = isBroken ? { code: "agent_not_found", detail: "simulated", sinceWall } : null;
    this.agents.checked(agent, isBroken);
    this.#apply({ type: "agent.checked", agent, trouble });
  }

  /** A window around the time at which worlds begin, in some of them. */
  #hours(): ActiveHours | null {
    if (this.#chance(0.8)) return null;
    const days = [0, 1, 2, 3, 4, 5, 6];
    const fromMinute = this.#pick(1_440);
    const toMinute = (fromMinute + 600 + this.#pick(800)) % 1_440;
    return { days, fromMinute, toMinute, tz: "America/St_Johns" };
  }

  #crash(): void {
    this.restarts++;
    this.#hooks.crashed?.();
    this.ledger.crashed(
      this.disk.pauses.filter(({ active }) => active),
      this.disk,
    );
    this.agents.interrupted();
    this.agents.restarted();
    this.disk.restarted();
    this.#lastRequest = 0;
    this.#said = [];
    this.#epoch++;
    this.#processes.clear();
    this.#timers.clear();
    this.#slots.restarted();
    this.gates.restarted();
    this.#statuses.restarted();
    this.#agenda = this.#agenda.filter((entry) => entry.epoch === null);
    this.#state = this.#restored();
    this.#begin();
  }

  #restored(): State {
    const lastAttemptId = this.#lastId || null;
    const totals = { tokens: noTokens, seconds: 0 };
    return restoredState(
      {
        records: this.disk.records,
        totals,
        lastAttemptId,
        paused: this.#paused,
        pauses: this.disk.pauses,
        tokensToday: this.ledger.today(epochWall + this.#now),
      },
      { now: this.#now, wall: epochWall + this.#now },
    );
  }

  #begin(): void {
    for (const [issueId, entry] of this.#state.issues.of("retrying")) {
      const input = { type: "retry.due", issueId } as const;
      this.#perform({ type: "setTimer", input, delayMs: entry.dueAt - this.#now });
    }
    for (const { agent, active, untilWall } of this.#state.pauses.values()) {
      if (!active) continue;
      const input = { type: "provider.due", agent } as const;
      this.#perform({ type: "setTimer", input, delayMs: untilWall - epochWall - this.#now });
    }
    this.#later(0, () => this.#apply({ type: "poll.due" }));
  }

  #move(id: string, state: string): void {
    this.#edit(id, { state });
  }

  #edit(id: string, fields: Partial<Issue>): void {
    const known = this.#tracker.get(id);
    if (!known) return;
    this.#version++;
    this.#tracker.set(id, { ...known, ...fields, title: titleOf(this.#version) });
  }

  #standing(id: string) {
    const known = this.#tracker.get(id);
    return known ? standingOf(known, this.#settings.tracker) : "gone";
  }

  #later(delayMs: number, run: () => void): void {
    const entry = { at: this.#now + delayMs, order: this.#order++, epoch: this.#epoch, run };
    const place = this.#agenda.findLastIndex((other) => other.at <= entry.at);
    this.#agenda.splice(place + 1, 0, entry);
  }

  /** Timers that end with the process that set them. */
  #clock(): Clock {
    return {
      now: () => this.#now,
      wall: () => epochWall + this.#now,
      after: (ms, run) => {
        let isWanted = true;
        this.#later(ms, () => {
          if (!isWanted) return;
          run();
          const next = this.#said.shift();
          if (next) this.#apply(next);
        });
        return () => {
          isWanted = false;
        };
      },
    };
  }

  #pick(below: number): number {
    return Math.floor(this.#random() * below);
  }

  #chance(share: number): boolean {
    return this.#random() < share;
  }
}

function describe(input: Input): string {
  return "issueId" in input ? `${input.type} ${input.issueId}` : input.type;
}

/** mulberry32: small, seeded, the same everywhere. */
export function randomFrom(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

type OfOperator = Extract<Input, { type: "operator.transitioned" | "operator.modelChosen" }>;

/** Requests that take effect only once they are saved; a stop takes effect at once. */
function isSavedFirst(input: Input, before: State): input is OfOperator {
  if (input.type === "operator.modelChosen") return true;
  if (input.type !== "operator.transitioned") return false;
  return before.issues.get(input.issueId)?.claim !== "running";
}
