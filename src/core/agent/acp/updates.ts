import type { AgentEvent } from "../agent.ts";
import { messageEvents, noticeEvent } from "../event-makers.ts";
import { isObject, type JsonObject, listOf, objectOf, textOf } from "../json-value.ts";
import { callEnded, callStarted, mergedCall, type ToolCall } from "./tool-call.ts";

const maxHeldChars = 64_000;
/** Calls that never end must not fill the memory. */
const maxOpenCalls = 1_000;

/** Translates the updates of one session; pieces of a message are joined until something else comes. */
export class Updates {
  readonly #workspace: string;
  readonly #calls = new Map<string, ToolCall>();
  #held = "";
  #heldId: string | null = null;
  #plan = "";

  constructor(workspace: string) {
    this.#workspace = workspace;
  }

  read(update: JsonObject): AgentEvent[] {
    const kind = textOf(update["sessionUpdate"]) ?? "";
    const activity: AgentEvent = { type: "activity", method: kind.slice(0, 100) };
    const told = this.#told(kind, update);
    return told.length > 0 ? told : [activity];
  }

  /** The message that is not followed by anything any more. */
  flush(): AgentEvent[] {
    const text = this.#held;
    this.#held = "";
    this.#heldId = null;
    return messageEvents(text);
  }

  #told(kind: string, update: JsonObject): AgentEvent[] {
    switch (kind) {
      case "agent_message_chunk":
        return this.#chunk(update);
      case "tool_call":
      case "tool_call_update":
        return this.#call(update);
      case "plan":
        return this.#planned(listOf(update["entries"]).map(objectOf));
      case "notice": {
        const parts = [update["title"], update["description"]];
        const words = parts.filter((part) => typeof part === "string").join(": ");
        return [noticeEvent(words || "notice")];
      }
      default:
        return [];
    }
  }

  #chunk(update: JsonObject): AgentEvent[] {
    const content = objectOf(update["content"]);
    const id = textOf(update["messageId"]);
    const before = id !== this.#heldId ? this.flush() : [];
    this.#heldId = id;
    if (content["type"] === "text" && this.#held.length < maxHeldChars) {
      this.#held += textOf(content["text"]) ?? "";
    }
    return before;
  }

  #call(update: JsonObject): AgentEvent[] {
    const id = textOf(update["toolCallId"]) ?? "";
    const before = this.#calls.get(id);
    const call = mergedCall(before ?? null, update);
    const told = this.flush();
    if (!before) told.push(...callStarted(call));
    if (call.status === "completed" || call.status === "failed") {
      this.#calls.delete(id);
      told.push(...callEnded(call, this.#workspace));
    } else if (before || this.#calls.size < maxOpenCalls) {
      this.#calls.set(id, call);
    }
    return told;
  }

  #planned(entries: readonly JsonObject[]): AgentEvent[] {
    const done = entries.filter((entry) => entry["status"] === "completed").length;
    const now = entries.find((entry) => entry["status"] === "in_progress");
    const current = now ? `: ${textOf(now["content"]) ?? ""}` : "";
    const plan = `plan: ${done} of ${entries.length} done${current}`;
    if (plan === this.#plan) return [];
    this.#plan = plan;
    return [...this.flush(), noticeEvent(plan)];
  }
}

/** What a turn used, told with its end; null when the agent does not count. */
export function readUsage(result: unknown) {
  const { usage } = objectOf(result);
  if (!isObject(usage)) return null;
  const count = (name: string) => {
    const value = usage[name];
    return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : 0;
  };
  const output = count("outputTokens");
  // Agents differ in whether their input holds what came from a cache; their total always does.
  const total = Math.max(count("totalTokens"), count("inputTokens") + output);
  return {
    input: total - output,
    cachedInput: count("cachedReadTokens"),
    output,
    reasoningOutput: count("thoughtTokens"),
    total,
  };
}
