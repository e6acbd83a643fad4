import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { type Clock, within } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { displayText } from "../text/text.ts";
import {
  type Bounds,
  boundLines,
  fileLimitError,
  limitError,
  memoryLimitError,
  watchBounds,
} from "./bounds.ts";
import { type ControlGroup, groupOf } from "./cgroup.ts";
import { LineSplitter, type LineSplitterOptions, maxLineBytes } from "./lines.ts";
import { killMatching } from "./table.ts";
import { type ProcessExit, ProcessTree } from "./tree.ts";

// Uses Node's own spawn: a long-lived program is read line by line while it runs, and detached
// programs outlive this process. One-shot programs are in run.ts.

const logLineBytes = 1000;
const termGraceMs = 3_000;
/** How long a process may continue after its output was closed before it is stopped. */
const silentGraceMs = 1_000;
const maxUnsentBytes = 16 * 1024 * 1024;
const commandNotFound = 127;

/** What is known of a command that was not found. */
export interface Complaint {
  /** The last lines of stderr. */
  readonly errors: readonly string[];
  /** PATH of the process. */
  readonly path: string;
  /** The command ran in the sandbox. */
  readonly isConfined: boolean;
}

const keptErrors = 10;

export interface AgentProcessOptions {
  /** A shell line, run as `bash -c`: `env` is that of a login already; or a program and its arguments, which no shell interprets. */
  readonly line: string | readonly string[];
  readonly cwd: string;
  /** The whole environment, including the run cookie. */
  readonly env: Readonly<Record<string, string>>;
  readonly runId: string;
  /** What it may use of the machine; absent: no limit of its own. */
  readonly bounds?: Bounds | undefined;
  /** Time between SIGTERM and SIGKILL; 3,000 ms if omitted. */
  readonly graceMs?: number;
  /** The error for a command that was not found (exit 127), null: an exit like others; codex's own error if omitted. */
  notFound?(complaint: Complaint): SymphonyError | null;
  /** What a line of more than `maxLineBytes` does; `fail`, which ends the process, if omitted. */
  readonly overflow?: LineSplitterOptions["overflow"];
  /** The longest line of stdout, bytes; `maxLineBytes` if omitted. */
  readonly maxBytes?: number;
  onLine(line: string): void;
  onStderr(line: string): void;
  /**
   * Called once, after the last line: `port_exit`, `codex_not_found` or `notFound` (exit 127),
   * `line_too_long` or `agent_limit`. Everything that the process wrote before its exit has been passed to `onLine`.
   */
  onEnd(error: SymphonyError): void;
}

/**
 * Kills every process of this machine whose run cookie `isOurs` accepts, and resolves with their
 * number. Called when a server starts, before it dispatches: these are the orphans of a server that
 * crashed.
 */
export async function sweepRuns(isOurs: (runId: string) => boolean): Promise<number> {
  return killMatching(({ runId }) => runId !== null && isOurs(runId));
}

/**
 * An agent's process and everything that it starts: one process group, identified by the run
 * cookie.
 */
export class AgentProcess {
  readonly #options: AgentProcessOptions;
  readonly #child: ChildProcess;
  readonly #tree: ProcessTree;
  readonly #lines: LineSplitter;
  readonly #errors: string[] = [];
  readonly #group: ControlGroup | null;
  #ended = false;
  #stopping: Promise<void> | null = null;
  #unwatch: () => void = () => {};

  constructor(options: AgentProcessOptions) {
    this.#options = options;
    this.#lines = new LineSplitter({
      maxBytes: options.maxBytes ?? maxLineBytes,
      overflow: options.overflow ?? "fail",
      onLine: options.onLine,
      onSkip: () => options.onStderr(`a line of more than ${maxLineBytes} bytes was left out`),
    });
    const { bounds, line } = options;
    this.#group = bounds && typeof line === "string" ? groupOf(bounds) : null;
    const [file = "", ...args] =
      typeof line === "string"
        ? [
            "bash",
            "-c",
            [this.#group?.line ?? [], bounds ? boundLines(bounds) : [], line].flat().join("\n"),
          ]
        : line;
    this.#child = spawn(file, args, {
      cwd: options.cwd,
      env: options.env,
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#tree = new ProcessTree(this.#child, options.runId);
    this.#watch();
  }

  get pid(): number | null {
    return this.#child.pid ?? null;
  }

  /**
   * Writes to the agent's stdin. The text is lost when the agent does not read it or has exited.
   */
  write(text: string): void {
    const { stdin } = this.#child;
    if (stdin?.writable && stdin.writableLength < maxUnsentBytes) stdin.write(text);
  }

  /** Closes the agent's stdin. */
  endInput(): void {
    this.#child.stdin?.end();
  }

  /**
   * Ends the whole tree: closes stdin, sends SIGTERM to the group and SIGKILL after the grace
   * period, then kills processes that left the group. Resolves when no process is left, in bounded
   * time. Further calls have no effect.
   */
  stop(): Promise<void> {
    this.#child.stdin?.end();
    this.#stopping ??= this.#whole(this.#options.graceMs ?? termGraceMs);
    return this.#stopping;
  }

  async #whole(graceMs: number): Promise<void> {
    await this.#tree.end(graceMs);
    await this.#group?.end();
  }

  #watch(): void {
    const child = this.#child;
    child.stdout?.on("data", (chunk: Buffer) => this.#read(chunk));
    child.stdout?.once("end", () => void this.#outputEnded());
    child.stdin?.on("error", () => {});
    const { onStderr } = this.#options;
    const log = new LineSplitter({
      maxBytes: logLineBytes,
      overflow: "cut",
      onLine: (line) => {
        if (this.#errors.push(displayText(line, logLineBytes)) > keptErrors) this.#errors.shift();
        onStderr(displayText(line, logLineBytes));
      },
    });
    child.stderr?.on("data", (chunk: Buffer) => log.push(chunk));
    child.stderr?.once("end", () => log.end());
    void this.#tree.exited.then((exit) => this.#exitSeen(exit));
    this.#unwatch = this.#bounded();
  }

  #bounded(): () => void {
    const { bounds, runId, cwd: workspace } = this.#options;
    const root = this.#child.pid;
    if (!bounds || root === undefined) return () => {};
    return watchBounds({
      ...{ bounds, runId, root, workspace, group: this.#group },
      exceeded: (_, text) => {
        this.#end(limitError(text));
        // What floods the machine gets no time to end by itself.
        this.#stopping ??= this.#whole(0);
      },
    });
  }

  #read(chunk: Buffer): void {
    if (this.#ended) return;
    try {
      this.#lines.push(chunk);
    } catch (error) {
      if (!(error instanceof SymphonyError)) throw error;
      this.#child.stdout?.destroy();
      this.#end(error);
      void this.stop();
    }
  }

  async #exitSeen({ status, signal, failure: cause }: ProcessExit): Promise<void> {
    if (cause !== null) {
      void this.#group?.end();
      const message = `the agent's process could not be started: ${messageOf(cause)}`;
      this.#end(new SymphonyError("port_exit", message, { cause }));
      return;
    }
    // The leader has exited, so the rest of its tree is killed immediately. This also closes its
    // pipes; only then has all output been read.
    void this.stop();
    await this.#tree.drained();
    if (!this.#ended) this.#lines.end();
    // A process that was not found may still hold the other ends, and must not keep this one alive.
    for (const stream of this.#child.stdio) stream?.destroy();
    const { line, env, notFound, bounds } = this.#options;
    const isConfined = /\b(?:bwrap|sandbox-exec)\b/.test(String(line));
    const complaint = { errors: this.#errors, path: env["PATH"] ?? "", isConfined };
    const missing = status === commandNotFound ? (notFound ?? codexNotFound)(complaint) : null;
    const large = bounds ? fileLimitError(bounds, { status, signal }) : null;
    const full = bounds && status !== 0 ? memoryLimitError(bounds, this.#group) : null;
    this.#end(missing ?? large ?? full ?? exitError(status, signal));
  }

  async #outputEnded(): Promise<void> {
    await within(this.#tree.exited, silentGraceMs);
    void this.stop();
  }

  #end(error: SymphonyError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#unwatch();
    this.#options.onEnd(error);
  }
}

function codexNotFound(): SymphonyError {
  const message = "the agent's command was not found: install it, or set codex.command";
  return new SymphonyError("codex_not_found", message, {
    details: { status: commandNotFound, signal: null },
    hint: "install codex, or set codex.command to its path",
  });
}

function exitError(status: number | null, signal: NodeJS.Signals | null): SymphonyError {
  const details = { status, signal };
  const how = signal === null ? `with status ${status}` : `by signal ${signal}`;
  return new SymphonyError("port_exit", `the agent's process ended ${how}`, { details });
}

export interface DetachedOptions {
  readonly argv: readonly string[];
  readonly cwd: string;
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  /** A file that receives both streams; its previous content is overwritten. */
  readonly log: string;
}

/** A program that outlives this process. */
export interface Detached {
  /** The leader of its group; null when it could not be started. */
  readonly pid: number | null;
  /** Aborts when it exits, or could not be started. */
  readonly ended: AbortSignal;
}

/**
 * Starts a program in its own session, so that it continues when this process exits. Nothing kills
 * it at that exit, and its output is not read. The caller has to record how to find and end it.
 */
export function startDetached({ argv, cwd, env, log }: DetachedOptions): Detached {
  const [file = "", ...args] = argv;
  const output = openSync(log, "w", 0o600);
  const ended = new AbortController();
  try {
    const child = spawn(file, args, {
      cwd,
      env,
      detached: true,
      stdio: ["ignore", output, output],
    });
    child.once("exit", () => ended.abort());
    child.once("error", () => ended.abort());
    child.unref();
    return { pid: child.pid ?? null, ended: ended.signal };
  } finally {
    closeSync(output);
  }
}

interface Listener {
  /** True while the agent waits for an answer from outside: this silence does not count. */
  waits(): boolean;
  onSilence(): void;
}

/**
 * Calls `onSilence` once when nothing was received for `limitMs`. A received line starts no timer.
 */
export class SilenceWatch {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #listener: Listener;
  #receivedAt: number;
  #cancel: () => void;

  constructor(clock: Clock, limitMs: number, listener: Listener) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#listener = listener;
    this.#receivedAt = clock.now();
    this.#cancel = clock.after(limitMs, () => this.#check());
  }

  received(): void {
    this.#receivedAt = this.#clock.now();
  }

  stop(): void {
    this.#cancel();
  }

  #check(): void {
    if (this.#listener.waits()) this.received();
    const left = this.#receivedAt + this.#limitMs - this.#clock.now();
    if (left > 0) this.#cancel = this.#clock.after(left, () => this.#check());
    else this.#listener.onSilence();
  }
}
