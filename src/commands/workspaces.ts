import { dirname } from "node:path";
import type { Command } from "commander";
import type { z } from "zod";
import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import type { WorkspaceView } from "../contract/workspaces.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { type CommandContext, findProject, type Run } from "./context.ts";
import { closest, exitCodes, listerOf, onIssue, withHint } from "./failure.ts";
import { examples } from "./help.ts";
import { numberOption } from "./input.ts";
import { keptLines } from "./kept.ts";
import { type Cell, type Paint, plain, plainLine, relative, tableLines } from "./output.ts";
import { type NamedWorkspace, workspaceNamed } from "./workspace-name.ts";

type Workspace = z.output<typeof WorkspaceView>;

interface PageOptions {
  readonly limit?: string;
  readonly offset?: string;
}

export function declareWorkspaces(command: Command, run: Run): void {
  examples(command, "symphony workspaces list", "symphony workspaces remove ENG-123 --force");
  examples(
    command.command("list").description("list the workspaces with their issues and disk use"),
    "symphony workspaces list",
    "symphony workspaces list --json | jq .total_bytes",
  )
    .option("--limit <n>", "rows at most, 1 to 500 (default: 50)")
    .option("--offset <n>", "rows to pass over (default: 0)")
    .action((options: PageOptions) => run((context) => listWorkspaces(options, context)));
  examples(
    command
      .command("remove")
      .description(
        "run before_remove and delete a workspace, unless it holds work that is nowhere else",
      ),
    "symphony workspaces remove ENG-123",
    "symphony workspaces remove ENG-123 --force",
    "symphony workspaces remove /srv/earlier-root/ENG-123",
  )
    .argument(
      "<key>",
      "key of the workspace, or its path where several have the key, as `symphony workspaces list` prints it",
    )
    .option("--force", "also when it holds, or may hold, work that is nowhere else")
    .action((name: string, { force }: { readonly force?: boolean }) =>
      run((context) => removeWorkspace(workspaceNamed(name), force === true, context)),
    );
}

async function listWorkspaces(options: PageOptions, context: CommandContext): Promise<number> {
  const query = {
    ...numberOption("limit", options.limit),
    ...numberOption("offset", options.offset),
  };
  const page = await (await context.client()).workspaces.list({ query });
  if (context.json) {
    context.printJson(page);
    return exitCodes.done;
  }
  const columns = [
    { title: "KEY" },
    { title: "ISSUE" },
    { title: "STATUS" },
    { title: "DISK", align: "right" },
    { title: "USED" },
    { title: "BRANCH", flexible: true },
  ] as const;
  const rows = page.workspaces.map((one) => rowOf(one, page.root));
  const paint = await context.paint();
  const shape = { columns, rows, width: context.width, paint };
  const kept = page.workspaces.flatMap((one) => one.kept ?? []);
  const below = kept.length === 0 ? [] : ["", ...keptLines(kept, paint)];
  context.print([...tableLines(shape), ...below].join("\n"));
  context.note(`${page.total} in ${page.root}, ${size(page.total_bytes)}`);
  const left = page.total - page.offset - rows.length;
  if (left > 0) context.note(`${left} more: --offset ${page.offset + rows.length}`);
  return exitCodes.done;
}

/** One of an earlier root is named by its path. */
function rowOf(workspace: Workspace, root: string): Cell[] {
  const { key, path, issue_identifier: issue } = workspace;
  return [
    dirname(path) === root ? key : path,
    issue ?? "-",
    statusCell(workspace),
    workspace.disk_bytes === null ? "-" : size(workspace.disk_bytes),
    relative(workspace.last_used_at, Date.now()),
    workspace.branch ?? "-",
  ];
}

function statusCell({ in_use: inUse, kept, status }: Workspace): Cell {
  if (inUse) return { text: "in use", style: "yellow" };
  return kept ? { text: "kept", style: "yellow" } : (status ?? "-");
}

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

/** `512 B`, `4.0 KiB`, `1.5 GiB`. */
function size(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  return `${(bytes / 1_024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}

async function removeWorkspace(
  { key, path }: NamedWorkspace,
  force: boolean,
  context: CommandContext,
): Promise<number> {
  const client = await context.client();
  try {
    const query = { ...(force && { force: "true" as const }), ...(path !== null && { path }) };
    await client.workspaces.remove({ params: { key }, query });
  } catch (error) {
    throw path === null ? await explained(error, key, client) : error;
  }
  if (context.json) context.printJson({ key, removed: true });
  context.note(`${path ?? key} was removed`);
  return exitCodes.done;
}

/** Names the workspace that was probably meant. */
async function explained(error: unknown, key: string, client: Client<Api>): Promise<unknown> {
  if (!(error instanceof SymphonyError) || error.code !== "workspace_not_found") return error;
  const known = await client.workspaces
    .list({ query: { limit: 500 } })
    .catch(() => ({ workspaces: [] }));
  const keys = known.workspaces.map((one) => one.key);
  const meant = closest(key, keys);
  return meant === null ? error : withHint(error, `did you mean ${meant}?`);
}

type GitContextView = z.output<Api["git"]["context"]["reply"]>;
type Route = NonNullable<GitContextView["route"]>;
type Diff = Reply<Api["git"]["diff"]>;
type Branch = GitContextView["repositories"][number]["branches"][number];

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
    const shape = { columns, rows: branches.map(branchRowOf), width: context.width, paint };
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

function only(issue: string, all: GitContextView): GitContextView {
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
async function contextOf(issue: string, git: Client<Api>["git"]): Promise<GitContextView> {
  try {
    return await git.context({ query: { issue } });
  } catch (error) {
    if (!(error instanceof SymphonyError) || error.code !== "issue_not_found") throw error;
    return git.context();
  }
}

function rulesTable({ routing }: GitContextView, width: number | null, paint: Paint): string {
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

function branchRowOf({
  issue_identifier: issue,
  name,
  head,
  ahead,
  behind,
  dirty,
}: Branch): Cell[] {
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
    const { offlineDiff } = await import("./offline.ts");
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
