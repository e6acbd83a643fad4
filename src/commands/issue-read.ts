import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import type { CommandContext } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { atDesk } from "./issue-desk.ts";
import { listerOf, onIssue } from "./issue-hints.ts";
import { keptElsewhereFacts, keptFacts } from "./kept-lines.ts";
import { numberOption } from "./numbers.ts";
import { type Cell, factLines, tableLines } from "./output.ts";
import { type Paint, statusStyle } from "./paint.ts";
import { plain, plainLine } from "./terminal.ts";
import { amount, relative } from "./times.ts";

type Detail = Reply<Api["issues"]["detail"]>;

interface ListOptions {
  readonly state?: string;
  readonly limit?: string;
  readonly offset?: string;
}

export async function listIssues(options: ListOptions, context: CommandContext): Promise<number> {
  const query = {
    ...numberOption("limit", options.limit),
    ...numberOption("offset", options.offset),
    ...(options.state !== undefined && { state: options.state }),
  };
  const page = await atDesk(context, (desk) => desk.list(query));
  if (context.json) {
    context.printJson(page);
    return exitCodes.done;
  }
  const columns = [
    { title: "ISSUE" },
    { title: "STATE" },
    { title: "STATUS" },
    { title: "PRI", align: "right" },
    { title: "LABELS", flexible: true },
    { title: "TITLE", flexible: true },
  ] as const;
  const rows = page.issues.map((issue): Cell[] => [
    issue.identifier,
    issue.state,
    { text: issue.status ?? "-", style: statusStyle(issue.status ?? "") },
    issue.priority === null ? "-" : String(issue.priority),
    issue.labels.join(", "),
    issue.title,
  ]);
  const shape = { columns, rows, width: context.width, paint: await context.paint() };
  context.print(tableLines(shape).join("\n"));
  const left = page.total - page.offset - rows.length;
  if (left > 0) context.note(`${left} more: --offset ${page.offset + rows.length}`);
  return exitCodes.done;
}

export async function showIssue(id: string, context: CommandContext): Promise<number> {
  const client = await context.client();
  const read = () => client.issues.detail({ params: { id } });
  const detail = await onIssue(id, listerOf(client), read);
  if (context.json) {
    context.printJson(detail);
    return exitCodes.done;
  }
  const paint = await context.paint();
  const { description } = detail.issue;
  const sections = [
    factLines(factsOf(detail), paint),
    description === null ? [] : [plain(description).trim()],
    latestEvents(detail, paint),
  ];
  context.print(sections.flatMap((one) => (one.length === 0 ? [] : [one.join("\n")])).join("\n\n"));
  return exitCodes.done;
}

function factsOf(detail: Detail): [string, Cell][] {
  const { issue, running, retry, needs, workspace, attempts } = detail;
  const status = detail.status ?? "idle";
  const now = Date.now();
  const facts: [string, Cell | null][] = [
    ["issue", `${issue.identifier} ${issue.title}`],
    ["status", { text: status, style: statusStyle(status) }],
    ["state", issue.state],
    ["labels", issue.labels.join(", ") || null],
    ["url", issue.url],
    ["needs", needs && `${needs.kind}: ${needs.prompt} [${needs.options.join(" / ")}]`],
    [
      "agent",
      running && `${running.phase}, turn ${running.turn_count}, ${running.last_message ?? ""}`,
    ],
    ["tokens", running && amount(running.tokens.total_tokens)],
    ["retry", retry && `number ${retry.attempt} ${relative(retry.due_at, now)}`],
    ["attempts", String(attempts.count)],
    ["model", modelOf(detail)],
    ["template", detail.overrides.template_id],
    ["workspace", workspace.path],
    ["branch", workspace.branch],
    ["last error", detail.last_error && { text: detail.last_error, style: "red" }],
  ];
  const known = facts.flatMap(([name, cell]) =>
    cell === null ? [] : [[name, cell] as [string, Cell]],
  );
  return [...known, ...keptFacts(detail.kept), ...keptElsewhereFacts(detail.kept_elsewhere)];
}

function modelOf({ overrides: { model, reasoning_effort: effort } }: Detail): string | null {
  return model === null ? null : [model, effort].filter((part) => part !== null).join(", ");
}

/** Oldest first, as one reads a log. */
function latestEvents({ recent_events: events }: Detail, paint: Paint): string[] {
  const lines = events
    .slice(0, 10)
    .toReversed()
    .map(({ at, event, message }) => {
      const when = paint.dim(relative(at, Date.now()));
      return `${when}  ${paint.cyan(plainLine(event))}  ${plainLine(message)}`;
    });
  return lines.length === 0 ? [] : [paint.dim("latest events"), ...lines];
}
