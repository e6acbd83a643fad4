import type { Command } from "commander";
import { followEvents } from "../client/events.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { type IssueStatus, statuses } from "../core/model/status.ts";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { listerOf, onIssue } from "./issue-hints.ts";
import { closest } from "./suggest.ts";
import { parseDuration, span } from "./times.ts";

interface WaitOptions {
  readonly for: string;
  readonly timeout: string;
}

export function declareWait(command: Command, run: Run): void {
  examples(
    command,
    "symphony wait ENG-123 --for completed && git pull",
    "symphony wait ENG-123 --for blocked,failed --timeout 2h",
  )
    .argument("<issue>", "issue identifier, such as ENG-123")
    .requiredOption("--for <status>", `${statuses.join(", ")}; several with commas`)
    .option("--timeout <duration>", "give up after 90s, 30m, 2h; 0 for never", "30m")
    .action((issue: string, options: WaitOptions) =>
      run((context) => wait(issue, options, context)),
    );
}

/** Exits 0 at the status, 124 at the timeout; when only a person can help it on: 6 if blocked, 1 if held or failed. */
export async function wait(
  id: string,
  options: WaitOptions,
  context: CommandContext,
): Promise<number> {
  const wanted = statusesIn(options.for);
  const timeoutMs = parseDuration(options.timeout, "--timeout");
  const limit = new AbortController();
  // Not AbortSignal.timeout: AbortSignal.any holds its sources weakly, and a collected one never fires.
  const timer = timeoutMs === 0 ? undefined : setTimeout(() => limit.abort(), timeoutMs);
  const spinner = await startSpinner(id, wanted, context);
  try {
    const signal = AbortSignal.any([context.interrupted(), limit.signal]);
    for await (const status of statusesOf(id, signal, context)) {
      if (status !== null && wanted.includes(status)) return report(id, status, context);
      requireHope(id, status, wanted);
    }
  } finally {
    clearTimeout(timer);
    spinner?.stop();
  }
  if (context.interrupted().aborted) return exitCodes.interrupted;
  const what = `${id} did not become ${wanted.join(" or ")} within ${span(timeoutMs)}`;
  throw new SymphonyError("timed_out", what, { hint: `symphony explain ${id}` });
}

function report(id: string, status: IssueStatus, context: CommandContext): number {
  if (context.json) context.printJson({ issue_identifier: id, status });
  context.note(`${id} is ${status}`);
  return exitCodes.done;
}

/** The status now and after every event of the issue, until `signal`. */
async function* statusesOf(
  id: string,
  signal: AbortSignal,
  context: CommandContext,
): AsyncGenerator<IssueStatus | null> {
  const client = await context.client();
  // Taken before the first look, so that nothing can happen unseen between the look and the stream.
  const { seq } = await client.system.state({ query: { limit: 1 } });
  const look = async () => (await client.issues.detail({ params: { id } })).status;
  yield await onIssue(id, listerOf(client), look);
  for await (const _ of followEvents(await context.server(), {
    since: seq,
    issues: [id],
    signal,
  })) {
    yield await look();
  }
}

/** Waiting for a good end makes no sense once only a person can bring it about. */
function requireHope(id: string, status: IssueStatus | null, wanted: readonly string[]): void {
  if (wanted.some((one) => one !== "completed")) return;
  if (status === "blocked") {
    throw new SymphonyError("needs_person", `${id} is blocked: its agent waits for a person`, {
      hint: `symphony issue show ${id}`,
    });
  }
  if (status === "held" || status === "failed") {
    throw new SymphonyError("agent_failed", `${id} is ${status} and does not go on by itself`, {
      hint: `symphony explain ${id}; symphony transition ${id} queued lets it run again`,
    });
  }
}

function statusesIn(text: string): IssueStatus[] {
  return text.split(",").map((one) => {
    const status = statuses.find((known) => known === one.trim().toLowerCase());
    if (status !== undefined) return status;
    const meant = closest(one, statuses);
    throw new SymphonyError("usage", `--for: "${one}" is not a status`, {
      hint: meant === null ? `one of ${statuses.join(", ")}` : `did you mean ${meant}?`,
    });
  });
}

async function startSpinner(id: string, wanted: readonly string[], context: CommandContext) {
  // A terminal of unknown size says 0 columns, over which ora would count lines without end.
  const fits = context.stderr.isTTY === true && context.stderr.columns > 0;
  if (!fits || context.json || context.quiet) return null;
  const { default: ora } = await import("ora");
  return ora({
    text: `Waiting for ${id} to be ${wanted.join(" or ")}`,
    stream: context.stderr,
  }).start();
}
