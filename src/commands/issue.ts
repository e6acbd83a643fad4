import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import { closingState, withIssues } from "./access.ts";
import type { CommandContext } from "./context.ts";
import { onIssue, onServerIssue } from "./failure.ts";
import { ask, textOfFile, textOrStdin } from "./input.ts";
import { reviewFacts, templateText } from "./issue-facts.ts";
import { keptElsewhereFacts, keptFacts } from "./kept.ts";
import type { IssueChange, IssueDraft, IssueFacts } from "./offline.ts";
import {
  amount,
  type Cell,
  factLines,
  foldLines,
  type Paint,
  plain,
  plainLine,
  printPage,
  relative,
  statusStyle,
} from "./output.ts";
import { issueArgument, pageOptions, row, subcommand } from "./table.ts";

/** The fields of an issue; a list replaces the previous one. */
const fieldOptions = [
  { name: "title", value: "text", summary: "one line, at most 1,000 characters" },
  { name: "description", value: "text", summary: "Markdown; - reads it from stdin" },
  { name: "label", value: "name", summary: "a label; repeatable", repeats: true },
  {
    name: "priority",
    value: "n",
    summary: "1 urgent, 2 high, 3 medium, 4 low, or none",
    read: priorityOf,
  },
  {
    name: "blocked-by",
    value: "issue",
    summary: "an issue that must end first; repeatable",
    repeats: true,
    completion: "issues",
  },
  { name: "state", value: "name", summary: "a state of the tracker" },
] as const;

const showRow = subcommand({
  name: "show",
  summary: "show an issue: status, live attempt, newest comments, latest events",
  examples: ["symphony issue show ENG-123", "symphony issue show ENG-123 --json | jq .status"],
  arguments: [issueArgument],
  call: ({ issue: id }, context) =>
    onServerIssue(id, context, (client) => client.issues.detail({ params: { id } })),
  async print(detail, context) {
    const paint = await context.paint();
    const { description } = detail.issue;
    const sections = [
      factLines(factsOf(detail), paint, context.width),
      description === null ? [] : [plain(description).trim()],
      await newestComments(detail.issue.identifier, context, paint),
      foldLines(latestEvents(detail, paint), context.width, 4),
    ];
    const filled = sections.filter((lines) => lines.length > 0);
    context.print(filled.map((lines) => lines.join("\n")).join("\n\n"));
  },
});

const listRow = subcommand({
  name: "list",
  summary: "list the issues of the tracker",
  examples: ["symphony issue list", 'symphony issue list --state "In Progress" --json'],
  options: [
    { name: "state", value: "name", summary: "only those in this state of the tracker" },
    ...pageOptions(),
  ],
  call: (query, context) => withIssues(context, (access) => access.list(query)),
  print(page, context) {
    const columns = [
      { title: "ISSUE" },
      { title: "STATE", drop: 3 },
      { title: "STATUS" },
      { title: "PRI", align: "right", drop: 1 },
      { title: "LABELS", flexible: true, drop: 2 },
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
    return printPage({ columns, rows, page }, context);
  },
});

const withTitle = 'symphony issue create --title "Fix the login page"';

const createRow = subcommand({
  name: "create",
  summary: "create an issue in the local tracker, or on GitHub",
  examples: [
    'symphony issue create --title "Fix the login page" --label bug --priority 2',
    "symphony issue create --title Notes --description - < notes.md",
    'id=$(symphony issue create --title "Try it" --quiet)',
  ],
  options: fieldOptions,
  refuseExcess: () => new SymphonyError("usage", "The title is an option", { hint: withTitle }),
  async call(fields, context) {
    const instead = withTitle;
    const title = fields.title ?? (await ask({ message: "Title", instead }, context));
    const draft = { ...(await changeOf(fields, context)), title };
    return withIssues(context, (access) => access.create(draft));
  },
  print: (issue, context) => report(issue, "created", context),
});

const editRow = subcommand({
  name: "edit",
  summary: "change an issue of the local tracker or of GitHub; of others the state",
  examples: [
    "symphony issue edit LOCAL-7 --priority 1 --label bug --label urgent",
    "symphony issue edit LOCAL-7 --priority none",
  ],
  arguments: [issueArgument],
  options: fieldOptions,
  async call({ issue: id, ...fields }, context) {
    const change = await changeOf(fields, context);
    if (Object.keys(change).length > 0) return applyChange(id, change, context);
    throw new SymphonyError("usage", "There is nothing to change", {
      hint: "symphony help issue edit lists what can be changed",
    });
  },
  print: (issue, context) => report(issue, "changed", context),
});

const moveRow = subcommand({
  name: "move",
  summary: "put an issue into a state of its tracker",
  examples: ['symphony issue move LOCAL-7 "In Progress"'],
  arguments: [issueArgument, { name: "state", summary: "a state of the tracker" }],
  call: ({ issue: id, state }, context) => applyChange(id, { state }, context),
  print: (issue, context) => report(issue, "changed", context),
});

const commentRow = subcommand({
  name: "comment",
  summary: "comment on an issue",
  examples: [
    'symphony issue comment LOCAL-7 "see the log of Monday"',
    "symphony issue comment LOCAL-7 - < notes.md",
  ],
  arguments: [issueArgument, { name: "text", summary: "Markdown; - reads it from stdin" }],
  async call({ issue: id, text }, context) {
    const body = await textOrStdin(text, context);
    return withIssues(context, (access) => onIssue(id, access, () => access.comment(id, body)));
  },
  print: ({ issue_identifier: issue }, { note }) =>
    note(`Commented on ${issue}; symphony issue comments ${issue} shows all of them`),
});

const commentsRow = subcommand({
  name: "comments",
  summary: "show the newest comments of an issue",
  examples: ["symphony issue comments ENG-123", "symphony issue comments ENG-123 --json"],
  arguments: [issueArgument],
  call: ({ issue: id }, context) =>
    withIssues(context, (access) => onIssue(id, access, () => access.comments(id))),
  async print({ issue_identifier: issue, comments, truncated }, context) {
    const paint = await context.paint();
    const texts = comments.map((one) => commentText(one, paint));
    if (texts.length === 0) return context.note(`${issue} has no comments`);
    context.print(texts.join("\n\n"));
    if (truncated) context.note("Older comments or long texts are cut; the tracker has them whole");
  },
});

type Comments = Reply<Api["issues"]["comments"]>;

function commentText(
  { author, by, body, created_at: at }: Comments["comments"][number],
  paint: Paint,
): string {
  const who = by === "person" ? plainLine(author) : `${plainLine(author)} (${by})`;
  const when = at === null ? "" : `  ${paint.dim(relative(at, Date.now()))}`;
  return `${paint.cyan(who)}${when}\n${plain(body).trim()}`;
}

const commentsShown = 3;
/** The tracker is asked for them; what else is known of the issue does not wait longer. */
const commentsMs = 5_000;

/** The newest comments, oldest first, and where the others are. */
async function newestComments(
  issue: string,
  { client, note }: CommandContext,
  paint: Paint,
): Promise<string[]> {
  const server = await client();
  const options = { timeoutMs: commentsMs };
  const found = await server.issues
    .comments({ params: { id: issue } }, options)
    .catch((error: unknown) => note(`the comments cannot be read: ${messageOf(error)}`));
  if (!found || found.comments.length === 0) return [];
  const { comments, truncated } = found;
  const shown = comments.slice(-commentsShown);
  const all = `symphony issue comments ${issue}`;
  const rest = comments.length > shown.length || truncated ? [paint.dim(`more: ${all}`)] : [];
  return [shown.map((one) => commentText(one, paint)).join("\n\n"), ...rest];
}

const closeRow = subcommand({
  name: "close",
  summary: "put an issue into an end state",
  examples: ["symphony issue close LOCAL-7", "symphony issue close LOCAL-7 --state Cancelled"],
  arguments: [issueArgument],
  options: [
    {
      name: "state",
      value: "name",
      summary: "which end state (default: Done, else the tracker's first)",
    },
  ],
  call: ({ issue: id, state: wanted }, context) =>
    withIssues(context, (access) =>
      onIssue(id, access, async () => {
        const state = await closingState(access, id, wanted);
        return access.edit(id, { state });
      }),
    ),
  print: (issue, context) => report(issue, "closed", context),
});

const importRow = subcommand({
  name: "import",
  summary: "create an issue from a Markdown file",
  examples: ["symphony issue import idea.md"],
  arguments: [
    {
      name: "file",
      summary: "front matter with title, labels, priority, state, blocked_by; or a heading",
      completion: "files",
    },
  ],
  async call({ file }, context) {
    const draft = await draftFromFile(file, context);
    return withIssues(context, (access) => access.create(draft));
  },
  print: (issue, context) => report(issue, "created", context),
});

/** Shows the issues of the tracker, and writes those of the local one. */
export const issueCommand = row({
  examples: [
    'symphony issue create --title "Fix the login page" --label bug',
    "symphony issue list --state Todo",
    "symphony issue show ENG-123",
  ],
  commands: [
    showRow,
    listRow,
    createRow,
    editRow,
    moveRow,
    commentRow,
    commentsRow,
    closeRow,
    importRow,
  ],
});

type Detail = Reply<Api["issues"]["detail"]>;

function factsOf(detail: Detail): [string, Cell][] {
  const { issue, running, retry, needs, workspace, attempts } = detail;
  const status = detail.status ?? "idle";
  const now = Date.now();
  const facts: [string, Cell | null][] = [
    ["issue", `${issue.identifier} ${issue.title}`],
    ["status", { text: status, style: statusStyle(status) }],
    ["state", issue.state],
    ["labels", issue.labels.join(", ") || null],
    ["team", issue.team && (issue.team.key ?? issue.team.name)],
    ["project", issue.project && (issue.project.name ?? issue.project.slug)],
    ["assignee", issue.assignee && (issue.assignee.name ?? issue.assignee.id)],
    ["parent", issue.parent && linkText(issue.parent)],
    ["sub-issues", issue.sub_issues.map(linkText).join("; ") || null],
    ["blocked by", issue.blocked_by.map(linkText).join("; ") || null],
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
    ["template", templateText(detail.template)],
    ["workspace", workspace.path],
    ["branch", workspace.branch],
    ...reviewFacts(detail),
    ["last error", detail.last_error && { text: detail.last_error, style: "red" }],
  ];
  const known = facts.flatMap(([name, cell]) =>
    cell === null ? [] : [[name, cell] as [string, Cell]],
  );
  return [...known, ...keptFacts(detail.kept), ...keptElsewhereFacts(detail.kept_elsewhere)];
}

function linkText({ identifier, id, title, state }: Detail["issue"]["blocked_by"][number]): string {
  const named = [identifier ?? id, title].filter((part) => part !== null).join(" ");
  return state === null ? named : `${named} (${state})`;
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

function applyChange(
  id: string,
  change: IssueChange,
  context: CommandContext,
): Promise<IssueFacts> {
  return withIssues(context, (access) => onIssue(id, access, () => access.edit(id, change)));
}

/** Only the identifier on stdout, so that a script can keep it; the message on stderr. */
function report(issue: IssueFacts, what: string, { print, note }: CommandContext): void {
  print(issue.identifier);
  const next = `symphony explain ${issue.identifier} says whether it runs`;
  note(`${issue.identifier} ${what}: ${issue.title} (${issue.state}); ${next}`);
}

/** The fields as given; a list that was not given is empty. */
interface Fields {
  readonly title: string | undefined;
  readonly description: string | undefined;
  readonly label: readonly string[];
  readonly priority: number | null | undefined;
  readonly blockedBy: readonly string[];
  readonly state: string | undefined;
}

/** One empty value empties the whole list. */
async function changeOf(fields: Fields, context: CommandContext): Promise<IssueChange> {
  const { title, description, label, priority, blockedBy, state } = fields;
  const filled = (words: readonly string[]) => words.filter((one) => one.trim() !== "");
  return {
    ...(title !== undefined && { title }),
    ...(description !== undefined && { description: await textOrStdin(description, context) }),
    ...(label.length > 0 && { labels: filled(label) }),
    ...(priority !== undefined && { priority }),
    ...(blockedBy.length > 0 && { blocked_by: filled(blockedBy) }),
    ...(state !== undefined && { state }),
  };
}

function priorityOf(text: string, flag: string): number | null {
  if (text === "none") return null;
  if (/^[0-4]$/.test(text)) return Number(text);
  throw new SymphonyError("usage", `${flag}: "${text}" is not a priority`, {
    hint: "1 urgent, 2 high, 3 medium, 4 low, or none",
  });
}

/** The issue that a Markdown file describes. Rejects with `usage` for a file that cannot be read. */
async function draftFromFile(path: string, { cwd }: CommandContext): Promise<IssueDraft> {
  const text = await textOfFile(path, cwd);
  const { draftFromMarkdown } = await import("./offline.ts");
  return draftFromMarkdown(text);
}
