import type { AgentEvent, AgentRuntime, AgentSession, SessionSpec } from "../agent/agent.ts";
import { secretNamesOf } from "../config/config.ts";
import type { Place } from "../config/places.ts";
import type { AttemptGit, Needs } from "../model/attempt.ts";
import { adviceOf, messageOf, SymphonyError } from "../model/errors.ts";
import type { Issue } from "../model/issue.ts";
import { standingOf } from "../orchestrator/dispatch.ts";
import type { AttemptOrder, Exit, Made } from "../orchestrator/messages.ts";
import { boundsOf } from "../process/bounds.ts";
import { inFile, readsComments, renderPrompt, resumePrompt } from "../prompt/prompt.ts";
import { gitDirOf } from "../repository/checkout.ts";
import { gitChanges, gitHead } from "../repository/survey.ts";
import { redactDeep } from "../text/redact.ts";
import { oneLine } from "../text/text.ts";
import type { Workspace, Workspaces } from "../workspace/workspaces.ts";
import type { Leases } from "./leases.ts";
import { Pictures } from "./pictures.ts";
import { type LiveAttempt, Opening, Progress, type TurnDeps, turns } from "./turns.ts";

/** The dependencies of an attempt; tracker and prompt are those of its start (T-14). */
export interface AttemptDeps extends TurnDeps {
  /** Rejects with `agent_unavailable`. */
  runtime(): Promise<AgentRuntime>;
  readonly workspaces: Workspaces;
  readonly promptTemplate: string;
  /** Where it begins in its file; null for a template of the API. */
  readonly promptAt: Place | null;
  /** The cookie of this attempt's processes. */
  readonly runId: string;
  /** Resolves when nothing else writes into the issue's workspace. */
  ready(issueId: string): Promise<void>;
  /** A summary for the agent of what the issue's previous attempts did; `other`: those of other agents only. null for nothing. */
  earlierWork(issueId: string, other: string | null): string | null;
  /** Records the attempts whose agent outlives the server. */
  readonly leases?: Leases;
  /** Ends the work of an agent that outlived the server for this attempt. */
  giveUp?(attemptId: string): Promise<void>;
  log(line: string): void;
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
      await deps.ready(order.issue.id);
      live.signal.throwIfAborted();
      workspace = await deps.workspaces.ensure(order.issue, live.signal, (message) =>
        live.reported({ type: "notice", message, malformed: false }),
      );
      live.entered("preparing_workspace", workspace);
      before = (await gitHead(workspace.path))?.head ?? null;
      await deps.workspaces.beforeRun(workspace, order, live.signal);
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
  await deps.workspaces.afterRun(workspace, order, end);
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
  const first = () => firstPromptOf(order, deps);
  if (!adopt) live.entered("building_prompt", null);
  const rendered = adopt ? null : await first();
  live.entered("launching_agent", null);
  const opening = new Opening(order, deps, live);
  const cwd = await deps.workspaces.requireCwd(workspace.path);
  const borrowed = await deps.workspaces.borrowedBy(cwd);
  const runtime = await deps.runtime();
  await guardRefs(cwd, runtime, deps);
  const progress = new Progress(workspace.path, live.earlierIn(workspace));
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
  const pictures = picturesOf(session, issue.id, { deps, live });
  live.session({ session, pictures });
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
    const begun = isResumed ? rendered : (rendered ?? (await first()));
    const prompt = !isResumed
      ? firstPrompt(order, begun?.prompt ?? "", deps)
      : order.isRound
        ? roundPrompt(opening, begun?.prompt ?? "")
        : resumePrompt(issue);
    const turn = Math.max(adopt?.turnCount ?? 1, 1);
    const comments = isResumed && !order.isRound ? [] : (begun?.comments ?? []);
    const texts = [issue.description ?? "", ...comments];
    const shown = { pictures, texts: followed ? [] : texts };
    const way = { prompt, ...shown, followed, turn, opening, progress, deps, live, workspace };
    return { kind: "completed", ...(await turns(session, order, way)) };
  } finally {
    live.session(null);
  }
}

/** Where the agent may write `.git`, its refs are believed no more; a confined one can still make one that is not there. */
async function guardRefs(cwd: string, runtime: AgentRuntime, deps: AttemptDeps): Promise<void> {
  const { level, approvals } = deps.config().agent;
  const mayWrite = level === "danger" || runtime.writesGit?.(approvals) === true;
  if (mayWrite || (await gitDirOf(cwd)) === null) await deps.workspaces.openGit(cwd);
}

function picturesOf(session: AgentSession, issueId: string, { deps, live }: RunContext): Pictures {
  return new Pictures({
    ...{ session, issueId, uploads: deps.tracker.uploads, signal: live.signal },
    shown: live.shownTo(session.threadId),
    tell: (message) => live.reported({ type: "notice", message, malformed: false }),
  });
}

/** The template, and the comments if it uses them: they are as new as the attempt. */
async function firstPromptOf({ issue, attempt }: AttemptOrder, deps: AttemptDeps) {
  const { promptTemplate, tracker } = deps;
  const list = readsComments(promptTemplate) ? await tracker.comments?.(issue) : null;
  const comments = list?.comments ?? [];
  const subject = { issue, attempt, comments };
  const prompt = await renderPrompt(promptTemplate, subject).catch((error: unknown) => {
    throw inFile(error, deps.promptAt);
  });
  return { prompt, comments: comments.map(({ body }) => body) };
}

/** On a thread that knows the work: what came back, or the issue again, which was edited. */
function roundPrompt(opening: Opening, rendered: string): string {
  return opening.isWaiting() ? "" : rendered;
}

/** Opens a thread that replaces a lost one, or one of another agent: adds a summary of the previous attempts. */
function firstPrompt(order: AttemptOrder, first: string, deps: AttemptDeps) {
  const { resumeThreadId, takesOver = false, issue } = order;
  const isNew = resumeThreadId === null && !takesOver;
  // Also a retry of an agent that has taken over begins with what the first one did.
  const earlier = deps.earlierWork(issue.id, isNew ? order.agent : null);
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
  const config = deps.config();
  const { agent } = config;
  const bound = deps.tracker.bindTools(order.issue);
  const tools = progress.watching({
    ...bound,
    call: (name, args) => bound.call(name, redactDeep(args, deps.redact)),
  });
  const movesItself = tools.specs.length > 0 && config.tracker.onSuccess.kind === "none";
  return {
    workspace: cwd,
    borrowed,
    title: `${order.issue.identifier}: ${order.issue.title}`,
    runId: deps.runId,
    model: deps.choice(order.issue.id).model,
    resumeThreadId: order.resumeThreadId,
    ...(order.adopt && { adoption: adoptionOf(order, order.adopt.sinceWall, deps) }),
    tools,
    ...(movesItself && { unfinished: () => unfinishedOf(order, deps) }),
    secretEnvNames: secretNamesOf(config, deps.tracker),
    askPolicy: { approvals: agent.approvals, timeoutMs: agent.approvalTimeoutMs },
    level: agent.level,
    network: agent.network,
    readable: agent.readable,
    bounds: boundsOf(agent),
    onEvent,
    onLog: log,
  };
}

/** What an agent that moves its issue itself has left to do; null: nothing, or it cannot be read. */
async function unfinishedOf({ issue }: AttemptOrder, deps: AttemptDeps): Promise<string | null> {
  const [fresh] = await deps.tracker.fetchIssuesByIds([issue.id]);
  if (!fresh || standingOf(fresh, deps.config().tracker) !== "routable") return null;
  const where = oneLine(`${fresh.identifier} is still in the state ${fresh.state}`, 300);
  return `${where}. If its work is done, move it with the tracker's tools; if not, continue. If you cannot do it, say why and stop.`;
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

/** How the work of an attempt ended. */
type AttemptOutcome =
  | { kind: "completed"; made: Made | null; issue: Issue | null }
  | { kind: "stopped" }
  | { kind: "failed"; code: string; message: string; untilWall?: number | null; workerDied?: true }
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
  if (error.details["workerDied"] === true) return { ...outcome, workerDied: true };
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
