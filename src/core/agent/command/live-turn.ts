import { noTokens, type Tokens } from "../../model/attempt.ts";
import type { AgentEvent, AgentTools } from "../agent.ts";
import { answerTool } from "../codex/tools.ts";
import { toolCallEvent } from "../event-makers.ts";
import type { OutputReader, Told } from "./output.ts";
import type { TurnResult } from "./turn.ts";

export interface LiveTurnOptions {
  readonly id: string;
  readonly reader: OutputReader;
  readonly tools: AgentTools;
  emit(event: AgentEvent): void;
  /** The program told the name of its session. */
  named(session: string): void;
  /** The program told what it used. */
  used(tokens: Tokens): void;
  /** A line that is no event. */
  log(line: string): void;
  /** The program told how its turn ended. */
  over(): void;
  /** Tells the program something; one that does not listen loses it. */
  reply(message: Readonly<Record<string, unknown>>): void;
}

/** What the program of one turn has told so far. */
export class LiveTurn {
  readonly id: string;
  /** How the turn ended, in the program's own word: its first, for what comes after that is no part of the turn. */
  result: TurnResult | null = null;
  /** True once the agent did or said something. */
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
    const told = this.#options.reader.line(line);
    for (const one of told) this.#take(one);
    if (told.length === 0) this.#options.emit({ type: "activity", method: "output" });
  }

  steer(id: string, message: string): void {
    this.#steers.add(id);
    this.#options.reply({ type: "steer", id, message });
  }

  /** The output is over; resolves when the tools it asked for are done. */
  async ended(): Promise<void> {
    for (const one of this.#options.reader.end()) this.#take(one);
    await Promise.all(this.#tools);
  }

  #take(told: Told): void {
    const { emit, named, used, log, over } = this.#options;
    switch (told.type) {
      case "log":
        log(told.line);
        return emit({ type: "activity", method: "output" });
      case "session":
        return named(told.id);
      case "usage":
        this.tokens = told.tokens;
        return used(told.tokens);
      case "result":
        this.result ??= { failure: told.failure, limit: told.limit };
        return over();
      case "tool":
        return this.#call(told);
      case "steer.delivered":
        // Only what it was told of can be confirmed.
        if (this.#steers.delete(told.steerId)) emit(told);
        return;
      default:
        if (told.type !== "activity" && told.type !== "notice") this.spoke = true;
        emit(told);
    }
  }

  #call({ id, tool, args }: Extract<Told, { type: "tool" }>): void {
    this.spoke = true;
    const { tools, emit, reply } = this.#options;
    const run = async () => {
      const { result, outcome } = await answerTool(tools, tool, args);
      emit(toolCallEvent(tool, outcome));
      const { success, output } = result;
      reply({ type: "tool_result", id, success, output });
    };
    const running: Promise<void> = run().finally(() => this.#tools.delete(running));
    this.#tools.add(running);
  }
}
