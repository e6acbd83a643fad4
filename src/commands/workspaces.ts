import { dirname } from "node:path";
import type { z } from "zod";
import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import type { WorkspaceView } from "../contract/workspaces.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { closest, withHint } from "./failure.ts";
import { keptLines } from "./kept.ts";
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
      { title: "ISSUE" },
      { title: "STATUS" },
      { title: "DISK", align: "right" },
      { title: "USED" },
      { title: "BRANCH", flexible: true },
    ] as const;
    const rows = page.workspaces.map((one) => rowOf(one, page.root));
    const kept = page.workspaces.flatMap((one) => one.kept ?? []);
    const list: ListShape = {
      columns,
      rows,
      below: (paint) => (kept.length === 0 ? [] : ["", ...keptLines(kept, paint)]),
      totals: `${page.total} in ${page.root}, ${size(page.total_bytes)}`,
      page,
    };
    return printPage(list, context);
  },
});

const removeRow = subcommand({
  name: "remove",
  summary: "run before_remove and delete a workspace, unless it holds work that is nowhere else",
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
  print: ({ name }, { note }) => note(`${name} was removed`),
});

/** The directories that agents work in. */
export const workspacesCommand = row({
  examples: ["symphony workspaces list", "symphony workspaces remove ENG-123 --force"],
  commands: [listRow, removeRow],
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

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

/** `512 B`, `4.0 KiB`, `1.5 GiB`. */
function size(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  return `${(bytes / 1_024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
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
