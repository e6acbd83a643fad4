import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import {
  closingState,
  type IssueChange,
  type IssueDraft,
  type IssueFacts,
  withIssues,
} from "./access.ts";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes, listerOf, onIssue } from "./failure.ts";
import { examples } from "./help.ts";
import { ask, numberOption, textOrStdin } from "./input.ts";
import { keptElsewhereFacts, keptFacts } from "./kept.ts";
import {
  amount,
  type Cell,
  factLines,
  type Paint,
  plain,
  plainLine,
  relative,
  statusStyle,
  tableLines,
} from "./output.ts";

const issueArgument = ["<issue>", "issue identifier, such as ENG-123"] as const;

export function declareIssue(command: Command, run: Run): void {
  examples(
    command,
    'symphony issue create --title "Fix the login page" --label bug',
    "symphony issue list --state Todo",
    "symphony issue show ENG-123",
  );
  declareReading(command, run);
  declareFields(
    examples(
      command.command("create").description("create an issue in the local tracker"),
      'symphony issue create --title "Fix the login page" --label bug --priority 2',
      "symphony issue create --title Notes --description - < notes.md",
      'id=$(symphony issue create --title "Try it" --quiet)',
    ),
  ).action((options) => run((context) => createIssue(options, context)));
  declareFields(
    examples(
      command.command("edit").description("change an issue of the local tracker"),
      "symphony issue edit LOCAL-7 --priority 1 --label bug --label urgent",
      "symphony issue edit LOCAL-7 --priority none",
    ).argument(...issueArgument),
  ).action((issue: string, options) => run((context) => editIssue(issue, options, context)));
  declareMoves(command, run);
}

function declareReading(command: Command, run: Run): void {
  examples(
    command.command("show").description("show an issue: status, live attempt, latest events"),
    "symphony issue show ENG-123",
    "symphony issue show ENG-123 --json | jq .status",
  )
    .argument(...issueArgument)
    .action((issue: string) => run((context) => showIssue(issue, context)));
  examples(
    command.command("list").description("list the issues of the tracker"),
    "symphony issue list",
    'symphony issue list --state "In Progress" --json',
  )
    .option("--state <name>", "only those in this state of the tracker")
    .option("--limit <n>", "rows at most, 1 to 500 (default: 50)")
    .option("--offset <n>", "rows to pass over (default: 0)")
    .action((options) => run((context) => listIssues(options, context)));
}

/** The fields of an issue; lists replace what there was. */
function declareFields(command: Command): Command {
  const collect = (value: string, all: readonly string[] = []) => [...all, value];
  return command
    .option("--title <text>", "one line, at most 1,000 characters")
    .option("--description <text>", "Markdown; - reads it from stdin")
    .option("--label <name>", "a label; repeatable", collect)
    .option("--priority <n>", "1 urgent, 2 high, 3 medium, 4 low, or none")
    .option("--blocked-by <issue>", "an issue that must end first; repeatable", collect)
    .option("--state <name>", "a state of the tracker");
}

function declareMoves(command: Command, run: Run): void {
  examples(
    command.command("move").description("put an issue of the local tracker into a state"),
    'symphony issue move LOCAL-7 "In Progress"',
  )
    .argument(...issueArgument)
    .argument("<state>", "a state of the tracker")
    .action((issue: string, state: string) => run((context) => moveIssue(issue, state, context)));
  examples(
    command.command("comment").description("comment on an issue of the local tracker"),
    'symphony issue comment LOCAL-7 "see the log of Monday"',
    "symphony issue comment LOCAL-7 - < notes.md",
  )
    .argument(...issueArgument)
    .argument("<text>", "Markdown; - reads it from stdin")
    .action((issue: string, text: string) =>
      run((context) => commentOnIssue(issue, text, context)),
    );
  examples(
    command.command("close").description("put an issue of the local tracker into an end state"),
    "symphony issue close LOCAL-7",
    "symphony issue close LOCAL-7 --state Cancelled",
  )
    .argument(...issueArgument)
    .option("--state <name>", "which end state (default: Done, else the tracker's first)")
    .action((issue: string, options) => run((context) => closeIssue(issue, options, context)));
  examples(
    command.command("import").description("create an issue from a Markdown file"),
    "symphony issue import idea.md",
  )
    .argument(
      "<file>",
      "front matter with title, labels, priority, state, blocked_by; or a heading",
    )
    .action((file: string) => run((context) => importIssue(file, context)));
}

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
  const page = await withIssues(context, (desk) => desk.list(query));
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

/** Options of `create` and `edit`, as typed. */
export interface FieldOptions {
  readonly title?: string;
  readonly description?: string;
  readonly label?: readonly string[];
  readonly priority?: string;
  readonly blockedBy?: readonly string[];
  readonly state?: string;
}

export async function createIssue(options: FieldOptions, context: CommandContext): Promise<number> {
  const instead = 'symphony issue create --title "Fix the login page"';
  const title = options.title ?? (await ask({ message: "Title", instead }, context));
  const draft = { ...(await changeOf(options, context)), title };
  const issue = await withIssues(context, (desk) => desk.create(draft));
  return report(issue, "created", context);
}

export async function importIssue(path: string, context: CommandContext): Promise<number> {
  const draft = await draftFromFile(path, context);
  const issue = await withIssues(context, (desk) => desk.create(draft));
  return report(issue, "created", context);
}

export async function editIssue(
  id: string,
  options: FieldOptions,
  context: CommandContext,
): Promise<number> {
  const change = await changeOf(options, context);
  if (Object.keys(change).length === 0) {
    throw new SymphonyError("usage", "There is nothing to change", {
      hint: "symphony help issue edit lists what can be changed",
    });
  }
  return applyChange(id, change, context);
}

export function moveIssue(id: string, state: string, context: CommandContext): Promise<number> {
  return applyChange(id, { state }, context);
}

export async function closeIssue(
  id: string,
  options: { readonly state?: string },
  context: CommandContext,
): Promise<number> {
  const issue = await withIssues(context, (desk) =>
    onIssue(id, desk, async () => {
      const state = await closingState(desk, id, options.state);
      return desk.edit(id, { state });
    }),
  );
  return report(issue, "closed", context);
}

export async function commentOnIssue(
  id: string,
  text: string,
  context: CommandContext,
): Promise<number> {
  const body = await textOrStdin(text, context);
  const comment = await withIssues(context, (desk) =>
    onIssue(id, desk, () => desk.comment(id, body)),
  );
  if (context.json) context.printJson(comment);
  context.note(`Commented on ${comment.issue_identifier}`);
  return exitCodes.done;
}

async function applyChange(
  id: string,
  change: IssueChange,
  context: CommandContext,
): Promise<number> {
  const issue = await withIssues(context, (desk) => onIssue(id, desk, () => desk.edit(id, change)));
  return report(issue, "changed", context);
}

/** The identifier alone on stdout, so that a script can keep it; what happened on stderr. */
function report(issue: IssueFacts, what: string, context: CommandContext): number {
  if (context.json) context.printJson(issue);
  else context.print(issue.identifier);
  context.note(`${issue.identifier} ${what}: ${issue.title} (${issue.state})`);
  return exitCodes.done;
}

async function changeOf(options: FieldOptions, context: CommandContext): Promise<IssueChange> {
  const { title, description, label, priority, blockedBy, state } = options;
  return {
    ...(title !== undefined && { title }),
    ...(description !== undefined && { description: await textOrStdin(description, context) }),
    ...(label !== undefined && { labels: label.filter((one) => one.trim() !== "") }),
    ...(priority !== undefined && { priority: priorityOf(priority) }),
    ...(blockedBy !== undefined && { blocked_by: blockedBy.filter((one) => one.trim() !== "") }),
    ...(state !== undefined && { state }),
  };
}

function priorityOf(text: string): number | null {
  if (text === "none") return null;
  if (/^[0-4]$/.test(text)) return Number(text);
  throw new SymphonyError("usage", `--priority: "${text}" is not a priority`, {
    hint: "1 urgent, 2 high, 3 medium, 4 low, or none",
  });
}

/** The issue that a Markdown file describes. Rejects with `usage` for a file that cannot be read. */
export async function draftFromFile(path: string, { cwd }: CommandContext): Promise<IssueDraft> {
  const file = resolve(cwd, path);
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new SymphonyError("usage", `Cannot read ${file}: ${messageOf(cause)}`, { cause });
  });
  const { draftFromMarkdown } = await import("./offline.ts");
  return draftFromMarkdown(text);
}
