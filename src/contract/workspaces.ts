import { z } from "zod";
import { HoldView, KeptView } from "./kept.ts";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { page, paged, Status, Time } from "./values.ts";

const bytes = z.number().int();

export const WorkspaceView = z
  .object({
    key: z.string(),
    path: z.string(),
    host: z.string().nullable().describe("null: this machine"),
    issue_identifier: z.string().nullable().describe("null where no issue is known for it"),
    status: Status.nullable().describe("symphony's view of the issue"),
    in_use: z.boolean().describe("A live attempt has it"),
    disk_bytes: bytes.nullable().describe("As last measured, in the background; null before"),
    branch: z.string().nullable(),
    dirty: z
      .boolean()
      .nullable()
      .describe(
        "Whether it holds work that is not committed and pushed, as last seen; null: unknown",
      ),
    holds: z
      .array(HoldView)
      .nullable()
      .describe("The work that is nowhere else, as last seen; null before"),
    kept: KeptView.nullable().describe("No attempt has it, and it stays for what it holds"),
    created_at: Time,
    last_used_at: Time,
  })
  .meta({ id: "Workspace" });

export const workspaces = {
  list: route({
    ...paths.workspaces.list,
    summary: "The workspaces on disk, by key, those of an earlier workspace.root too",
    query: z.object(page),
    status: 200,
    reply: z
      .object({
        root: z.string().describe("Where new ones are made"),
        workspaces: z.array(WorkspaceView),
        total_bytes: bytes.describe("Of all that have been measured"),
        ...paged,
      })
      .meta({ id: "WorkspacePage" }),
  }),
  remove: route({
    ...paths.workspaces.remove,
    summary: "Run before_remove and delete a workspace that holds no work, or any by force",
    evenUnsaved: true,
    params: z.object({
      key: z.string().min(1).max(255).meta({ description: "As the list has it", example: "ENG-1" }),
    }),
    query: z.object({
      force: z
        .enum(["true", "false"])
        .default("false")
        .describe("Also when it holds, or may hold, work that is nowhere else"),
      path: z.string().max(4_096).optional().describe("Which of several that have the key"),
    }),
    status: 204,
    errors: ["workspace_not_found", "workspace_in_use", "workspace_dirty", "workspace_ambiguous"],
  }),
};
