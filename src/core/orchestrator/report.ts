import type { AgentEvent } from "../agent/agent.ts";
import type { Config } from "../config/config.ts";
import {
  addTokens,
  highWater,
  lowWater,
  noTokens,
  tokensAdded,
  tokensWithout,
} from "../model/attempt.ts";
import type { EventDraft } from "../model/event.ts";
import type { Used } from "../store/store.ts";
import { braked } from "./brakes.ts";
import { choiceOfTurn } from "./choice.ts";
import { andThen, type Context, type Decision, decided, tell } from "./decision.ts";
import { dayIndex } from "./gates.ts";
import type { Running } from "./issues.ts";
import type { Effect, Input } from "./messages.ts";
import { blockedNow, questionsAfter } from "./operator.ts";
import { dayPassed, turnWentWell } from "./pauses.ts";
import { withTurn } from "./refill.ts";
import { attemptOf, claimed, type State } from "./state.ts";

type ReportContext = Pick<Context, "config" | "now" | "wall">;

/** A live attempt entered a phase; its workspace may now be known. */
export function attemptEntered(
  state: State,
  input: Extract<Input, { type: "attempt.entered" }>,
): Decision {
  const entry = liveEntry(state, input);
  if (!entry) return decided(state);
  const next: Running = {
    ...entry,
    phase: input.phase,
    workspaceKey: input.workspace?.key ?? entry.workspaceKey,
    workspacePath: input.workspace?.path ?? entry.workspacePath,
  };
  const first = input.phase === "preparing_workspace" && input.workspace === null;
  const made = input.workspace?.createdNow === true ? [workspaceCreated(next)] : [];
  return decided(
    claimed(state, next),
    { type: "saveAttempt", attempt: attemptOf(next) },
    ...made,
    tell(first ? "attempt.started" : "attempt.phase", next.issue, {
      attemptId: next.attemptId,
      sessionId: next.sessionId,
      message: first ? `attempt ${next.number} started` : input.phase.replaceAll("_", " "),
      data: { phase: input.phase },
    }),
  );
}

function workspaceCreated(entry: Running): Effect {
  return tell("workspace.created", entry.issue, {
    attemptId: entry.attemptId,
    message: `workspace ${entry.workspaceKey} created`,
    data: { key: entry.workspaceKey, path: entry.workspacePath },
  });
}

/** An event of a live session (E-2); events of a stopped one change nothing (O-34). */
export function attemptReported(
  state: State,
  input: Extract<Input, { type: "attempt.reported" }>,
  context: ReportContext,
): Decision {
  const { config, now, wall } = context;
  const live = liveEntry(state, input);
  if (!live) return decided(state);
  const { event } = input;
  const entry = based(live, event);
  const model = event.type === "turn.started" ? modelOfTurn(state, entry, config) : entry.model;
  const progress = { model, lastEventAt: now, lastEventWall: wall };
  if (event.type === "activity") {
    return decided(claimed(state, { ...entry, ...progress, lastEvent: event.method }));
  }
  if (event.type === "rate_limits") {
    return rateLimited(state, { ...entry, ...progress }, event.limits);
  }
  const text = eventText(event);
  const next: Running = {
    ...advanced(entry, event),
    ...progress,
    questions: questionsAfter(entry.questions, event),
    lastEvent: text.type,
    lastMessage: text.message,
  };
  const effects: Effect[] = [
    tell(text.type, next.issue, { attemptId: next.attemptId, sessionId: next.sessionId, ...text }),
    ...blockedNow(entry, next),
  ];
  if (savedOn.has(event.type)) effects.push({ type: "saveAttempt", attempt: attemptOf(next) });
  if (event.type === "tokens") {
    const attempt = attemptOf(next);
    for (const part of partsOf(entry, event)) {
      effects.push({ type: "saveUsed", attempt, ...part, at: wall });
    }
  }
  if (event.type === "steer.delivered") {
    effects.push({ type: "settleSteer", steerId: event.steerId });
  }
  const begun = event.type === "turn.started" ? withTurn(state) : state;
  const known = counted(claimed(begun, next), { before: entry, event, wall });
  const well = event.type === "turn.completed" ? turnWentWell(known, entry.agent) : known;
  const done = decided(well, ...effects);
  const spent = event.type === "tokens" ? andThen(done, (last) => dayPassed(last, context)) : done;
  return andThen(spent, (last) => braked(last, entry.issue.id, context));
}

const savedOn: ReadonlySet<AgentEvent["type"]> = new Set([
  "session.started",
  "turn.started",
  "turn.completed",
]);

function rateLimited(
  state: State,
  entry: Running,
  limits: Readonly<Record<string, unknown>>,
): Decision {
  const next = claimed(state, { ...entry, lastEvent: "agent.rate_limits" });
  if (JSON.stringify(limits) === JSON.stringify(state.rateLimits)) return decided(next);
  return decided(
    { ...next, rateLimits: limits },
    tell("agent.rate_limits", entry.issue, {
      attemptId: entry.attemptId,
      sessionId: entry.sessionId,
      message: "the provider's limits changed",
      data: limits,
    }),
  );
}

/** Applies the event to the attempt's own row. */
function advanced(entry: Running, event: AgentEvent): Running {
  switch (event.type) {
    case "session.started":
      return {
        ...entry,
        threadId: event.threadId,
        detached: event.detached === true,
        // A rejected resume created a new thread, which counts from zero.
        threadTokens: event.resumed && !event.countsAnew ? entry.threadTokens : noTokens,
        threadModels: {},
      };
    case "turn.started": {
      const sessionId = `${entry.threadId ?? "thread"}-${event.turnId}`;
      const turnCount = entry.turnCount + (sessionId === entry.sessionId ? 0 : 1);
      return { ...entry, turnId: event.turnId, sessionId, turnCount, usedTool: false };
    }
    case "turn.completed":
    case "turn.failed":
      return { ...entry, turnId: null };
    case "tool_call":
      return { ...entry, usedTool: entry.usedTool || event.outcome === "completed" };
    case "tokens":
      return {
        ...entry,
        tokens: addTokens(entry.tokens, tokensAdded(entry.threadTokens, event.total)),
        threadTokens: highWater(entry.threadTokens, event.total),
        ...(event.models && { threadModels: event.models }),
      };
    default:
      return entry;
  }
}

/** What the agent did not record before it was killed is counted already, and is not in its totals. */
function based(entry: Running, event: AgentEvent): Running {
  if (event.type !== "tokens" || event.base === undefined) return entry;
  return { ...entry, threadTokens: lowWater(entry.threadTokens, event.base) };
}

/** Adds to the totals what this thread had not reported before (E-7, E-8). */
function counted(
  state: State,
  { before, event, wall }: { before: Running; event: AgentEvent; wall: number },
): State {
  if (event.type !== "tokens") return state;
  const tokens = tokensAdded(before.threadTokens, event.total);
  const index = dayIndex(wall);
  const today = index === state.day.index ? state.day.tokens : 0;
  return {
    ...state,
    usage: { ...state.usage, tokens: addTokens(state.usage.tokens, tokens) },
    day: { ...state.day, index, tokens: today + tokens.total },
  };
}

/**
 * What the thread had not reported before, by model. The parts are what the agent's own count of each model has changed by;
 * the rest, without a model, is the attempt's.
 */
function partsOf(
  { threadTokens, threadModels: before = {} }: Running,
  { total, models = before }: Extract<AgentEvent, { type: "tokens" }>,
): readonly Omit<Used, "attempt" | "at">[] {
  const of = (all: typeof before, name: string) =>
    (Object.hasOwn(all, name) ? all[name] : null) ?? noTokens;
  const names = [...new Set([...Object.keys(before), ...Object.keys(models)])];
  const parts = names
    .map((model) => ({ model, tokens: tokensWithout(of(models, model), of(before, model)) }))
    .filter(({ tokens }) => Object.values(tokens).some((count) => count !== 0));
  const known = parts.map(({ tokens }) => tokens).reduce(addTokens, noTokens);
  const rest = tokensWithout(tokensAdded(threadTokens, total), known);
  const hasRest = parts.length === 0 || Object.values(rest).some((count) => count !== 0);
  return hasRest ? [...parts, { tokens: rest }] : parts;
}

/** The model of the turn that starts now; without a choice the thread keeps its own. */
function modelOfTurn(state: State, entry: Running, config: Config): string | null {
  return choiceOfTurn(state, entry.issue.id, config).model ?? entry.model;
}

function liveEntry(
  state: State,
  input: { readonly issueId: string; readonly attemptId: string },
): Running | null {
  const entry = state.issues.of("running").get(input.issueId);
  const counts = entry?.attemptId === input.attemptId && entry.stopping?.gently !== false;
  return counts ? entry : null;
}

type ReportedEvent = Exclude<AgentEvent, { type: "activity" | "rate_limits" }>;
type Spoken = Extract<
  ReportedEvent,
  { type: "approval.requested" | "approval.resolved" | "steer.delivered" | "notice" }
>;
type EventText = Required<Pick<EventDraft, "type" | "message" | "data">>;

/** Turns an agent's report into a published event. */
function eventText(event: ReportedEvent): EventText {
  switch (event.type) {
    case "session.started":
      return {
        type: "session.started",
        message: event.resumed ? "session resumed its thread" : "session started",
        data: { thread_id: event.threadId, resumed: event.resumed },
      };
    case "turn.started":
      return { type: "turn.started", message: "turn started", data: { turn_id: event.turnId } };
    case "turn.completed":
      return { type: "turn.completed", message: "turn completed", data: { turn_id: event.turnId } };
    case "turn.failed":
      return { type: "turn.failed", message: event.message, data: { turn_id: event.turnId } };
    case "message":
      return { type: "agent.message", message: event.text, data: { text: event.text } };
    case "command":
      return {
        type: "agent.command",
        message: `${event.status}: ${event.command}`,
        data: {
          command: event.command,
          status: event.status,
          exit_code: event.exitCode,
          output: event.output,
        },
      };
    case "file_change":
      return {
        type: "agent.file_change",
        message: event.paths.join(", "),
        data: { status: event.status, paths: event.paths },
      };
    case "tool_call":
      return {
        type: "agent.tool_call",
        message: `${event.tool} ${event.outcome}`,
        data: { tool: event.tool, outcome: event.outcome },
      };
    case "tokens":
      return {
        type: "agent.tokens",
        message: `${event.total.total} tokens in this thread`,
        data: {
          input_tokens: event.total.input,
          cached_input_tokens: event.total.cachedInput,
          output_tokens: event.total.output,
          reasoning_output_tokens: event.total.reasoningOutput,
          total_tokens: event.total.total,
        },
      };
    default:
      return spoken(event);
  }
}

/** Events between an agent and a person. */
function spoken(event: Spoken): EventText {
  switch (event.type) {
    case "approval.requested":
      return {
        type: "approval.requested",
        message: event.needs.prompt,
        data: {
          ask_id: event.ask?.id ?? null,
          kind: event.needs.kind,
          options: event.needs.options,
        },
      };
    case "approval.resolved":
      return {
        type: "approval.resolved",
        message: `${event.automatic ? "automatically " : ""}${event.decision}`,
        data: {
          ask_id: event.askId ?? null,
          decision: event.decision,
          automatic: event.automatic,
        },
      };
    case "steer.delivered":
      return {
        type: "steer.delivered",
        message: "the agent took up the guidance",
        data: { steer_id: event.steerId },
      };
    case "notice":
      return { type: "agent.notice", message: event.message, data: { malformed: event.malformed } };
  }
}
