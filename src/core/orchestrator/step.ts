import { SymphonyError } from "../model/errors.ts";
import type { WorkerHost } from "../model/worker.ts";
import { agentChecked } from "./agents.ts";
import { turned } from "./brakes.ts";
import { modelChosen, templateChosen } from "./choice.ts";
import { andThen, type Context, type Decision, decided } from "./decision.ts";
import { attemptExited } from "./exit.ts";
import { dispatchPaused, dispatchResumed, hostChanged, hoursPassed } from "./gates.ts";
import type { Stop } from "./issues.ts";
import type { Effect, Input, TimerInput } from "./messages.ts";
import { moved } from "./move.ts";
import { offerReported } from "./offer.ts";
import { aborted, attached, detached, responded, steered, transitioned } from "./operator.ts";
import { pauseElapsed, pausesTried, timePassed } from "./pauses.ts";
import { troublesOnWorkers, workerSlots } from "./placement.ts";
import {
  hasBegun,
  isPollNear,
  pollAnswered,
  pollDelay,
  pollDue,
  recheckRequested,
} from "./poll.ts";
import { otherPromptChosen, promptChanged } from "./prompt-hold.ts";
import { radarUpdated } from "./radar.ts";
import { issueChecked, issueCheckFailed, retryDue } from "./recheck.ts";
import { stoodStill } from "./reconcile.ts";
import { refillAnswered, refillDue, withRefill } from "./refill.ts";
import { attemptEntered, attemptReported } from "./report.ts";
import { knownIssue } from "./snapshot.ts";
import type { State } from "./state.ts";
import { orderStop } from "./stop.ts";
import { storageChanged } from "./storage.ts";

/**
 * The scheduler's one decision function: from a state and an input to a new state and effects.
 * Pure. Throws SymphonyError when an operator requests something impossible; then nothing has
 * changed.
 */
export function step(state: State, input: Input, context: Context): Decision {
  const now = mayStart.has(input.type) ? hoursPassed(state, context) : decided(state);
  const decision = andThen(now, (next) => decide(next, input, context));
  return withPauses(state, withRefill(state, decision, { input, context }));
}

/** Answers that start attempts; after a machine was suspended they come before the timer that closes the hours. */
const mayStart: ReadonlySet<Input["type"]> = new Set([
  "candidates.fetched",
  "issues.verified",
  "issue.checked",
]);

/** Pauses of agents are on disk whether or not an issue waits for them: a restart must not try a limited provider again. */
function withPauses({ pauses: before }: State, decision: Decision): Decision {
  const { state, effects } = decision;
  if (state.pauses === before) return decision;
  return decided(state, ...effects, { type: "savePauses", pauses: [...state.pauses.values()] });
}

function decide(state: State, input: Input, context: Context): Decision {
  switch (input.type) {
    case "poll.due":
    case "refill.due":
    case "day.due":
    case "hours.due":
    case "provider.due":
    case "retry.due":
      return timeCame(state, input, context);
    case "refresh.requested":
      return andThen(pausesTried(state, context), (next) => refreshRequested(next, context));
    case "config.changed":
    case "prompt.changed":
    case "dispatch.paused":
    case "dispatch.resumed":
    case "host.changed":
    case "workers.changed":
    case "agent.checked":
    case "storage.changed":
    case "tracker.changed":
    case "server.stood":
      return surroundingsChanged(state, input, context);
    case "running.refreshed":
    case "running.refreshFailed":
    case "preflight.ended":
    case "candidates.fetched":
    case "candidates.failed":
      return pollAnswered(state, input, context);
    case "issues.verified":
    case "issues.verifyFailed":
      return refillAnswered(state, input, context) ?? pollAnswered(state, input, context);
    case "issue.hinted":
    case "issue.checked":
    case "issue.checkFailed":
      return issueRead(state, input, context);
    case "attempt.entered":
    case "attempt.reported":
    case "attempt.turned":
    case "attempt.exited":
      return attemptChanged(state, input, context);
    case "operator.aborted":
    case "operator.steered":
    case "operator.responded":
    case "operator.attached":
    case "operator.detached":
    case "operator.transitioned":
    case "operator.templateChosen":
    case "operator.modelChosen":
    case "operator.moved":
      return operatorAsked(state, input, context);
    case "offer.resting":
    case "offer.answered":
    case "offer.merged":
    case "offer.stopped":
    case "offer.resumed":
      return offerReported(state, input, context);
    case "radar.updated":
      return recheckAfter(radarUpdated(state, input, context), context);
    case "drain.requested":
      return drain(state, input.stopAttempts);
  }
}

function issueRead(
  state: State,
  input: Extract<Input, { type: `issue.${string}` }>,
  context: Context,
): Decision {
  if (input.type === "issue.checked") return issueChecked(state, input, context);
  if (input.type === "issue.checkFailed") return issueCheckFailed(state, input, context);
  if (state.draining || !hasBegun(state)) return decided(state);
  return recheckRequested(state, input.issueId);
}

type Changed = Extract<
  Input,
  {
    type:
      | `${"config" | "prompt" | "storage" | "host" | "tracker" | "workers"}.changed`
      | `dispatch.${string}`
      | "agent.checked"
      | "server.stood";
  }
>;

function surroundingsChanged(state: State, input: Changed, context: Context): Decision {
  switch (input.type) {
    case "config.changed":
      return andThen(configChanged(state, context), (next) => recheckGates(next, context));
    case "prompt.changed":
      return promptChanged(state, input.templateId, context);
    case "storage.changed":
      return storageChanged(state, input.trouble, context);
    case "dispatch.paused":
      return dispatchPaused(state, input.pause);
    case "dispatch.resumed":
      return andThen(dispatchResumed(state, input.by), (next) => recheckGates(next, context));
    case "tracker.changed":
      return pollAgain(state, context);
    case "server.stood":
      return stoodStill(state, input.ms, context);
    case "agent.checked":
      return agentCame(state, input, context);
    case "workers.changed":
      return recheckAfter(workersChanged(state, input.workers, context), context);
    case "host.changed":
      return andThen(hostChanged(state, input.trouble), (next) => recheckGates(next, context));
  }
}

/** What a check says of an agent; a mended one may run at once, also after a failed start. */
function agentCame(
  state: State,
  input: Extract<Input, { type: "agent.checked" }>,
  context: Context,
): Decision {
  const checked = agentChecked(state, input);
  if (checked.effects.length === 0) return checked;
  const isMended = input.trouble === null && state.pauses.get(input.agent)?.isStart;
  const over = isMended ? pauseElapsed(checked.state, input.agent, context) : checked.state;
  return andThen({ ...checked, state: over }, (next) => recheckGates(next, context));
}

/** A timer has fired. */
function timeCame(state: State, input: TimerInput, context: Context): Decision {
  switch (input.type) {
    case "poll.due":
      if (state.draining) return decided(state);
      return andThen(timePassed(state, context), (next) => pollDue(next, context));
    case "refill.due":
      return andThen(timePassed(state, context), (next) => refillDue(next, context));
    case "day.due":
      return timePassed(state, context);
    case "hours.due":
      if (state.draining) return decided(state);
      return andThen(hoursPassed(state, context, true), (next) => recheckGates(next, context));
    case "provider.due":
      return recheckGates(pauseElapsed(state, input.agent, context), context);
    case "retry.due":
      return andThen(timePassed(state, context), (next) => retryDue(next, input.issueId, context));
  }
}

type AttemptInput = Extract<Input, { type: `attempt.${string}` }>;

function attemptChanged(state: State, input: AttemptInput, context: Context): Decision {
  switch (input.type) {
    case "attempt.entered":
      return attemptEntered(state, input);
    case "attempt.reported":
      return attemptReported(state, input, context);
    case "attempt.turned":
      return turned(state, input, context);
    case "attempt.exited":
      return attemptExited(state, input, context);
  }
}

type Asked = Extract<Input, { type: `operator.${string}` }>;

/** Throws SymphonyError when it is impossible; then nothing has changed. */
function operatorAsked(state: State, input: Asked, context: Context): Decision {
  switch (input.type) {
    case "operator.aborted":
      return aborted(state, input, context);
    case "operator.steered":
      return steered(state, input);
    case "operator.responded":
      return responded(state, input, context);
    case "operator.transitioned": {
      const issue = knownIssue(state, input.issueId) ?? input.unlisted;
      if (!issue) throw new SymphonyError("issue_not_found", "the issue is no longer known");
      return transitioned(state, { ...input, issue }, context);
    }
    case "operator.attached":
      return attached(state, input, context);
    case "operator.detached":
      return detached(state, input, context);
    case "operator.templateChosen":
      return andThen(templateChosen(state, input), (next) =>
        otherPromptChosen(next, input.issue.id, context),
      );
    case "operator.modelChosen":
      return modelChosen(state, input);
    case "operator.moved":
      return moved(state, input);
  }
}

/** What is known of the workers; one that takes attempts again is used at once. */
function workersChanged(
  state: State,
  workers: readonly WorkerHost[] | null,
  context: Context,
): Decision {
  const { config } = context;
  const before = workerSlots(state, config) ?? 0;
  const next = { ...state, workers };
  const isMore = (workerSlots(next, config) ?? 0) > before;
  const more =
    isMore && !state.draining && hasBegun(state) ? pollAgain(next, context) : decided(next);
  return troublesOnWorkers(workers ?? [], config).reduce((decision, { agent, trouble: detail }) => {
    const { wall: sinceWall } = context;
    const trouble = detail === null ? null : { code: "agent_unavailable", detail, sinceWall };
    const input = { type: "agent.checked", agent, trouble } as const;
    return andThen(decision, (last) => agentCame(last, input, context));
  }, more);
}

/** Retries whose gate has opened continue. */
function recheckAfter(first: Decision, context: Context): Decision {
  return andThen(first, (next) => timePassed(next, context));
}

/** Checks what time may have allowed; a poll at once starts the waiting issues of the queue. */
function recheckGates(state: State, context: Context): Decision {
  if (state.draining) return decided(state);
  const passed = timePassed(state, context);
  if (passed.effects.length === 0) return passed;
  return andThen(passed, (next) => pollAgain(next, context));
}

/** A poll at once, or right after the current one, which may have read too early. */
function pollAgain(state: State, context: Context): Decision {
  return state.poll.phase === "idle"
    ? refreshRequested(state, context)
    : decided({ ...state, poll: { ...state.poll, again: true } });
}

/** A poll at once, unless one is running or due now (O-6). */
function refreshRequested(state: State, context: Context): Decision {
  if (state.draining || isPollNear(state, context)) return decided(state);
  return decided(
    { ...state, poll: { ...state.poll, nextWall: context.wall } },
    { type: "setTimer", input: { type: "poll.due" }, delayMs: 0 },
  );
}

/** A new interval starts now; every other setting is read at the next decision (O-4). */
function configChanged(state: State, context: Context): Decision {
  if (state.draining || state.poll.phase !== "idle") return decided(state);
  const delayMs = pollDelay(state, context);
  return decided(
    { ...state, poll: { ...state.poll, nextWall: context.wall + delayMs } },
    { type: "setTimer", input: { type: "poll.due" }, delayMs },
  );
}

/** No more dispatches; every attempt that is stopped for it ends as interrupted (C-5). */
function drain(state: State, stopAttempts: boolean): Decision {
  const timers: Effect[] = [...state.issues.of("retrying").keys()].map((issueId) => ({
    type: "clearTimer",
    input: { type: "retry.due", issueId },
  }));
  const begun = decided(
    { ...state, draining: true },
    { type: "clearTimer", input: { type: "poll.due" } },
    { type: "clearTimer", input: { type: "refill.due" } },
    { type: "clearTimer", input: { type: "day.due" } },
    { type: "clearTimer", input: { type: "hours.due" } },
    ...timers,
  );
  if (!stopAttempts) return begun;
  return [...state.issues.of("running").values()]
    .filter(({ stopping }) => stopping?.gently !== false)
    .reduce(
      (decision, entry) =>
        andThen(decision, (next) =>
          entry.detached && !entry.stopping
            ? decided(next, { type: "detachAttempt", attemptId: entry.attemptId })
            : orderStop(next, entry, shutdownOf(entry.stopping)),
        ),
      begun,
    );
}

/** A stop that was already ordered keeps its consequence, but loses its grace period. */
function shutdownOf(ordered: Stop | null): Stop {
  if (ordered) return { ...ordered, gently: false };
  return { reason: "the server is stopping", leadsTo: "shutdown", gently: false };
}
