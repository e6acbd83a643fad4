import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readdir, statfs } from "node:fs/promises";
import { type Clock, systemClock } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { runCookie } from "./environment.ts";
import { within } from "./program.ts";
import {
  killGroupAtExit,
  killMatching,
  liveProcesses,
  type ProcessEntry,
  signalProcess,
} from "./table.ts";

/** Kills what is left of the process, its group and everything with its run cookie. */
export async function endTree(child: ChildProcess, runId: string): Promise<void> {
  const { pid } = child;
  if (pid === undefined) return;
  const leads = child.exitCode === null && child.signalCode === null;
  // With the leader gone its number may be anybody's, so where processes can be looked at they are.
  if (leads || process.platform !== "linux") signalProcess(-pid, "SIGKILL");
  await killMatching((entry) => entry.groupId === pid || entry.runId === runId, killLimitMs);
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

export const killLimitMs = 2_000;

export const maxOutputBytes = 2048;

export interface CommandOptions {
  readonly argv: readonly string[];
  readonly cwd: string;
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly outputBytes: number;
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  /** Beyond these the command is killed. */
  readonly limits?: CommandLimits;
  onOutput?(): void;
}

export interface CommandLimits {
  /** The cookie of the processes that count, beside those the command started. */
  readonly runId: string;
  readonly processes: number;
  /** Of the disk that holds `cwd`. */
  readonly leastFreeBytes: number;
}

export interface CommandEnd {
  /** null when it was killed or could not be started. */
  readonly exitCode: number | null;
  /** Both streams in the order they came, the middle left out when it was long. */
  readonly output: string;
  readonly stoppedFor: "time" | "processes" | "disk" | "interrupt" | null;
}

const drainMs = 1_000;
const checkEveryMs = 250;

/** Runs one command to its end, or kills it and its process group. Never rejects. */
export async function runCommand(options: CommandOptions): Promise<CommandEnd> {
  const { argv, cwd, env, outputBytes, signal } = options;
  const kept = new HeadTail(outputBytes);
  const [file = "", ...args] = argv;
  if (signal?.aborted) return { exitCode: null, output: "", stoppedFor: "interrupt" };
  const child = spawn(file, args, { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  const forgetGroup = killGroupAtExit(child);
  const hear = (chunk: Buffer) => {
    kept.push(chunk);
    options.onOutput?.();
  };
  child.stdout.on("data", hear);
  child.stderr.on("data", hear);
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const watch = new Watch(child, options);
  const failure = await exitOf(child);
  // What it left behind in its group holds the pipes and has no business any more.
  watch.kill();
  await within(closed, drainMs);
  child.stdout.destroy();
  child.stderr.destroy();
  watch.stop();
  forgetGroup();
  if (failure !== null) kept.push(Buffer.from(failure));
  const exitCode = failure === null ? child.exitCode : null;
  return { exitCode, output: kept.text(), stoppedFor: watch.stoppedFor };
}

/** Resolves at the exit; with words when it could not be started. */
function exitOf(child: ChildProcess): Promise<string | null> {
  return new Promise((resolve) => {
    child.once("exit", () => resolve(null));
    child.once("error", (error) =>
      resolve(`the command could not be started: ${messageOf(error)}`),
    );
  });
}

/** Ends a command that takes too long, multiplies, or is not wanted any more. */
class Watch {
  stoppedFor: CommandEnd["stoppedFor"] = null;
  readonly #child: ChildProcess;
  readonly #options: CommandOptions;
  readonly #clock: Clock;
  readonly #cancelTime: () => void;
  #cancelLook: () => void = () => {};
  #stopped = false;

  constructor(child: ChildProcess, options: CommandOptions) {
    this.#child = child;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#cancelTime = this.#clock.after(options.timeoutMs, () => this.#end("time"));
    options.signal?.addEventListener("abort", this.#interrupted);
    if (options.limits) this.#lookLater(options.limits);
  }

  kill(): void {
    const { pid } = this.#child;
    if (pid !== undefined) signalProcess(-pid, "SIGKILL");
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTime();
    this.#cancelLook();
    this.#options.signal?.removeEventListener("abort", this.#interrupted);
  }

  readonly #interrupted = () => this.#end("interrupt");

  #end(reason: NonNullable<CommandEnd["stoppedFor"]>): void {
    this.stoppedFor ??= reason;
    this.kill();
  }

  #lookLater(limits: CommandLimits): void {
    this.#cancelLook = systemClock.after(checkEveryMs, () => void this.#look(limits));
  }

  async #look(limits: CommandLimits): Promise<void> {
    const { runId, processes, leastFreeBytes } = limits;
    // The cheap look first: the names alone.
    const names = await readdir("/proc").catch(() => []);
    if (names.length > processes) {
      const ours = runProcesses(await liveProcesses(), runId, this.#child.pid ?? -1);
      if (ours > processes) this.#end("processes");
    }
    const disk = await statfs(this.#options.cwd).catch(() => null);
    if (disk && disk.bavail * disk.bsize < leastFreeBytes) this.#end("disk");
    if (!this.#stopped) this.#lookLater(limits);
  }
}

/** Those with the cookie, and what descends from `root`: a cookie can be thrown away, a parent cannot. */
function runProcesses(entries: readonly ProcessEntry[], runId: string, root: number): number {
  const parents = new Map(entries.map(({ pid, parentPid }) => [pid, parentPid]));
  const descends = (pid: number) => {
    let at: number | undefined = pid;
    for (let steps = 0; at !== undefined && at > 1 && steps < 1_000; steps++) {
      if (at === root) return true;
      at = parents.get(at);
    }
    return false;
  };
  return entries.filter((entry) => entry.runId === runId || descends(entry.pid)).length;
}

/** Keeps the beginning and the end of an output, however long it grows. */
export class HeadTail {
  readonly #half: number;
  readonly #head: Buffer[] = [];
  #headBytes = 0;
  #tail: Buffer[] = [];
  #tailBytes = 0;
  #dropped = 0;

  constructor(maxBytes: number) {
    this.#half = Math.max(1, Math.floor(maxBytes / 2));
  }

  push(chunk: Buffer): void {
    const room = this.#half - this.#headBytes;
    const first = chunk.subarray(0, Math.max(room, 0));
    if (first.length > 0) {
      this.#head.push(first);
      this.#headBytes += first.length;
    }
    const rest = chunk.subarray(first.length);
    if (rest.length === 0) return;
    this.#tail.push(rest);
    this.#tailBytes += rest.length;
    if (this.#tailBytes > 4 * this.#half + 65_536) this.#trim();
  }

  text(): string {
    this.#trim();
    const head = Buffer.concat(this.#head).toString("utf8");
    const tail = Buffer.concat(this.#tail).toString("utf8");
    const gap = this.#dropped > 0 ? `\n[... ${this.#dropped} bytes left out ...]\n` : "";
    return gap === ""
      ? Buffer.concat([...this.#head, ...this.#tail]).toString("utf8")
      : head + gap + tail;
  }

  #trim(): void {
    if (this.#tailBytes <= this.#half) return;
    const all = Buffer.concat(this.#tail);
    const kept = Buffer.from(all.subarray(all.length - this.#half));
    this.#dropped += all.length - kept.length;
    this.#tail = [kept];
    this.#tailBytes = kept.length;
  }
}

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
    status = await gitExitOf(child, call.signal);
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

async function gitExitOf(child: ChildProcess, signal: AbortSignal): Promise<number | null> {
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
