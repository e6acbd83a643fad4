import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { runCookie } from "../agent/environment.ts";
import { within } from "../agent/process.ts";
import { killGroupAtExit, killMatching, signalProcess } from "../agent/process-table.ts";
import type { Clock } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";

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

const maxOutputBytes = 2048;
const killLimitMs = 2_000;
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
  const ending = await endingOf(child, run);
  await endTree(child, runId);
  forgetGroup();
  await within(closed.promise, drainLimitMs);
  child.stdout?.destroy();
  child.stderr?.destroy();
  const fault = faultOf(ending, run, output.text());
  if (fault) throw fault;
  return output.text();
}

type Ending =
  | { readonly type: "exit"; readonly status: number | null; readonly signal: string | null }
  | { readonly type: "timeout" }
  | { readonly type: "aborted" }
  | { readonly type: "error"; readonly cause: unknown };

function start(run: HookRun, runId: string): ChildProcess {
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

async function endingOf(child: ChildProcess, run: HookRun): Promise<Ending> {
  const { promise, resolve } = Promise.withResolvers<Ending>();
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

/** Kills what is left of the process, its group and everything with its run cookie. */
export async function endTree(child: ChildProcess, runId: string): Promise<void> {
  const { pid } = child;
  if (pid === undefined) return;
  const leads = child.exitCode === null && child.signalCode === null;
  // With the leader gone its number may be anybody's, so where processes can be looked at they are.
  if (leads || process.platform !== "linux") signalProcess(-pid, "SIGKILL");
  await killMatching((entry) => entry.groupId === pid || entry.runId === runId, killLimitMs);
}

function faultOf(ending: Ending, run: HookRun, output: string): SymphonyError | null {
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

/** The end of what was written, where a failing script says why it failed. */
export class OutputTail {
  #kept: Buffer = Buffer.alloc(0);
  #total = 0;

  push(chunk: Buffer): void {
    this.#total += chunk.length;
    this.#kept = Buffer.concat([this.#kept, chunk.subarray(-maxOutputBytes)]).subarray(
      -maxOutputBytes,
    );
  }

  text(): string {
    const left = this.#total - this.#kept.length;
    if (left === 0) return this.#kept.toString();
    // The cut may have gone through a character.
    const start = this.#kept.findIndex((byte) => (byte & 0xc0) !== 0x80);
    return `[${left} bytes left out] ${this.#kept.subarray(Math.max(start, 0)).toString()}`;
  }
}
