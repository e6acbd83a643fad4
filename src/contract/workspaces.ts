import { z } from "zod";
import { writerOf } from "../core/model/names.ts";
import { type Work, workInWords } from "../core/model/work.ts";
import { paths } from "./paths.ts";
import { type Reply, route } from "./route.ts";
import { byIssue, OverlapView, page, paged, Status, Time } from "./values.ts";
import { HoldView, KeptView } from "./work.ts";

const bytes = z.number().int();

export const WorkspaceView = z
  .object({
    key: z.string(),
    path: z.string(),
    host: z
      .string()
      .nullable()
      .describe("The host of worker.ssh_hosts that has it as well; null: this machine alone"),
    issue_identifier: z.string().nullable().describe("null: the issue is not known"),
    status: Status.nullable().describe("symphony's view of the issue"),
    in_use: z.boolean().describe("A live attempt uses it"),
    disk_bytes: bytes
      .nullable()
      .describe("As last measured in the background; null: not measured yet"),
    branch: z.string().nullable(),
    dirty: z
      .boolean()
      .nullable()
      .describe(
        "Whether it holds work that is not committed and pushed, as last checked; null: unknown",
      ),
    holds: z
      .array(HoldView)
      .nullable()
      .describe("The work that exists only here, as last checked; null: not checked yet"),
    kept: KeptView.nullable().describe("No attempt uses it, and it is kept because it holds work"),
    created_at: Time,
    last_used_at: Time,
  })
  .meta({ id: "Workspace" });

export const CopyView = z
  .object({
    key: z.string().describe("The key of the workspace and when the copy was made"),
    path: z.string().describe("The directory of the copy"),
    issue_identifier: z.string().nullable().describe("null: the issue is not known"),
    workspace: z.string().describe("Where the workspace was"),
    form: z.enum(["bundle", "archive"]).describe("A git bundle, or a tar archive of everything"),
    bytes,
    at: Time,
    summary: z.string().describe("What it holds"),
    next: z.array(z.string()).describe("Commands: show the work, restore it, delete the copy"),
  })
  .describe("The work of a workspace that was removed")
  .meta({ id: "WorkspaceCopy" });

const key = z.string().min(1).max(255);

export const workspaces = {
  list: route({
    ...paths.workspaces.list,
    summary: "The workspaces on disk, by key, including those of earlier values of workspace.root",
    query: z.object(page),
    status: 200,
    reply: z
      .object({
        root: z.string().describe("Where new workspaces are created"),
        workspaces: z.array(WorkspaceView),
        total_bytes: bytes.describe("Sum of all measured workspaces"),
        copies: z.array(CopyView).describe("Of all removed workspaces; newest first"),
        ...paged,
      })
      .meta({ id: "WorkspacePage" }),
  }),
  remove: route({
    ...paths.workspaces.remove,
    summary: "Run before_remove and delete a workspace; one that holds work only with `force`",
    evenUnsaved: true,
    params: z.object({
      key: z.string().min(1).max(255).meta({ description: "As in the list", example: "ENG-1" }),
    }),
    query: z.object({
      force: z
        .enum(["true", "false"])
        .default("false")
        .describe("Also when it holds, or may hold, work that exists only there"),
      path: z
        .string()
        .max(4_096)
        .optional()
        .describe("Selects one of several workspaces with the same key"),
    }),
    status: 204,
    errors: [
      "workspace_not_found",
      "workspace_in_use",
      "workspace_dirty",
      "workspace_ambiguous",
      "workspace_symlink",
      "workspace_outside_root",
      "workspace_equals_root",
      "workspace_error",
    ],
  }),
  restore: route({
    ...paths.workspaces.restore,
    summary: "Put a kept copy back into the place of its workspace, which must be free",
    params: z.object({
      key: key.meta({
        description: "Of the copy, or of a workspace with one copy",
        example: "ENG-1",
      }),
    }),
    status: 200,
    reply: z
      .object({ key: z.string(), path: z.string().describe("The workspace") })
      .meta({ id: "WorkspaceRestored" }),
    errors: ["workspace_not_found", "workspace_in_use", "workspace_ambiguous", "workspace_error"],
  }),
};

const commits = z.number().int();
const commit = z.string().describe("Commit id");

const counts = {
  ahead: commits
    .nullable()
    .describe("Commits that the default branch does not have; null: not known"),
  behind: commits.nullable().describe("Commits of the default branch that this one does not have"),
};

const BranchView = z
  .object({
    name: z.string().nullable().describe("null: no branch is checked out"),
    head: commit.nullable().describe("null: nothing is committed"),
    issue_identifier: z.string().nullable(),
    ...counts,
    path: z.string().describe("The checkout"),
    dirty: z
      .boolean()
      .nullable()
      .describe("Whether it holds work that is not committed and pushed; null: not known"),
  })
  .meta({ id: "GitBranch" });

const url = z
  .string()
  .nullable()
  .describe("Without credentials; null: none, or its form is not recognized");

const RepositoryView = z
  .object({
    name: z.string(),
    url,
    default_branch: z.string().nullable(),
    path: z.string().nullable().describe("null: several separate checkouts have it"),
    remotes: z.array(z.object({ name: z.string(), url })),
    branches: z.array(BranchView).describe("One for each workspace"),
  })
  .meta({ id: "GitRepository" });

const RoutingRule = z
  .object({
    match: z.string().describe("A readable description of the issues it applies to"),
    repository: z.string(),
    base_branch: z.string().nullable().describe("null: the remote's default branch"),
    branch_template: z.string(),
  })
  .meta({ id: "GitRoutingRule" });

export const git = {
  context: route({
    ...paths.git.context,
    summary: "The repositories of the configuration and of the workspaces, as last checked",
    query: z.object({
      issue: z.string().min(1).max(255).optional().describe("Also return the route of this issue"),
    }),
    status: 200,
    reply: z
      .object({
        repositories: z.array(RepositoryView),
        routing: z
          .array(RoutingRule)
          .describe("In the order of evaluation; empty: hooks.after_create fills the workspaces"),
        route: z
          .object({
            issue_identifier: z.string(),
            repository: z.string().nullable().describe("null: no rule matches"),
            branch: z.string().nullable(),
          })
          .optional()
          .describe("Only with `issue`: repository and branch that a new workspace would get"),
        complete: z.boolean().describe("false while a workspace has not been checked yet"),
      })
      .meta({ id: "GitContext" }),
    errors: ["issue_not_found"],
  }),
  conflicts: route({
    ...paths.git.conflicts,
    summary:
      "Live branches of one repository that change the same files, and whether they conflict",
    query: z.object(page),
    status: 200,
    reply: z.object({ conflicts: z.array(OverlapView), ...paged }),
  }),
  diff: route({
    ...paths.git.diff,
    summary:
      "The work in an issue's workspace, compared with its starting commit; also after the issue has ended",
    params: byIssue,
    query: z.object({
      path: z
        .string()
        .max(4_096)
        .optional()
        .describe("Another workspace than that of the newest attempt"),
    }),
    status: 200,
    reply: z
      .object({
        issue_identifier: z.string(),
        branch: z.string().nullable(),
        path: z.string().describe("The workspace"),
        base: commit
          .nullable()
          .describe("The commit that is compared with; null: none, every file is shown as new"),
        base_note: z
          .string()
          .nullable()
          .describe("A sentence: `base` is gone, or the work does not start from it"),
        head: commit.nullable(),
        ...counts,
        files: z.array(
          z.object({
            path: z.string(),
            renamed_from: z.string().nullable().describe("Its path before; null: not renamed"),
            additions: z.number().int().nullable().describe("Lines; null: a binary file"),
            deletions: z.number().int().nullable(),
          }),
        ),
        totals: z
          .object({
            files: z.number().int(),
            additions: z.number().int(),
            deletions: z.number().int(),
          })
          .describe(
            "Of all files, where `files` has the first 2,000; lines without those of new files beyond them",
          ),
        patch: z.string().describe("Commits, changes and new files together, at most 1 MiB"),
        truncated: z.boolean().describe("Files, or the end of the patch, are omitted"),
        not_shown: z
          .array(HoldView)
          .describe("Work that exists only there and is not in the patch, such as stashes"),
        not_shown_summary: z
          .string()
          .nullable()
          .describe("A readable summary of `not_shown`; null: none"),
      })
      .meta({ id: "GitWork" }),
    errors: [
      "issue_not_found",
      "workspace_not_found",
      "no_repository",
      "workspace_ambiguous",
      "workspace_error",
    ],
  }),
};

type DiffView = Reply<(typeof git)["diff"]>;

/** A comparison as the workspaces make it. */
type Diff = Pick<
  DiffView,
  "branch" | "path" | "base" | "head" | "ahead" | "behind" | "patch" | "truncated" | "totals"
> & {
  readonly baseNote: string | null;
  readonly files: readonly (Omit<DiffView["files"][number], "renamed_from"> & {
    readonly renamedFrom: string | null;
  })[];
  readonly notShown: readonly Work[];
};

const writeDiff = writerOf(git.diff.reply);

/** In the wire's form, for whoever answers: the server, or a command without one. */
export function diffView(issueIdentifier: string, diff: Diff): DiffView {
  const { notShown } = diff;
  const notShownSummary = notShown.length === 0 ? null : workInWords(notShown);
  return writeDiff({ ...diff, issueIdentifier, notShownSummary });
}
