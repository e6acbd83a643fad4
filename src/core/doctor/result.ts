import { type ErrorCode, messageOf, SymphonyError } from "../model/errors.ts";

/** What is checked, in the order in which it is shown. */
export type CheckName =
  | "node"
  | "data_dir"
  | "disk"
  | "clock"
  | "secrets"
  | "files"
  | "workflow"
  | "proxy"
  | "tracker"
  | "agent"
  | "sandbox"
  | "git"
  | "push"
  | "webhook"
  /** Only with `fleet.url`. */
  | "fleet"
  /** Only with `worker.ssh_hosts`. */
  | "ssh"
  | "port"
  | "servers";

/** `not_asked`: nothing is known about it, so it is never taken for `ok`. */
export type CheckStatus = "ok" | "warn" | "fail" | "not_asked";

/** What one check found. */
export interface Answer {
  readonly status: CheckStatus;
  /** With `fail`: the code that a server gives for the same fault; null when it gives none. */
  readonly code: ErrorCode | null;
  /** Why, in one line. */
  readonly message: string;
  /** The command that mends it. */
  readonly next: string | null;
}

export interface CheckResult extends Answer {
  readonly name: CheckName;
}

export function ok(message: string): Answer {
  return { status: "ok", code: null, message, next: null };
}

export function warn(message: string, next: string | null, code: ErrorCode | null = null): Answer {
  return { status: "warn", code, message, next };
}

export function fail(code: ErrorCode | null, message: string, next: string | null): Answer {
  return { status: "fail", code, message, next };
}

/** `why` says what stands in the way, or how it can be asked. */
export function notAsked(why: string): Answer {
  return { status: "not_asked", code: null, message: why, next: null };
}

/** A fault as the server reports it; anything else than a SymphonyError is a bug of this program, and is thrown. */
export function failure(error: unknown): Answer {
  if (!(error instanceof SymphonyError)) throw error;
  return fail(error.code, messageOf(error), error.hint);
}

const order: readonly CheckStatus[] = ["fail", "warn", "not_asked", "ok"];

/** Several answers to one check: the worst decides, and all of that status are in the message. */
export function worst(answers: readonly Answer[]): Answer {
  const status = order.find((one) => answers.some((answer) => answer.status === one)) ?? "ok";
  const all = answers.filter((answer) => answer.status === status);
  const [first] = all;
  return {
    status,
    code: first?.code ?? null,
    message: [...new Set(all.map(({ message }) => message))].join("; "),
    next: all.find(({ next }) => next !== null)?.next ?? null,
  };
}
