import type { Clock } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { type Limit, limitError } from "../limits.ts";
import { AgentProcess } from "../process.ts";
import { SilenceWatch } from "../silence.ts";
import type { Launch } from "./launch.ts";
import type { OutputReader } from "./output.ts";

const keptStderrLines = 10;
const maxStderrChars = 2_000;

export interface CommandTurnOptions {
  readonly launch: Launch;
  readonly cwd: string;
  readonly runId: string;
  /** What to try when it fails; null when nothing is known. */
  readonly hint: string | null;
  /** Written to stdin; null leaves that open for what is told later. */
  readonly input: string | null;
  readonly clock: Clock;
  /** Longest silence. */
  readonly limitMs: number;
  /** How long the program may live on once it told how the turn ended. */
  readonly exitGraceMs: number;
  readonly reader: OutputReader;
  /** True while the program waits for symphony. */
  waits(): boolean;
  onLine(line: string): void;
  onStderr(line: string): void;
  /** It did not exit in its grace and is ended. */
  onLingering(): void;
}

/** How a turn ended by the program's own word. */
export interface TurnResult {
  /** null: it went well. */
  readonly failure: string | null;
  /** The provider's limit that it failed for. */
  readonly limit: Limit | null;
}

/** One turn: one process, from its start until everything it started is gone. */
export class CommandTurn {
  readonly #options: CommandTurnOptions;
  readonly #process: AgentProcess;
  readonly #watch: SilenceWatch;
  readonly #over = Promise.withResolvers<SymphonyError>();
  readonly #stderr: string[] = [];
  #stopped: SymphonyError | null = null;
  /** Calls off the end of a program whose turn is over. */
  #leaving: (() => void) | null = null;

  constructor(options: CommandTurnOptions) {
    this.#options = options;
    const { launch, cwd, runId, input, clock, limitMs } = options;
    this.#watch = new SilenceWatch(clock, limitMs, {
      waits: options.waits,
      onSilence: () => this.stop(silent(limitMs)),
    });
    this.#process = new AgentProcess({
      ...launch,
      ...{ cwd, runId, notFound: notFound() },
      onLine: (line) => {
        this.#watch.heard();
        options.onLine(line);
      },
      onStderr: (line) => this.#complained(line),
      onEnd: (error) => this.#over.resolve(error),
    });
    if (input === null) return;
    this.#process.write(input);
    this.#process.endInput();
  }

  get pid(): number | null {
    return this.#process.pid;
  }

  tell(message: Readonly<Record<string, unknown>>): void {
    this.#process.write(`${JSON.stringify(message)}\n`);
  }

  /** Ends every process of the turn, which then rejects with `reason`. */
  stop(reason: SymphonyError): void {
    this.#stopped ??= reason;
    void this.#process.stop();
  }

  /** The program told how the turn ended. It may hang or leave a child behind that holds its output, so its exit is not waited for long. */
  over(): void {
    const { clock, exitGraceMs, onLingering } = this.#options;
    this.#watch.stop();
    this.#leaving ??= clock.after(exitGraceMs, () => {
      onLingering();
      void this.#process.stop();
    });
  }

  /**
   * Resolves when the turn went well and nothing of the program is left. Its own word, which `result` resolves with, outweighs the way it
   * exited. Rejects with `turn_failed`, `provider_limited`, `agent_not_found`, `line_too_long`, `port_exit` (a signal), or the reason it
   * was stopped for.
   */
  async finished(result: () => Promise<TurnResult | null>): Promise<void> {
    const end = await this.#over.promise;
    this.#watch.stop();
    this.#leaving?.();
    await this.#process.stop();
    const told = await result();
    if (told?.failure === null) return;
    if (this.#stopped) throw this.#stopped;
    const { status } = end.details;
    if (told) throw this.#failed(told.failure || "no reason given", told.limit, status);
    if (end.code !== "port_exit" || typeof status !== "number") throw end;
    const { reader } = this.#options;
    if (status === 0 && !reader.tellsEnd) return;
    if (status === 0) throw this.#failed("it ended with status 0 and told no result", null, 0);
    const stderr = this.#stderr.join("\n").slice(-maxStderrChars);
    const reason = `it ended with status ${status}${stderr && `: ${stderr}`}`;
    throw this.#failed(reason, reader.limitAtExit?.(stderr) ?? null, status);
  }

  #failed(reason: string, limit: Limit | null, status: unknown): SymphonyError {
    const shown = reason.slice(0, maxStderrChars);
    if (limit) return limitError(shown, limit, { status });
    const { hint } = this.#options;
    return new SymphonyError("turn_failed", `the command failed: ${shown}`, {
      details: { status },
      ...(hint !== null && { hint }),
    });
  }

  #complained(line: string): void {
    this.#watch.heard();
    if (this.#stderr.push(line) > keptStderrLines) this.#stderr.shift();
    this.#options.onStderr(line);
    const stderr = this.#stderr.join("\n");
    const limit = this.#options.reader.limitWaitedFor?.(stderr) ?? null;
    if (limit !== null) this.stop(limitError(line, limit));
  }
}

function silent(limitMs: number): SymphonyError {
  return new SymphonyError("turn_timeout", `the command was silent for ${limitMs} ms`, {
    details: { limitMs },
  });
}

function notFound(): SymphonyError {
  return new SymphonyError("agent_not_found", "the program of command.line was not found", {
    hint: "install it, or set command.line to where it is",
  });
}
