// Ways to run an agent: one folder for each kind, listed in kinds.ts.

import type { Clock } from "../clock.ts";
import type { AgentConfig, Approvals } from "../config/agents.ts";
import type { Needs, Tokens } from "../model/attempt.ts";
import { SymphonyError } from "../model/errors.ts";
import type { Bounds } from "../process/bounds.ts";
import type { AgentImage } from "./images.ts";

/**
 * An event of a live session, independent of the protocol. Events are passed to a callback that
 * must return immediately: the reader of the agent's output never waits for a consumer.
 */
export type AgentEvent =
  | {
      readonly type: "session.started";
      readonly threadId: string;
      readonly resumed: boolean;
      /** The agent continues when this server exits. */
      readonly detached?: boolean;
      /** Its token totals start at zero although the thread was resumed. */
      readonly countsAnew?: boolean;
    }
  | { readonly type: "turn.started"; readonly turnId: string }
  | { readonly type: "turn.completed"; readonly turnId: string }
  | { readonly type: "turn.failed"; readonly turnId: string; readonly message: string }
  /** A whole message of the agent, never a fragment. */
  | { readonly type: "message"; readonly text: string }
  | {
      readonly type: "command";
      readonly command: string;
      readonly status: "started" | "completed" | "failed" | "declined";
      readonly exitCode: number | null;
      /** The end of the output, truncated. */
      readonly output: string | null;
    }
  | { readonly type: "file_change"; readonly status: string; readonly paths: readonly string[] }
  | {
      readonly type: "tool_call";
      readonly tool: string;
      readonly outcome: "completed" | "failed" | "unsupported";
    }
  /** Absolute totals of the thread, never a difference. */
  | {
      readonly type: "tokens";
      readonly total: Tokens;
      /** The total from which a resumed thread continues, which may be less than was counted: its agent was killed. */
      readonly base?: Tokens;
      /** The parts of the total by model, where the agent says them; an estimate may move to another model later. */
      readonly models?: Readonly<Record<string, Tokens>>;
    }
  | { readonly type: "rate_limits"; readonly limits: Readonly<Record<string, unknown>> }
  /** `ask` is null when no answer is awaited: the run ends with this event. */
  | { readonly type: "approval.requested"; readonly needs: Needs; readonly ask: Ask | null }
  | {
      readonly type: "approval.resolved";
      readonly decision: string;
      readonly automatic: boolean;
      /** The ask that a person answered. */
      readonly askId?: string;
    }
  | { readonly type: "steer.delivered"; readonly steerId: string }
  /** Anything else worth logging: a warning, a retry by the provider, a malformed line. */
  | { readonly type: "notice"; readonly message: string; readonly malformed: boolean }
  /** A sign of life (a delta, an unknown notification): it only resets the stall timer. */
  | { readonly type: "activity"; readonly method: string };

/** A question or approval that a live session has requested from a person. */
export interface Ask {
  readonly id: string;
  readonly sinceWall: number;
  /** When waiting ends. */
  readonly untilWall: number;
}

/** A person's answer. */
export type Answer =
  | { readonly type: "decision"; readonly approve: boolean }
  /** One for each question, in the same order. */
  | { readonly type: "answers"; readonly answers: readonly string[] };

/** Whether a person is asked, and how long an ask waits; 0: the run ends with it immediately. */
export interface AskPolicy {
  readonly approvals: Approvals;
  readonly timeoutMs: number;
}

/** One tool that is offered to the agent and run by the server. */
export interface ToolSpec {
  readonly name: string;
  readonly description: string;
  /** JSON Schema of the arguments. */
  readonly inputSchema: Readonly<Record<string, unknown>>;
}

/** JSON-safe; `output` is text for the model. */
export interface ToolResult {
  readonly success: boolean;
  readonly output: string;
}

/** Tracker tools bound to one session: settings and credential are fixed when it is made (T-14). */
export interface AgentTools {
  readonly specs: readonly ToolSpec[];
  /** Never rejects: an unknown tool, bad arguments and a failed transport are results with `success: false`. */
  call(name: string, args: unknown): Promise<ToolResult>;
  /** False for a call that only reads; if omitted, every call counts as a write. */
  writes?(name: string, args: unknown): boolean;
}

export interface SessionSpec {
  /** Absolute canonical path of the workspace: the only directory the agent may run in. */
  readonly workspace: string;
  /** The directory of this machine in which the program starts that reaches a workspace on another one. */
  readonly launchFrom?: string;
  /** Directories outside of the workspace that git reads there; an agent may read them and no more. */
  readonly borrowed?: readonly string[];
  /** `<identifier>: <title>`. */
  readonly title: string;
  /** The cookie that identifies every process of the run; unique on this machine. */
  readonly runId: string;
  readonly model: string | null;
  /** A thread to resume; when the agent refuses it, a new one is started. */
  readonly resumeThreadId: string | null;
  /**
   * An earlier server started the attempt, and a detached agent is still running at
   * `resumeThreadId`.
   */
  readonly adoption?: Adoption;
  readonly tools: AgentTools;
  /**
   * A reminder for an agent that is about to end its turn, given once: its issue still has to be
   * moved. null: the turn may end.
   */
  unfinished?(): Promise<string | null>;
  /** Names of environment variables the agent must never see. */
  readonly secretEnvNames: readonly string[];
  readonly askPolicy: AskPolicy;
  /** What the agent's commands may access. */
  readonly level: AgentConfig["level"];
  /** `agent.readable`: further paths that the agent may read, as written. */
  readonly readable?: AgentConfig["readable"];
  /** What the agent may use of the machine; absent: no limit of its own. */
  readonly bounds?: Bounds | undefined;
  /** The hosts that level `networked` reaches; null or absent: all. */
  readonly network?: AgentConfig["network"] | undefined;
  onEvent(event: AgentEvent): void;
  /** One line of the agent's stderr or stray output, for the log. */
  onLog(line: string): void;
}

export interface Adoption {
  /** As `DetachableSession.host` named it. */
  readonly host: string;
  /** When the last event was received; later events are reported now. */
  readonly sinceWall: number;
  /** Guidance that the agent may have accepted in the meantime. */
  readonly steerIds: readonly string[];
}

export interface TurnOptions {
  readonly model: string | null;
  /** Reasoning effort, such as `high`; without one the agent decides. */
  readonly effort?: string | null;
  /** For a session that takes images. */
  readonly images?: readonly AgentImage[];
}

/** One way to run a coding agent; each has its own folder next to this file. */
export interface AgentRuntime {
  readonly kind: string;
  /**
   * Rejects with the reason why no session can be started now: a missing key, a sandbox that does
   * not work.
   */
  check?(level: AgentConfig["level"], network?: AgentConfig["network"]): Promise<void>;
  /** Says which credentials the agent could read in its sandbox. Rejects as `check` does. */
  readable?(
    level: AgentConfig["level"],
    network?: AgentConfig["network"],
  ): Promise<readonly string[]>;
  /** Its agents may write the workspace's `.git` below level `danger` too. */
  writesGit?(approvals: AgentConfig["approvals"]): boolean;
  /**
   * Starts the agent and opens (or resumes) its thread. Rejects with `codex_not_found`,
   * `agent_not_found`, `port_exit`, `response_timeout` or `response_error`; after that no process
   * of it is left. Aborting `signal` ends it.
   */
  start(spec: SessionSpec, signal: AbortSignal): Promise<AgentSession>;
}

/** A live agent holding one thread. Disposing it ends every process of the run. */
export interface AgentSession extends AsyncDisposable {
  readonly threadId: string;
  /** True when `resumeThreadId` was resumed. */
  readonly resumed: boolean;
  readonly pid: number | null;
  /** A program without a protocol: mostly it knows neither the tracker nor its tools. */
  readonly isPlain?: boolean;
  /** Its next turn would be the same program with the same prompt, and know nothing of this one. */
  readonly repeats?: boolean;
  /** Images reach its model. */
  readonly takesImages?: boolean;
  /** A thread that it resumes is without the images that it had. */
  readonly forgetsImages?: boolean;
  /**
   * Runs one turn to its end. Rejects with `turn_failed`, `turn_cancelled`, `turn_timeout` (silence),
   * `port_exit`, `line_too_long`, `approval_required` or `turn_input_required` (its `details.needs`).
   */
  turn(prompt: string, options: TurnOptions): Promise<void>;
  /**
   * Sends guidance for the turn in flight; resolves once the agent has accepted it. Rejects with
   * `no_active_turn`.
   */
  steer(
    steerId: string,
    message: string,
    images?: readonly AgentImage[],
  ): Promise<{ readonly turnId: string }>;
  /**
   * Passes on a person's answer. Throws `nothing_asked`, or `invalid_request` when it does not fit
   * the ask.
   */
  answer(askId: string, answer: Answer): void;
  /** Asks the agent to end the turn in flight; does nothing without one. */
  interrupt(): Promise<void>;
  /** Present when the agent outlives this server. */
  readonly detachable?: DetachableSession;
}

/** Additional operations of an agent that outlives the server. */
export interface DetachableSession {
  /** Identifies the agent that holds the thread, so that the next server can find it. */
  readonly host: string;
  /** Waits for the end of the thread's last turn, as `turn` does; false when it never had one. */
  follow(): Promise<boolean>;
  /** Disconnects: the turn in flight continues, and disposing ends nothing after this. */
  detach(): void;
}

/** The agents of one kind that outlive servers, as recovery needs them; `host` is `DetachableSession.host`. */
export interface OutlivingHosts {
  /** Whether the agent runs. */
  has(host: string): boolean;
  /** Records that the agent has the thread: no other agent may write to it for a while. */
  remember(host: string, threadId: string): void;
  /** Records that the agent works on the run, so that it is not ended as unused. */
  hold(host: string, runId: string): void;
  /** Ends the work of a run that is still active on its thread. */
  endThread(
    host: string,
    run: { readonly threadId: string; readonly runId: string },
  ): Promise<void>;
  /**
   * Resumes the agents that an earlier server left; when agents may no longer outlive a server
   * (`isOn` false), ends all of them.
   */
  restore(isOn: boolean, signal: AbortSignal | undefined): Promise<void>;
  /** Ends the agents that no run needs; the others continue until their limit. */
  close(): Promise<void>;
}

/** The dependencies of the agents that outlive servers. */
export interface HostsDeps {
  readonly dataDir: string;
  readonly clock: Clock;
  /** Reports a problem that an operator should know about. */
  onTrouble(message: string): void;
}

/** What is checked before a server guarantees that turns outlive its restart. */
export interface RestartContext {
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly platform?: NodeJS.Platform;
  /** Aborting it ends the check, which then rejects with its reason. */
  readonly signal?: AbortSignal;
}

/** What the answers of a provider showed about one of its models. */
export interface Quirks {
  /** It has no Responses API. */
  readonly chatOnly: boolean;
  /** It does not encrypt its reasoning. */
  readonly unsealed: boolean;
  /** Parts of a request that it refused by name. */
  readonly omit: readonly string[];
  /** It wants `max_completion_tokens` and refuses `max_tokens`. */
  readonly newMaxTokens: boolean;
  /** The size of its context, where it named one; null: as configured. */
  readonly contextTokens: number | null;
}

/** Shown by `models`. */
export interface LearnedRow extends Quirks {
  readonly baseUrl: string;
  readonly model: string;
  /** Wall-clock ms; it is forgotten 7 days after that. */
  readonly learnedAt: number;
}

/** The form of a model's name in a list of models; others are left out. */
export const modelId = /^[^\p{Cc}]{1,200}$/u;

export interface Model {
  readonly id: string;
  readonly ownedBy: string | null;
  /** Wall-clock ms; null when the provider does not report it. */
  readonly createdAt: number | null;
}

/**
 * Opens `session` and resolves with it. When that fails, or `signal` is aborted meanwhile, the
 * session is closed completely.
 */
export async function openOrClose<S extends AgentSession & { open(): Promise<void> }>(
  session: S,
  signal: AbortSignal,
): Promise<S> {
  closeOnAbort(session, signal);
  try {
    await session.open();
    signal.throwIfAborted();
    return session;
  } catch (error) {
    await session[Symbol.asyncDispose]();
    signal.throwIfAborted();
    throw error;
  }
}

/** Disposes `session` when `signal` aborts, or immediately if it already has. */
export function closeOnAbort(session: AsyncDisposable, signal: AbortSignal): void {
  const close = () => void session[Symbol.asyncDispose]();
  if (signal.aborted) close();
  else signal.addEventListener("abort", close, { once: true });
}

/** Why a request to a provider failed, in one word for programs. */
export type ProviderFault =
  | "invalid_url"
  | "missing_key"
  | "unauthorized"
  | "rate_limited"
  | "redirected"
  | "status"
  | "response"
  | "timeout"
  | "connection"
  | "agent"
  | "unsupported";

/**
 * An error that never contains the provider's text: some providers repeat the key they received.
 */
export function providerError(
  category: ProviderFault,
  message: string,
  facts: {
    readonly [name: string]: unknown;
    readonly hint?: string;
    readonly cause?: unknown;
  } = {},
): SymphonyError {
  const { hint, cause, ...details } = facts;
  return new SymphonyError("provider_error", `the models cannot be listed: ${message}`, {
    details: { category, ...details },
    ...(hint !== undefined && { hint }),
    ...(cause !== undefined && { cause }),
  });
}
