// Claude Code, the user's own program, driven over stdin and stdout.

import { randomUUID } from "node:crypto";
import { type Clock, within } from "../../clock.ts";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { type JsonObject, oneLine } from "../../text/text.ts";
import type { SessionSpec, TurnOptions } from "../agent.ts";
import { noticeEvent } from "../event-makers.ts";
import type { AgentImage } from "../images.ts";
import { noActiveTurn, Session, turnCancelled } from "../session.ts";
import { ClaudeConnection } from "./connection.ts";
import { Guidance, guidanceAgain } from "./guidance.ts";
import type { ClaudeHome } from "./home.ts";
import type { Launch } from "./launch.ts";
import { Outcomes } from "./outcome.ts";
import { allow, answered, deny, wantedOf } from "./permissions.ts";
import {
  type ControlRequest,
  initialized,
  type Message,
  type MessageOf,
  type Result,
  requiredCapabilities,
  toolPermission,
  userLine,
} from "./protocol.ts";
import type { ClaudeConfig } from "./settings.ts";
import { answerTracker } from "./tools.ts";
import { LiveTurn } from "./turn.ts";
import { Updates } from "./updates.ts";

const interruptGraceMs = 2_000;
const maxMalformedChars = 1_000;

export interface ClaudeSessionOptions {
  readonly spec: SessionSpec;
  readonly config: ClaudeConfig;
  readonly clock: Clock;
  readonly home: ClaudeHome;
  readonly launch: Launch;
  /** The session that the process opens; `resumes` continues an earlier one. */
  readonly thread: { readonly id: string; readonly resumes: boolean };
  /** Added before the first message of a new session: the repository's own notes. */
  readonly preface: string;
  /** Closed after the last process. */
  readonly way: AsyncDisposable;
}

/** One process of Claude Code with one session. */
export class ClaudeSession extends Session<LiveTurn> {
  readonly takesImages = true;
  readonly #options: ClaudeSessionOptions;
  readonly #connection: ClaudeConnection;
  readonly #updates: Updates;
  readonly #outcomes: Outcomes;
  readonly #guidance: Guidance;
  /** Requests of the agent that wait for a person or a tool, by id. */
  readonly #waiting = new Map<string, AbortController>();
  #preface: string;
  #model: string | null;
  #effort: string | null = null;
  #version = "unknown";

  constructor(options: ClaudeSessionOptions) {
    const { spec, clock, config, launch, home } = options;
    // Silence of every kind of agent ends by `agent.silence_timeout_ms`.
    super({ spec, clock, silenceLimitMs: null });
    this.#options = options;
    this.#updates = new Updates(spec.workspace);
    this.#outcomes = new Outcomes(() => clock.wall());
    this.#guidance = new Guidance(home, options.thread.id);
    this.#preface = options.preface;
    this.#model = launch.model;
    this.#connection = new ClaudeConnection(
      { spec, launch, clock, timeoutMs: config.readTimeoutMs },
      {
        received: () => this.received(),
        message: (message) => this.#received(message),
        requested: (id, request) => void this.#requested(id, request),
        other: (name) => this.emit({ type: "activity", method: name }),
        malformed: (line) => this.emit(noticeEvent(oneLine(line, maxMalformedChars), true)),
        ended: (error) => {
          this.questions.close();
          this.live?.fail(this.#outcomes.limitAtExit() ?? error);
        },
      },
    );
  }

  get pid(): number | null {
    return this.#connection.pid;
  }

  async open(): Promise<void> {
    const { thread } = this.#options;
    const hooks = { Stop: [{ hookCallbackIds: [stopHook] }] };
    const answer = await this.#connection.request("initialize", { hooks });
    this.#version = initialized.safeParse(answer).data?.claude_code_version ?? "unknown";
    this.threadId = thread.id;
    this.resumed = thread.resumes;
    const { threadId, resumed } = this;
    // The process counts tokens from its own start.
    this.emit({ type: "session.started", threadId, resumed, countsAnew: resumed });
    const { takenUp, lost } = await this.#guidance.earlier();
    for (const steerId of takenUp) this.emit({ type: "steer.delivered", steerId });
    this.#preface += guidanceAgain(lost);
  }

  async turn(prompt: string, options: TurnOptions): Promise<void> {
    this.requireIdle();
    await this.#choose(options);
    const turn = new LiveTurn(randomUUID());
    await this.runTurn(turn, async () => {
      await this.#guidance.sentAgain(turn.uuid);
      this.#connection.send(userLine(turn.uuid, `${this.#preface}${prompt}`, options.images));
      this.#preface = "";
      await turn.done;
    });
  }

  async steer(
    steerId: string,
    message: string,
    images?: readonly AgentImage[],
  ): Promise<{ readonly turnId: string }> {
    const turn = this.live;
    if (!turn || turn.ended) throw noActiveTurn("none is running");
    const sent = await this.#guidance.sent(steerId, message);
    // The same guidance is never sent twice.
    if (sent.again) return { turnId: turn.uuid };
    const accepted = turn.awaits(sent.uuid);
    this.#connection.send(userLine(sent.uuid, message, images));
    if (!(await accepted)) throw noActiveTurn("the agent's turn ended before it took the message");
    return { turnId: turn.uuid };
  }

  async interrupt(): Promise<void> {
    const turn = this.live;
    if (!turn) return;
    await this.#connection.request("interrupt", { cancel_queued: true }).catch(() => {});
    await within(
      turn.done.catch(() => {}),
      interruptGraceMs,
    );
    turn.fail(turnCancelled());
  }

  protected async close(): Promise<void> {
    const isIdle = this.live === null;
    // Lets the agent record the turn as interrupted.
    if (!isIdle) await within(this.interrupt(), interruptGraceMs);
    this.questions.close();
    await this.#connection.stop({ isIdle });
    await this.#options.way[Symbol.asyncDispose]();
  }

  /** Sets the model and the effort if they have changed. */
  async #choose({ model, effort = null }: TurnOptions): Promise<void> {
    const wanted = model ?? this.#options.launch.model;
    if (wanted !== null && wanted !== this.#model) {
      await this.#set("set_model", { model: wanted }, `model ${wanted}`);
      this.#model = wanted;
    }
    if (effort === null || effort === this.#effort) return;
    const settings = { effortLevel: effort };
    await this.#set("apply_flag_settings", { settings }, `reasoning effort ${effort}`);
    this.#effort = effort;
  }

  async #set(subtype: string, fields: JsonObject, what: string): Promise<void> {
    try {
      await this.#connection.request(subtype, fields);
    } catch (error) {
      if (!(error instanceof SymphonyError) || error.code !== "response_error") throw error;
      const message = `Claude Code does not accept ${what}: ${messageOf(error)}`;
      // Not `provider_refused`: the value was mostly chosen for one issue, and the others continue.
      throw new SymphonyError("response_error", message, {
        details: error.details,
        hint: "symphony models",
      });
    }
  }

  #received(message: Exclude<Message, MessageOf<"control_request" | "control_response">>): void {
    switch (message.type) {
      case "system":
        return this.#system(message);
      case "command_lifecycle":
        return this.#lifecycle(message);
      case "assistant":
        this.#outcomes.assistant(message);
        return this.#emitAll(this.#updates.assistant(message), "assistant");
      case "user":
        return this.#emitAll(this.#updates.user(message), "user");
      case "stream_event":
        return this.#emitAll(this.#updates.stream(message), "stream");
      case "rate_limit_event":
        this.#outcomes.window(message);
        return this.emit({ type: "rate_limits", limits: message.rate_limit_info });
      case "result":
        return this.#ended(message);
      case "control_cancel_request":
        // Such as after an interrupt.
        this.#waiting.get(message.request_id)?.abort();
        this.#waiting.delete(message.request_id);
        return;
    }
  }

  #emitAll(events: readonly Parameters<ClaudeSession["emit"]>[0][], method: string): void {
    for (const event of events) this.emit(event);
    if (events.length === 0) this.emit({ type: "activity", method });
  }

  #system(message: MessageOf<"system">): void {
    this.emit({ type: "activity", method: message.subtype });
    if (message.subtype === "init") return this.#requireCapabilities(message);
    if (message.subtype === "model_fallback") this.notice("another model took over");
    if (message.subtype === "compact_boundary") this.notice("the conversation was shortened");
    if (message.subtype !== "api_retry") return;
    const hopeless = this.#outcomes.hopeless(message);
    const { attempt = 0, max_retries: most = 0, error_status: status, error } = message;
    if (hopeless === null) {
      const why = [status, error].filter((part) => part != null).join(" ") || "no connection";
      return this.notice(`the provider is asked again (${attempt} of ${most}): ${why}`);
    }
    this.live?.fail(hopeless);
  }

  #requireCapabilities({
    capabilities = [],
    claude_code_version: version,
  }: MessageOf<"system">): void {
    const missing = requiredCapabilities.filter((name) => !capabilities.includes(name));
    if (missing.length === 0) return;
    const named = version ?? this.#version;
    const message = `Claude Code ${named} is too old: it lacks ${missing.join(" and ")}`;
    this.live?.fail(
      new SymphonyError("agent_unavailable", message, {
        hint: "update it: claude update, or npm install --global @anthropic-ai/claude-code",
      }),
    );
    void this[Symbol.asyncDispose]();
  }

  #lifecycle({ command_uuid: uuid, state }: MessageOf<"command_lifecycle">): void {
    const turn = this.live;
    const steerId = this.#guidance.idOf(uuid);
    if (steerId !== null && (state === "started" || state === "completed")) {
      if (this.#guidance.delivered(uuid)) this.emit({ type: "steer.delivered", steerId });
    }
    if (uuid === turn?.uuid && state === "started" && turn.id === null) {
      turn.begin();
      this.emit({ type: "turn.started", turnId: turn.uuid });
    }
    if (uuid === turn?.uuid && state === "cancelled") turn.fail(turnCancelled());
    turn?.changed(uuid, state);
  }

  #ended(result: Result): void {
    this.#emitAll(this.#updates.result(result), "result");
    const turn = this.live;
    // A turn that the agent began by itself is no answer to the prompt.
    if (!turn || turn.id === null) return;
    if (result.subtype === "error_max_turns") {
      this.notice("the agent ended its turn early: max turns");
    }
    turn.end(this.#outcomes.errorOf(result));
  }

  async #requested(id: string, request: ControlRequest["request"]): Promise<void> {
    const { tools } = this.#options.spec;
    switch (request.subtype) {
      case "can_use_tool":
        return this.#permit(id, request);
      case "mcp_message": {
        const { response, event } = await answerTracker(request, tools);
        this.received();
        this.#connection.reply(id, { mcp_response: response });
        if (event) this.emit(event);
        return;
      }
      case "hook_callback":
        return this.#connection.reply(id, await this.#atStop());
      default:
        this.#connection.refuse(id, "this request is not supported");
        this.notice(`refused a request of the agent: ${oneLine(request.subtype, 100)}`);
    }
  }

  /**
   * The agent is about to end its turn. Once per turn it is reminded that its issue is not where it
   * should be: that costs less than a further turn, and does not count as one.
   */
  async #atStop(): Promise<JsonObject> {
    const turn = this.live;
    if (!turn || turn.wasReminded) return {};
    turn.wasReminded = true;
    const reason = await this.#options.spec.unfinished?.().catch(() => null);
    return reason ? { decision: "block", reason } : {};
  }

  async #permit(id: string, request: JsonObject): Promise<void> {
    const read = toolPermission.safeParse(request);
    if (!read.success) return this.#connection.refuse(id, "the request cannot be read");
    const { input } = read.data;
    const wanted = wantedOf(read.data);
    const { approvals } = this.#options.spec.askPolicy;
    if (wanted.type === "approval" && approvals !== "ask") {
      const isGranted = approvals === "auto";
      this.#connection.reply(id, isGranted ? allow(input) : deny(declined));
      const decision = isGranted ? "allow" : "deny";
      return this.emit({ type: "approval.resolved", decision, automatic: true });
    }
    const withdrawn = new AbortController();
    this.#waiting.set(id, withdrawn);
    try {
      const questions = wanted.type === "question" ? wanted.questions : [];
      const answer = await this.questions.ask(wanted.needs, questions.length, withdrawn.signal);
      this.received();
      this.#waiting.delete(id);
      if (answer.type === "answers") {
        return this.#connection.reply(id, answered(input, questions, answer.answers));
      }
      this.#connection.reply(id, answer.approve ? allow(input) : deny(declined));
    } catch (error) {
      if (this.#waiting.delete(id)) this.live?.fail(error);
    }
  }
}

const stopHook = "stop";
const declined = "The operator declined this. Continue without it, or say why it is needed.";
