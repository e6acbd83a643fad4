import { createHash, randomUUID } from "node:crypto";
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { AgentEvent, AgentSession, Answer, SessionSpec, TurnOptions } from "../agent/agent.ts";
import type { AgentImage } from "../agent/images.ts";
import type { AgentKind } from "../agent/kinds.ts";
import { readRecord, type ThreadRecords } from "../agent/records.ts";
import type { Clock } from "../clock.ts";
import { messageOf, SymphonyError, systemCodeOf } from "../model/errors.ts";
import { killRun, runIdOf } from "../process/table.ts";
import type { JsonObject } from "../text/text.ts";
import { deleteTree } from "../workspace/deletion.ts";
import type { WorkerAgents } from "./agents.ts";
import { copyOf, placeCopy, proveCopy, readFacts } from "./copy.ts";
import type { Letter, Listener, Talk } from "./talk.ts";
import { putRecord, readThread, type SentRecord } from "./thread.ts";

/** Where and how `fleet.prepare` runs. */
export interface PreparePlace {
  readonly path: string;
  readonly runId: string;
  readonly timeoutMs: number;
  readonly spec: Pick<SessionSpec, "level" | "network" | "readable" | "bounds" | "secretEnvNames">;
  readonly signal: AbortSignal;
  tell(line: string): void;
}

export interface HostedDeps {
  readonly kinds: readonly AgentKind[];
  readonly agents: Pick<WorkerAgents, "runtime" | "started" | "failed">;
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  /** The worker's own directory, which agents never read: threads, and the worker's key. */
  readonly dir: string;
  /** The directory of all workspaces of this worker. */
  readonly workspaceRoot: string;
  /** Runs a shell line in the sandbox of the agents. Resolves with the end of its output when it failed; null: it succeeded. */
  prepare(line: string, place: PreparePlace): Promise<string | null>;
  /** Registers a value that must never be shown. */
  hide(value: string): void;
  /** Throws once the worker may not act any more. */
  requireLease(): void;
  log(message: string, fields: Readonly<Record<string, unknown>>): void;
}

/** What the orchestrator sends to start a session: `SessionSpec` without what cannot travel. */
export const Start = z.object({
  attempt: z.string(),
  key: z.string().regex(/^(?!\.+$)[\w.-]+$/),
  kind: z.string(),
  agent: z.string(),
  settings: z.record(z.string(), z.unknown()),
  prepare: z.string().nullable(),
  prepareMs: z.number(),
  maxCopy: z.number(),
  facts: z.unknown(),
  /** Absent: the server is one that does not ask for it. */
  proof: z.string().optional(),
  /** Whether the server reads several letters in one. */
  many: z.boolean().default(false),
  tools: z.array(z.unknown()),
  hasUnfinished: z.boolean(),
  spec: z.record(z.string(), z.unknown()),
});

/** One session of an agent on this worker, driven by the orchestrator's letters. */
export class Hosted implements Listener {
  readonly run: string;
  readonly #deps: HostedDeps;
  readonly #over = Promise.withResolvers<void>();
  readonly #abort = new AbortController();
  #talk: Talk | null = null;
  #session: AgentSession | null = null;
  #path: string | null = null;
  #maxCopy = 0;
  /** Came before the start. */
  #thread: SentRecord | null = null;
  #threadId: string | null = null;
  #agent = "";
  #records: () => Promise<ThreadRecords | null> = async () => null;
  /** What of the thread the orchestrator has. */
  #sentThread = "";
  /** The commit that the orchestrator has. */
  #known = "";
  #isDirty = false;
  #ending: Promise<void> | null = null;
  /** What runs in the workspace; neither rejects. */
  #starting: Promise<unknown> = Promise.resolve();
  #turning: Promise<unknown> = Promise.resolve();
  #leaving: Promise<void> | null = null;

  constructor(run: string, deps: HostedDeps) {
    this.run = run;
    this.#deps = deps;
  }

  /** Resolves when no process of it is left. */
  get over(): Promise<void> {
    return this.#over.promise;
  }

  attach(talk: Talk): void {
    this.#talk = talk;
    void talk.failed.then((error) => this.end(error));
  }

  told(): void {}

  async asked(letter: Letter): Promise<JsonObject> {
    this.#deps.requireLease();
    const { body } = letter;
    const session = () => {
      if (this.#session === null) throw new SymphonyError("no_active_turn", "the session is over");
      return this.#session;
    };
    switch (body["type"]) {
      case "thread":
        this.#thread = readThread(letter);
        return {};
      case "start": {
        const starting = this.#start(letter);
        this.#starting = starting.catch(() => {});
        return starting;
      }
      case "turn": {
        const turning = this.#turn(session(), body);
        this.#turning = turning.catch(() => {});
        return turning;
      }
      case "steer": {
        const images = body["images"] as readonly AgentImage[] | undefined;
        const [id, message] = [String(body["steerId"]), String(body["message"])];
        return { ...(await session().steer(id, message, images)) };
      }
      case "answer":
        session().answer(String(body["askId"]), body["reply"] as Answer);
        return {};
      case "interrupt":
        await session().interrupt();
        return {};
      case "end":
        return { failed: await this.#finish() };
      default:
        throw new SymphonyError(
          "worker_refused",
          `this worker does not know ${String(body["type"])}`,
          {
            hint: "install the version of the server on this worker",
          },
        );
    }
  }

  /** Ends the agent at once, without bringing its work back. */
  end(reason: SymphonyError): Promise<void> {
    this.#ending ??= this.#end(reason);
    return this.#ending;
  }

  async #end(reason: SymphonyError): Promise<void> {
    this.#abort.abort(reason);
    this.#talk?.fail(reason);
    await this.#leave().catch((error: unknown) => {
      this.#deps.log("an agent could not be ended cleanly", {
        run: this.run,
        reason: messageOf(error),
      });
    });
    this.#over.resolve();
  }

  /** Ends every process of it, then frees its place: the next attempt of the issue gets the same one. */
  #leave(): Promise<void> {
    this.#leaving ??= this.#leaveNow();
    return this.#leaving;
  }

  async #leaveNow(): Promise<void> {
    try {
      await this.#starting;
      await this.#session?.[Symbol.asyncDispose]();
      await this.#turning;
    } finally {
      await killRun(runIdOf(this.#deps.dir, this.run));
      if (this.#path !== null) await this.#clear(this.#path);
    }
  }

  /** Nothing is at `path` when it resolves; what was there is deleted under another name, in its own time. */
  async #clear(path: string): Promise<void> {
    const away = join(this.#deps.workspaceRoot, `.gone-${randomUUID()}`);
    try {
      await rename(path, away);
    } catch (error) {
      if (systemCodeOf(error) === "ENOENT") return;
      throw error;
    }
    deleteTree(away).catch((error: unknown) => {
      this.#deps.log("a workspace could not be deleted", { path: away, reason: messageOf(error) });
    });
  }

  async #start({ body, data }: Letter): Promise<JsonObject> {
    const start = Start.parse(body);
    if (this.#talk !== null) this.#talk.readsMany = start.many;
    const { dir, workspaceRoot, env, clock } = this.#deps;
    const { signal } = this.#abort;
    signal.throwIfAborted();
    const row = this.#deps.kinds.find(({ kind }) => kind === start.kind);
    const runtime = await this.#deps.agents.runtime(start.kind, start.settings);
    const path = join(workspaceRoot, start.key);
    await mkdir(workspaceRoot, { recursive: true, mode: 0o700 });
    await this.#clear(path);
    this.#path = path;
    const facts = readFacts(start.facts);
    await placeCopy({ facts, bundle: data }, path, signal);
    if (start.proof !== undefined) await proveCopy(path, { facts, proof: start.proof }, signal);
    this.#known = facts.head;
    this.#maxCopy = start.maxCopy;
    const runId = runIdOf(dir, this.run);
    await this.#prepare(start, { path, runId });
    this.#isDirty = start.prepare !== null;
    this.#deps.requireLease();
    const place = { env, dataDir: dir, clock, workspace: path };
    this.#records = async () => (await row?.records?.(start.settings, place)) ?? null;
    const isPlaced =
      this.#thread === null || (await putRecord(await this.#records(), this.#thread));
    signal.throwIfAborted();
    const spec = this.#specOf(start, { path, runId });
    this.#agent = start.agent;
    // A thread without its record here would fail to resume.
    const opening = runtime.start(isPlaced ? spec : { ...spec, resumeThreadId: null }, signal);
    opening.catch((error: unknown) => this.#deps.agents.failed(start.agent, error));
    this.#session = await opening;
    const { threadId, resumed, isPlain = false, repeats = false } = this.#session;
    const { takesImages = false, forgetsImages = false } = this.#session;
    this.#threadId = threadId;
    return { threadId, resumed, isPlain, repeats, takesImages, forgetsImages };
  }

  #specOf(
    start: z.output<typeof Start>,
    { path, runId }: { path: string; runId: string },
  ): SessionSpec {
    const specs = start.tools as SessionSpec["tools"]["specs"];
    const tools: SessionSpec["tools"] = {
      specs,
      call: async (name, args) => {
        const answer = await this.#ask({ type: "tool", name, args });
        return { success: answer["success"] === true, output: String(answer["output"]) };
      },
    };
    return {
      ...(start.spec as unknown as SessionSpec),
      ...{ workspace: path, borrowed: [], runId, tools },
      ...(start.hasUnfinished && {
        unfinished: async () => {
          const { text } = await this.#ask({ type: "unfinished" });
          return typeof text === "string" ? text : null;
        },
      }),
      onEvent: (event) => this.#tell({ type: "event", event }),
      onLog: (line) => this.#tell({ type: "log", line }),
    };
  }

  /**
   * The shell line that makes a new copy ready, such as `npm ci`: git does not bring what it ignores. It runs what earlier
   * agents wrote, so it is confined as they are.
   */
  async #prepare(
    { prepare, prepareMs: timeoutMs, spec }: z.output<typeof Start>,
    place: { path: string; runId: string },
  ) {
    if (prepare === null) return;
    const output = await this.#deps.prepare(prepare, {
      ...{ ...place, timeoutMs, signal: this.#abort.signal },
      spec: spec as unknown as SessionSpec,
      tell: (line) => this.#tell({ type: "log", line }),
    });
    if (output === null) return;
    throw new SymphonyError("hook_failed", "fleet.prepare failed on the worker", {
      details: { hook: "prepare", output },
    });
  }

  async #turn(session: AgentSession, body: JsonObject): Promise<JsonObject> {
    this.#isDirty = true;
    const from = this.#deps.clock.now();
    try {
      await session.turn(String(body["prompt"]), body["options"] as TurnOptions);
      this.#deps.agents.started(this.#agent, from);
    } catch (error) {
      this.#deps.agents.failed(this.#agent, error);
      await this.#bringBack().catch(() => {});
      throw error;
    }
    await this.#bringBack();
    return {};
  }

  /**
   * Ends the agent and brings back what it has done since its last turn; resolves with why that failed, or null, when no
   * process of it is left and its place is free.
   */
  async #finish(): Promise<string | null> {
    let failed: string | null = null;
    const over = new SymphonyError("turn_cancelled", "the session has ended");
    try {
      // One that starts has done nothing yet.
      if (this.#session === null) this.#abort.abort(over);
      await this.#starting;
      const session = this.#session;
      this.#session = null;
      await session?.[Symbol.asyncDispose]();
      await this.#turning;
      if (this.#isDirty) await this.#bringBack();
      // Its program writes the last lines as it ends.
      else if (!this.#abort.signal.aborted) await this.#bringThread();
    } catch (error) {
      failed = messageOf(error);
    }
    try {
      await this.#leave();
    } finally {
      // The answer is sent before the talk ends.
      setImmediate(async () => {
        await this.#talk?.settled();
        await this.end(over);
      });
    }
    return failed;
  }

  async #bringBack(): Promise<void> {
    if (this.#path === null || this.#abort.signal.aborted) return;
    const { signal } = this.#abort;
    const { facts, bundle } = await copyOf(this.#path, {
      maxBytes: this.#maxCopy,
      known: [this.#known],
      signal,
    });
    await this.#ask({ type: "work", facts }, bundle);
    this.#known = facts.head;
    this.#isDirty = false;
    try {
      await this.#bringThread();
    } catch (error) {
      // The work is there: the next attempt begins a thread, or continues an earlier record.
      const message = `the record of the thread does not travel: ${messageOf(error)}`;
      this.#tell({ type: "event", event: { type: "notice", message, malformed: false } });
    }
  }

  /** After the work that it tells of: a thread that lags behind is asked again, one that is ahead would believe what is lost. */
  async #bringThread(): Promise<void> {
    const records = await this.#records();
    const id = this.#threadId;
    if (records === null || id === null) return;
    const record = await readRecord(records, id);
    if (record === null) return;
    const digest = createHash("sha256").update(record.data).digest("hex");
    if (digest === this.#sentThread) return;
    await this.#ask({ type: "thread", id, name: record.name }, record.data);
    this.#sentThread = digest;
  }

  #tell(body: { type: "event"; event: AgentEvent } | { type: "log"; line: string }): void {
    this.#talk?.tell(body);
  }

  #ask(body: JsonObject, data: Buffer | null = null): Promise<JsonObject> {
    if (this.#talk === null) throw new Error("the session has no talk");
    return this.#talk.ask(body, data);
  }
}
