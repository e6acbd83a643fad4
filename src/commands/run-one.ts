import { followEvents } from "../client/events.ts";
import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import type { CommandContext } from "./context.ts";
import { untilRead } from "./events.ts";
import { onServerIssue } from "./failure.ts";
import { textOfFile, textOrStdin } from "./input.ts";
import { endAt, type RunRequest, type RunResult, reasonOf, teller } from "./run-outcome.ts";

type Detail = Reply<Api["issues"]["detail"]>;

/** At the project's server where one runs, otherwise in this process; an issue from a file always in this process. */
export async function runOne(request: RunRequest, context: CommandContext): Promise<RunResult> {
  const text = await fileText(request.issue, context);
  if (text === null) {
    const { certain } = await context.discovery();
    if (certain) return runAtServer(request, context);
  }
  const { runAlone } = await import("./run-alone.ts");
  return runAlone({ ...request, text }, context);
}

/** The text of the issue; null for an identifier. */
async function fileText(issue: string, context: CommandContext): Promise<string | null> {
  if (issue === "-") return textOrStdin("-", context);
  return /\.(?:md|markdown|txt)$/i.test(issue) ? textOfFile(issue, context.where.cwd) : null;
}

async function runAtServer(request: RunRequest, context: CommandContext): Promise<RunResult> {
  const { issue: id, wanted, timeoutMs } = request;
  const { baseUrl } = await context.server();
  const { seq } = await (await context.client()).system.state({ query: { limit: 1 } });
  const read = () =>
    onServerIssue(id, context, (client) => client.issues.detail({ params: { id } }));
  await (await context.client()).system.refresh({});
  context.note(`${id} runs at the server ${baseUrl}; Ctrl-C only ends the view`);
  const late = new AbortController();
  const timer = timeoutMs === 0 ? undefined : setTimeout(() => late.abort(), timeoutMs);
  const signal = AbortSignal.any([context.interrupted(), late.signal]);
  const tell = await teller(context);
  let detail = await read();
  let before = detail.status;
  let outcome = endAt(detail.status, wanted, before);
  try {
    const server = await context.server();
    const wish = { since: seq, issues: [id], signal, renew: context.renewed };
    if (outcome === null || isOnItsWay(detail.delivery)) {
      for await (const item of followEvents(server, wish)) {
        if (item.kind === "event") tell(item.event);
        detail = (await untilRead(read, signal, context)) ?? detail;
        outcome = endAt(detail.status, wanted, before);
        before = detail.status ?? before;
        if (outcome !== null && !isOnItsWay(detail.delivery)) break;
      }
    }
  } finally {
    clearTimeout(timer);
  }
  outcome ??= late.signal.aborted ? "timed_out" : "interrupted";
  return {
    issue_identifier: id,
    status: detail.status,
    outcome,
    reason: outcome === "reached" ? null : reasonOf(id, detail.status, outcome),
    server: baseUrl,
    data_dir: null,
    branch: detail.delivery?.pushed == null ? null : detail.delivery.branch,
    pull_request: detail.delivery?.pull_request?.url ?? null,
    kept: [],
    next: outcome === "reached" ? [`symphony diff ${id}`] : [`symphony explain ${id}`],
  };
}

/** Offered work is still being pushed, or its pull request opened. */
function isOnItsWay(delivery: Detail["delivery"]): boolean {
  if (delivery === null || delivery.problem !== null) return false;
  const { mode, head, pushed, pull_request: pullRequest } = delivery;
  if (mode === "none" || head === null) return false;
  return pushed !== head || (mode === "pull_request" && pullRequest === null);
}
