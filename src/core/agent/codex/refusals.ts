import { messageOf, SymphonyError } from "../../model/errors.ts";

export function silent(limitMs: number): SymphonyError {
  return new SymphonyError("turn_timeout", `the agent was silent for ${limitMs} ms`, {
    details: { limitMs },
  });
}

export function noActiveTurn(reason: string): SymphonyError {
  return new SymphonyError("no_active_turn", `no turn can be steered: ${reason}`);
}

/** codex has one error code for everything; these are its words for a turn that is over or cannot be steered. */
export function saysNoTurn(error: unknown): boolean {
  const words = /no active turn|expected active turn|cannot steer/i;
  return codeOf(error) === "response_error" && words.test(messageOf(error));
}

export function codeOf(error: unknown): string | null {
  return error instanceof SymphonyError ? error.code : null;
}

/** Its history is with an agent that does not hold it any more. */
export function threadLost(): SymphonyError {
  const message = "the thread of the running turn could not be taken up again";
  return new SymphonyError("codex_daemon_lost", message);
}
