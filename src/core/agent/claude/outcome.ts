import { SymphonyError } from "../../model/errors.ts";
import { displayText } from "../../text/text.ts";
import { ClaudeLimits } from "../command/claude.ts";
import { limitError } from "../limits.ts";
import { type Refusal, refusalError, refusalNamed, refusalOfStatus } from "../refusals.ts";
import { turnCancelled } from "../session.ts";
import type { MessageOf, Result } from "./protocol.ts";

const maxReasonChars = 1_000;

/** Keeps what the agent told about its provider, and says how a result ended a turn. */
export class Outcomes {
  readonly #limits: ClaudeLimits;
  #refusal: Refusal | null = null;
  #words = "";

  constructor(wall: () => number) {
    this.#limits = new ClaudeLimits(wall);
  }

  window(message: MessageOf<"rate_limit_event">): void {
    this.#limits.windows(message.rate_limit_info);
  }

  assistant(message: MessageOf<"assistant">): void {
    if (typeof message.parent_tool_use_id === "string") return;
    const { content } = message.message;
    const blocks = typeof content === "string" ? [] : content;
    this.#limits.assistant(message, blocks);
    this.#refusal = refusalNamed(message.error ?? null);
    this.#words = blocks.map(({ text }) => (typeof text === "string" ? text : "")).join("\n");
  }

  /** The error of a retry that cannot succeed; null for one that may. */
  hopeless(message: MessageOf<"system">): SymphonyError | null {
    if (message.subtype !== "api_retry") return null;
    const { error_status: status = null, error = null } = message;
    const refusal = refusalOfStatus(status) ?? refusalNamed(error);
    return refusal && refusalError(refusal, `status ${status ?? "unknown"}`);
  }

  /** null for a turn that ended well. */
  errorOf(result: Result): SymphonyError | null {
    const { terminal_reason: reason, subtype } = result;
    // The work goes on in the next turn.
    if (subtype === "error_max_turns" || reason === "max_turns") return null;
    if (reason?.startsWith("aborted")) return turnCancelled();
    if (!result.is_error && subtype === "success") return null;
    const limit = this.#limits.limitOf(result);
    const words = reasonOf(result);
    if (limit) return limitError(words, limit);
    if (this.#refusal !== null) return refusalError(this.#refusal, words);
    const details = { reason: reason ?? subtype };
    return new SymphonyError("turn_failed", `the turn failed: ${words}`, { details });
  }

  /** The limit that made the process exit without a result. */
  limitAtExit(): SymphonyError | null {
    const limit = this.#limits.limitAtExit("");
    return limit && limitError(displayText(this.#words, maxReasonChars), limit);
  }
}

/** The program's diagnostic lines are not for people. */
function reasonOf({ result, errors = [], subtype }: Result): string {
  const told = errors.filter((line) => !line.startsWith("[ede_diagnostic]"));
  const words = result || told.join("; ") || subtype.replaceAll("_", " ");
  return displayText(words, maxReasonChars);
}
