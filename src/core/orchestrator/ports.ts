import type { AgentEvent, Answer } from "../agent/agent.ts";
import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import type { PollOutcome } from "../meter.ts";
import type { Attempt, Phase } from "../model/attempt.ts";
import type { EventDraft } from "../model/event.ts";
import type { Issue } from "../model/issue.ts";
import type { IssueRecord, Used } from "../store/store.ts";
import type { Prior } from "./decision.ts";
import type { AttemptOrder, EnteredWorkspace, Exit, Turned } from "./messages.ts";
import type { Fault } from "./state.ts";

/** What a live attempt tells while it runs. */
export interface AttemptReports {
  entered(phase: Phase, workspace: EnteredWorkspace | null): void;
  reported(event: AgentEvent): void;
  turned(what: Turned): void;
}

/** Everything the orchestrator may do to the world: the replaceable edges of the scheduler. */
export interface Ports {
  readonly clock: Clock;
  /** The configuration in force, and why nothing new may start. */
  config(): { readonly config: Config; readonly problem: Fault | null };
  /** Re-reads the workflow file if it changed, right before candidates are read. */
  preflight(): Promise<Fault | null>;
  fetchCandidates(): Promise<readonly Issue[]>;
  fetchIssues(ids: readonly string[]): Promise<readonly Issue[]>;
  /** Runs one attempt to its end; never rejects once the agent's processes are gone. */
  runAttempt(order: AttemptOrder, reports: AttemptReports): Promise<Exit>;
  /** Ends it at once, or after `graceMs` in which its turn may end by itself. */
  stopAttempt(attemptId: string, reason: string, graceMs: number): void;
  /** Resolves with the turn that accepted it; rejects with the agent's refusal. */
  steerAttempt(attemptId: string, steerId: string, message: string): Promise<{ turnId: string }>;
  /** Throws what the session refuses: `nothing_asked`, `invalid_request`. */
  answerAttempt(attemptId: string, askId: string, answer: Answer): void;
  settleSteer(steerId: string): void;
  /** Lets go of an attempt whose agent lives on; it then exits as `detached`. */
  detachAttempt?(attemptId: string): void;
  /** Unless it holds work that is nowhere else: then it stays, which is told. */
  removeWorkspace(issue: Issue, path: string | null): Promise<void>;
  /** Tells what the workspace holds of an issue that an operator called completed. */
  lookAtWorkspace?(issue: Issue, path: string | null): Promise<void>;
  /** Rejects with `SavedLater`: then it is repeated until it holds. */
  saveRecord(issueId: string, record: IssueRecord | null): Promise<void>;
  /** For what is not in force before it is saved: rejects with `storage_unavailable`, and is not repeated. */
  saveRecordFirst(issueId: string, record: IssueRecord | null): Promise<void>;
  /** False: not saved yet; it is repeated until it holds. */
  saveAttempt(attempt: Attempt): boolean;
  saveUsed(used: Used): void;
  prior(issueId: string, after: string): Prior;
  publish(event: EventDraft): void;
  /** A poll is over. */
  polled?(outcome: PollOutcome, durationMs: number): void;
  /** A bug or a failing edge: said, never swallowed. */
  failed(what: string, error: unknown): void;
}
