import type { Clock } from "../clock.ts";
import type { HooksConfig } from "../config/config.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { IssueName } from "../model/issue.ts";
import { type CommandEnd, runCommand } from "../process/run.ts";

export type HookName = "after_create" | "before_run" | "after_run" | "before_remove";

/** The attempt that a hook runs for. */
export interface HookAttempt {
  readonly attemptId: string;
  readonly issue: IssueName;
  /** null on a first run, else the retry number. */
  readonly attempt: number | null;
}

/** How the attempt ended, for `after_run`. */
export interface HookOutcome {
  readonly kind: "completed" | "failed" | "needs" | "stopped";
  /** The error's code, unless it was completed or stopped. */
  readonly code?: string;
}

export interface HookRun {
  readonly hook: HookName;
  readonly script: string;
  /** The workspace. */
  readonly cwd: string;
  /**
   * Everything the hook inherits; its issue, workspace and attempt are added. The directory in `commandVariable` comes
   * first in the hook's PATH.
   */
  readonly env: Readonly<Record<string, string>>;
  readonly issue: IssueName | null;
  readonly attempt?: HookAttempt;
  readonly outcome?: HookOutcome;
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** Aborting it ends the hook. */
  readonly signal: AbortSignal;
}

/** A hook on another machine; `script` null: there is none, only what belongs to it. */
export type AwayRun = Omit<HookRun, "script" | "env"> & { readonly script: string | null };

const maxOutputBytes = 2_048;

/** The variable that names the directory of the `symphony` command that belongs to this server. */
export const commandVariable = "SYMPHONY_BIN";

/**
 * Runs `sh -c <script>` in the workspace and resolves with the end of its output (2,048 bytes, stderr
 * merged in). Rejects with `hook_timeout` or `hook_failed`, the output in `details`. Either way no process
 * that the hook started is left: what it put in the background ends with it.
 */
export async function runHook(run: HookRun): Promise<string> {
  const { cwd, timeoutMs, clock, signal } = run;
  const end = await runCommand({
    argv: ["sh", "-c", run.script],
    env: environmentOf(run),
    name: "hook",
    outputBytes: maxOutputBytes,
    keep: "end",
    ...{ cwd, timeoutMs, clock, signal },
  });
  const fault = faultOf(end, run);
  if (fault) throw fault;
  return end.output;
}

/** An issue's text reaches a hook only as the value of a variable, never as a part of a shell line. */
function environmentOf(run: HookRun): Record<string, string> {
  const { PATH: path = "", [commandVariable]: bin } = run.env;
  const search = bin === undefined ? {} : { PATH: `${bin}:${path}` };
  return { ...run.env, ...search, ...hookVariables(run) };
}

/** The variables that describe the issue, workspace and attempt to a hook. */
export function hookVariables({
  issue,
  attempt,
  outcome,
  cwd,
}: Pick<HookRun, "issue" | "attempt" | "outcome" | "cwd">): Record<string, string> {
  const own = issue && {
    SYMPHONY_ISSUE_ID: withoutNul(issue.id),
    SYMPHONY_ISSUE_IDENTIFIER: withoutNul(issue.identifier),
  };
  const run = attempt && {
    SYMPHONY_ATTEMPT_ID: attempt.attemptId,
    SYMPHONY_ATTEMPT: String(attempt.attempt ?? 0),
  };
  const end = outcome && { SYMPHONY_OUTCOME: outcome.kind, SYMPHONY_ERROR: outcome.code ?? "" };
  return { ...own, ...run, ...end, SYMPHONY_WORKSPACE: cwd };
}

function withoutNul(text: string): string {
  return text.replaceAll("\0", "");
}

function faultOf(end: CommandEnd, run: HookRun): SymphonyError | null {
  const { output, failure, stoppedFor } = end;
  if (failure !== null) return notStarted(run, failure);
  if (stoppedFor === null) return end.exitCode === 0 ? null : hookFailed(run, end);
  if (stoppedFor !== "time") return stopped(run, output);
  return new SymphonyError(
    "hook_timeout",
    `${run.hook} did not end within ${run.timeoutMs} ms and was killed`,
    { details: { hook: run.hook, timeoutMs: run.timeoutMs, output } },
  );
}

/** Of a hook that ran to an end of its own. */
export function hookFailed(
  { hook }: Pick<HookRun, "hook">,
  { exitCode: status, signal, output }: Pick<CommandEnd, "exitCode" | "signal" | "output">,
): SymphonyError {
  const how = signal === null ? `with status ${status}` : `by signal ${signal}`;
  return new SymphonyError("hook_failed", `${hook} ended ${how}`, {
    details: { hook, status, signal, output },
  });
}

function stopped({ hook }: HookRun, output: string): SymphonyError {
  return new SymphonyError("hook_failed", `${hook} was stopped before it ended`, {
    details: { hook, aborted: true, output },
  });
}

function notStarted({ hook }: HookRun, cause: unknown): SymphonyError {
  return new SymphonyError("hook_failed", `${hook} could not be started: ${messageOf(cause)}`, {
    cause,
    details: { hook },
  });
}

/** The configured script; null for none. */
export function scriptOf(hook: HookName, hooks: HooksConfig): string | null {
  switch (hook) {
    case "after_create":
      return hooks.afterCreate;
    case "before_run":
      return hooks.beforeRun;
    case "after_run":
      return hooks.afterRun;
    case "before_remove":
      return hooks.beforeRemove;
  }
}
