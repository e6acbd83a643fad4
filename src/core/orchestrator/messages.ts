import type { AgentEvent, Answer } from "../agent/agent.ts";
import type { PollOutcome } from "../events/meter.ts";
import type { Attempt, AttemptGit, Needs, Phase } from "../model/attempt.ts";
import type { Overlap } from "../model/delivery.ts";
import type { EventDraft } from "../model/event.ts";
import type {
  AgentPause,
  AgentTrouble,
  DispatchPause,
  HostTrouble,
  StorageTrouble,
} from "../model/gates.ts";
import type { Attached, Issue } from "../model/issue.ts";
import type { HeldNext } from "../model/next-step.ts";
import type { WorkerHost } from "../model/worker.ts";
import type { Used } from "../store/store.ts";
import type { Unread } from "../tracker/partial.ts";
import type { PollPace } from "../tracker/tracker.ts";
import type { Fault } from "./state.ts";

/** Something that has happened. Past tense: an input is a fact, never a request to do IO. */
export type Input =
  | { readonly type: "poll.due" }
  | { readonly type: "refresh.requested" }
  /** The tracker reported a change without details. */
  | { readonly type: "tracker.changed" }
  /** The server itself did not run for this time. */
  | { readonly type: "server.stood"; readonly ms: number }
  | { readonly type: "config.changed" }
  /** A template has another text; null: any may have one. `workflow` stands for all templates of the file. */
  | { readonly type: "prompt.changed"; readonly templateId: string | null }
  /** An operator paused all dispatch; it is on disk. */
  | { readonly type: "dispatch.paused"; readonly pause: DispatchPause }
  | { readonly type: "dispatch.resumed"; readonly by: string }
  /** Something has run short on the host, or nothing is short any more. */
  | { readonly type: "host.changed"; readonly trouble: HostTrouble | null }
  /** Whether an agent could be started now, as far as this is known without starting it. */
  | {
      readonly type: "agent.checked";
      readonly agent: string;
      /** null: nothing keeps it from starting. */
      readonly trouble: AgentTrouble | null;
    }
  /** The active hours begin or end. */
  | { readonly type: "hours.due" }
  /** Workers of the fleet have come, gone or changed; never sent without a fleet. */
  | { readonly type: "workers.changed"; readonly workers: readonly WorkerHost[] | null }
  /** Refused writes are waiting for the disk, or none are waiting any more. */
  | { readonly type: "storage.changed"; readonly trouble: StorageTrouble | null }
  | {
      readonly type: "running.refreshed";
      readonly request: number;
      readonly ids: readonly string[];
      readonly issues: readonly Issue[];
      readonly gone?: Gone;
    }
  | { readonly type: "running.refreshFailed"; readonly request: number; readonly error: Fault }
  | { readonly type: "preflight.ended"; readonly request: number; readonly problem: Fault | null }
  | {
      readonly type: "candidates.fetched";
      readonly request: number;
      readonly issues: readonly Issue[];
      /** What of the scope could not be read; its issues are older than the read. Absent: nothing. */
      readonly unread?: Unread;
      /** Absent: the interval of the configuration. */
      readonly pace?: PollPace | null;
    }
  | {
      readonly type: "candidates.failed";
      readonly request: number;
      readonly error: Fault;
      readonly pace?: PollPace | null;
    }
  | {
      readonly type: "issues.verified";
      readonly request: number;
      readonly ids: readonly string[];
      readonly issues: readonly Issue[];
    }
  | { readonly type: "issues.verifyFailed"; readonly request: number; readonly error: Fault }
  | { readonly type: "retry.due"; readonly issueId: string }
  /** A slot may be free for an issue of the known queue. */
  | { readonly type: "refill.due" }
  /** A new day (UTC) begins, and with it a new token budget. */
  | { readonly type: "day.due" }
  /** A paused provider may take turns again. */
  | { readonly type: "provider.due"; readonly agent: string }
  /** Something may have changed about one issue: read it now. */
  | { readonly type: "issue.hinted"; readonly issueId: string }
  | {
      readonly type: "issue.checked";
      readonly request: number;
      readonly issueId: string;
      readonly issue: Issue | null;
      readonly gone?: Gone;
    }
  | {
      readonly type: "issue.checkFailed";
      readonly request: number;
      readonly issueId: string;
      readonly error: Fault;
    }
  | ({ readonly type: "attempt.entered" } & OfAttempt & {
        readonly phase: Phase;
        readonly workspace: EnteredWorkspace | null;
      })
  | ({ readonly type: "attempt.reported" } & OfAttempt & { readonly event: AgentEvent })
  /**
   * A turn completed: whether it changed the workspace or wrote to the tracker, and its issue as it
   * is now.
   */
  | ({ readonly type: "attempt.turned" } & OfAttempt & Turned)
  | ({ readonly type: "attempt.exited" } & OfAttempt & { readonly exit: Exit })
  | {
      readonly type: "operator.aborted";
      readonly issueId: string;
      readonly reason: string | null;
    }
  | {
      readonly type: "operator.steered";
      readonly issueId: string;
      readonly steerId: string;
      readonly message: string;
    }
  | {
      readonly type: "operator.transitioned";
      readonly issueId: string;
      readonly to: "queued" | "held" | "completed";
      readonly reason: string | null;
      /** Held even if no list has it. */
      readonly unlisted?: Issue;
    }
  | {
      readonly type: "operator.templateChosen";
      readonly issue: Issue;
      /** null restores the body of the workflow file. */
      readonly templateId: string | null;
    }
  | {
      readonly type: "operator.modelChosen";
      readonly issue: Issue;
      /** null restores the configured model. */
      readonly model: string | null;
      readonly effort: string | null;
      /** null restores the configured agent. */
      readonly agent: string | null;
    }
  | {
      readonly type: "operator.moved";
      readonly issue: Issue;
      /** null: any worker. */
      readonly worker: string | null;
    }
  | {
      readonly type: "operator.responded";
      readonly issueId: string;
      readonly answer: Answer;
      /** What is answered; left out: what the issue asks first, whatever it is. */
      readonly askId?: string | undefined;
    }
  | {
      readonly type: "operator.attached";
      readonly issueId: string;
      /** A live attempt is stopped for it. */
      readonly interrupt: boolean;
      readonly attached: Attached;
    }
  | { readonly type: "operator.detached"; readonly issueId: string }
  /** The issue is about to be moved to a state in which it rests while its work is offered. */
  | { readonly type: "offer.resting"; readonly issueId: string; readonly state: string }
  /** People or checks answered; the next turn can read it. */
  | {
      readonly type: "offer.answered";
      readonly issueId: string;
      /** A person who may decide is among them. */
      readonly byPerson: boolean;
      readonly summary: string;
    }
  | { readonly type: "offer.merged"; readonly issueId: string; readonly summary: string }
  /** It needs a person: closed without a merge, refused for good, rounds used up. */
  | {
      readonly type: "offer.stopped";
      readonly issueId: string;
      readonly reason: string;
      /** The next word of a person about the work continues it. */
      readonly untilSaid?: boolean;
      /** As `Held.next`. */
      readonly next?: HeldNext;
    }
  /** The live branches of one repository were compared. */
  | {
      readonly type: "radar.updated";
      readonly repository: string;
      /** Every pair that changes the same files; null: it cannot be determined now, and stays as it was. */
      readonly overlaps: readonly Overlap[] | null;
      /** The compared commits, by issue. */
      readonly judged: ReadonlyMap<string, string>;
      /** As an earlier server found it: nothing of it is news. */
      readonly isRestored: boolean;
    }
  /** An operator offered it again after it was stopped. */
  | {
      readonly type: "offer.resumed";
      readonly issueId: string;
      readonly workspacePath: string | null;
      /** By hand: rounds begin anew, and of held issues those continue that wait for a person's word. */
      readonly anew?: true;
      /** What its last attempt left was committed by hand, and is offered as it is. */
      readonly made?: {
        readonly attemptId: string;
        readonly head: string;
        readonly from: string | null;
      };
      /** Only if it is held for a step that was refused (`Held.next`: deliver). */
      readonly mended?: boolean;
    }
  /** Nothing new is started; live attempts are stopped, or run until they end. */
  | { readonly type: "drain.requested"; readonly stopAttempts: boolean };

/** By id: why the tracker left an issue out, in words, as far as it says so. */
export type Gone = Readonly<Record<string, string>>;

/** The workspace that an attempt works in, once it is known. */
export interface EnteredWorkspace {
  readonly key: string;
  readonly path: string;
  /** True when this attempt created the directory. */
  readonly createdNow: boolean;
}

interface OfAttempt {
  readonly issueId: string;
  readonly attemptId: string;
}

/** The results of one turn. */
export interface Turned {
  readonly moved: boolean;
  /** null: no longer visible. */
  readonly issue: Issue | null;
}

/** What a run that ended well left for its person. */
export type Made =
  /** `head`: the commit that holds it; null: the workspace has no repository. */
  | {
      readonly kind: "changed";
      readonly head: string | null;
      /** The commit of the base that it was made from; null if that is not known. */
      readonly from?: string | null;
    }
  | { readonly kind: "unchanged" }
  /** It must not be offered; it stays in the workspace. */
  | { readonly kind: "refused"; readonly reason: string; readonly next?: HeldNext };

/** How an attempt ended. */
export type Exit = (
  | {
      readonly kind: "completed";
      /** null: nothing is offered, the agent continues until it moves its issue itself. */
      readonly made?: Made | null;
      /** The issue as it was read after the last turn; null: not visible. */
      readonly issue?: Issue | null;
    }
  | {
      readonly kind: "failed";
      readonly code: string;
      readonly message: string;
      /** When a limited provider accepts turns again, if it says so. */
      readonly untilWall?: number | null;
      /** The process of its worker, or its machine, died while it ran there. */
      readonly workerDied?: true;
    }
  | { readonly kind: "needs"; readonly needs: Needs; readonly code: string }
  | { readonly kind: "stopped" }
  /** It was never started, because that could not be saved. */
  | { readonly kind: "unsaved"; readonly message: string }
  /** It continues without this server; its history stays open. */
  | { readonly kind: "detached" }
) & { readonly git: AttemptGit | null };

/** The issue has ended: its workspace is removed, or what it holds is reported. */
export interface WorkspaceEnd {
  readonly type: "removeWorkspace" | "lookAtWorkspace";
  readonly issue: Issue;
  readonly path: string | null;
}

/** Brings the work of a run to its person. */
export interface OfferOrder {
  /** As read after the last turn. */
  readonly issue: Issue;
  readonly attemptId: string;
  readonly workspacePath: string | null;
  /** null: an answer to feedback that changed nothing. */
  readonly head: string | null;
  /** The commit of the base that `head` was made from; null if that is not known. */
  readonly from: string | null;
  /** Whether the issue is moved to its state for review. */
  readonly moves: boolean;
  /** It is not offered yet: what it waits for, in words. */
  readonly waitsFor?: string;
  /** The base is merged into it first: where it conflicts with the base, or also where it is only behind. */
  readonly updates?: "conflicts" | "behind";
}

/** What the shell must do now. Imperative: one verb; effects are started in order. */
export type Effect =
  | ({ readonly type: "offerWork" } & OfferOrder)
  /** Moves the issue in its tracker, as the configuration says; `key` names this one move. */
  | {
      readonly type: "moveIssue";
      readonly issue: Issue;
      readonly to: string;
      readonly key: string;
    }
  | { readonly type: "refreshRunning"; readonly request: number; readonly ids: readonly string[] }
  | { readonly type: "preflight"; readonly request: number }
  | { readonly type: "fetchCandidates"; readonly request: number }
  | { readonly type: "verifyIssues"; readonly request: number; readonly ids: readonly string[] }
  | { readonly type: "checkIssue"; readonly request: number; readonly issueId: string }
  /** Saves `row` first: an attempt that cannot be saved is not started, and ends as `unsaved`. */
  | ({ readonly type: "startAttempt"; readonly row: Attempt } & AttemptOrder)
  | {
      readonly type: "stopAttempt";
      readonly attemptId: string;
      readonly reason: string;
      /** How long the current turn may take to end by itself. */
      readonly graceMs: number;
    }
  | {
      readonly type: "steerAttempt";
      readonly attemptId: string;
      readonly steerId: string;
      readonly message: string;
    }
  | {
      readonly type: "answerAttempt";
      readonly attemptId: string;
      readonly askId: string;
      readonly answer: Answer;
    }
  | { readonly type: "settleSteer"; readonly steerId: string }
  | { readonly type: "detachAttempt"; readonly attemptId: string }
  | WorkspaceEnd
  | { readonly type: "setTimer"; readonly input: TimerInput; readonly delayMs: number }
  | { readonly type: "clearTimer"; readonly input: TimerInput }
  | { readonly type: "saveRecord"; readonly issueId: string }
  /** Every pause of an agent that is in force, or counts for the next one. */
  | { readonly type: "savePauses"; readonly pauses: readonly AgentPause[] }
  | { readonly type: "saveAttempt"; readonly attempt: Attempt }
  | ({ readonly type: "saveUsed" } & Used)
  | { readonly type: "publish"; readonly event: EventDraft }
  | { readonly type: "measurePoll"; readonly outcome: PollOutcome; readonly durationMs: number };

/**
 * A timer is identified by the input it will post: setting it again replaces it, so no stale one
 * can fire.
 */
export type TimerInput = Extract<
  Input,
  { type: "poll.due" | "refill.due" | "retry.due" | "provider.due" | "day.due" | "hours.due" }
>;

/** Names the timer that posts `input`; an input that no timer posts has a name that no timer has. */
export function timerKey(input: Input): string {
  const whose = "issueId" in input ? input.issueId : "agent" in input ? input.agent : "";
  return `${input.type} ${whose}`;
}

export interface AttemptOrder {
  readonly attemptId: string;
  readonly issue: Issue;
  /** null on a first run, else the retry number (P-5). */
  readonly attempt: number | null;
  /** The thread to resume, of an attempt that was cut off, or whose work was offered. */
  readonly resumeThreadId: string | null;
  /** Earlier work on the issue was offered; this attempt continues from what came back. */
  readonly isRound: boolean;
  /** The agent that runs the attempt. */
  readonly agent: string;
  /** Another agent has begun the work: this one gets a record of it. */
  readonly takesOver?: boolean;
  readonly templateId: string;
  /** The worker that it is placed on; absent: this machine. */
  readonly worker?: string;
  /** Set if an earlier server began the attempt and its agent still runs. */
  readonly adopt?: Adopted;
}

/** What the earlier server recorded of an attempt that continues. */
export interface Adopted {
  readonly key: string;
  readonly path: string;
  /** Turns started so far. */
  readonly turnCount: number;
  /** When the agent last sent an event. */
  readonly sinceWall: number;
}
