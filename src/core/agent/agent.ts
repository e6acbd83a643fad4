import type { Clock } from "../clock.ts";
import type { AgentConfig, Approvals } from "../config/agents.ts";
import type { Needs, Tokens } from "../model/attempt.ts";
import { SymphonyError } from "../model/errors.ts";

/**
 * What a live session tells, whatever its protocol. Events arrive by a callback that must return at
 * once: the reader of the agent's output never waits for a consumer.
 */
export type AgentEvent =
  | {
      readonly type: "session.started";
      readonly threadId: string;
      readonly resumed: boolean;
      /** The agent lives on when this server ends. */
      readonly lasting?: boolean;
      /** Its token totals begin at zero although the thread was resumed. */
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
      /** The end of the output, capped. */
      readonly output: string | null;
    }
  | { readonly type: "file_change"; readonly status: string; readonly paths: readonly string[] }
  | {
      readonly type: "tool_call";
      readonly tool: string;
      readonly outcome: "completed" | "failed" | "unsupported";
    }
  /** Absolute totals of the thread; never a difference. */
  | { readonly type: "tokens"; readonly total: Tokens }
  | { readonly type: "rate_limits"; readonly limits: Readonly<Record<string, unknown>> }
  /** `ask` is null when nobody is waited for: the run ends with it. */
  | { readonly type: "approval.requested"; readonly needs: Needs; readonly ask: Ask | null }
  | {
      readonly type: "approval.resolved";
      readonly decision: string;
      readonly automatic: boolean;
      /** The ask that a person answered. */
      readonly askId?: string;
    }
  | { readonly type: "steer.delivered"; readonly steerId: string }
  /** Anything else worth a line: a warning, a retry of the provider, a malformed line. */
  | { readonly type: "notice"; readonly message: string; readonly malformed: boolean }
  /** A sign of life (a delta, an unknown notification): moves the stall clock and nothing else. */
  | { readonly type: "activity"; readonly method: string };

/** Something a live session waits for a person to say. */
export interface Ask {
  readonly id: string;
  readonly sinceWall: number;
  /** When it is given up. */
  readonly untilWall: number;
}

/** What a person said. */
export type Answer =
  | { readonly type: "decision"; readonly approve: boolean }
  /** One for each question, in their order. */
  | { readonly type: "answers"; readonly answers: readonly string[] };

/** Whether people are asked, and how long an ask waits; 0: the run ends with it at once. */
export interface PeopleDeps {
  readonly approvals: Approvals;
  readonly timeoutMs: number;
}

/** One tool offered to the agent and run host-side. */
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
  /** False for a call that only reads; without it, every call counts as a write. */
  writes?(name: string, args: unknown): boolean;
}

export interface SessionSpec {
  /** Absolute canonical path of the workspace: the only directory the agent may run in. */
  readonly workspace: string;
  /** `<identifier>: <title>`. */
  readonly title: string;
  /** The cookie by which every process of the run is found again; unique on this machine. */
  readonly runId: string;
  readonly model: string | null;
  /** A thread to go on with; when the agent refuses it, a new one is started. */
  readonly resumeThreadId: string | null;
  /** An earlier server began the attempt, and a lasting agent works on at `resumeThreadId`. */
  readonly adoption?: Adoption;
  readonly tools: AgentTools;
  /** Names of environment variables the agent must never see. */
  readonly secretEnvNames: readonly string[];
  readonly people: PeopleDeps;
  /** What the agent's commands may reach. */
  readonly level: AgentConfig["level"];
  onEvent(event: AgentEvent): void;
  /** One line of the agent's stderr or stray output, for the log. */
  onLog(line: string): void;
}

export interface Adoption {
  /** As `DetachableSession.host` named it. */
  readonly host: string;
  /** When it was heard last; what it did since is told now. */
  readonly sinceWall: number;
  /** Guidance that may have been taken up meanwhile. */
  readonly steerIds: readonly string[];
}

export interface TurnOptions {
  readonly model: string | null;
  /** Reasoning effort, such as `high`; left to the agent without one. */
  readonly effort?: string | null;
}

/** One way to run a coding agent; each has a folder of its own beside this file. */
export interface AgentRuntime {
  readonly kind: string;
  /** Rejects with why no session could be started now: a missing key, a sandbox that does not work. */
  check?(level: AgentConfig["level"]): Promise<void>;
  /**
   * Starts the agent and opens (or resumes) its thread. Rejects with `codex_not_found`, `agent_not_found`, `port_exit`,
   * `response_timeout` or `response_error`; by then no process of it is left. Aborting `signal` ends it.
   */
  start(spec: SessionSpec, signal: AbortSignal): Promise<AgentSession>;
}

/** A live agent holding one thread. Disposing it ends every process of the run. */
export interface AgentSession extends AsyncDisposable {
  readonly threadId: string;
  /** True when `resumeThreadId` was taken up. */
  readonly resumed: boolean;
  readonly pid: number | null;
  /**
   * Runs one turn to its end. Rejects with `turn_failed`, `turn_cancelled`, `turn_timeout` (silence),
   * `port_exit`, `line_too_long`, `approval_required` or `turn_input_required` (its `details.needs`).
   */
  turn(prompt: string, options: TurnOptions): Promise<void>;
  /** Guidance for the turn in flight; resolves once the agent accepted it. Rejects with `no_active_turn`. */
  steer(steerId: string, message: string): Promise<{ readonly turnId: string }>;
  /** Hands on what a person said. Throws `nothing_asked`, or `invalid_request` when it does not fit the ask. */
  answer(askId: string, answer: Answer): void;
  /** Asks the agent to end the turn in flight; does nothing without one. */
  interrupt(): Promise<void>;
  /** Where the agent outlives this server. */
  readonly lasting?: DetachableSession;
}

/** What an agent that outlives the server can do beside. */
export interface DetachableSession {
  /** By which the next server finds the agent that holds the thread. */
  readonly host: string;
  /** Waits for the end of the thread's last turn, as `turn` does; false when it never had one. */
  follow(): Promise<boolean>;
  /** Lets go: the turn in flight goes on, disposing ends nothing any more. */
  detach(): void;
}

/** The agents of one kind that outlive servers, as recovery needs them; `host` is `DetachableSession.host`. */
export interface OutlivingHosts {
  /** Whether the agent runs. */
  has(host: string): boolean;
  /** The agent has the thread: for a while no other one may write to it. */
  remember(host: string, threadId: string): void;
  /** The agent works on the run, so that it is not ended as unused. */
  hold(host: string, runId: string): void;
  /** Ends what the agent still does for a run on its thread. */
  endThread(
    host: string,
    run: { readonly threadId: string; readonly runId: string },
  ): Promise<void>;
  /** Takes up what an earlier server left; where none may outlive a server any more (`isOn` false), all of it is ended. */
  restore(isOn: boolean, signal: AbortSignal | undefined): Promise<void>;
  /** Ends the agents that no run needs; the others live on for their limit. */
  close(): Promise<void>;
}

/** What the agents that outlive servers are opened with. */
export interface HostsDeps {
  readonly dataDir: string;
  readonly clock: Clock;
  /** Something an operator should know. */
  onTrouble(message: string): void;
}

/** What is looked at before a server promises that turns outlive its restart. */
export interface RestartContext {
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly platform?: NodeJS.Platform;
  /** Ends what is asked, and rejects with its reason. */
  readonly signal?: AbortSignal;
}

export interface Model {
  readonly id: string;
  readonly ownedBy: string | null;
  /** Wall-clock ms; null where the provider does not say. */
  readonly createdAt: number | null;
}

/** Opens `session` and resolves with it. When that fails, or `signal` is aborted meanwhile, nothing of it is left. */
export async function openOrClose<S extends AgentSession & { open(): Promise<void> }>(
  session: S,
  signal: AbortSignal,
): Promise<S> {
  signal.addEventListener("abort", () => void session[Symbol.asyncDispose](), { once: true });
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

/** Why a provider could not be asked, in one word for programs. */
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

/** A refusal that never holds what the provider wrote: some repeat the key they were given. */
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
