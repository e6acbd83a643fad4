import type { IssueStatus } from "../core/model/issue.ts";
import type { CommandContext } from "./context.ts";
import { lineOf, type ShownEvent } from "./event-line.ts";
import { keptLines } from "./kept.ts";
import { plainLine } from "./output.ts";

export interface RunRequest {
  /** As typed: an identifier, a file, or `-`. */
  readonly issue: string;
  readonly workflow: string | undefined;
  readonly wanted: readonly IssueStatus[];
  /** 0: no limit. */
  readonly timeoutMs: number;
  readonly iUnderstand: boolean;
}

export type Outcome = "reached" | "failed" | "needs_person" | "timed_out" | "interrupted";

/** How one run ended, and where its work is. */
export interface RunResult {
  readonly issue_identifier: string;
  readonly status: IssueStatus | null;
  readonly outcome: Outcome;
  /** Why it did not get there; null when it did. */
  readonly reason: string | null;
  /** The server that ran it; null: this command did. */
  readonly server: string | null;
  /** Where its state is; null when it was temporary and nothing was left to keep. */
  readonly data_dir: string | null;
  readonly branch: string | null;
  readonly pull_request: string | null;
  /** Work that is nowhere else. */
  readonly kept: readonly KeptWork[];
  readonly next: readonly string[];
}

export interface KeptWork {
  readonly issue_identifier: string;
  readonly key: string;
  readonly path: string;
  readonly summary: string;
  readonly next: readonly string[];
}

/**
 * Whether a status is the end of a run: that it got there, or cannot get there by itself; null: it continues. `before` is the
 * last other one.
 */
export function endAt(
  status: IssueStatus | null,
  wanted: readonly IssueStatus[],
  before: IssueStatus | null,
): Outcome | null {
  // Released: it was moved to a state in which nothing runs, such as one for review.
  if (status === null) return before === "running" || before === "retrying" ? "reached" : null;
  if (wanted.includes(status)) return "reached";
  if (status === "failed") return "failed";
  if (status === "held" || status === "blocked") return "needs_person";
  if (status === "completed") return "reached";
  // Only a person can lead it on.
  if (status === "review") return wanted.includes("completed") ? "needs_person" : "reached";
  return null;
}

/** One line for each thing that happens, as in the demo. */
export async function teller(context: CommandContext): Promise<(event: ShownEvent) => void> {
  const paint = await context.paint();
  const started = performance.now();
  return (event) => {
    if (context.quiet || context.json) return;
    const text = lineOf(event, paint);
    if (text === null) return;
    const seconds = ((performance.now() - started) / 1_000).toFixed(1).padStart(6);
    context.stderr.write(`${paint.dim(`${seconds}s`)}  ${text}\n`);
  };
}

/** In one sentence. */
export function reasonOf(id: string, status: IssueStatus | null, outcome: Outcome): string {
  if (outcome === "timed_out") return `${id} was ${status ?? "not started"} when the time was over`;
  if (outcome === "interrupted")
    return `${id} was ${status ?? "not started"} when it was interrupted`;
  return `${id} is ${status} and does not continue by itself`;
}

export async function printRun(result: RunResult, context: CommandContext): Promise<void> {
  const { issue_identifier: id, status, outcome, reason, branch, kept, next } = result;
  const paint = await context.paint();
  const words =
    outcome === "reached" ? paint.green(status ?? "done") : paint.red(outcome.replace("_", " "));
  context.print(`${paint.bold(plainLine(id))}  ${words}`);
  if (reason !== null) context.print(plainLine(reason));
  if (branch !== null) context.print(plainLine(`branch ${branch}`));
  if (result.pull_request !== null) context.print(plainLine(result.pull_request));
  const lines = keptLines(kept, paint);
  if (lines.length > 0) context.print(lines.join("\n"));
  for (const one of next) context.note(`next: ${one}`);
}
