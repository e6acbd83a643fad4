import type {
  AgentRuntime,
  AgentSession,
  Answer,
  SessionSpec,
  TurnOptions,
} from "../agent/agent.ts";
import type { AgentImage } from "../agent/images.ts";
import { hasRecord, type ThreadRecords } from "../agent/records.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { JsonObject } from "../text/text.ts";
import { copyOf, installCopy, readFacts, type Sent } from "./copy.ts";
import { reportedEvent } from "./reported.ts";
import type { Letter, Listener, Talk } from "./talk.ts";
import { type Continued, continuedThread, putRecord, readThread } from "./thread.ts";

/** A worker that has just been chosen for an attempt. */
export interface Placement {
  /** The name of the run: attempt and epoch. */
  readonly run: string;
  talk(listener: Listener): Talk;
  /** Gives the run to the worker. Rejects with `worker_lost`. */
  dispatch(): Promise<void>;
  /** Takes it back, unless the worker has it already. */
  withdraw(): Promise<void>;
  /** Whether no other orchestrator can lead now. */
  leads(): boolean;
  /** Resolves when the worker certainly runs no agent of this run any more, and why. */
  readonly gone: Promise<SymphonyError>;
  /** Nothing of it is needed any more. */
  close(): void;
}

export interface RemoteOptions {
  readonly kind: string;
  readonly agent: string;
  /** Where the records of a workspace's threads are on this machine; null: the kind has none. */
  records(workspace: string): Promise<ThreadRecords | null>;
  /** The agent's section of the configuration, with `$NAME` unresolved: the worker has its own values. */
  settings(): object;
  readonly attemptId: string;
  /** The workspace's name on the worker. */
  readonly key: string;
  readonly prepare: string | null;
  readonly prepareMs: number;
  readonly maxCopy: number;
  /** Throws `worker_lost` when the worker takes no attempts now. */
  place(attemptId: string): Placement;
}

/** Runs an agent on a worker: its workspace goes there as a copy, and what it does comes back after each turn. */
export function remoteRuntime(options: RemoteOptions): AgentRuntime {
  return {
    kind: options.kind,
    async start(spec, signal) {
      signal.throwIfAborted();
      const { facts, bundle, names, proof } = await copyOf(spec.workspace, {
        maxBytes: options.maxCopy,
        signal,
      });
      const records = await options.records(spec.workspace);
      const continued = await continuedThread(records, spec.resumeThreadId);
      signal.throwIfAborted();
      if (spec.resumeThreadId !== continued.threadId) {
        const message = "the thread cannot be resumed, a new one is started: it has no record here";
        spec.onEvent({ type: "notice", message, malformed: false });
      }
      const sent = { ...facts, names };
      const session = new RemoteSession({ ...options, records }, spec, sent);
      await session.open({ copy: { facts, proof }, bundle, continued }, signal);
      return session;
    },
  };
}

/** What a worker needs of the session's facts; the others are made there. */
const sentOfSpec = [
  ...(["title", "model", "secretEnvNames", "askPolicy"] as const),
  ...(["level", "readable", "bounds", "network"] as const),
];

/** The directories of the records are made once for a session. */
interface SessionOptions extends Omit<RemoteOptions, "records"> {
  readonly records: ThreadRecords | null;
}

class RemoteSession implements AgentSession, Listener {
  threadId = "";
  resumed = false;
  isPlain = false;
  repeats = false;
  takesImages = false;
  forgetsImages = false;
  readonly pid = null;
  readonly #options: SessionOptions;
  readonly #spec: SessionSpec;
  readonly #placement: Placement;
  readonly #talk: Talk;
  #sent: Sent;
  /** One copy after another is laid into the workspace. */
  #installing: Promise<unknown> = Promise.resolve();
  #disposing: Promise<void> | null = null;

  constructor(options: SessionOptions, spec: SessionSpec, sent: Sent) {
    this.#options = options;
    this.#spec = spec;
    this.#sent = sent;
    this.#placement = options.place(options.attemptId);
    this.#talk = this.#placement.talk(this);
    void this.#placement.gone.then((error) => this.#talk.fail(error));
  }

  async open(
    {
      copy,
      bundle,
      continued: { threadId: id, record },
    }: { copy: JsonObject; bundle: Buffer | null; continued: Continued },
    signal: AbortSignal,
  ): Promise<void> {
    const stop = () => void this[Symbol.asyncDispose]();
    signal.addEventListener("abort", stop, { once: true });
    try {
      if (record !== null) {
        const { name, data } = record;
        // What it did not take fails the start.
        this.#talk.ask({ type: "thread", id, name }, data).catch(() => {});
      }
      const answer = this.#talk.ask({ type: "start", ...this.#start(id), ...copy }, bundle);
      answer.catch(() => {});
      // The worker gets the job when what it needs is with the engine.
      await this.#talk.settled();
      signal.throwIfAborted();
      await this.#placement.dispatch();
      const opened = await answer;
      this.threadId = String(opened["threadId"]);
      await this.#requireOwnThread(id);
      this.resumed = opened["resumed"] === true;
      this.isPlain = opened["isPlain"] === true;
      this.repeats = opened["repeats"] === true;
      this.takesImages = opened["takesImages"] === true;
      this.forgetsImages = opened["forgetsImages"] === true;
      signal.throwIfAborted();
    } catch (error) {
      await this[Symbol.asyncDispose]();
      signal.throwIfAborted();
      throw error;
    }
  }

  /** A worker names the thread that it was given, or a new one: the record of another issue must not be replaced. */
  async #requireOwnThread(given: string | null): Promise<void> {
    if (this.threadId === given) return;
    const { records } = this.#options;
    if (records === null || !(await hasRecord(records, this.threadId))) return;
    throw new SymphonyError("worker_refused", "the worker names the thread of another attempt");
  }

  #start(resumeThreadId: string | null): JsonObject {
    const {
      attemptId: attempt,
      kind,
      agent,
      settings,
      key,
      prepare,
      prepareMs,
      maxCopy,
    } = this.#options;
    const own = Object.fromEntries(sentOfSpec.map((name) => [name, this.#spec[name]]));
    const spec = { ...own, resumeThreadId };
    const { specs } = this.#spec.tools;
    return {
      ...{ attempt, kind, agent, settings: settings(), key, prepare, prepareMs, maxCopy, spec },
      ...{ tools: specs, hasUnfinished: this.#spec.unfinished !== undefined, many: true },
    };
  }

  async turn(prompt: string, options: TurnOptions): Promise<void> {
    await this.#talk.ask({ type: "turn", prompt, options });
  }

  async steer(
    steerId: string,
    message: string,
    images?: readonly AgentImage[],
  ): Promise<{ readonly turnId: string }> {
    const { turnId } = await this.#talk.ask({ type: "steer", steerId, message, images });
    return { turnId: String(turnId) };
  }

  answer(askId: string, reply: Answer): void {
    this.#talk.ask({ type: "answer", askId, reply }).catch((error: unknown) => {
      const message = `the answer did not reach the agent: ${messageOf(error)}`;
      this.#spec.onEvent({ type: "notice", message, malformed: false });
    });
  }

  async interrupt(): Promise<void> {
    await this.#talk.ask({ type: "interrupt" });
  }

  /** Resolves when no agent of it is left: by the worker's own word, or because its lease is certainly over. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#disposing ??= this.#dispose();
    return this.#disposing;
  }

  async #dispose(): Promise<void> {
    const { gone } = this.#placement;
    const ended = this.#talk.ask({ type: "end" }).then(
      ({ failed }) => failed,
      // Not its word that the agent is gone: its lease decides.
      () => gone,
    );
    await this.#placement.withdraw();
    const failed = await Promise.race([ended, gone]);
    await this.#installing.catch(() => {});
    this.#talk.fail(new SymphonyError("turn_cancelled", "the session has ended"));
    this.#placement.close();
    if (typeof failed !== "string") return;
    const message = `what the agent did last was not brought back: ${failed}`;
    this.#spec.onEvent({ type: "notice", message, malformed: false });
  }

  told(body: JsonObject): void {
    if (body["type"] === "event") this.#spec.onEvent(reportedEvent(body["event"]));
    else if (body["type"] === "log") this.#spec.onLog(String(body["line"]));
  }

  async asked({ body, data }: Letter): Promise<JsonObject> {
    switch (body["type"]) {
      case "tool":
        // A server that stood still may have been overtaken: what it writes then is not its own to write.
        if (!this.#placement.leads())
          throw new SymphonyError("worker_lost", "the server does not lead the fleet now");
        return { ...(await this.#spec.tools.call(String(body["name"]), body["args"])) };
      case "unfinished":
        return { text: (await this.#spec.unfinished?.()) ?? null };
      case "work": {
        const facts = readFacts(body["facts"]);
        const install = async () => {
          if (this.#talk.isOver) throw new SymphonyError("worker_lost", "the session has ended");
          this.#sent = await installCopy(this.#spec.workspace, this.#sent, { facts, bundle: data });
        };
        const installing = this.#installing.then(install, install);
        this.#installing = installing;
        await installing;
        return {};
      }
      case "thread":
        return this.#keepThread({ body, data });
      default:
        throw new SymphonyError(
          "worker_refused",
          `the server does not know ${String(body["type"])}`,
        );
    }
  }
  async #keepThread(letter: Letter): Promise<JsonObject> {
    const record = readThread(letter);
    if (record.id !== this.threadId) {
      throw new SymphonyError("worker_refused", "the record is of another thread");
    }
    const place = () => putRecord(this.#options.records, record);
    const placing = this.#installing.then(place, place);
    this.#installing = placing;
    await placing;
    return {};
  }
}
