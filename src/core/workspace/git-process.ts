import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { runCookie } from "../agent/environment.ts";
import { within } from "../agent/process.ts";
import { killGroupAtExit } from "../agent/process-table.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { endTree, OutputTail } from "./hooks.ts";

export interface GitCall {
  readonly args: readonly string[];
  readonly cwd: string;
  /** The whole environment, a run cookie included. */
  readonly env: Readonly<Record<string, string>>;
  /** Aborting it ends git and all that it started. */
  readonly signal: AbortSignal;
  /** Told of each line of what git says beside its output, progress included. */
  onLine(line: string): void;
}

export interface GitResult {
  /** null: a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  /** The end of what it said beside its output. */
  readonly said: string;
}

const maxOutputChars = 64 * 1024;
const drainLimitMs = 1_000;

/** Runs git to its end; no process of it is left then. Rejects with `git_not_found`, or the signal's reason. */
export async function runGit(call: GitCall): Promise<GitResult> {
  call.signal.throwIfAborted();
  const runId = `${call.env[runCookie] ?? "git"}/git-${randomUUID()}`;
  const child = spawn("git", [...call.args], {
    cwd: call.cwd,
    env: { ...call.env, [runCookie]: runId },
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const forgetGroup = killGroupAtExit(child);
  const read = listen(child, call.onLine);
  const closed = Promise.withResolvers<void>();
  child.once("close", () => closed.resolve());
  child.once("error", () => closed.resolve());
  let status: number | null;
  try {
    status = await exitOf(child, call.signal);
  } finally {
    await endTree(child, runId);
    forgetGroup();
    await within(closed.promise, drainLimitMs);
    child.stdout?.destroy();
    child.stderr?.destroy();
  }
  return { status, ...read() };
}

function listen(child: ChildProcess, onLine: (line: string) => void) {
  const said = new OutputTail();
  let stdout = "";
  let begun = "";
  child.stdout?.setEncoding("utf8").on("data", (part: string) => {
    stdout = (stdout + part).slice(0, maxOutputChars);
  });
  child.stderr?.on("data", (part: Buffer) => {
    said.push(part);
    // Progress overwrites its line: each state of it ends with a carriage return.
    const lines = (begun + part.toString("latin1")).split(/[\r\n]+/);
    begun = (lines.pop() ?? "").slice(-1_000);
    for (const line of lines) onLine(line);
  });
  return () => ({ stdout, said: said.text() });
}

async function exitOf(child: ChildProcess, signal: AbortSignal): Promise<number | null> {
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  const abort = () => reject(signal.reason);
  child.once("error", (cause) => reject(notStarted(cause)));
  child.once("exit", (status) => resolve(status));
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await promise;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function notStarted(cause: unknown): SymphonyError {
  return new SymphonyError("git_not_found", `git could not be started: ${messageOf(cause)}`, {
    cause,
    hint: "install git and make sure that it is in PATH",
  });
}
