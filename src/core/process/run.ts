// Programs: started, confined, limited, and ended together with their child processes.

import { type ChildProcess, spawn } from "node:child_process";
import { type Clock, systemClock } from "../clock.ts";
import { messageOf } from "../model/errors.ts";
import { type Bounded, type Limit, watchBounds } from "./bounds.ts";
import { type ControlGroup, groupOf } from "./cgroup.ts";
import { runCookie } from "./environment.ts";
import { earlierPids, isOfRun, killLimitMs, killMatching, partOf } from "./table.ts";
import { type ProcessExit, ProcessTree } from "./tree.ts";

/** Runs short programs: hooks, git, an agent's commands, probes. Long-lived ones: program.ts. */
export interface CommandOptions {
  /** The program and its arguments; no shell interprets them. */
  readonly argv: readonly string[];
  readonly cwd: string;
  /** The whole environment: nothing is inherited. A run cookie in it gets a suffix. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The name of the program in the cookie; `command` if omitted. */
  readonly name?: string;
  /** After this time the program is ended. */
  readonly timeoutMs: number;
  /** Measures `timeoutMs`; the machine's clock if omitted. */
  readonly clock?: Clock;
  /** Aborting it ends the program. */
  readonly signal?: AbortSignal;
  /** Written to stdin; if omitted, stdin is empty. */
  readonly input?: Buffer;
  /** Limit for the output that is kept. */
  readonly outputBytes: number;
  /** Which part of a longer output is kept; `ends`, half of the limit each, if omitted. */
  readonly keep?: Kept;
  /** What happens with a longer output: `cut` (default) drops the rest, `end` ends the program. */
  readonly overflow?: "cut" | "end";
  /** Keeps the last bytes of stderr separately; if omitted, they are kept in order with stdout. */
  readonly errorBytes?: number;
  /** `latin1`: each byte becomes one character. */
  readonly encoding?: "utf8" | "latin1";
  /** The program is ended when it exceeds these. */
  readonly limits?: CommandLimits;
  /** The series of calls that this call belongs to. */
  readonly series?: CommandSeries;
  onOutput?(chunk: Buffer, stream: "stdout" | "stderr"): void;
}

/** What the command, with everything else that has the cookie `runId`, may use. */
export type CommandLimits = Pick<Bounded, "runId" | "workspace" | "bounds">;

export interface CommandEnd {
  /** null when it was killed or could not be started. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
  /** stderr, when it is kept separately. */
  readonly errors: string;
  /** Why it was ended; null if it ended by itself. */
  readonly stoppedFor: "time" | Limit | "output" | "interrupt" | null;
  /** Why it could not be started; `output` ends with it. */
  readonly failure: Error | null;
}

/**
 * Runs one program in its own process group until it exits or is ended. Either way no process that
 * it started is left: neither in its group nor, on Linux, with its cookie. Never rejects.
 */
export async function runCommand(options: CommandOptions): Promise<CommandEnd> {
  const { env, name = "command", signal, series } = options;
  const start = series ? startPlainly : await loadExeca();
  const streams = new Streams(options);
  if (signal?.aborted) return streams.end({ stoppedFor: "interrupt" });
  const runId = series?.next() ?? partOf(env[runCookie], name);
  const group = options.limits ? groupOf(options.limits.bounds) : null;
  const argv = group
    ? ["bash", "-c", `${group.line}\nexec "$@"`, "bash", ...options.argv]
    : options.argv;
  let child: ChildProcess;
  try {
    const started = start({ ...options, argv }, { ...env, [runCookie]: runId });
    // Awaits only a promise: a program that cannot be started reports this on the next tick.
    child = started instanceof Promise ? await started : started;
  } catch (error) {
    await group?.end();
    const failure = error instanceof Error ? error : new Error(String(error));
    return streams.end({ exit: { status: null, signal: null, failure } });
  }
  const tree = new ProcessTree(child, runId);
  const watch = new Watch(child.pid, options, group);
  streams.listen(child, () => watch.end("output"));
  const exit = await Promise.race([tree.exited, watch.ended]);
  watch.stop();
  // Processes that it left behind still hold the pipes, so they are ended.
  if (series && exit) await tree.endGroup();
  else await tree.end();
  await group?.end();
  await tree.drained();
  streams.close(child);
  // It may have exited before all its output was read.
  const stoppedFor =
    exit === null
      ? watch.stoppedFor
      : exit.status !== 0 && group?.ranOutOfMemory()
        ? "memory"
        : streams.overflowed;
  return streams.end({ exit, stoppedFor });
}

/**
 * Short calls with one purpose, such as the ten calls that read the state of a repository. Their
 * cookies have a common part. Processes that left the group of their call are searched for once, at
 * the end of the series: reading every process takes longer than a call of git. Processes whose ids
 * existed before the series are skipped: an id is unlikely to be reused in such a short time.
 */
export class CommandSeries implements AsyncDisposable {
  readonly #runId: string;
  readonly #before: ReadonlySet<number>;
  #calls = 0;

  private constructor(runId: string, before: ReadonlySet<number>) {
    this.#runId = runId;
    this.#before = before;
  }

  /** `runId`: the cookie of the run that the series is a part of, if it has one. */
  static async begin(name: string, runId?: string): Promise<CommandSeries> {
    return new CommandSeries(partOf(runId, name), await earlierPids());
  }

  /** The cookie for the next call. */
  next(): string {
    this.#calls += 1;
    return `${this.#runId}/${this.#calls}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await killMatching(({ runId }) => isOfRun(runId, this.#runId), killLimitMs, this.#before);
  }
}

type Start = (
  options: CommandOptions,
  env: CommandOptions["env"],
) => ChildProcess | Promise<ChildProcess>;

/** execa is loaded with the first program: many command lines run none. */
async function loadExeca(): Promise<Start> {
  const { execa } = await import("execa");
  return async ({ argv: [file = "", ...args], cwd, input }, env) => {
    const running = execa(file, args, {
      cwd,
      env,
      extendEnv: false,
      detached: true,
      stdin: input === undefined ? "ignore" : "pipe",
      // Limits, time and the end of the whole tree are handled here, not by execa.
      buffer: false,
      cleanup: false,
      reject: false,
    });
    if (running.pid === undefined) throw (await running).cause;
    return running.nodeChildProcess;
  };
}

/**
 * Calls of a series use Node's own spawn: execa needs 1.3 ms more of this process for each call
 * (3.2 instead of 1.9 ms), and reading a workspace takes ten calls of 4 ms each.
 */
const startPlainly: Start = ({ argv: [file = "", ...args], cwd, input }, env) =>
  spawn(file, args, {
    cwd,
    env,
    detached: true,
    stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });

interface Outcome {
  /** null: it did not end by itself. */
  readonly exit?: ProcessExit | null;
  readonly stoppedFor?: CommandEnd["stoppedFor"];
}

/** The streams of a program. */
class Streams {
  readonly #options: CommandOptions;
  readonly #output: Output;
  readonly #errors: Output;

  constructor(options: CommandOptions) {
    const { outputBytes, keep = "ends", errorBytes } = options;
    this.#options = options;
    this.#output = new Output(outputBytes, keep);
    this.#errors = errorBytes === undefined ? this.#output : new Output(errorBytes, "end");
  }

  listen({ stdin, stdout, stderr }: ChildProcess, onOverflow: () => void): void {
    const { input, onOutput } = this.#options;
    const read = (from: ChildProcess["stdout"], output: Output, name: "stdout" | "stderr") =>
      from?.on("data", (chunk: Buffer) => {
        output.push(chunk);
        if (this.overflowed !== null) onOverflow();
        onOutput?.(chunk, name);
      });
    read(stdout, this.#output, "stdout");
    read(stderr, this.#errors, "stderr");
    // A program that exits early does not read all of it; its exit is reported anyway.
    stdin?.on("error", () => {}).end(input);
  }

  get overflowed(): "output" | null {
    const { overflow, outputBytes } = this.#options;
    const longest = Math.max(this.#output.total, this.#errors.total);
    return overflow === "end" && longest > outputBytes ? "output" : null;
  }

  close({ stdin, stdout, stderr }: ChildProcess): void {
    stdin?.destroy();
    stdout?.destroy();
    stderr?.destroy();
  }

  end({ exit = null, stoppedFor = null }: Outcome): CommandEnd {
    const { encoding = "utf8" } = this.#options;
    const { status = null, signal = null, failure = null } = exit ?? {};
    if (failure !== null) {
      this.#output.push(Buffer.from(`the command could not be started: ${messageOf(failure)}`));
    }
    const isApart = this.#errors !== this.#output;
    return {
      exitCode: status,
      signal,
      output: this.#output.text(encoding),
      errors: isApart ? this.#errors.text("utf8") : "",
      stoppedFor,
      failure,
    };
  }
}

/** For persons and models: why a program was ended. */
export const stopTexts: Readonly<Record<StopReason, string>> = {
  time: "it took too long",
  processes: "it started too many processes",
  memory: "it used too much memory",
  disk: "the disk is nearly full",
  output: "it wrote too much",
  interrupt: "it was interrupted",
};

type StopReason = NonNullable<CommandEnd["stoppedFor"]>;

/** Detects when a program takes too long, starts too many processes, or is aborted. */
class Watch {
  stoppedFor: StopReason | null = null;
  readonly #options: CommandOptions;
  readonly #ended = Promise.withResolvers<null>();
  readonly #cancelTime: () => void;
  #unwatch: () => void = () => {};
  #stopped = false;

  constructor(pid: number | undefined, options: CommandOptions, group: ControlGroup | null) {
    this.#options = options;
    const { clock = systemClock, timeoutMs, signal, limits } = options;
    this.#cancelTime = clock.after(timeoutMs, () => this.end("time"));
    signal?.addEventListener("abort", this.#interrupted);
    if (signal?.aborted) this.#interrupted();
    if (limits && pid !== undefined) {
      this.#unwatch = watchBounds({
        ...limits,
        group,
        root: pid,
        exceeded: (limit) => this.end(limit),
      });
    }
  }

  /** Resolves when the program has to be ended. */
  get ended(): Promise<null> {
    return this.#ended.promise;
  }

  end(reason: StopReason): void {
    if (this.#stopped) return;
    this.stoppedFor ??= reason;
    this.#ended.resolve(null);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTime();
    this.#unwatch();
    this.#options.signal?.removeEventListener("abort", this.#interrupted);
  }

  readonly #interrupted = () => this.end("interrupt");
}

type Kept = "beginning" | "end" | "ends";

/** Keeps a part of an output of any length, and never a part of a character. */
export class Output {
  /** Bytes so far, including those left out. */
  total = 0;
  readonly #headLimit: number;
  readonly #tailLimit: number;
  readonly #head: Buffer[] = [];
  #headBytes = 0;
  #tail: Buffer[] = [];
  #tailBytes = 0;

  constructor(maxBytes: number, keep: Kept) {
    const half = Math.max(1, Math.floor(maxBytes / 2));
    this.#headLimit = keep === "beginning" ? maxBytes : keep === "end" ? 0 : half;
    this.#tailLimit = keep === "end" ? maxBytes : keep === "beginning" ? 0 : half;
  }

  push(chunk: Buffer): void {
    this.total += chunk.length;
    const first = chunk.subarray(0, this.#headLimit - this.#headBytes);
    if (first.length > 0) {
      this.#head.push(first);
      this.#headBytes += first.length;
    }
    const rest = chunk.subarray(first.length);
    if (rest.length === 0 || this.#tailLimit === 0) return;
    this.#tail.push(rest);
    this.#tailBytes += rest.length;
    if (this.#tailBytes > 4 * this.#tailLimit + 65_536) this.#trim();
  }

  /** The kept text, with a mark where bytes before its end were left out. */
  text(encoding: "utf8" | "latin1" = "utf8"): string {
    this.#trim();
    const whole =
      encoding === "latin1" ? { head: same, tail: same } : { head: toLast, tail: toFirst };
    const left = this.total - this.#headBytes - this.#tailBytes;
    if (left === 0) return Buffer.concat([...this.#head, ...this.#tail]).toString(encoding);
    const head = whole.head(Buffer.concat(this.#head)).toString(encoding);
    if (this.#tailLimit === 0) return head;
    const tail = whole.tail(Buffer.concat(this.#tail)).toString(encoding);
    if (this.#headLimit === 0) return `[${left} bytes left out] ${tail}`;
    return `${head}\n[... ${left} bytes left out ...]\n${tail}`;
  }

  #trim(): void {
    if (this.#tailBytes <= this.#tailLimit) return;
    const kept = Buffer.from(Buffer.concat(this.#tail).subarray(-this.#tailLimit));
    this.#tail = [kept];
    this.#tailBytes = kept.length;
  }
}

const same = (bytes: Buffer) => bytes;
const maxCharacterBytes = 4;
const isContinued = (byte: number | undefined) => byte !== undefined && (byte & 0xc0) === 0x80;

/** From the first byte that begins a character of UTF-8. */
function toFirst(bytes: Buffer): Buffer {
  const start = bytes.subarray(0, maxCharacterBytes).findIndex((byte) => !isContinued(byte));
  return bytes.subarray(Math.max(start, 0));
}

/** Up to the last whole character of UTF-8. */
function toLast(bytes: Buffer): Buffer {
  let at = bytes.length - 1;
  while (at > bytes.length - maxCharacterBytes && isContinued(bytes[at])) at -= 1;
  const lead = bytes[at] ?? 0;
  const needed = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
  return at + needed > bytes.length ? bytes.subarray(0, at) : bytes;
}
