import type {
  AgentEvent,
  AgentRuntime,
  AgentSession,
  SessionSpec,
  TurnOptions,
} from "../agent/agent.ts";
import type { Config } from "../config/config.ts";
import { gitSecretNames } from "../config/git-section.ts";
import type { Phase } from "../model/attempt.ts";
import type { Issue } from "../model/issue.ts";
import { standingOf } from "../orchestrator/dispatch.ts";
import type { AttemptOrder, EnteredWorkspace, Exit, Turned } from "../orchestrator/messages.ts";
import type { Steer } from "../store/store.ts";
import type { Tracker } from "../tracker/tracker.ts";
import { gitHead } from "../workspace/git.ts";
import type { Workspace, Workspaces } from "../workspace/workspaces.ts";
import { type Ending, endingOf, gitFacts } from "./ending.ts";
import type { Leases } from "./leases.ts";
import { Opening } from "./opening.ts";
import { Progress } from "./progress.ts";
import { continuationPrompt, renderPrompt, resumePrompt } from "./prompt.ts";

/** What an attempt works with; tracker and prompt are those of its start (T-14). */
export interface AttemptWorld {
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
  /** Guidance that no agent has taken up yet, oldest first. */
  undelivered(issueId: string): readonly Steer[];
  /** What the issue's attempt before this one did, in words for the agent; null for nothing. */
  earlierWork(issueId: string): string | null;
  /** False while no further turn may begin: the day's tokens are used up. */
  goesOn(): boolean;
  /** Where attempts whose agent outlives the server are written down. */
  readonly leases?: Leases;
  /** Ends what a lasting agent still does for the attempt. */
  giveUp?(attemptId: string): Promise<void>;
  log(line: string): void;
}

/** One attempt under way, as its caller sees it. */
export interface LiveAttempt {
  readonly signal: AbortSignal;
  /** True once no further turn is to begin. */
  leaving(): boolean;
  /** True once the agent goes on without us. */
  detached(): boolean;
  entered(phase: Phase, workspace: EnteredWorkspace | null): void;
  reported(event: AgentEvent): void;
  /** A turn went well, and this is what it led to. */
  turned(what: Turned): void;
  /** The live session, for steering; null once it is over. */
  session(session: AgentSession | null): void;
}

/**
 * One attempt from workspace to exit: hooks, prompt, session, turns. Resolves when every process of it is
 * gone and `after_run` has run; never rejects.
 */
export async function runAttempt(
  order: AttemptOrder,
  world: AttemptWorld,
  live: LiveAttempt,
): Promise<Exit> {
  let workspace: Workspace | null = null;
  let before: string | null = null;
  let end: Ending;
  try {
    if (order.adopt) {
      workspace = { ...order.adopt, createdNow: false };
      before = world.leases?.of(order.attemptId)?.headBefore ?? null;
    } else {
      live.entered("preparing_workspace", null);
      workspace = await world.workspaces.ensure(order.issue, live.signal, (message) =>
        live.reported({ type: "notice", message, malformed: false }),
      );
      live.entered("preparing_workspace", workspace);
      before = (await gitHead(workspace.path))?.head ?? null;
      await world.workspaces.beforeRun(workspace, order.issue, live.signal);
    }
    end = await work(order, { ...workspace, before }, { world, live });
  } catch (error) {
    if (live.detached()) return { kind: "detached", git: null };
    const ending = endingOf(error);
    // An agent that is ended for its silence may turn out to have waited for its provider.
    const limited = ending.kind === "failed" && ending.code === "provider_limited";
    end = live.signal.aborted && !limited ? { kind: "stopped" } : ending;
  }
  // It may never have got hold of the turn that went on.
  if (order.adopt) await world.giveUp?.(order.attemptId);
  await world.leases?.drop(order.attemptId);
  live.entered("finishing", null);
  if (workspace === null) return { ...end, git: null };
  await world.workspaces.afterRun(workspace, order.issue);
  return { ...end, git: await gitFacts(workspace.path, before) };
}

interface Surroundings {
  readonly world: AttemptWorld;
  readonly live: LiveAttempt;
}

async function work(
  order: AttemptOrder,
  workspace: Workspace & { readonly before: string | null },
  { world, live }: Surroundings,
): Promise<Ending> {
  const { issue, attempt, attemptId, adopt } = order;
  const first = () => renderPrompt(world.promptTemplate, { issue, attempt });
  if (!adopt) live.entered("building_prompt", null);
  const rendered = adopt ? null : await first();
  live.entered("launching_agent", null);
  const opening = new Opening(() => world.undelivered(issue.id), live.reported);
  const cwd = await world.workspaces.requireCwd(workspace.path);
  const runtime = await world.runtime();
  const progress = new Progress(workspace.path);
  await using session = await runtime.start(
    specOf(order, {
      cwd,
      world,
      progress,
      onEvent: (event) => opening.heard(event),
      log: world.log,
    }),
    live.signal,
  );
  live.session(session);
  try {
    const { lasting, threadId } = session;
    const headBefore = workspace.before;
    if (lasting && !adopt) {
      const host = lasting.host;
      await world.leases?.keep({ attemptId, issue, attempt, threadId, host, headBefore });
    }
    const followed = adopt !== undefined && (await followedBy(session, live));
    const prompt =
      session.resumed && !adopt
        ? resumePrompt(issue)
        : afresh(order, rendered ?? (await first()), world);
    const turn = Math.max(adopt?.turnCount ?? 1, 1);
    await turns(session, issue, { prompt, followed, turn, opening, progress, world, live });
    return { kind: "completed" };
  } finally {
    live.session(null);
  }
}

/** A thread that was to be resumed and could not be begins anew with what is known of it. */
function afresh({ resumeThreadId, issue }: AttemptOrder, first: string, world: AttemptWorld) {
  const earlier = resumeThreadId === null ? null : world.earlierWork(issue.id);
  return earlier === null ? first : `${first}\n\n${earlier}`;
}

function specOf(
  order: AttemptOrder,
  {
    cwd,
    world,
    progress,
    onEvent,
    log,
  }: {
    cwd: string;
    world: AttemptWorld;
    progress: Progress;
    onEvent: (event: AgentEvent) => void;
    log: (line: string) => void;
  },
): SessionSpec {
  const { agent, git } = world.config();
  return {
    workspace: cwd,
    title: `${order.issue.identifier}: ${order.issue.title}`,
    runId: world.runId,
    model: world.choice(order.issue.id).model,
    resumeThreadId: order.resumeThreadId,
    ...(order.adopt && { adoption: adoptionOf(order, order.adopt.sinceWall, world) }),
    tools: progress.watching(world.tracker.bindTools(order.issue)),
    secretEnvNames: [...world.tracker.secretEnvNames, ...gitSecretNames(git)],
    people: { approvals: agent.approvals, timeoutMs: agent.approvalTimeoutMs },
    level: agent.level,
    onEvent,
    onLog: log,
  };
}

function adoptionOf({ attemptId, issue }: AttemptOrder, sinceWall: number, world: AttemptWorld) {
  const steerIds = world.undelivered(issue.id).map(({ id }) => id);
  return { host: world.leases?.of(attemptId)?.host ?? "", sinceWall, steerIds };
}

/** The turn that was under way before this server; false when there was none. */
async function followedBy(session: AgentSession, live: LiveAttempt): Promise<boolean> {
  live.entered("streaming_turn", null);
  return (await session.lasting?.follow()) === true;
}

/** Turn after turn on one thread, as long as the tracker says so. */
async function turns(
  session: AgentSession,
  start: Issue,
  way: Surroundings & {
    readonly prompt: string;
    /** Stands for the first turn when it was begun before. */
    readonly followed: boolean;
    readonly turn: number;
    readonly opening: Opening;
    readonly progress: Progress;
  },
): Promise<void> {
  const { opening, progress, world, live, followed } = way;
  let issue = start;
  let prompt = followed ? "" : opening.with(way.prompt);
  for (let turn = way.turn; ; turn++) {
    if (prompt !== "") {
      live.entered("streaming_turn", null);
      await progress.begin();
      await session.turn(prompt, world.choice(issue.id));
    }
    live.signal.throwIfAborted();
    if (live.leaving()) return;
    const moved = await progress.moved();
    const [fresh] = await world.tracker.fetchIssuesByIds([issue.id]);
    live.turned({ moved, issue: fresh ?? null });
    // What it was told may have been the turn too many.
    live.signal.throwIfAborted();
    if (!world.goesOn()) return;
    const { agent, tracker } = world.config();
    if (!fresh || standingOf(fresh, tracker) !== "routable" || turn >= agent.maxTurns) return;
    issue = fresh;
    prompt = opening.with(continuationPrompt(turn + 1, agent.maxTurns, issue));
  }
}
