import type { Command } from "commander";
import type { z } from "zod";
import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { findProject } from "./discover.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { listerOf, onIssue } from "./issue-hints.ts";
import { type Cell, tableLines } from "./output.ts";
import type { Paint } from "./paint.ts";
import { plain, plainLine } from "./terminal.ts";
import { workspaceNamed } from "./workspace-name.ts";

type Context = z.output<Api["git"]["context"]["reply"]>;
type Route = NonNullable<Context["route"]>;
type Diff = Reply<Api["git"]["diff"]>;
type Branch = Context["repositories"][number]["branches"][number];

export function declareGit(command: Command, run: Run): void {
  examples(
    command,
    "symphony git",
    "symphony git ENG-123",
    "symphony git --json | jq '.routing[]'",
    "symphony git --json | jq '.repositories[].branches[]'",
  )
    .argument("[issue]", "only the branches of this issue, such as ENG-123, and where it goes")
    .action((issue: string | undefined) => run((context) => showGit(issue ?? null, context)));
}

export function declareDiff(command: Command, run: Run): void {
  examples(
    command,
    "symphony diff ENG-123",
    "symphony diff ENG-123 --stat",
    "symphony diff ENG-123 > work.patch",
  )
    .argument("<issue>", "issue identifier, such as ENG-123, or the path of a workspace")
    .option("--stat", "only which files, and how many lines of each")
    .action((issue: string, { stat }: { readonly stat?: boolean }) =>
      run((context) => showDiff(issue, stat === true, context)),
    );
}

export async function showGit(issue: string | null, context: CommandContext): Promise<number> {
  const { git } = await context.client();
  const shown = issue === null ? await git.context() : only(issue, await contextOf(issue, git));
  if (context.json) {
    context.printJson(shown);
    return exitCodes.done;
  }
  const columns = [
    { title: "ISSUE" },
    { title: "BRANCH", flexible: true },
    { title: "HEAD" },
    { title: "AHEAD", align: "right" },
    { title: "BEHIND", align: "right" },
    { title: "WORK" },
  ] as const;
  const paint = await context.paint();
  for (const { name, url, path, default_branch: main, branches } of shown.repositories) {
    const facts = [url ?? path ?? "several checkouts", ...(main === null ? [] : [main])];
    context.print(`${paint.cyan(plainLine(name))}  ${plainLine(facts.join(", "))}`);
    const shape = { columns, rows: branches.map(rowOf), width: context.width, paint };
    context.print(branches.length === 0 ? "no workspace has it yet" : tableLines(shape).join("\n"));
  }
  if (issue === null && shown.routing.length > 0) {
    context.print(`\n${rulesTable(shown, context.width, paint)}`);
  }
  if (shown.route) context.print(routeLine(shown.route));
  if (shown.repositories.length === 0 && !shown.route)
    context.note("No workspace has a repository");
  if (!shown.complete) context.note("Some workspaces have not been looked at yet: ask again");
  return exitCodes.done;
}

function only(issue: string, all: Context): Context {
  const wanted = issue.toLowerCase();
  const repositories = all.repositories.flatMap((repository) => {
    const branches = repository.branches.filter(
      (branch) => branch.issue_identifier?.toLowerCase() === wanted,
    );
    return branches.length === 0 ? [] : [{ ...repository, branches }];
  });
  const isRouted = (all.route?.repository ?? null) !== null;
  if (repositories.length > 0 || isRouted || !all.complete) return { ...all, repositories };
  throw new SymphonyError("not_found", `no workspace of ${issue} has a repository`, {
    hint: `symphony issue show ${issue}`,
  });
}

/** An issue that nobody knows any more may still have a workspace. */
async function contextOf(issue: string, git: Client<Api>["git"]): Promise<Context> {
  try {
    return await git.context({ query: { issue } });
  } catch (error) {
    if (!(error instanceof SymphonyError) || error.code !== "issue_not_found") throw error;
    return git.context();
  }
}

function rulesTable({ routing }: Context, width: number | null, paint: Paint): string {
  const columns = [
    { title: "ISSUES WITH", flexible: true },
    { title: "REPOSITORY" },
    { title: "BASE" },
    { title: "BRANCH" },
  ] as const;
  const rows = routing.map(({ match, repository, base_branch: base, branch_template: branch }) => [
    match,
    repository,
    base ?? "(default)",
    branch,
  ]);
  return tableLines({ columns, rows, width, paint }).join("\n");
}

function routeLine({ issue_identifier: issue, repository, branch }: Route): string {
  if (repository === null) return plainLine(`${issue}: no routing rule is for it`);
  return plainLine(`${issue}: a new workspace is a clone of ${repository} on branch ${branch}`);
}

function rowOf({ issue_identifier: issue, name, head, ahead, behind, dirty }: Branch): Cell[] {
  return [
    issue ?? "-",
    name ?? "(detached)",
    head?.slice(0, 10) ?? "-",
    String(ahead ?? "-"),
    String(behind ?? "-"),
    dirty ? { text: "only here", style: "yellow" } : dirty === null ? "?" : "pushed",
  ];
}

export async function showDiff(
  id: string,
  stat: boolean,
  context: CommandContext,
): Promise<number> {
  const work = await diffFor(id, context);
  if (context.json) {
    context.printJson(work);
    return exitCodes.done;
  }
  const rows = work.files.map(({ path, additions, deletions }) => [
    additions === null ? "bin" : `+${additions}`,
    deletions === null ? "" : `-${deletions}`,
    path,
  ]);
  const columns = [{ title: "ADDED" }, { title: "REMOVED" }, { title: "FILE" }];
  const paint = await context.paint();
  if (stat) context.print(tableLines({ columns, rows, width: context.width, paint }).join("\n"));
  else if (work.patch !== "") {
    // To a file or a program goes what git said; a terminal is not given its control characters.
    if (context.stdout.isTTY) context.print(coloured(plain(work.patch), paint));
    else context.stdout.write(work.patch);
  }
  const { length } = work.files;
  const files = `${length} ${length === 1 ? "file" : "files"} changed`;
  const isSince = work.base !== null && work.base_note === null;
  const since = isSince ? ` since ${work.base?.slice(0, 10)}` : "";
  context.note(`${work.issue_identifier}: ${files}${since}`);
  if (work.base_note !== null) context.note(work.base_note);
  if (work.not_shown_summary !== null) {
    context.note(`Not shown, in ${work.path}: ${work.not_shown_summary}`);
  }
  if (work.truncated) context.note("It is more than can be shown: the rest is left out");
  return exitCodes.done;
}

/** From the server; without one, from the workspaces of the project around us. */
async function diffFor(name: string, context: CommandContext): Promise<Diff> {
  const workspace = workspaceNamed(name);
  const { key: id, path } = workspace;
  const { certain } = await context.discovery();
  const project = certain ? null : findProject(context.where);
  if (project !== null) {
    const { offlineDiff } = await import("./offline-diff.ts");
    const diff = await offlineDiff(project, workspace, context.env);
    if (diff !== null) {
      context.note(`No server runs here; looking into ${diff.path}`);
      return diff;
    }
  }
  const client = await context.client();
  const query = path === null ? {} : { path };
  return onIssue(id, listerOf(client), () => client.git.diff({ params: { id }, query }));
}

function coloured(patch: string, paint: Paint): string {
  const styled = patch.split("\n").map((line) => {
    if (line.startsWith("@@")) return paint.cyan(line);
    if (line.startsWith("+")) return paint.green(line);
    return line.startsWith("-") ? paint.red(line) : line;
  });
  return styled.join("\n").trimEnd();
}
