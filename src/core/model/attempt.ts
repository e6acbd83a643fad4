/** The phase of a live attempt. */
export type Phase =
  | "preparing_workspace"
  | "building_prompt"
  | "launching_agent"
  | "initializing_session"
  | "streaming_turn"
  | "finishing";

export type AttemptStatus =
  | "preparing"
  | "running"
  | "succeeded"
  /** It ended well and left nothing new. */
  | "no_changes"
  | "failed"
  | "timed_out"
  | "stalled"
  | "canceled"
  | "interrupted";

/** Absolute token counts, as an agent reports them for one thread. */
export interface Tokens {
  readonly input: number;
  readonly cachedInput: number;
  readonly output: number;
  readonly reasoningOutput: number;
  readonly total: number;
}

export const noTokens: Tokens = {
  input: 0,
  cachedInput: 0,
  output: 0,
  reasoningOutput: 0,
  total: 0,
};

/** One run of an agent on an issue, as the history keeps it. Times are ms since the epoch. */
export interface Attempt {
  /** `att_…`; ids sort by creation time and are never reused. */
  readonly id: string;
  readonly issueId: string;
  readonly issueIdentifier: string;
  /** 1-based count of this issue's attempts. */
  readonly number: number;
  readonly status: AttemptStatus;
  readonly phase: Phase;
  readonly agent: string;
  readonly model: string | null;
  readonly templateId: string | null;
  readonly workerHost: string | null;
  readonly threadId: string | null;
  readonly sessionId: string | null;
  readonly turnCount: number;
  readonly startedAt: number;
  readonly endedAt: number | null;
  /** What this attempt used. */
  readonly tokens: Tokens;
  /** The thread's own absolute totals as last reported: a resumed thread counts on from here. */
  readonly threadTokens: Tokens;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly workspaceKey: string | null;
  readonly workspacePath: string | null;
  readonly git: AttemptGit | null;
  /** null in records from before this was counted. */
  readonly idle: Idle | null;
}

/** How long an issue has made no progress, over all its attempts. */
export interface Idle {
  /** Turns in a row that changed neither the workspace nor the issue. */
  readonly turns: number;
  /** The issue as the last of these turns left it. */
  readonly issueMark: string;
}

export interface AttemptGit {
  readonly branch: string | null;
  readonly headBefore: string | null;
  readonly headAfter: string | null;
  readonly commits: number;
  readonly changedFiles: number;
}

/** What an agent waits for a person to answer. */
export interface Needs {
  readonly kind: "approval" | "question";
  readonly prompt: string;
  readonly options: readonly string[];
}

/** What a thread's new absolute `total` adds over its high-water `mark`; a decrease adds nothing (E-7). */
export function tokensAdded(mark: Tokens, total: Tokens): Tokens {
  return combine(mark, total, (old, now) => Math.max(now - old, 0));
}

/** The high-water mark after `total` was reported. */
export function highWater(mark: Tokens, total: Tokens): Tokens {
  return combine(mark, total, Math.max);
}

/** What both have counted. */
export function lowWater(mark: Tokens, total: Tokens): Tokens {
  return combine(mark, total, Math.min);
}

/** `a` without `b`; negative where `b` is larger. */
export function tokensWithout(a: Tokens, b: Tokens): Tokens {
  return combine(a, b, (x, y) => x - y);
}

export function addTokens(a: Tokens, b: Tokens): Tokens {
  return combine(a, b, (x, y) => x + y);
}

function combine(a: Tokens, b: Tokens, join: (x: number, y: number) => number): Tokens {
  return {
    input: join(a.input, b.input),
    cachedInput: join(a.cachedInput, b.cachedInput),
    output: join(a.output, b.output),
    reasoningOutput: join(a.reasoningOutput, b.reasoningOutput),
    total: join(a.total, b.total),
  };
}
