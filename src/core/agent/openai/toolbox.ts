import type { Needs } from "../../model/attempt.ts";
import { displayText, type JsonObject, listOf } from "../../text/text.ts";
import type { AgentEvent, AgentTools, Answer, ToolSpec } from "../agent.ts";
import type { Questions } from "../session.ts";
import { argumentsIn } from "./calls.ts";
import type { Call, Item } from "./thread.ts";

const maxResultChars = 200_000;
/** Tools that are reported by their own events. */
const reportedByOwnEvents: ReadonlySet<string> = new Set(["shell", "apply_patch"]);

type CallOutput = Extract<Item, { type: "function_call_output" }>;

interface Result {
  readonly output: string;
  readonly hasFailed: boolean;
}

/** All tools that the model may call: the agent's own, then the tracker's. */
export class Toolbox {
  readonly specs: readonly ToolSpec[];
  readonly #own: ReadonlyMap<string, Tool>;
  readonly #tracker: AgentTools;
  readonly #emit: (event: AgentEvent) => void;

  constructor(own: readonly Tool[], tracker: AgentTools, emit: (event: AgentEvent) => void) {
    this.#own = new Map(own.map((tool) => [tool.spec.name, tool]));
    this.#tracker = tracker;
    this.#emit = emit;
    const others = tracker.specs.filter(({ name }) => !this.#own.has(name));
    this.specs = [...own.map(({ spec }) => spec), ...others];
  }

  /**
   * Answers the calls of one response. Adjacent calls that only read run concurrently, the others
   * one after another in the model's order. Rejects when the turn has to end; `answered` has then
   * received the completed calls. The result is how many could not be carried out.
   */
  async answer(
    calls: readonly Call[],
    signal: AbortSignal,
    answered: (item: CallOutput) => Promise<void>,
  ): Promise<number> {
    let failures = 0;
    for (const group of this.#groups(calls)) {
      const outputs = await Promise.all(
        group.map(async (call): Promise<CallOutput> => {
          const { output, hasFailed } = await this.#run(call, signal);
          if (hasFailed) failures++;
          return { type: "function_call_output", call_id: call.call_id, output };
        }),
      );
      for (const output of outputs) await answered(output);
      signal.throwIfAborted();
    }
    return failures;
  }

  #groups(calls: readonly Call[]): readonly (readonly Call[])[] {
    const groups: Call[][] = [];
    let reading = false;
    for (const call of calls) {
      const readsOnly = this.#own.get(call.name)?.readsOnly ?? false;
      if (readsOnly && reading) groups.at(-1)?.push(call);
      else groups.push([call]);
      reading = readsOnly;
    }
    return groups;
  }

  async #run(call: Call, signal: AbortSignal): Promise<Result> {
    signal.throwIfAborted();
    const args = argumentsIn(call.arguments);
    const tool = this.#own.get(call.name);
    try {
      if (args === null) throw new ToolError("the arguments are not a JSON object");
      if (!tool) return await this.#tracked(call.name, args);
      const output = await tool.run(args, signal);
      this.#report(call.name, "completed");
      return { output: output.slice(0, maxResultChars), hasFailed: false };
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
      this.#report(displayText(call.name, 200), "failed");
      return { output: `failed: ${error.message}`.slice(0, maxResultChars), hasFailed: true };
    }
  }

  async #tracked(name: string, args: unknown): Promise<Result> {
    const known = this.#tracker.specs.some((spec) => spec.name === name);
    const { success, output } = await this.#tracker.call(name, args);
    const outcome = known ? (success ? "completed" : "failed") : "unsupported";
    this.#emit({ type: "tool_call", tool: displayText(name, 200), outcome });
    return { output: output.slice(0, maxResultChars), hasFailed: !success };
  }

  #report(name: string, outcome: "completed" | "failed"): void {
    if (outcome === "failed" || !reportedByOwnEvents.has(name))
      this.#emit({ type: "tool_call", tool: name, outcome });
  }
}

/** One of the agent's own tools. */
export interface Tool {
  readonly spec: ToolSpec;
  /**
   * True when it changes and starts nothing, so that it may run concurrently with similar tools.
   */
  readonly readsOnly: boolean;
  /**
   * Text for the model. Rejects with ToolError for an error of the model; any other error ends the
   * turn.
   */
  run(args: JsonObject, signal: AbortSignal): Promise<string>;
}

export interface ToolDeps {
  /** Canonical. */
  readonly workspace: string;
  emit(event: AgentEvent): void;
}

/** An error in a call, as text for the model. */
export class ToolError extends Error {}

export function textArgument(args: JsonObject, name: string): string {
  const value = args[name];
  if (typeof value === "string") return value;
  throw new ToolError(`the argument ${name} must be text`);
}

export function optionalText(args: JsonObject, name: string): string | null {
  const value = args[name];
  return value === undefined || value === null ? null : textArgument(args, name);
}

/** An integer within the limits, or `fallback` if omitted. */
export function numberArgument(
  args: JsonObject,
  name: string,
  { fallback, min, max }: { fallback: number; min: number; max: number },
): number {
  const value = args[name];
  if (value === undefined || value === null) return fallback;
  if (typeof value !== "number" || !Number.isFinite(value))
    throw new ToolError(`the argument ${name} must be a number`);
  return Math.min(Math.max(Math.trunc(value), min), max);
}

/** The schema of a tool's arguments; all of them are required except `optional`. */
export function argumentsSchema(
  properties: Readonly<Record<string, JsonObject>>,
  optional: readonly string[] = [],
): JsonObject {
  const required = Object.keys(properties).filter((name) => !optional.includes(name));
  return { type: "object", properties, required, additionalProperties: false };
}

/** Asks a person. Rejects like `Asks.ask`, or with the signal's reason if it is aborted first. */
export type AskPerson = (needs: Needs, questions: number, signal: AbortSignal) => Promise<Answer>;

const maxPromptChars = 2_000;
const maxOptions = 20;

export function askingOf(asks: Questions): AskPerson {
  return async (needs, questions, signal) => {
    signal.throwIfAborted();
    const given = Promise.withResolvers<Answer>();
    const stop = () => given.reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    asks.ask(needs, questions).then(given.resolve, given.reject);
    return given.promise.finally(() => signal.removeEventListener("abort", stop));
  };
}

/** `ask_user`: a question to a person, for information that is available nowhere else. */
export function askTool(asking: AskPerson): Tool {
  return {
    readsOnly: false,
    spec: {
      name: "ask_user",
      description:
        "Asks a person, and waits. Only for information without which the work cannot continue and which cannot be found out.",
      inputSchema: argumentsSchema(
        {
          question: { type: "string" },
          options: { type: "array", items: { type: "string" }, description: "likely answers" },
        },
        ["options"],
      ),
    },
    async run(args, signal) {
      const prompt = displayText(textArgument(args, "question"), maxPromptChars);
      const options = listOf(args["options"])
        .filter((option) => typeof option === "string")
        .slice(0, maxOptions)
        .map((option) => displayText(option, 200));
      const answer = await asking({ kind: "question", prompt, options }, 1, signal);
      return answer.type === "answers" ? answer.answers.join("\n") : "no answer was given";
    },
  };
}
