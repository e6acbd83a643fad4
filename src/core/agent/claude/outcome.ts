import { SymphonyError } from "../../model/errors.ts";
import { displayText } from "../../text/text.ts";
import { ClaudeLimits, isMaxTurns, noDiagnostics } from "../command/claude.ts";
import { limitError } from "../limits.ts";
import { refusalError, refusalNamed, refusalOfStatus, unavailableError } from "../refusals.ts";
import { turnCancelled } from "../session.ts";
import type { MessageOf, Result } from "./protocol.ts";

const maxReasonChars = 1_000;

/** Keeps what the agent reported about its provider, and decides how a result ended a turn. */
export class Outcomes {
  readonly #limits: ClaudeLimits;

  constructor(wall: () => number) {
    this.#limits = new ClaudeLimits(wall);
  }

  window(message: MessageOf<"rate_limit_event">): void {
    this.#limits.windows(message.rate_limit_info);
  }

  assistant(message: MessageOf<"assistant">): void {
    const { content } = message.message;
    this.#limits.assistant(message, typeof content === "string" ? [] : content);
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
    // The work continues in the next turn.
    if (isMaxTurns(result)) return null;
    if (reason?.startsWith("aborted")) return turnCancelled();
    if (!result.is_error && subtype === "success") return null;
    const limit = this.#limits.limitOf(result);
    const words = reasonOf(result);
    if (limit) return limitError(words, limit);
    const refusal = this.#limits.refusalOf(result, words);
    if (refusal !== null) return refusalError(refusal, words);
    const details = { reason: reason ?? subtype };
    if (reason === "api_error" && this.#limits.isUnavailable(result, words)) {
      return unavailableError(words, details);
    }
    return new SymphonyError("turn_failed", `the turn failed: ${words}`, { details });
  }

  /** The limit that made the process exit without a result. */
  limitAtExit(): SymphonyError | null {
    const limit = this.#limits.limitAtExit("");
    return limit && limitError(displayText(this.#limits.lastWords, maxReasonChars), limit);
  }
}

function reasonOf({ result, errors = [], subtype }: Result): string {
  const words = result || noDiagnostics(errors).join("; ") || subtype.replaceAll("_", " ");
  return displayText(words, maxReasonChars);
}
