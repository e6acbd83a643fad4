import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import type { Clock } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { runCookie } from "../process/environment.ts";
import { within } from "../process/program.ts";
import { endTree, OutputTail } from "../process/run.ts";
import { killGroupAtExit } from "../process/table.ts";

export type HookName = "after_create" | "before_run" | "after_run" | "before_remove";

export interface HookRun {
  readonly hook: HookName;
  readonly script: string;
  /** The workspace. */
  readonly cwd: string;
  /** Everything the hook inherits; its issue and workspace are added. */
  readonly env: Readonly<Record<string, string>>;
  readonly issue: { readonly id: string; readonly identifier: string } | null;
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** Aborting it ends the hook. */
  readonly signal: AbortSignal;
}

const drainLimitMs = 1_000;

/**
 * Runs `sh -lc <script>` in the workspace and resolves with the end of its output (2,048 bytes, stderr
 * merged in). Rejects with `hook_timeout` or `hook_failed`, the output in `details`. Either way no process
 * that the hook started is left: what it put in the background ends with it.
 */
export async function runHook(run: HookRun): Promise<string> {
  if (run.signal.aborted) throw stopped(run, "");
  const runId = [run.env[runCookie] ?? [], `hook-${randomUUID()}`].flat().join("/");
  const child = start(run, runId);
  const forgetGroup = killGroupAtExit(child);
  const output = new OutputTail();
  child.stdout?.on("data", (chunk: Buffer) => output.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => output.push(chunk));
  const closed = Promise.withResolvers<void>();
  child.once("close", () => closed.resolve());
  const ending = await outcomeOf(child, run);
  await endTree(child, runId);
  forgetGroup();
  await within(closed.promise, drainLimitMs);
  child.stdout?.destroy();
  child.stderr?.destroy();
  const fault = faultOf(ending, run, output.text());
  if (fault) throw fault;
  return output.text();
}

type HookOutcome =
  | { readonly type: "exit"; readonly status: number | null; readonly signal: string | null }
  | { readonly type: "timeout" }
  | { readonly type: "aborted" }
  | { readonly type: "error"; readonly cause: unknown };

export function start(run: HookRun, runId: string): ChildProcess {
  try {
    return spawn("sh", ["-lc", run.script], {
      cwd: run.cwd,
      env: environmentOf(run, runId),
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
  } catch (cause) {
    throw notStarted(run, cause);
  }
}

/** An issue's text reaches a hook only as the value of a variable, never as a part of a shell line. */
function environmentOf({ env, issue, cwd }: HookRun, runId: string): Record<string, string> {
  const own = issue && {
    SYMPHONY_ISSUE_ID: withoutNul(issue.id),
    SYMPHONY_ISSUE_IDENTIFIER: withoutNul(issue.identifier),
  };
  return { ...env, ...own, SYMPHONY_WORKSPACE: cwd, [runCookie]: runId };
}

function withoutNul(text: string): string {
  return text.replaceAll("\0", "");
}

async function outcomeOf(child: ChildProcess, run: HookRun): Promise<HookOutcome> {
  const { promise, resolve } = Promise.withResolvers<HookOutcome>();
  const abort = () => resolve({ type: "aborted" });
  child.once("error", (cause) => resolve({ type: "error", cause }));
  child.once("exit", (status, signal) => resolve({ type: "exit", status, signal }));
  const cancel = run.clock.after(run.timeoutMs, () => resolve({ type: "timeout" }));
  run.signal.addEventListener("abort", abort, { once: true });
  try {
    return await promise;
  } finally {
    cancel();
    run.signal.removeEventListener("abort", abort);
  }
}

function faultOf(ending: HookOutcome, run: HookRun, output: string): SymphonyError | null {
  switch (ending.type) {
    case "exit":
      return ending.status === 0 ? null : failed(ending, run, output);
    case "timeout":
      return new SymphonyError(
        "hook_timeout",
        `${run.hook} did not end within ${run.timeoutMs} ms and was killed`,
        { details: { hook: run.hook, timeoutMs: run.timeoutMs, output } },
      );
    case "aborted":
      return stopped(run, output);
    case "error":
      return notStarted(run, ending.cause);
  }
}

function failed(
  { status, signal }: { status: number | null; signal: string | null },
  { hook }: HookRun,
  output: string,
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
