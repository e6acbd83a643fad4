import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { atDesk, closingState, type IssueChange, type IssueFacts } from "./issue-desk.ts";
import { onIssue } from "./issue-hints.ts";
import { ask, textOrStdin } from "./text-input.ts";

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
  const issue = await atDesk(context, (desk) => desk.create(draft));
  return report(issue, "created", context);
}

export async function importIssue(path: string, context: CommandContext): Promise<number> {
  const { draftFromFile } = await import("./issue-file.ts");
  const draft = await draftFromFile(path, context);
  const issue = await atDesk(context, (desk) => desk.create(draft));
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
  const issue = await atDesk(context, (desk) =>
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
  const comment = await atDesk(context, (desk) => onIssue(id, desk, () => desk.comment(id, body)));
  if (context.json) context.printJson(comment);
  context.note(`Commented on ${comment.issue_identifier}`);
  return exitCodes.done;
}

async function applyChange(
  id: string,
  change: IssueChange,
  context: CommandContext,
): Promise<number> {
  const issue = await atDesk(context, (desk) => onIssue(id, desk, () => desk.edit(id, change)));
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
