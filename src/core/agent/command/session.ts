// Any program as an agent: one process for each turn.

import { randomUUID } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../clock.ts";
import { addTokens, noTokens, type Tokens } from "../../model/attempt.ts";
import { SymphonyError } from "../../model/errors.ts";
import { displayText } from "../../text/text.ts";
import type { AgentEvent, TurnOptions } from "../agent.ts";
import { plainPrompt } from "../guard/disarm.ts";
import { requireGuardedWorkspace } from "../guard/workspace.ts";
import { noActiveTurn, Session, type SessionTurn, turnCancelled } from "../session.ts";
import { type OutputReader, readerFor } from "./output.ts";
import { CommandTurn, type Launch, type LaunchOptions, LiveTurn, launchOf } from "./turn.ts";

const maxLogChars = 1_000;
const noNetworkHint =
  "for a program that asks a model: set command.provider, or name the variable of its key in command.env_passthrough; for the whole network: symphony config overlay set agent.level networked";

export interface SessionOptions extends LaunchOptions {
  readonly line: string;
  readonly clock: Clock;
  /** What the program uses, closed after its last process. */
  readonly opened: AsyncDisposable;
}

interface InFlight extends SessionTurn {
  readonly id: string;
  /** Set when its process is about to start. */
  running: Running | null;
}

interface Running {
  readonly live: LiveTurn;
  readonly process: CommandTurn;
  /** A sign of life on the bridge to the tools; `acted` when it used one. */
  used(acted: boolean): void;
}

/** A conversation of turns; each turn is a separate process. */
export class CommandSession extends Session<InFlight> {
  readonly #options: SessionOptions;
  #turns = 0;
  #firstPrompt: string | null = null;
  /** The tokens of previous turns, when a program counts each turn separately. */
  #counted = noTokens;

  constructor(options: SessionOptions) {
    const { spec, config, clock } = options;
    super({ spec, clock, silenceLimitMs: null });
    this.#options = options;
    const wanted = config.resumeLine === null ? null : threadNamed(spec.resumeThreadId);
    this.resumed = wanted !== null;
    this.threadId = wanted ?? newThread();
  }

  get pid(): number | null {
    return this.live?.running?.process.pid ?? null;
  }

  get isPlain(): boolean {
    return this.#options.config.output === "text";
  }

  get repeats(): boolean {
    return this.#options.config.resumeLine === null;
  }

  open(): void {
    const { threadId, resumed } = this;
    const countsAnew = resumed && this.#reader().counts === "turn";
    this.emit({ type: "session.started", threadId, resumed, countsAnew });
    const { approvals } = this.#options.spec.askPolicy;
    if (approvals !== "auto") this.notice(neverAsks(approvals));
  }

  async turn(prompt: string, options: TurnOptions): Promise<void> {
    const turn: InFlight = {
      id: randomUUID(),
      running: null,
      fail: (error) => turn.running?.process.stop(error),
    };
    await this.runTurn(turn, () => this.#run(turn, plainPrompt(this.#whole(prompt)), options));
  }

  async steer(steerId: string, message: string): Promise<{ readonly turnId: string }> {
    const live = this.live?.running?.live;
    if (!live) throw noActiveTurn("none is running");
    if (this.#listens) live.steer(steerId, message);
    // Guidance that was not confirmed is added to the next turn.
    return { turnId: live.id };
  }

  async interrupt(): Promise<void> {
    this.live?.fail(turnCancelled());
    await this.idle;
  }

  protected async close(): Promise<void> {
    await this.interrupt();
    await this.#options.opened[Symbol.asyncDispose]();
  }

  /** The program used the bridge to the tracker's tools. */
  toolUsed(event: AgentEvent | null): void {
    if (this.isClosed) return;
    this.live?.running?.used(event !== null);
    this.emit(event ?? { type: "activity", method: "mcp" });
  }

  /** Only a program with symphony's own format reads more than its prompt. */
  get #listens(): boolean {
    const { output, prompt } = this.#options.config;
    return output === "jsonl" && prompt === "file";
  }

  async #run(turn: InFlight, text: string, options: TurnOptions): Promise<void> {
    const dir = await mkdtemp(join(tmpdir(), "symphony-prompt-"));
    try {
      const file = this.#options.config.prompt === "file" ? join(dir, "prompt.txt") : null;
      if (file !== null) await writeFile(file, text, { mode: 0o600 });
      await this.#requireGuarded();
      const launch = await this.#launch(file, options);
      if (this.isClosed) throw turnCancelled();
      this.emit({ type: "turn.started", turnId: turn.id });
      turn.running = this.#begin(turn.id, launch, file === null ? text : "");
      await this.#end(turn.running);
    } finally {
      turn.running = null;
      await rm(dir, { recursive: true, force: true });
    }
  }

  /**
   * Each turn is a process, and the previous turn may have written files that the next one would
   * obey.
   */
  async #requireGuarded(): Promise<void> {
    const { spec, guarded } = this.#options;
    if (spec.level === "danger") return;
    await requireGuardedWorkspace(spec.workspace, guarded, spec.title);
  }

  /** The line of the next turn. */
  get #written(): { readonly key: string; readonly line: string } {
    const { line, config } = this.#options;
    const { resumeLine } = config;
    if (resumeLine === null || this.#session() === null) return { key: "command.line", line };
    return { key: "command.resume_line", line: resumeLine };
  }

  #launch(promptFile: string | null, options: TurnOptions): Promise<Launch> {
    const { spec } = this.#options;
    const session = this.#session();
    const facts = {
      turn: ++this.#turns,
      session,
      model: options.model ?? spec.model,
      effort: options.effort ?? null,
      promptFile,
    };
    return launchOf(this.#written.line, facts, this.#options);
  }

  #begin(id: string, launch: Launch, written: string): Running {
    const { spec, config, clock } = this.#options;
    const reader = this.#reader();
    const live = this.#live(id, reader);
    const process = new CommandTurn({
      launch,
      written: this.#written,
      cwd: spec.launchFrom ?? spec.workspace,
      runId: spec.runId,
      bounds: spec.bounds,
      hint: spec.level === "safe" ? noNetworkHint : null,
      input: this.#listens ? null : written,
      clock,
      limitMs: config.turnTimeoutMs,
      exitGraceMs: config.exitGraceMs,
      reader,
      waits: () => live.waits,
      onLine: (said) => live.line(said),
      onStderr: (said) => {
        spec.onLog(said);
        this.emit({ type: "activity", method: "stderr" });
      },
      onLingering: () => this.notice(lingering(config.exitGraceMs)),
    });
    const used = (acted: boolean) => {
      process.received();
      if (acted) live.spoke = true;
    };
    return { live, process, used };
  }

  #live(id: string, reader: OutputReader): LiveTurn {
    return new LiveTurn({
      ...{ id, reader, tools: this.#options.spec.tools },
      emit: (event) => this.emit(event),
      named: (session) => this.#named(session),
      used: (tokens) => this.#used(tokens, reader),
      reply: (message) => this.live?.running?.process.tell(message),
      log: (line) => this.#options.spec.onLog(displayText(line, maxLogChars)),
      over: () => this.live?.running?.process.over(),
    });
  }

  async #end({ live, process }: Running): Promise<void> {
    try {
      await process.finished(async () => {
        await live.ended();
        return live.result;
      });
    } catch (error) {
      // A limit does not make the session invalid: it continues once the limit is over.
      const limited = error instanceof SymphonyError && error.code === "provider_limited";
      if (this.resumed && this.#turns === 1 && !live.spoke && !limited) this.#forget();
      throw error;
    }
    if (this.#reader().counts === "turn") this.#counted = addTokens(this.#counted, live.tokens);
  }

  /** A program without a session to resume gets the whole prompt again. */
  #whole(prompt: string): string {
    this.#firstPrompt ??= prompt;
    const anew = this.#turns > 0 && this.#session() === null;
    return anew ? `${this.#firstPrompt}\n\n${prompt}` : prompt;
  }

  /** The session that the next turn resumes. */
  #session(): string | null {
    const { resumeLine } = this.#options.config;
    return resumeLine === null || isOwnThread(this.threadId) ? null : this.threadId;
  }

  #used(tokens: Tokens, { counts }: OutputReader): void {
    const total = counts === "turn" ? addTokens(this.#counted, tokens) : tokens;
    this.emit({ type: "tokens", total });
  }

  #named(id: string): void {
    const threadId = threadNamed(id);
    if (threadId === this.threadId) return;
    if (threadId === null) {
      return this.notice("the command reported a session id that cannot be used");
    }
    this.#renamed(threadId);
  }

  /** The next attempt has to start a new session, or it would fail in the same way. */
  #forget(): void {
    this.notice("the session could not be resumed; the next attempt starts a new one");
    this.#renamed(newThread());
  }

  #renamed(threadId: string): void {
    this.threadId = threadId;
    this.#counted = noTokens;
    this.emit({ type: "session.started", threadId, resumed: false });
  }

  #reader(): OutputReader {
    const { config, spec, clock } = this.#options;
    return readerFor(config.output, { workspace: spec.workspace, wall: () => clock.wall() });
  }
}

/** What the program may do is decided by its own flags and the sandbox. */
function neverAsks(approvals: string): string {
  return `a command cannot ask for approval, so agent.approvals ${approvals} has no effect: use the program's own flags`;
}

function lingering(graceMs: number): string {
  return `the command did not exit within ${graceMs} ms of its result (command.exit_grace_ms) and was stopped`;
}

const ownPrefix = "unnamed-";
const usable = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$/;

/** An id for a conversation whose program reported none; it cannot be resumed by this id. */
function newThread(): string {
  return `${ownPrefix}${randomUUID()}`;
}

function isOwnThread(threadId: string): boolean {
  return threadId.startsWith(ownPrefix);
}

/**
 * A program's session id, if it is safe to pass back to the program; it never looks like an option.
 */
function threadNamed(id: string | null): string | null {
  return id !== null && usable.test(id) && !isOwnThread(id) ? id : null;
}
