import { type ChildProcess, spawn } from "node:child_process";
import { readdir, statfs } from "node:fs/promises";
import { type Clock, systemClock } from "../../clock.ts";
import { messageOf } from "../../model/errors.ts";
import { within } from "../process.ts";
import {
  killGroupAtExit,
  liveProcesses,
  type ProcessEntry,
  signalProcess,
} from "../process-table.ts";
import { HeadTail } from "./head-tail.ts";

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
const lookEveryMs = 250;

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
    this.#cancelLook = systemClock.after(lookEveryMs, () => void this.#look(limits));
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
