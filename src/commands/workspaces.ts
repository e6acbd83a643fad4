import { dirname } from "node:path";
import type { Command } from "commander";
import type { z } from "zod";
import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import type { WorkspaceView } from "../contract/workspaces.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { withHint } from "./issue-hints.ts";
import { keptLines } from "./kept-lines.ts";
import { numberOption } from "./numbers.ts";
import { type Cell, tableLines } from "./output.ts";
import { closest } from "./suggest.ts";
import { relative } from "./times.ts";
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
