import type { z } from "zod";
import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { withNamedMarks } from "../web/words.ts";
import { type CommandContext, findProject } from "./context.ts";
import { onServerIssue } from "./failure.ts";
import { type Cell, type Paint, plain, plainLine, printPage } from "./output.ts";
import { row } from "./table.ts";
import { workspaceNamed } from "./workspace-name.ts";

type GitContextView = z.output<Api["git"]["context"]["reply"]>;
type Route = NonNullable<GitContextView["route"]>;
type Repository = GitContextView["repositories"][number];
type Branch = Repository["branches"][number];

/** Shows the repositories in the workspaces. */
export const gitCommand = row({
  examples: [
    "symphony git",
    "symphony git ENG-123",
    "symphony git --json | jq '.routing[]'",
    "symphony git --json | jq '.repositories[].branches[]'",
  ],
  arguments: [
    {
      name: "issue",
      summary: "only the branches of this issue, such as ENG-123, and its routing",
      optional: true,
      completion: "issues",
    },
  ],
  async call({ issue }, context) {
    const { git } = await context.client();
    return issue === undefined ? git.context() : only(issue, await contextOf(issue, git));
  },
  async print(shown, context, { issue }) {
    for (const repository of shown.repositories) await printRepository(repository, context);
    if (issue === undefined && shown.routing.length > 0) await printRules(shown, context);
    if (shown.route) context.print(routeLine(shown.route));
    if (shown.repositories.length === 0 && !shown.route) {
      context.note("No workspace has a repository");
    }
    if (!shown.complete) context.note("Some workspaces have not been examined yet: run this again");
  },
});

async function printRepository(
  { name, url, path, default_branch: main, branches }: Repository,
  context: CommandContext,
): Promise<void> {
  const columns = [
    { title: "ISSUE" },
    { title: "BRANCH", flexible: true },
    { title: "HEAD", drop: 1 },
    { title: "AHEAD", align: "right", drop: 3 },
    { title: "BEHIND", align: "right", drop: 2 },
    { title: "WORK" },
  ] as const;
  const paint = await context.paint();
  const facts = [url ?? path ?? "several checkouts", ...(main === null ? [] : [main])];
  context.print(`${paint.cyan(plainLine(name))}  ${plainLine(facts.join(", "))}`);
  if (branches.length === 0) context.print("no workspace has it yet");
  else await printPage({ columns, rows: branches.map(branchRowOf) }, context);
}

function only(issue: string, all: GitContextView): GitContextView {
  // An earlier identifier finds the issue; the server answers with the current one.
  const wanted = (all.route?.issue_identifier ?? issue).toLowerCase();
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

/** An issue that is no longer known may still have a workspace. */
async function contextOf(issue: string, git: Client<Api>["git"]): Promise<GitContextView> {
  try {
    return await git.context({ query: { issue } });
  } catch (error) {
    if (!(error instanceof SymphonyError) || error.code !== "issue_not_found") throw error;
    return git.context();
  }
}

function printRules({ routing }: GitContextView, context: CommandContext): Promise<void> {
  const columns = [
    { title: "ISSUES WITH", flexible: true },
    { title: "REPOSITORY" },
    { title: "BASE", drop: 1 },
    { title: "BRANCH", drop: 2 },
  ] as const;
  const rows = routing.map(({ match, repository, base_branch: base, branch_template: branch }) => [
    match,
    repository,
    base ?? "(default)",
    branch,
  ]);
  context.print("");
  return printPage({ columns, rows }, context);
}

function routeLine({ issue_identifier: issue, repository, branch }: Route): string {
  if (repository === null) return plainLine(`${issue}: no routing rule matches it`);
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

type Diff = Reply<Api["git"]["diff"]>;

/** Shows the work in an issue's workspace. */
export const diffCommand = row({
  examples: [
    "symphony diff ENG-123",
    "symphony diff ENG-123 --stat",
    "symphony diff ENG-123 > work.patch",
  ],
  arguments: [
    {
      name: "issue",
      summary: "issue identifier, such as ENG-123, or the path of a workspace",
      completion: "issues",
    },
  ],
  options: [{ name: "stat", summary: "only which files, and how many lines of each" }],
  call: ({ issue }, context) => diffFor(issue, context),
  async print(work, context, { stat }) {
    if (stat) await printFiles(work, context);
    else if (work.patch !== "") await printPatch(work.patch, context);
    for (const remark of remarksOn(work)) context.note(remark);
  },
});

function printFiles({ files }: Diff, context: CommandContext): Promise<void> {
  const rows = files.map(({ path, renamed_from: from, additions, deletions }) => [
    additions === null ? "bin" : `+${additions}`,
    deletions === null ? "" : `-${deletions}`,
    from === null ? path : `${from} -> ${path}`,
  ]);
  const columns = [{ title: "ADDED" }, { title: "REMOVED" }, { title: "FILE" }];
  return printPage({ columns, rows }, context);
}

/** A file or a program gets git's output unchanged; for a terminal, control characters are removed, and what reorders text is named. */
async function printPatch(patch: string, { stdout, print, paint }: CommandContext): Promise<void> {
  if (stdout.isTTY) print(coloured(plain(withNamedMarks(patch)), await paint()));
  else stdout.write(patch);
}

function remarksOn(work: Diff): string[] {
  const count = work.totals.files;
  const files = `${count} ${count === 1 ? "file" : "files"} changed`;
  const isSince = work.base !== null && work.base_note === null;
  const since = isSince ? ` since ${work.base?.slice(0, 10)}` : "";
  return [
    `${work.issue_identifier}: ${files}${since}`,
    ...(work.base_note === null ? [] : [work.base_note]),
    ...(work.not_shown_summary === null
      ? []
      : [`Not shown, in ${work.path}: ${work.not_shown_summary}`]),
    ...(work.truncated ? ["It is too long to be shown completely: the rest is left out"] : []),
  ];
}

/** From the server; without one, from the workspaces of the current project. */
async function diffFor(name: string, context: CommandContext): Promise<Diff> {
  const workspace = workspaceNamed(name);
  const { key: id, path } = workspace;
  const { certain } = await context.discovery();
  const project = certain ? null : findProject(context.where);
  if (project !== null) {
    const { offlineDiff } = await import("./offline.ts");
    const diff = await offlineDiff(project, workspace, context.env);
    if (diff !== null) {
      context.note(`No server runs here; reading ${diff.path}`);
      return diff;
    }
  }
  const query = path === null ? {} : { path };
  return onServerIssue(id, context, (client) => client.git.diff({ params: { id }, query }));
}

function coloured(patch: string, paint: Paint): string {
  const styled = patch.split("\n").map((line) => {
    if (line.startsWith("@@")) return paint.cyan(line);
    if (line.startsWith("+")) return paint.green(line);
    return line.startsWith("-") ? paint.red(line) : line;
  });
  return styled.join("\n").trimEnd();
}
