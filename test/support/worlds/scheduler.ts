import type { AgentEvent, Answer } from "../../../src/core/agent/agent.ts";
import { endedOf } from "../../../src/core/attempt/recovery.ts";
import type { Config } from "../../../src/core/config/config.ts";
import { Meter } from "../../../src/core/events/meter.ts";
import { type Attempt, noTokens } from "../../../src/core/model/attempt.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { EventDraft } from "../../../src/core/model/event.ts";
import type { AgentPause } from "../../../src/core/model/gates.ts";
import { type Issue, normalState } from "../../../src/core/model/issue.ts";
import type { Decision, Prior } from "../../../src/core/orchestrator/decision.ts";
import type { AttemptOrder, Exit, OfferOrder } from "../../../src/core/orchestrator/messages.ts";
import {
  type AttemptReports,
  Orchestrator,
  type Ports,
} from "../../../src/core/orchestrator/orchestrator.ts";
import type { ReadPorts } from "../../../src/core/orchestrator/reads.ts";
import { restoredState } from "../../../src/core/orchestrator/records.ts";
import type { Fault } from "../../../src/core/orchestrator/state.ts";
import { step } from "../../../src/core/orchestrator/step.ts";
import type { CompletedRecord, IssueRecord, Used } from "../../../src/core/store/store.ts";
import type { FoundIssue, PollPace } from "../../../src/core/tracker/tracker.ts";
import { FakeClock } from "../fakes/fake-clock.ts";
import { config as defaultConfig } from "../makers/issue.ts";

export interface FakeRun {
  readonly order: AttemptOrder;
  readonly reports: AttemptReports;
  stopReason: string | null;
  end(exit?: Partial<Exit>): Promise<void>;
  say(...events: AgentEvent[]): void;
}

/** The real orchestrator with a clock, a tracker and agents that the test controls. */
export class Scheduler implements Omit<Ports, "config" | "fetchCandidates" | "fetchIssues"> {
  readonly clock = new FakeClock();
  readonly meter = new Meter();
  readonly orchestrator: Orchestrator;
  /** The tracker's issues by id. */
  readonly issues = new Map<string, Issue>();
  /** Every call of the orchestrator to the outside, in order. */
  readonly calls: string[] = [];
  readonly runs: FakeRun[] = [];
  readonly events: EventDraft[] = [];
  readonly attempts = new Map<string, Attempt>();
  /** The counted tokens. */
  readonly used: Used[] = [];
  readonly records = new Map<string, IssueRecord>();
  pauses: readonly AgentPause[] = [];
  readonly failures: string[] = [];
  /** Set to make the next reads fail or wait. */
  readFails: string | null = null;
  /** What the tracker asks of the next poll. */
  pace: PollPace | null = null;
  /** The reads of a tracker whose parts fail by themselves. */
  parts: Pick<ReadPorts, "fetchCandidates" | "fetchIssues"> | null = null;
  gate: Promise<void> | null = null;
  /** Delays only candidate lists; their content is from the time of the request. */
  listGate: Promise<void> | null = null;
  /** The same for reads by id. */
  readGate: Promise<void> | null = null;
  /** Why the tracker leaves issues out, by id. */
  readonly gone = new Map<string, string>();
  /** What the tracker says about its own settings of an issue that is looked up. */
  scope: FoundIssue["scope"] = [];
  problem: Fault | null = null;
  /** What else is wrong with the configuration. */
  warnings: readonly string[] = [];
  config: Config;
  resume: Prior["resume"] = null;
  steerRefusal: Error | null = null;

  constructor(
    issues: readonly Issue[],
    settings: Config = defaultConfig(),
    records: ReadonlyMap<string, IssueRecord> = new Map(),
    tokensToday = 0,
    completed: readonly CompletedRecord[] = [],
    pauses: readonly AgentPause[] = [],
  ) {
    this.pauses = pauses;
    for (const [id, record] of records) this.records.set(id, record);
    for (const issue of issues) this.issues.set(issue.id, issue);
    this.config = settings;
    const ports: Ports = {
      clock: this.clock,
      decide: (state, input, context) => this.decide(state, input, context),
      config: () => ({ config: this.config, problem: this.problem, warnings: this.warnings }),
      preflight: async () => this.preflight(),
      fetchCandidates: async () =>
        this.parts?.fetchCandidates() ?? { issues: await this.fetchCandidates(), unread: null },
      pollPace: () => this.pollPace(),
      fetchIssues: async (ids) =>
        this.parts?.fetchIssues(ids) ?? { issues: await this.fetchIssues(ids), unread: null },
      whyGone: (id) => this.gone.get(id) ?? null,
      runAttempt: (order, reports) => this.runAttempt(order, reports),
      stopAttempt: (id, reason, graceMs) => this.stopAttempt(id, reason, graceMs),
      steerAttempt: (id, steerId, message) => this.steerAttempt(id, steerId, message),
      answerAttempt: (id, askId, answer) => this.answerAttempt(id, askId, answer),
      settleSteer: (id) => this.settleSteer(id),
      removeWorkspace: (issue, path) => this.removeWorkspace(issue, path),
      examineWorkspace: (issue, path) => this.examineWorkspace(issue, path),
      offerWork: (order) => this.offerWork(order),
      moveIssue: (issue, to) => this.moveIssue(issue, to),
      saveRecord: (id, record) => this.saveRecord(id, record),
      saveRecordFirst: (id, record) => this.saveRecordFirst(id, record),
      savePauses: async (pauses) => {
        this.pauses = pauses;
      },
      saveAttempt: (attempt) => this.saveAttempt(attempt),
      saveUsed: (used) => this.saveUsed(used),
      prior: (id, after) => this.prior(id, after),
      publish: (event) => this.publish(event),
      polled: (outcome, durationMs) => this.meter.report({ type: "poll", outcome, durationMs }),
      failed: (what, error, { issueId, attemptId }) => {
        this.failed([what, issueId ?? [], attemptId ?? []].flat().join(" "), error);
      },
    };
    this.orchestrator = new Orchestrator(
      ports,
      restoredState(
        {
          records,
          totals: { tokens: noTokens, seconds: 0 },
          lastAttemptId: null,
          tokensToday,
          completed,
          pauses,
        },
        { now: this.clock.now(), wall: this.clock.wall() },
      ),
    );
  }

  /** Records what is decided, in the place of `step`. */
  decides: typeof step = step;

  decide(...[state, input, context]: Parameters<typeof step>): Decision {
    return this.decides(state, input, context);
  }

  /** Starts, and runs everything that is ready. */
  async begin(): Promise<this> {
    this.orchestrator.start();
    await this.advance(0);
    return this;
  }

  /** Advances time, then delivers every answer that is ready. */
  async advance(ms: number): Promise<void> {
    await settled();
    this.clock.advance(ms);
    await settled();
    this.clock.advance(0);
    await settled();
  }

  set(issue: Issue): void {
    this.issues.set(issue.id, issue);
  }

  /** Identifiers of the live attempts. */
  get live(): string[] {
    return [...this.orchestrator.state.issues.of("running").values()].map(
      (entry) => entry.issue.identifier,
    );
  }

  run(identifier: string): FakeRun {
    const run = this.runs.findLast(({ order }) => order.issue.identifier === identifier);
    if (!run) throw new Error(`${identifier} was never started`);
    return run;
  }

  eventTypes(identifier?: string): string[] {
    return this.events
      .filter((event) => !identifier || event.issueIdentifier === identifier)
      .map((event) => event.type);
  }

  async preflight(): Promise<Fault | null> {
    this.calls.push("preflight");
    return this.problem;
  }

  pollPace(): PollPace | null {
    return this.pace;
  }

  async fetchCandidates(): Promise<readonly Issue[]> {
    this.calls.push("candidates");
    const active = this.config.tracker.activeStates.map(normalState);
    const list = [...this.issues.values()].filter(({ state }) =>
      active.includes(normalState(state)),
    );
    await this.listGate;
    await this.#answer();
    return list;
  }

  async find(identifier: string): Promise<FoundIssue | null> {
    this.calls.push(`find ${identifier}`);
    const name = identifier.toLowerCase();
    const all = [...this.issues.values()];
    if (this.readFails !== null) throw new SymphonyError("tracker_request", this.readFails);
    await this.#answer();
    const issue = all.find((one) => one.identifier.toLowerCase() === name);
    return issue ? { issue, scope: this.scope } : null;
  }

  async fetchIssues(ids: readonly string[]): Promise<readonly Issue[]> {
    this.calls.push(`issues ${ids.map((id) => id.replace("id-", "")).join(" ")}`);
    const found = ids.flatMap((id) => this.issues.get(id) ?? []);
    await this.readGate;
    await this.#answer();
    return found;
  }

  runAttempt(order: AttemptOrder, reports: AttemptReports): Promise<Exit> {
    this.calls.push(`start ${order.issue.identifier} ${order.attempt ?? "first"}`);
    const { promise, resolve } = Promise.withResolvers<Exit>();
    this.runs.push({
      order,
      reports,
      stopReason: null,
      async end(exit = {}) {
        resolve({ kind: "completed", git: null, ...exit } as Exit);
        await settled();
      },
      say: (...events) => {
        for (const event of events) reports.reported(event);
      },
    });
    return promise;
  }

  stopAttempt(attemptId: string, reason: string, graceMs: number): void {
    const run = this.runs.find(({ order }) => order.attemptId === attemptId);
    const within = graceMs > 0 ? ` within ${graceMs}` : "";
    this.calls.push(`stop ${run?.order.issue.identifier}${within}`);
    if (run) run.stopReason = reason;
  }

  async steerAttempt(_id: string, _steerId: string, message: string): Promise<{ turnId: string }> {
    if (this.steerRefusal) throw this.steerRefusal;
    this.calls.push(`steer ${message}`);
    return { turnId: "turn-1" };
  }

  answerAttempt(attemptId: string, askId: string, answer: Answer): void {
    this.calls.push(`answer ${attemptId}`);
    const run = this.runs.find(({ order }) => order.attemptId === attemptId);
    run?.say({ type: "approval.resolved", decision: answer.type, automatic: false, askId });
  }

  settleSteer(steerId: string): void {
    this.calls.push(`settle ${steerId}`);
  }

  async removeWorkspace(issue: Issue, _path: string | null): Promise<void> {
    this.calls.push(`remove ${issue.identifier}`);
  }

  offerWork({ issue, head, moves, waitsFor, updates }: OfferOrder): void {
    if (waitsFor !== undefined) {
      this.calls.push(`wait ${issue.identifier} for ${waitsFor}`);
      return;
    }
    if (updates) this.calls.push(`update ${issue.identifier} ${updates}`);
    this.calls.push(`offer ${issue.identifier} ${head}${moves ? " and move" : ""}`);
  }

  moveIssue(issue: Issue, to: string): void {
    this.calls.push(`move ${issue.identifier} to ${to}`);
  }

  async examineWorkspace(_issue: Issue, _path: string | null): Promise<void> {}

  async saveRecord(issueId: string, record: IssueRecord | null): Promise<void> {
    if (record) this.records.set(issueId, record);
    else this.records.delete(issueId);
  }

  saveRecordFirst(issueId: string, record: IssueRecord | null): Promise<void> {
    return this.saveRecord(issueId, record);
  }

  saveUsed(used: Used): void {
    this.used.push(used);
    this.attempts.set(used.attempt.id, used.attempt);
  }

  saveAttempt(attempt: Attempt): boolean {
    this.attempts.set(attempt.id, attempt);
    return true;
  }

  prior(issueId: string, after: string): Prior {
    const own = [...this.attempts.values()].filter((attempt) => attempt.issueId === issueId);
    const counted = own.filter(({ id }) => id > after);
    const tokens = counted.reduce((sum, attempt) => sum + attempt.tokens.total, 0);
    const idle = counted.at(-1)?.idle ?? null;
    const latest = own.at(-1);
    const last = latest ? endedOf(latest) : null;
    return { count: own.length, resume: this.resume, thread: this.resume, tokens, idle, last };
  }

  publish(event: EventDraft): void {
    this.events.push(event);
  }

  failed(what: string, error: unknown): void {
    this.failures.push(`${what}: ${error instanceof Error ? error.stack : error}`);
  }

  async #answer(): Promise<void> {
    const fails = this.readFails;
    await this.gate;
    if (fails) throw new Error(fails);
  }
}

/** Lets every promise that is ready settle. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((done) => setImmediate(done));
}
