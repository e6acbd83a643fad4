import { realpath } from "node:fs/promises";
import type { Clock } from "../../clock.ts";
import { highWater, noTokens, type Tokens } from "../../model/attempt.ts";
import { SymphonyError } from "../../model/errors.ts";
import { agentEnvironment, launchLine } from "../../process/environment.ts";
import { loginEnvironment } from "../../process/login.ts";
import { AgentProcess, SilenceWatch } from "../../process/program.ts";
import { sandboxLine } from "../../process/sandbox.ts";
import { oneLine } from "../../text/text.ts";
import type { AgentEvent, AgentTools, SessionSpec } from "../agent.ts";
import type { Bridge } from "../bridge.ts";
import { type Confinement, ownProgramNotFound } from "../confinement.ts";
import { toolCallEvent } from "../event-makers.ts";
import { emptiedFor, type GuardedLaunch, guardVariables } from "../guard/disarm.ts";
import { type Limit, limitError } from "../limits.ts";
import { type Refusal, refusalError } from "../refusals.ts";
import { answerTool } from "../tool-answer.ts";
import type { WayOut } from "../way-out.ts";
import type { OutputReader } from "./output.ts";
import type { OutputEvent } from "./reader.ts";
import type { CommandConfig } from "./settings.ts";

const keptStderrLines = 10;
const maxStderrChars = 2_000;

export interface CommandTurnOptions {
  readonly launch: Launch;
  /** The line as it is configured, and the key of it. */
  readonly written: { readonly key: string; readonly line: string };
  readonly cwd: string;
  readonly runId: string;
  readonly bounds: SessionSpec["bounds"];
  /** The next step when it fails; null when none is known. */
  readonly hint: string | null;
  /** Written to stdin; null keeps stdin open for later messages. */
  readonly input: string | null;
  readonly clock: Clock;
  /** Limit for silence. */
  readonly limitMs: number;
  /** How long the program may continue after it reported how the turn ended. */
  readonly exitGraceMs: number;
  readonly reader: OutputReader;
  /** True while the program waits for symphony. */
  waits(): boolean;
  onLine(line: string): void;
  onStderr(line: string): void;
  /** It did not exit within the grace period and is ended. */
  onLingering(): void;
}

/** How a turn ended, as reported by the program. */
interface TurnResult {
  /** null: it succeeded. */
  readonly failure: string | null;
  /** The provider's limit that made it fail. */
  readonly limit: Limit | null;
  readonly refusal?: Refusal;
}

/** One turn: one process, from its start until everything it started has exited. */
export class CommandTurn {
  readonly #options: CommandTurnOptions;
  readonly #process: AgentProcess;
  readonly #watch: SilenceWatch;
  readonly #over = Promise.withResolvers<SymphonyError>();
  readonly #stderr: string[] = [];
  #stopped: unknown = null;
  /** Cancels the timer that ends a program whose turn is over. */
  #leaving: (() => void) | null = null;

  constructor(options: CommandTurnOptions) {
    this.#options = options;
    const { launch, cwd, runId, bounds, input, clock, limitMs } = options;
    this.#watch = new SilenceWatch(clock, limitMs, {
      waits: options.waits,
      onSilence: () => this.stop(silent(limitMs)),
    });
    this.#process = new AgentProcess({
      ...launch,
      ...{
        cwd,
        runId,
        bounds,
        notFound: (complaint) => ownProgramNotFound("command", options.written, complaint),
        overflow: "skip",
      },
      onLine: (line) => {
        this.#watch.received();
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

  /** Records a sign of life other than its output. */
  received(): void {
    this.#watch.received();
  }

  tell(message: Readonly<Record<string, unknown>>): void {
    this.#process.write(`${JSON.stringify(message)}\n`);
  }

  /** Ends every process of the turn, which then rejects with `reason`. */
  stop(reason: unknown): void {
    this.#stopped ??= reason;
    void this.#process.stop();
  }

  /**
   * The program reported how the turn ended. It may hang, or a child process may keep its output
   * open, so the wait for its exit is short.
   */
  over(): void {
    const { clock, exitGraceMs, onLingering } = this.#options;
    this.#watch.stop();
    this.#leaving ??= clock.after(exitGraceMs, () => {
      onLingering();
      void this.#process.stop();
    });
  }

  /**
   * Resolves when the turn succeeded and no process of the program is left. The program's own
   * result, which `result` resolves with, has priority over its exit status. Rejects with
   * `turn_failed`, `provider_limited`, `provider_refused`, `agent_not_found`, `port_exit` (a signal),
   * or the reason it was stopped for.
   */
  async finished(result: () => Promise<TurnResult | null>): Promise<void> {
    const end = await this.#over.promise;
    this.#watch.stop();
    this.#leaving?.();
    await this.#process.stop();
    const ended = await result();
    if (ended?.failure === null) return;
    if (this.#stopped) throw this.#stopped;
    const { status } = end.details;
    const failure = ended?.failure || "no reason given";
    const { reader } = this.#options;
    if (ended?.refusal && !ended.limit) throw refusalError(ended.refusal, failure, reader.logIn);
    if (ended) throw this.#failed(failure, ended.limit, status);
    if (end.code !== "port_exit" || typeof status !== "number") throw end;
    if (status === 0 && !reader.tellsEnd) return;
    if (status === 0) throw this.#failed("it ended with status 0 and reported no result", null, 0);
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
    this.#watch.received();
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

export interface LiveTurnOptions {
  readonly id: string;
  readonly reader: OutputReader;
  readonly tools: AgentTools;
  emit(event: AgentEvent): void;
  /** The program reported the id of its session. */
  named(session: string): void;
  /** The program reported its usage. */
  used(tokens: Tokens): void;
  /** A line that is no event. */
  log(line: string): void;
  /** The program reported how its turn ended. */
  over(): void;
  /** Sends a message to the program; it is lost when the program does not read it. */
  reply(message: Readonly<Record<string, unknown>>): void;
}

/** The state of a turn, from what its program has reported so far. */
export class LiveTurn {
  readonly id: string;
  /** The program's own result: the first one, because later output is not part of the turn. */
  result: TurnResult | null = null;
  /** True after the first action or message of the agent. */
  spoke = false;
  tokens: Tokens = noTokens;
  readonly #options: LiveTurnOptions;
  readonly #tools = new Set<Promise<void>>();
  readonly #steers = new Set<string>();

  constructor(options: LiveTurnOptions) {
    this.#options = options;
    this.id = options.id;
  }

  /** True while the program may wait for a tool. */
  get waits(): boolean {
    return this.#tools.size > 0;
  }

  line(line: string): void {
    const events = this.#options.reader.line(line);
    for (const one of events) this.#take(one);
    if (events.length === 0) this.#options.emit({ type: "activity", method: "output" });
  }

  steer(id: string, message: string): void {
    this.#steers.add(id);
    this.#options.reply({ type: "steer", id, message });
  }

  /** The output has ended; resolves when the tools it requested are done. */
  async ended(): Promise<void> {
    for (const one of this.#options.reader.end()) this.#take(one);
    await Promise.all(this.#tools);
  }

  #take(event: OutputEvent): void {
    const { emit, named, used, log, over } = this.#options;
    switch (event.type) {
      case "log":
        log(event.line);
        return emit({ type: "activity", method: "output" });
      case "session":
        return named(event.id);
      case "usage":
        this.tokens = highWater(this.tokens, event.tokens);
        return used(this.tokens);
      case "result":
        this.result ??= event;
        return over();
      case "tool":
        return this.#call(event);
      case "steer.delivered":
        // Only guidance that was sent can be confirmed.
        if (this.#steers.delete(event.steerId)) emit(event);
        return;
      default:
        if (event.type !== "activity" && event.type !== "notice") this.spoke = true;
        emit(event);
    }
  }

  #call({ id, tool, args }: Extract<OutputEvent, { type: "tool" }>): void {
    this.spoke = true;
    const { tools, emit, reply } = this.#options;
    const run = async () => {
      const { success, output, outcome } = await answerTool(tools, tool, args);
      emit(toolCallEvent(tool, outcome));
      reply({ type: "tool_result", id, success, output });
    };
    const running: Promise<void> = run().finally(() => this.#tools.delete(running));
    this.#tools.add(running);
  }
}

const maxTitleChars = 500;

export interface TurnFacts {
  /** 1-based. */
  readonly turn: number;
  /** The session to resume; null starts a new one. */
  readonly session: string | null;
  readonly model: string | null;
  readonly effort: string | null;
  /** The path of the prompt, unless it is written to stdin. */
  readonly promptFile: string | null;
}

export interface Launch {
  readonly line: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface LaunchOptions {
  readonly spec: SessionSpec;
  readonly config: CommandConfig;
  readonly guarded: GuardedLaunch;
  readonly env: NodeJS.ProcessEnv;
  readonly way: WayOut;
  /** The tracker's tools; null: there are none. */
  readonly bridge: Bridge | null;
}

/**
 * The command for one turn. Everything that comes from an issue or a program is in the environment,
 * never in the line.
 */
export async function launchOf(
  command: string,
  facts: TurnFacts,
  options: LaunchOptions,
): Promise<Launch> {
  const { spec, guarded, way, bridge } = options;
  const { confinement, passthrough } = way;
  const variables = variablesOf(facts, options);
  const { runId, secretEnvNames: secretNames, level } = spec;
  const login = await loginEnvironment(options.env);
  const env = {
    ...agentEnvironment({ env: login, passthrough, secretNames, runId }),
    ...variables,
    ...way.variables,
  };
  const set = guardVariables(guarded, spec.askPolicy.approvals);
  const kept = {
    path: login["PATH"],
    passthrough,
    ownVariables: Object.keys({ ...variables, ...way.variables }),
    set,
  };
  if (level === "danger" || confinement === null) {
    return { line: launchLine(command, secretNames, kept), env };
  }
  const confined = await sandboxLine(command, {
    ...confinement,
    level,
    cwd: confinement.workspace,
    shown: [...confinement.shown, ...(await promptShown(facts)), ...(bridge?.shown ?? [])],
    emptied: emptiedFor(guarded),
  });
  // The temporary folder inside the sandbox is a new one.
  const lines = [...way.lines, confined].join("\n");
  return { line: launchLine(lines, secretNames, kept), env: { ...env, TMPDIR: "/tmp" } };
}

async function promptShown({ promptFile }: TurnFacts): Promise<Confinement["shown"]> {
  if (promptFile === null) return [];
  return [{ from: await realpath(promptFile), to: promptFile, as: "readable" }];
}

function variablesOf(
  facts: TurnFacts,
  { spec: { title, workspace }, bridge }: LaunchOptions,
): Record<string, string> {
  const end = title.indexOf(": ");
  const variables: Record<string, string | null> = {
    SYMPHONY_ISSUE_IDENTIFIER: oneLine(end === -1 ? title : title.slice(0, end), maxTitleChars),
    SYMPHONY_ISSUE_TITLE: oneLine(end === -1 ? "" : title.slice(end + 2), maxTitleChars),
    SYMPHONY_WORKSPACE: workspace,
    SYMPHONY_TURN: String(facts.turn),
    SYMPHONY_SESSION: facts.session,
    SYMPHONY_MODEL: facts.model,
    SYMPHONY_REASONING_EFFORT: facts.effort,
    SYMPHONY_PROMPT_FILE: facts.promptFile,
    SYMPHONY_MCP_CONFIG: bridge?.configPath ?? null,
  };
  const set = Object.entries(variables).filter(
    (entry): entry is [string, string] => entry[1] !== null,
  );
  return Object.fromEntries(set);
}
