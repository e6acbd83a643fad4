import { dirname, resolve } from "node:path";
import type { z } from "zod";
import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import type { WorkspaceView } from "../contract/workspaces.ts";
import { SymphonyError, withHint } from "../core/model/errors.ts";
import { type CommandContext, findProject } from "./context.ts";
import { closest } from "./failure.ts";
import { copyLines, keptLines, size } from "./kept.ts";
import { type Cell, type ListShape, printPage, relative } from "./output.ts";
import { pageOptions, row, subcommand } from "./table.ts";
import { workspaceNamed } from "./workspace-name.ts";

type Workspace = z.output<typeof WorkspaceView>;

const listRow = subcommand({
  name: "list",
  summary: "list the workspaces with their issues and disk use",
  examples: ["symphony workspaces list", "symphony workspaces list --json | jq .total_bytes"],
  options: pageOptions(),
  call: async (query, context) => (await context.client()).workspaces.list({ query }),
  print(page, context) {
    const columns = [
      { title: "KEY" },
      { title: "ISSUE", drop: 3 },
      { title: "STATUS" },
      { title: "DISK", align: "right" },
      { title: "USED", drop: 1 },
      { title: "BRANCH", flexible: true, drop: 2 },
    ] as const;
    const rows = page.workspaces.map((one) => rowOf(one, page.root));
    const kept = page.workspaces.flatMap((one) => one.kept ?? []);
    const list: ListShape = {
      columns,
      rows,
      below: (paint) => [
        ...(kept.length === 0 ? [] : ["", ...keptLines(kept, paint)]),
        ...(page.copies.length === 0 ? [] : ["", ...copyLines(page.copies, paint)]),
      ],
      totals: `${page.total} in ${page.root}, ${size(page.total_bytes)}`,
      page,
    };
    return printPage(list, context);
  },
});

const removeRow = subcommand({
  name: "remove",
  summary: "delete a workspace, unless it holds work that is nowhere else",
  examples: [
    "symphony workspaces remove ENG-123",
    "symphony workspaces remove ENG-123 --force",
    "symphony workspaces remove /srv/earlier-root/ENG-123",
  ],
  arguments: [
    {
      name: "key",
      summary:
        "key of the workspace, or its path where several have the key, as `symphony workspaces list` prints it",
    },
  ],
  options: [
    { name: "force", summary: "also when it holds, or may hold, work that is nowhere else" },
  ],
  call: ({ key, force }, context) => removeWorkspace(key, force, context),
  document: ({ key, removed }) => ({ key, removed }),
  print: ({ name }, { note }) =>
    note(`${name} was removed; symphony workspaces list shows what is left, and kept copies`),
});

const restoreRow = subcommand({
  name: "restore",
  summary: "put the kept work of a removed workspace back, or into another place",
  examples: [
    "symphony workspaces restore ENG-118",
    "symphony workspaces restore ENG-118-20261102T101500Z --to ./eng-118",
  ],
  arguments: [
    {
      name: "key",
      summary:
        "key of the copy, as `symphony workspaces list` prints it, or workspace or issue with one copy",
    },
  ],
  options: [
    {
      name: "to",
      value: "dir",
      summary: "a directory that is empty or does not exist; needs no running server",
    },
  ],
  call: ({ key, to }, context) => restoreCopy(key, to, context),
  print: ({ key, path }, { note }) =>
    note(`${key} was restored to ${path}; the copy stays. symphony git shows the work`),
});

/** The directories that agents work in. */
export const workspacesCommand = row({
  examples: ["symphony workspaces list", "symphony workspaces remove ENG-123 --force"],
  commands: [listRow, removeRow, restoreRow],
});

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

async function restoreCopy(key: string, to: string | undefined, context: CommandContext) {
  if (to === undefined) return (await context.client()).workspaces.restore({ params: { key } });
  const project = findProject(context.where);
  if (project === null) {
    throw new SymphonyError("workspace_not_found", "there is no project in this directory", {
      hint: "symphony workspaces restore KEY --to DIR --data-dir PROJECT/.symphony",
    });
  }
  const { offlineRestore } = await import("./offline.ts");
  return offlineRestore(project, key, resolve(context.where.cwd, to));
}

async function removeWorkspace(name: string, force: boolean, context: CommandContext) {
  const { key, path } = workspaceNamed(name);
  const client = await context.client();
  try {
    const query = { ...(force && { force: "true" as const }), ...(path !== null && { path }) };
    await client.workspaces.remove({ params: { key }, query });
  } catch (error) {
    throw path === null ? await explained(error, key, client) : error;
  }
  return { key, name: path ?? key, removed: true };
}

/** Names the workspace that was probably meant. */
async function explained(error: unknown, key: string, client: Client<Api>): Promise<unknown> {
  if (!(error instanceof SymphonyError) || error.code !== "workspace_not_found") return error;
  const known = await client.workspaces
    .list({ query: { limit: 500 } })
    .catch(() => ({ workspaces: [] }));
  const meant = closest(
    key,
    known.workspaces.map((one) => one.key),
  );
  return meant === null ? error : withHint(error, `did you mean ${meant}?`);
}
