import {
  type AnyMessage,
  type ClientConnection,
  client,
  RequestError,
} from "@agentclientprotocol/sdk";
import { type Clock, limited, within } from "../../clock.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { agentEnvironment, launchLine } from "../../process/environment.ts";
import { loginEnvironment } from "../../process/login.ts";
import { AgentProcess } from "../../process/program.ts";
import { sandboxLine } from "../../process/sandbox.ts";
import {
  displayText,
  isObject,
  type JsonObject,
  objectOf,
  parseJson,
  textOf,
} from "../../text/text.ts";
import type { SessionSpec } from "../agent.ts";
import type { Bridge } from "../bridge.ts";
import { programNotFound } from "../confinement.ts";
import { emptiedFor, type GuardedLaunch, guardVariables } from "../guard/disarm.ts";
import { geminiWait, limitError, limitIn } from "../limits.ts";
import { isUnavailable, refusalError, refusalInWords, unavailableError } from "../refusals.ts";
import type { WayOut } from "../way-out.ts";
import type { Outcome } from "./permissions.ts";
import type { AcpConfig } from "./settings.ts";

const keptStderrLines = 20;
const shownStderrLines = 10;
const maxShownStderr = 1_000;
const quietExitMs = 2_000;
const drainLimitMs = 1_000;
const authRequired = -32_000;
const begins: ReadonlySet<string> = new Set(["initialize", "authenticate", "session/new"]);
const howToLogIn =
  "log in with the agent's own program, or give it a valid key; then: symphony refresh";
/**
 * Error codes of the protocol for a faulty request or a missing login: never a provider's limit,
 * whatever their message.
 */
const ownFaults: ReadonlySet<number> = new Set([-32_700, -32_600, -32_601, -32_602, authRequired]);

export interface LinkOptions {
  readonly spec: SessionSpec;
  readonly config: AcpConfig;
  readonly launch: Launch;
  readonly guarded: GuardedLaunch;
  readonly clock: Clock;
  /** The tracker's tools; null: there are none. */
  readonly bridge: Bridge | null;
  /** The agent has no tools of the tracker. */
  readonly lacksTools: boolean;
  /** What the agent uses, closed after its last process. */
  readonly opened: AsyncDisposable;
}

interface Launch {
  readonly line: string;
  readonly env: Readonly<Record<string, string>>;
}

/** What a link reports to the session that owns it; none of these may throw. */
export interface LinkListener {
  received(): void;
  updated(params: JsonObject): void;
  /** `withdrawn`: the agent needs no answer any more. */
  permissionRequested(params: JsonObject, withdrawn: AbortSignal): Promise<Outcome>;
  /** A line that is no message of the protocol. */
  stray(line: string): void;
  ended(error: SymphonyError): void;
}

/** One agent process, and the connection to it by the Agent Client Protocol. */
export class AcpLink {
  readonly #options: LinkOptions;
  readonly #process: AgentProcess;
  readonly #connection: ClientConnection;
  /** Our requests that wait for an answer. */
  readonly #requested = new Set<unknown>();
  #inbox: ReadableStreamDefaultController<AnyMessage> | null = null;
  #ended: SymphonyError | null = null;
  readonly #stderr: string[] = [];
  /** Resolves when all output of the process has been read. */
  readonly #over = Promise.withResolvers<void>();

  constructor(options: LinkOptions, listener: LinkListener) {
    this.#options = options;
    const readable = new ReadableStream<AnyMessage>({
      start: (controller) => {
        this.#inbox = controller;
      },
    });
    const writable = new WritableStream<AnyMessage>({ write: (message) => this.#write(message) });
    this.#process = new AgentProcess({
      ...options.launch,
      cwd: options.spec.workspace,
      ...{ runId: options.spec.runId, bounds: options.spec.bounds },
      notFound: (complaint) => programNotFound("acp", "acp.command", complaint),
      // An update that is too long is lost; the turn is not.
      overflow: (start) => (isAnswerable(start) ? "fail" : "skip"),
      onLine: (line) => this.#read(line, listener),
      onStderr: (line) => {
        if (this.#stderr.push(line) > keptStderrLines) this.#stderr.shift();
        options.spec.onLog(line);
      },
      onEnd: (exit) => {
        const error = this.#explained(exit);
        this.#ended = error;
        this.#over.resolve();
        this.#connection.close(error);
        listener.ended(error);
      },
    });
    this.#connection = client({ name: "symphony" })
      .onRequest("session/request_permission", objectOf, ({ params, signal }) =>
        listener.permissionRequested(params, withdrawal(signal)),
      )
      .connect({ readable, writable });
  }

  get pid(): number | null {
    return this.#process.pid;
  }

  /**
   * Rejects with `response_error`, `provider_limited`, `response_timeout`, or the error that the
   * process ended with. A null limit waits indefinitely.
   */
  async request(method: string, params: JsonObject, limitMs: number | null): Promise<unknown> {
    if (this.#ended) throw this.#ended;
    const answer = this.#connection.agent.request<unknown, JsonObject>(method, params);
    try {
      if (limitMs === null) return await answer;
      const late = () => {
        throw timedOut(method, limitMs);
      };
      return await limited(answer, limitMs, late, this.#options.clock);
    } catch (error) {
      throw this.#ended ?? (error instanceof SymphonyError ? error : this.#refused(method, error));
    }
  }

  notify(method: string, params: JsonObject): void {
    this.#connection.agent.notify(method, params).catch(() => {});
  }

  /**
   * The provider's limit that an agent waited for without reporting it, as far as it wrote it to
   * stderr; null for none.
   */
  silentLimit(): SymphonyError | null {
    const limit = geminiWait(this.#stderr.join("\n"), this.#options.clock.wall());
    return limit && limitError(this.#stderr.at(-1) ?? "", limit);
  }

  /** Ends every process of the run, in bounded time. */
  async stop(): Promise<void> {
    if (this.#ended === null && this.#requested.size === 0) {
      // An idle agent writes what is left and exits when its input is closed.
      this.#process.endInput();
      await within(this.#over.promise, quietExitMs);
    }
    await this.#process.stop();
    await within(this.#over.promise, drainLimitMs);
    this.#connection.close();
  }

  /** A crash is explained by the last lines on stderr; whoever shows it redacts it. */
  #explained(exit: SymphonyError): SymphonyError {
    const { code, message, details } = exit;
    const lines = this.#stderr.filter((line) => line.trim() !== "").slice(-shownStderrLines);
    if (code !== "port_exit" || lines.length === 0) return exit;
    const words = displayText(lines.join("\n"), maxShownStderr);
    return new SymphonyError(code, `${message}: ${words}`, { details, cause: exit });
  }

  #refused(method: string, error: unknown): SymphonyError {
    const { code, data } = error instanceof RequestError ? error : { code: null, data: null };
    const fields = objectOf(data);
    const detail = textOf(fields["details"]) ?? textOf(fields["message"]) ?? textOf(data);
    const reason = displayText([messageOf(error), detail].filter(Boolean).join(": "), 1_000);
    const message = `${method}: ${reason}`;
    const details = { method, code };
    if (code !== null && !ownFaults.has(code)) {
      const failure = { code, message: messageOf(error), data };
      const limit = limitIn(failure, this.#options.clock.wall());
      if (limit) return limitError(message, limit, details);
    }
    const isOwn = code === null || (ownFaults.has(code) && code !== authRequired);
    const isAsked = method === "session/prompt" || begins.has(method);
    if (isAsked && !isOwn) {
      const refusal =
        code === authRequired ? ("authentication_failed" as const) : refusalInWords(reason);
      if (refusal) return refusalError(refusal, message, howToLogIn);
      if (isUnavailable(reason)) return unavailableError(message, details);
    }
    return new SymphonyError("response_error", message, { details });
  }

  #write(message: AnyMessage): void {
    if ("method" in message && "id" in message) this.#requested.add(message.id);
    this.#process.write(`${JSON.stringify(message)}\n`);
  }

  #pass(message: JsonObject): void {
    if (!this.#connection.signal.aborted) this.#inbox?.enqueue(message as AnyMessage);
  }

  /**
   * Notifications are handled in their order, so no part of a message comes after its turn. Lines
   * that the library cannot parse are not passed to it: it would print them.
   */
  #read(line: string, listener: LinkListener): void {
    listener.received();
    const message = parseJson(line) ?? this.#answerIn(line);
    if (!isObject(message)) {
      if (line.trim() !== "") listener.stray(line);
      return;
    }
    const { method, params } = message;
    const id = this.#requestId(message["id"]);
    const called = typeof method === "string";
    if (called && !("id" in message)) {
      if (method === "session/update") listener.updated(objectOf(params));
      if (method === "$/cancel_request") this.#pass(message);
    } else if (isMessage(message) && (called || this.#requested.delete(id))) {
      const read = called ? message : { ...message, id };
      this.#pass(read);
    }
  }

  /** An answer that we wait for, behind what a program prints before it without a line break. */
  #answerIn(line: string): unknown {
    const answer = objectOf(parseJson(line.slice(line.indexOf("{"))));
    const isAnswer = !("method" in answer) && this.#requested.has(this.#requestId(answer["id"]));
    return isAnswer ? answer : null;
  }

  /** Our ids are numbers; some agents answer with the same id as text. */
  #requestId(id: unknown): unknown {
    return typeof id === "string" && !this.#requested.has(id) ? Number(id) : id;
  }
}

export interface LaunchFacts {
  readonly spec: SessionSpec;
  readonly guarded: GuardedLaunch;
  readonly env: NodeJS.ProcessEnv;
  readonly way: WayOut;
  readonly bridge: Bridge | null;
}

/** How the agent is started. */
export async function launchOf(command: string, facts: LaunchFacts): Promise<Launch> {
  const { spec, guarded, env, way, bridge } = facts;
  const { confinement, passthrough } = way;
  const { runId, secretEnvNames: secretNames, level } = spec;
  const login = await loginEnvironment(env);
  const passed = agentEnvironment({ env: login, passthrough, secretNames, runId });
  const kept = {
    path: login["PATH"],
    passthrough,
    ownVariables: Object.keys(way.variables),
    set: guardVariables(guarded, spec.askPolicy.approvals),
  };
  if (level === "danger" || confinement === null) {
    return { line: launchLine(command, secretNames, kept), env: passed };
  }
  const cwd = confinement.workspace;
  const shown = [...confinement.shown, ...(bridge?.shown ?? [])];
  const view = { ...confinement, shown, level, cwd, emptied: emptiedFor(guarded) };
  // The temporary folder inside the sandbox is a new one.
  return {
    line: launchLine(
      [...way.lines, await sandboxLine(command, view)].join("\n"),
      secretNames,
      kept,
    ),
    env: { ...passed, ...way.variables, TMPDIR: "/tmp" },
  };
}

/** Whether a line that begins so is a message that is answered, or an answer. */
function isAnswerable(start: string): boolean {
  return start.startsWith("{") && !/"method":\s*"session\/update"/.test(start);
}

function isMessage(value: JsonObject): value is JsonObject & AnyMessage {
  return "id" in value && ("method" in value || "result" in value || "error" in value);
}

function timedOut(method: string, limitMs: number): SymphonyError {
  return new SymphonyError("response_timeout", `${method}: no answer in ${limitMs} ms`, {
    details: { method, timeoutMs: limitMs },
  });
}

const requestCancelled = -32_800;

/** Aborted by the agent's `$/cancel_request`, not by the end of the connection. */
function withdrawal(signal: AbortSignal): AbortSignal {
  const withdrawn = new AbortController();
  const aborted = () => {
    if (Object(signal.reason).code === requestCancelled) withdrawn.abort();
  };
  signal.addEventListener("abort", aborted);
  aborted();
  return withdrawn.signal;
}
