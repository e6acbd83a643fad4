import { randomUUID } from "node:crypto";
import type { z } from "zod";
import type { Clock } from "../../clock.ts";
import { SymphonyError, systemCodeOf } from "../../model/errors.ts";
import { AgentProcess } from "../../process/program.ts";
import { runIdOf } from "../../process/table.ts";
import { displayText, parseJsonLine } from "../../text/text.ts";
import type { TrackerDeps } from "../tracker.ts";
import { answerLine, failureOf, type Method } from "./protocol.ts";
import { type CommandSettings, programDir, programEnvironment } from "./settings.ts";

const maxLineBytes = 1024 * 1024;
/** A program that is not asked ends after this time; the next request starts it again. */
const idleMs = 10 * 60_000;
const firstPauseMs = 1_000;
const longestPauseMs = 60_000;
/** More requests at once are refused. */
const mostAtOnce = 64;
/** Of what the program wrote, in a message. */
const longestWords = 300;
const keptErrors = 20;

interface Waiting {
  readonly method: Method;
  resolve(result: unknown): void;
  reject(error: Error): void;
  cancel(): void;
}

interface Running {
  readonly process: AgentProcess;
  readonly waiting: Map<number, Waiting>;
  /** It has answered something. */
  works: boolean;
}

/**
 * The program of a tracker: started by the first request, kept over polls, and started again by the next request after it
 * failed. A line over 1 MiB, no JSON, a wrong shape and silence end it. Requests reject with a tracker's code.
 */
export class TrackerProgram {
  readonly #settings: CommandSettings;
  readonly #deps: TrackerDeps;
  readonly #clock: Clock;
  #running: Running | null = null;
  #nextId = 1;
  #failures = 0;
  #notBefore = Number.NEGATIVE_INFINITY;
  #lastFailure: SymphonyError | null = null;
  #limited: { readonly until: number; readonly error: SymphonyError } | null = null;
  #cancelIdle = () => {};
  #isRetired = false;

  constructor(settings: CommandSettings, deps: TrackerDeps) {
    this.#settings = settings;
    this.#deps = deps;
    this.#clock = deps.clock;
  }

  /** The result of one request, checked. */
  async request<T>(method: Method, params: object, shape: z.ZodType<T>): Promise<T> {
    try {
      const parsed = shape.safeParse(await this.#send(method, params));
      if (!parsed.success) {
        const [issue] = parsed.error.issues;
        const where = issue?.path.join(".") || "the result";
        throw this.#broken(`answered ${method} in a wrong shape: ${where}: ${issue?.message}`);
      }
      this.#report("ok");
      return parsed.data;
    } catch (error) {
      this.#report(error instanceof SymphonyError ? error.code : "tracker_request");
      throw error;
    }
  }

  /** No poll asks it any more: it ends when its requests are answered. A later request of a session starts it again. */
  retire(): void {
    this.#isRetired = true;
    this.#rest();
  }

  /** Ends it with everything that it started. */
  async close(): Promise<void> {
    this.#cancelIdle();
    await this.#end(new SymphonyError("tracker_request", "the tracker's program was closed"));
  }

  #send(method: Method, params: object): Promise<unknown> {
    const refusal = this.#refusal();
    if (refusal !== null) return Promise.reject(refusal);
    const running = this.#running ?? this.#start();
    if (running.waiting.size >= mostAtOnce) {
      const message = `the tracker's program has ${mostAtOnce} requests to answer`;
      return Promise.reject(new SymphonyError("tracker_request", message));
    }
    this.#cancelIdle();
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const { timeoutMs } = this.#settings;
      const cancel = this.#clock.after(timeoutMs, () => {
        void this.#fail("tracker_request", `did not answer ${method} in ${timeoutMs / 1_000} s`);
      });
      running.waiting.set(id, { method, resolve, reject, cancel });
      running.process.write(`${JSON.stringify({ id, method, params })}\n`);
    });
  }

  /** Why nothing is asked now. */
  #refusal(): SymphonyError | null {
    const now = this.#clock.now();
    if (this.#limited && now < this.#limited.until) return this.#limited.error;
    return this.#running === null && now < this.#notBefore ? this.#lastFailure : null;
  }

  #start(): Running {
    const { dataDir } = this.#deps;
    const runId = `${runIdOf(dataDir, "tracker")}/${randomUUID()}`;
    const errors: string[] = [];
    const waiting = new Map<number, Waiting>();
    const process = new AgentProcess({
      ...{ line: this.#settings.argv, cwd: programDir(this.#deps), runId },
      env: programEnvironment(this.#settings, this.#deps, runId),
      ...{ maxBytes: maxLineBytes, notFound: () => null },
      onLine: (line) => this.#line(running, line),
      onStderr: (line) => {
        if (errors.push(line) > keptErrors) errors.shift();
      },
      onEnd: (error) => {
        if (this.#running === running) this.#ended(error, tellingOf(errors));
      },
    });
    const running: Running = { process, waiting, works: false };
    this.#running = running;
    return running;
  }

  #line(running: Running, line: string): void {
    if (this.#running !== running || line.trim() === "") return;
    const json = parseJsonLine(line);
    const answer = answerLine.safeParse(json);
    if (!answer.success) {
      const what = json === undefined ? "is not JSON" : "is no answer";
      this.#broken(`wrote a line that ${what}: ${this.#shown(line)}`);
      return;
    }
    const { id, result, error } = answer.data;
    const waiting = running.waiting.get(id);
    if (waiting === undefined) {
      this.#broken(`answered request ${id}, which does not wait for an answer`);
      return;
    }
    running.waiting.delete(id);
    waiting.cancel();
    running.works = true;
    this.#failures = 0;
    if (error) waiting.reject(this.#refused(waiting.method, error));
    else waiting.resolve(result);
    this.#rest();
  }

  #refused(method: Method, said: Parameters<typeof failureOf>[1]): SymphonyError {
    const shown = (text: string) => this.#shown(text);
    const error = failureOf(method, said, { wall: this.#clock.wall(), shown });
    const waitMs = error.details["retryAfterMs"];
    if (typeof waitMs === "number") this.#limited = { until: this.#clock.now() + waitMs, error };
    return error;
  }

  #broken(what: string): SymphonyError {
    return this.#fail("tracker_response", what);
  }

  #ended(error: SymphonyError, said: string | null): void {
    if (error.code === "line_too_long") {
      this.#broken(`wrote a line of more than ${maxLineBytes} bytes`);
      return;
    }
    const [name] = this.#settings.argv;
    const systemCode = systemCodeOf(error.cause);
    if (systemCode !== null) {
      const why = systemCode === "ENOENT" ? "was not found" : `cannot be started (${systemCode})`;
      this.#fail("tracker_request", `${why}: ${name}`);
      return;
    }
    const { status, signal } = error.details;
    const how = signal ? `by signal ${signal}` : `with status ${status}`;
    const last = said === null ? "" : `; its last words: ${this.#shown(said)}`;
    this.#fail("tracker_request", `ended ${how}${last}`);
  }

  /** Everything that waits is rejected with the error, and the program is ended. */
  #fail(code: "tracker_request" | "tracker_response", what: string): SymphonyError {
    const error = new SymphonyError(code, `the tracker's program ${what}`, {
      hint: "docs/trackers/command.md says what it has to answer; symphony doctor asks it again",
    });
    this.#failures = this.#running?.works === true ? 1 : this.#failures + 1;
    const pauseMs = Math.min(firstPauseMs * 2 ** (this.#failures - 1), longestPauseMs);
    this.#notBefore = this.#clock.now() + pauseMs;
    this.#lastFailure = error;
    void this.#end(error);
    return error;
  }

  async #end(error: SymphonyError): Promise<void> {
    const running = this.#running;
    if (running === null) return;
    this.#running = null;
    for (const { cancel, reject } of running.waiting.values()) {
      cancel();
      reject(error);
    }
    running.waiting.clear();
    await running.process.stop();
  }

  #rest(): void {
    this.#cancelIdle();
    if (this.#running === null || this.#running.waiting.size > 0) return;
    this.#cancelIdle = this.#clock.after(this.#isRetired ? 0 : idleMs, () => void this.close());
  }

  /** What the program wrote, for people: it may print the secrets that it was given. */
  #shown(text: string): string {
    const { secretNames } = this.#settings;
    const secrets = secretNames.flatMap((name) => this.#deps.lookup(name) || []);
    const hidden = secrets.reduce((rest, one) => rest.replaceAll(one, "[redacted]"), text);
    return displayText(hidden, longestWords);
  }

  #report(outcome: string): void {
    this.#deps.meter?.report({
      type: "tracker.request",
      kind: "command",
      outcome,
      remaining: null,
    });
  }
}

/** The line of stderr that says most; null without one. */
function tellingOf(lines: readonly string[]): string | null {
  return lines.findLast((line) => /error\b/i.test(line)) ?? lines.at(-1) ?? null;
}
