import type { Clock } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { AgentProcess } from "../process.ts";
import { SilenceWatch } from "../silence.ts";
import type { Launch } from "./launch.ts";

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
  readonly limitMs: number;
  /** True while the program waits for symphony. */
  waits(): boolean;
  onLine(line: string): void;
  onStderr(line: string): void;
}

/** One turn: one process, from its start until everything it started is gone. */
export class CommandTurn {
  readonly #options: CommandTurnOptions;
  readonly #process: AgentProcess;
  readonly #watch: SilenceWatch;
  readonly #over = Promise.withResolvers<SymphonyError>();
  readonly #stderr: string[] = [];
  #stopped: SymphonyError | null = null;

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

  /**
   * Resolves when the program ended well and nothing of it is left. Rejects with `turn_failed` (exit code, or what `failure` resolves with),
   * `agent_not_found`, `line_too_long`, `port_exit` (a signal), or the reason it was stopped for.
   */
  async finished(failure: () => Promise<string | null>): Promise<void> {
    const end = await this.#over.promise;
    this.#watch.stop();
    await this.#process.stop();
    const told = await failure();
    if (this.#stopped) throw this.#stopped;
    const { status } = end.details;
    if (end.code !== "port_exit" || typeof status !== "number") throw end;
    if (status === 0 && told === null) return;
    const stderr = this.#stderr.join("\n").slice(-maxStderrChars);
    const reason = told ?? `it ended with status ${status}${stderr && `: ${stderr}`}`;
    throw new SymphonyError(
      "turn_failed",
      `the command failed: ${reason.slice(0, maxStderrChars)}`,
      {
        details: { status },
        ...(this.#options.hint !== null && { hint: this.#options.hint }),
      },
    );
  }

  #complained(line: string): void {
    this.#watch.heard();
    if (this.#stderr.push(line) > keptStderrLines) this.#stderr.shift();
    this.#options.onStderr(line);
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
