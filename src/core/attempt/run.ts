import type {
  AgentEvent,
  AgentRuntime,
  AgentSession,
  AgentTools,
  SessionSpec,
  TurnOptions,
} from "../agent/agent.ts";
import type { Config } from "../config/config.ts";
import { forgeSecretNames } from "../config/delivery.ts";
import { gitSecretNames } from "../config/git.ts";
import type { AttemptGit, Needs, Phase } from "../model/attempt.ts";
import { adviceOf, messageOf, SymphonyError } from "../model/errors.ts";
import type { Issue } from "../model/issue.ts";
import { standingOf } from "../orchestrator/dispatch.ts";
import type {
  AttemptOrder,
  EnteredWorkspace,
  Exit,
  Made,
  Turned,
} from "../orchestrator/messages.ts";
import {
  continuationPrompt,
  type Feedback,
  feedbackPrompt,
  renderPrompt,
  resumePrompt,
  steerPrompt,
} from "../prompt/prompt.ts";
import { gitChanges, gitHead } from "../repository/survey.ts";
import type { Steer } from "../store/store.ts";
import type { Tracker } from "../tracker/tracker.ts";
import { workspaceMark } from "../workspace/measured.ts";
import type { Workspace, Workspaces } from "../workspace/workspaces.ts";
import type { Leases } from "./leases.ts";

/** The dependencies of an attempt; tracker and prompt are those of its start (T-14). */
export interface AttemptDeps {
  readonly tracker: Tracker;
  /** Rejects with `agent_unavailable`. */
  runtime(): Promise<AgentRuntime>;
  readonly workspaces: Workspaces;
  readonly promptTemplate: string;
  /** The cookie of this attempt's processes. */
  readonly runId: string;
  config(): Config;
  /** Model and reasoning effort for the next turn of this issue; null leaves one to the agent. */
  choice(issueId: string): TurnOptions;
  /** Guidance that no agent has received yet, oldest first. */
  undelivered(issueId: string): readonly Steer[];
  /** Resolves when nothing else writes into the issue's workspace. */
  ready?(issueId: string): Promise<void>;
  /** What came back about offered work and this attempt has not read, oldest first. */
  feedback?(issueId: string, attemptId: string): readonly Feedback[];
  /** A turn has begun with it. */
  given?(issueId: string, feedback: readonly Feedback[], attemptId: string): void;
  /**
   * Commits what a turn left and decides whether it can be offered; null: the agent continues until
   * it moves its issue itself. Rejects when the work cannot be read.
   */
  made?(turn: EndedTurn): Promise<Made | Unready | null>;
  /** A summary for the agent of what the issue's previous attempt did; null for nothing. */
  earlierWork(issueId: string): string | null;
  /** False while no further turn may begin: the day's tokens are used up. */
  mayContinue(): boolean;
  /** Records the attempts whose agent outlives the server. */
  readonly leases?: Leases;
  /** Ends the work of an agent that outlived the server for this attempt. */
  giveUp?(attemptId: string): Promise<void>;
  log(line: string): void;
}

/** A turn that ended well. */
export interface EndedTurn {
  readonly workspace: Workspace;
  readonly issue: Issue;
  readonly attemptId: string;
  /** It changed the workspace or wrote to the tracker. */
  readonly moved: boolean;
  readonly signal: AbortSignal;
  tell(line: string): void;
}

/** The work cannot be offered yet: the next turn begins with `prompt`. */
export interface Unready {
  readonly kind: "unready";
  readonly prompt: string;
  /** For a person, if the agent does not mend it. */
  readonly reason: string;
}

/** Turns that may be spent on work that cannot be offered yet. */
const maxUnready = 3;

/** One running attempt, as its caller sees it. */
export interface LiveAttempt {
  readonly signal: AbortSignal;
  /** True once no further turn may begin. */
  leaving(): boolean;
  /** True once the agent continues without this server. */
  detached(): boolean;
  entered(phase: Phase, workspace: EnteredWorkspace | null): void;
  reported(event: AgentEvent): void;
  /** A turn completed, with these results. */
  turned(what: Turned): void;
  /** The live session, for steering; null once it has ended. */
  session(session: AgentSession | null): void;
}

/**
 * One attempt from workspace to exit: hooks, prompt, session, turns. Resolves when every process of it is
 * gone and `after_run` has run; never rejects.
 */
export async function runAttempt(
  order: AttemptOrder,
  deps: AttemptDeps,
  live: LiveAttempt,
): Promise<Exit> {
  let workspace: Workspace | null = null;
  let before: string | null = null;
  let end: AttemptOutcome;
  try {
    if (order.adopt) {
      workspace = { ...order.adopt, createdNow: false };
      before = deps.leases?.of(order.attemptId)?.headBefore ?? null;
    } else {
      live.entered("preparing_workspace", null);
      await deps.ready?.(order.issue.id);
      live.signal.throwIfAborted();
      workspace = await deps.workspaces.ensure(order.issue, live.signal, (message) =>
        live.reported({ type: "notice", message, malformed: false }),
      );
      live.entered("preparing_workspace", workspace);
      before = (await gitHead(workspace.path))?.head ?? null;
      await deps.workspaces.beforeRun(workspace, order.issue, live.signal);
    }
    end = await work(order, { ...workspace, before }, { deps, live });
  } catch (error) {
    if (live.detached()) return { kind: "detached", git: null };
    const outcome = outcomeOf(error);
    // An agent that is ended because it was silent may turn out to have waited for its provider.
    const limited = outcome.kind === "failed" && outcome.code === "provider_limited";
    end = live.signal.aborted && !limited ? { kind: "stopped" } : outcome;
  }
  // The attempt may have failed before it could follow the turn that was already running.
  if (order.adopt) await deps.giveUp?.(order.attemptId);
  await deps.leases?.drop(order.attemptId);
  live.entered("finishing", null);
  if (workspace === null) return { ...end, git: null };
  await deps.workspaces.afterRun(workspace, order.issue);
  return { ...end, git: await gitFacts(workspace.path, before) };
}

interface RunContext {
  readonly deps: AttemptDeps;
  readonly live: LiveAttempt;
}

async function work(
  order: AttemptOrder,
  workspace: Workspace & { readonly before: string | null },
  { deps, live }: RunContext,
): Promise<AttemptOutcome> {
  const { issue, attempt, attemptId, adopt } = order;
  const first = () => renderPrompt(deps.promptTemplate, { issue, attempt });
  if (!adopt) live.entered("building_prompt", null);
  const rendered = adopt ? null : await first();
  live.entered("launching_agent", null);
  const opening = new Opening(order, deps, live);
  const cwd = await deps.workspaces.requireCwd(workspace.path);
  const borrowed = await deps.workspaces.borrowedBy(cwd);
  const runtime = await deps.runtime();
  const progress = new Progress(workspace.path);
  await using session = await runtime.start(
    specOf(order, {
      cwd,
      borrowed,
      deps,
      progress,
      onEvent: (event) => opening.received(event),
      log: deps.log,
    }),
    live.signal,
  );
  live.session(session);
  try {
    const { detachable, threadId } = session;
    const headBefore = workspace.before;
    if (detachable && !adopt) {
      const host = detachable.host;
      await deps.leases?.keep({ attemptId, issue, attempt, threadId, host, headBefore });
    }
    // A stop while the session opened had no session to end.
    live.signal.throwIfAborted();
    const followed = adopt !== undefined && (await followedBy(session, live));
    const isResumed = session.resumed && !adopt;
    const prompt = !isResumed
      ? firstPrompt(order, rendered ?? (await first()), deps)
      : order.isRound
        ? roundPrompt(opening, rendered)
        : resumePrompt(issue);
    const turn = Math.max(adopt?.turnCount ?? 1, 1);
    const way = { prompt, followed, turn, opening, progress, deps, live, workspace };
    return { kind: "completed", ...(await turns(session, order, way)) };
  } finally {
    live.session(null);
  }
}

/** On a thread that knows the work: what came back, or the issue again, which was edited. */
function roundPrompt(opening: Opening, rendered: string | null): string {
  return opening.isWaiting() ? "" : (rendered ?? "");
}

/** Opens a thread that replaces a lost one: adds a summary of the previous attempt. */
function firstPrompt({ resumeThreadId, issue }: AttemptOrder, first: string, deps: AttemptDeps) {
  const earlier = resumeThreadId === null ? null : deps.earlierWork(issue.id);
  return earlier === null ? first : `${first}\n\n${earlier}`;
}

function specOf(
  order: AttemptOrder,
  {
    cwd,
    borrowed,
    deps,
    progress,
    onEvent,
    log,
  }: {
    cwd: string;
    borrowed: readonly string[];
    deps: AttemptDeps;
    progress: Progress;
    onEvent: (event: AgentEvent) => void;
    log: (line: string) => void;
  },
): SessionSpec {
  const { agent, git, delivery } = deps.config();
  return {
    workspace: cwd,
    borrowed,
    title: `${order.issue.identifier}: ${order.issue.title}`,
    runId: deps.runId,
    model: deps.choice(order.issue.id).model,
    resumeThreadId: order.resumeThreadId,
    ...(order.adopt && { adoption: adoptionOf(order, order.adopt.sinceWall, deps) }),
    tools: progress.watching(deps.tracker.bindTools(order.issue)),
    secretEnvNames: [
      ...deps.tracker.secretEnvNames,
      ...gitSecretNames(git),
      ...forgeSecretNames(delivery),
    ],
    askPolicy: { approvals: agent.approvals, timeoutMs: agent.approvalTimeoutMs },
    level: agent.level,
    onEvent,
    onLog: log,
  };
}

function adoptionOf({ attemptId, issue }: AttemptOrder, sinceWall: number, deps: AttemptDeps) {
  const steerIds = deps.undelivered(issue.id).map(({ id }) => id);
  return { host: deps.leases?.of(attemptId)?.host ?? "", sinceWall, steerIds };
}

/** Follows the turn that a previous server began; false when there was none. */
async function followedBy(session: AgentSession, live: LiveAttempt): Promise<boolean> {
  live.entered("streaming_turn", null);
  return (await session.detachable?.follow()) === true;
}

/** Runs turn after turn on one thread, as long as the tracker allows it. */
async function turns(
  session: AgentSession,
  order: AttemptOrder,
  way: RunContext & {
    readonly workspace: Workspace;
    readonly prompt: string;
    /** True if the first turn was begun by a previous server. */
    readonly followed: boolean;
    readonly turn: number;
    readonly opening: Opening;
    readonly progress: Progress;
  },
): Promise<{ readonly made: Made | null; readonly issue: Issue | null }> {
  const { opening, progress, deps, live, followed, workspace } = way;
  let { issue } = order;
  let unready = 0;
  let prompt = followed ? "" : opening.with(way.prompt);
  for (let turn = way.turn; ; turn++) {
    if (prompt !== "") {
      live.entered("streaming_turn", null);
      await progress.begin();
      await session.turn(prompt, deps.choice(issue.id));
    }
    live.signal.throwIfAborted();
    const moved = await progress.moved();
    const { attemptId } = order;
    const { signal } = live;
    const tell = (message: string) => live.reported({ type: "notice", message, malformed: false });
    const made = (await deps.made?.({ workspace, issue, attemptId, moved, signal, tell })) ?? null;
    if (live.leaving()) return { made: offerable(made), issue: null };
    const [fresh] = await deps.tracker.fetchIssuesByIds([issue.id]);
    live.turned({ moved, issue: fresh ?? null });
    // Reporting the turn may have stopped the attempt: it may have reached a limit.
    live.signal.throwIfAborted();
    const end = { made: offerable(made), issue: fresh ?? null };
    if (!deps.mayContinue()) return end;
    const { agent, tracker } = deps.config();
    if (!fresh || turn >= agent.maxTurns) return end;
    issue = fresh;
    if (made?.kind === "unready" && unready < maxUnready) {
      unready += 1;
      prompt = opening.with(made.prompt);
    } else if (made !== null) {
      // Guidance and feedback that came during the turn open the next one.
      if (!opening.isWaiting() || made.kind === "refused") return end;
      prompt = opening.with("");
    } else {
      if (standingOf(fresh, tracker) !== "routable") return end;
      prompt = opening.with(continuationPrompt(turn + 1, agent.maxTurns, issue));
    }
  }
}

/** Work that is not ready when the attempt ends is not offered. */
function offerable(made: Made | Unready | null): Made | null {
  return made?.kind === "unready" ? { kind: "refused", reason: made.reason } : made;
}

/** How the work of an attempt ended. */
type AttemptOutcome =
  | { kind: "completed"; made: Made | null; issue: Issue | null }
  | { kind: "stopped" }
  | { kind: "failed"; code: string; message: string; untilWall?: number | null }
  | { kind: "needs"; needs: Needs; code: string };

/** Turns the error that ended the work into the attempt's outcome. */
function outcomeOf(error: unknown): AttemptOutcome {
  if (!(error instanceof SymphonyError)) {
    return { kind: "failed", code: "internal_error", message: messageOf(error) };
  }
  const needs = error.details["needs"];
  if (isNeeds(needs)) return { kind: "needs", needs, code: error.code };
  // The message includes the hint, because an operator who reads why it failed needs the next step.
  const outcome = { kind: "failed", code: error.code, message: adviceOf(error) } as const;
  if (error.code !== "provider_limited") return outcome;
  const until = error.details["untilWall"];
  return { ...outcome, untilWall: typeof until === "number" ? until : null };
}

function isNeeds(value: unknown): value is Needs {
  return typeof value === "object" && value !== null && "prompt" in value && "options" in value;
}

/** What the attempt did in its repository; null if there is none. */
async function gitFacts(path: string, headBefore: string | null): Promise<AttemptGit | null> {
  const now = await gitHead(path);
  if (now === null) return null;
  const { branch, head: headAfter } = now;
  const moved = headBefore !== null && headAfter !== null && headBefore !== headAfter;
  const changes = moved ? await gitChanges(path, headBefore, headAfter) : null;
  const { commits, changedFiles } = changes ?? { commits: 0, changedFiles: 0 };
  return { branch, headBefore, headAfter, commits, changedFiles };
}

/**
 * Guidance that a turn ended without taking up, and feedback on offered work, open the next turn, so
 * none is lost; they count as delivered when that turn has started.
 */
class Opening {
  readonly #order: AttemptOrder;
  readonly #deps: AttemptDeps;
  readonly #live: LiveAttempt;
  #steers: readonly Steer[] = [];
  #feedback: readonly Feedback[] = [];

  constructor(order: AttemptOrder, deps: AttemptDeps, live: LiveAttempt) {
    this.#order = order;
    this.#deps = deps;
    this.#live = live;
  }

  /** True if the next turn has something new to read. */
  isWaiting(): boolean {
    const { attemptId, issue } = this.#order;
    const { id } = issue;
    const feedback = this.#deps.feedback?.(id, attemptId) ?? [];
    return feedback.length > 0 || this.#deps.undelivered(id).length > 0;
  }

  with(prompt: string): string {
    const { id } = this.#order.issue;
    this.#steers = this.#deps.undelivered(id);
    this.#feedback = this.#deps.feedback?.(id, this.#order.attemptId) ?? [];
    const parts = [
      this.#steers.length === 0 ? "" : steerPrompt(this.#steers.map(({ message }) => message)),
      this.#feedback.length === 0 ? "" : feedbackPrompt(this.#feedback),
      prompt,
    ];
    return parts.filter((part) => part !== "").join("\n\n");
  }

  received(event: AgentEvent): void {
    this.#live.reported(event);
    if (event.type !== "turn.started") return;
    for (const { id } of this.#steers) {
      this.#live.reported({ type: "steer.delivered", steerId: id });
    }
    const { issue, attemptId } = this.#order;
    if (this.#feedback.length > 0) this.#deps.given?.(issue.id, this.#feedback, attemptId);
    this.#steers = [];
    this.#feedback = [];
  }
}

/** Finds out whether a turn changed the workspace or wrote to the tracker. */
class Progress {
  readonly #path: string;
  #wrote = false;
  #mark: string | null = null;

  constructor(path: string) {
    this.#path = path;
  }

  /** Wraps `tools` so that successful writes count as progress. */
  watching(tools: AgentTools): AgentTools {
    return {
      ...tools,
      call: async (name, args) => {
        const result = await tools.call(name, args);
        if (result.success && tools.writes?.(name, args) !== false) this.#wrote = true;
        return result;
      },
    };
  }

  /** Call right before a turn. Earlier changes, such as those of hooks, do not count. */
  async begin(): Promise<void> {
    this.#wrote = false;
    this.#mark ??= await workspaceMark(this.#path);
  }

  /** Call right after a turn: true if it made progress. */
  async moved(): Promise<boolean> {
    const mark = await workspaceMark(this.#path);
    const moved = this.#wrote || mark !== this.#mark;
    this.#mark = mark;
    this.#wrote = false;
    return moved;
  }
}
