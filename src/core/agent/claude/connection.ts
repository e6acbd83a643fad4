import { randomUUID } from "node:crypto";
import { type Clock, within } from "../../clock.ts";
import { SymphonyError } from "../../model/errors.ts";
import { AgentProcess } from "../../process/program.ts";
import { displayText, type JsonObject } from "../../text/text.ts";
import type { SessionSpec } from "../agent.ts";
import { programNotFound } from "../confinement.ts";
import type { Launch } from "./launch.ts";
import { type ControlRequest, type Message, type MessageOf, readLine } from "./protocol.ts";

const keptStderrLines = 20;
const maxLogChars = 1_000;
const maxShownStderr = 3;
/** An idle process exits as soon as its input is closed. */
const quietExitMs = 2_000;

export interface ConnectionOptions {
  readonly spec: Pick<SessionSpec, "workspace" | "runId" | "bounds" | "onLog">;
  readonly launch: Launch;
  readonly clock: Clock;
  /** Limit for the wait for one answer. */
  readonly timeoutMs: number;
}

/** What a connection reports to the session that owns it; none of these may throw. */
export interface ConnectionListener {
  /** The agent wrote a line. */
  received(): void;
  message(message: Exclude<Message, MessageOf<"control_request" | "control_response">>): void;
  /** Must be answered by `reply`. */
  requested(id: string, request: ControlRequest["request"]): void;
  /** A line of a type that is not read. */
  other(name: string): void;
  malformed(line: string): void;
  ended(error: SymphonyError): void;
}

interface Pending {
  readonly subtype: string;
  readonly settle: PromiseWithResolvers<JsonObject>;
}

/** One process of Claude Code, and the control protocol on its stdin and stdout. */
export class ClaudeConnection {
  readonly #options: ConnectionOptions;
  readonly #listener: ConnectionListener;
  readonly #process: AgentProcess;
  readonly #pending = new Map<string, Pending>();
  readonly #stderr: string[] = [];
  readonly #over = Promise.withResolvers<void>();
  #ended: SymphonyError | null = null;

  constructor(options: ConnectionOptions, listener: ConnectionListener) {
    const { spec, launch } = options;
    this.#options = options;
    this.#listener = listener;
    this.#process = new AgentProcess({
      ...launch,
      cwd: spec.workspace,
      ...{ runId: spec.runId, bounds: spec.bounds },
      notFound: (complaint) => programNotFound("claude", "claude.command", complaint),
      overflow: "skip",
      onLine: (line) => this.#read(line),
      onStderr: (line) => {
        if (this.#stderr.push(line) > keptStderrLines) this.#stderr.shift();
        spec.onLog(line);
      },
      onEnd: (error) => this.#end(error),
    });
  }

  get pid(): number | null {
    return this.#process.pid;
  }

  /**
   * Rejects with `response_error` (the agent's own code is in its details), `response_timeout`, or
   * the error that the process ended with.
   */
  async request(subtype: string, fields: JsonObject = {}): Promise<JsonObject> {
    if (this.#ended) throw this.#ended;
    const { clock, timeoutMs } = this.#options;
    const id = randomUUID();
    const settle = Promise.withResolvers<JsonObject>();
    const cancel = clock.after(timeoutMs, () => settle.reject(timedOut(subtype, timeoutMs)));
    this.#pending.set(id, { subtype, settle });
    this.send({ type: "control_request", request_id: id, request: { subtype, ...fields } });
    try {
      return await settle.promise;
    } finally {
      cancel();
      this.#pending.delete(id);
    }
  }

  reply(id: string, response: JsonObject): void {
    this.send({
      type: "control_response",
      response: { subtype: "success", request_id: id, response },
    });
  }

  refuse(id: string, error: string): void {
    this.send({ type: "control_response", response: { subtype: "error", request_id: id, error } });
  }

  send(message: object): void {
    if (!this.#ended) this.#process.write(`${JSON.stringify(message)}\n`);
  }

  /** Ends every process of the run, in bounded time. */
  async stop({ isIdle }: { readonly isIdle: boolean }): Promise<void> {
    if (isIdle && this.#ended === null) {
      this.#process.endInput();
      await within(this.#over.promise, quietExitMs);
    }
    await this.#process.stop();
  }

  #end(error: SymphonyError): void {
    const said = this.#stderr.slice(-maxShownStderr).join(" ");
    const { code, message, details, hint } = error;
    this.#ended =
      code !== "port_exit" || said === ""
        ? error
        : new SymphonyError(code, `${message}: ${displayText(said, maxLogChars)}`, {
            details,
            ...(hint !== null && { hint }),
          });
    this.#over.resolve();
    for (const { settle } of this.#pending.values()) settle.reject(this.#ended);
    this.#listener.ended(this.#ended);
  }

  #read(line: string): void {
    const listener = this.#listener;
    listener.received();
    if (line.trim() === "") return;
    const read = readLine(line);
    if (read.type === "other") return listener.other(read.name);
    if (read.type === "stray") {
      if (read.malformed) listener.malformed(line);
      else this.#options.spec.onLog(displayText(line, maxLogChars));
      return;
    }
    const { message } = read;
    if (message.type === "control_response") this.#answered(message.response);
    else if (message.type === "control_request") {
      listener.requested(message.request_id, message.request);
    } else listener.message(message);
  }

  #answered(answer: MessageOf<"control_response">["response"]): void {
    const pending = this.#pending.get(answer.request_id);
    if (!pending) return;
    if (answer.subtype !== "error") return pending.settle.resolve(answer.response ?? {});
    const reason = displayText(answer.error ?? "no reason given", maxLogChars);
    const details = { method: pending.subtype, code: answer.error_code ?? null };
    const message = `${pending.subtype}: ${reason}`;
    pending.settle.reject(new SymphonyError("response_error", message, { details }));
  }
}

function timedOut(method: string, timeoutMs: number): SymphonyError {
  return new SymphonyError("response_timeout", `${method}: no answer in ${timeoutMs} ms`, {
    details: { method, timeoutMs },
  });
}
