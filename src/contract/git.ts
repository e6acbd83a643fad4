import { z } from "zod";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { byIssue } from "./values.ts";

const commits = z.number().int();
const commit = z.string().describe("Commit id");

const counts = {
  ahead: commits.nullable().describe("Commits that the default branch has not; null: not known"),
  behind: commits.nullable().describe("Commits of the default branch that it has not"),
};

const BranchView = z
  .object({
    name: z.string().nullable().describe("null: none is checked out"),
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

const url = z.string().nullable().describe("Without credentials; null: none, or of no known form");

const RepositoryView = z
  .object({
    name: z.string(),
    url,
    default_branch: z.string().nullable(),
    path: z.string().nullable().describe("null: several checkouts have it, each for itself"),
    remotes: z.array(z.object({ name: z.string(), url })),
    branches: z.array(BranchView).describe("One for each workspace"),
  })
  .meta({ id: "GitRepository" });

const RoutingRule = z
  .object({
    match: z.string(),
    repository: z.string(),
    base_branch: z.string(),
    branch_template: z.string(),
  })
  .meta({ id: "GitRoutingRule" });

export const git = {
  context: route({
    ...paths.git.context,
    summary: "The repositories in the workspaces, as last looked at",
    status: 200,
    reply: z
      .object({
        repositories: z.array(RepositoryView),
        routing: z
          .array(RoutingRule)
          .describe("Empty: which repository a workspace gets is what hooks.after_create does"),
        complete: z.boolean().describe("false while some workspace has not been looked at yet"),
      })
      .meta({ id: "GitContext" }),
  }),
  diff: route({
    ...paths.git.diff,
    summary: "What an issue's workspace holds beside the commit its work started from",
    params: byIssue,
    status: 200,
    reply: z
      .object({
        issue_identifier: z.string(),
        branch: z.string().nullable(),
        base: commit.describe("The commit that is compared with"),
        head: commit.nullable(),
        ...counts,
        files: z.array(
          z.object({
            path: z.string(),
            additions: z.number().int().nullable().describe("Lines; null: a binary file"),
            deletions: z.number().int().nullable(),
          }),
        ),
        patch: z.string().describe("Commits, changes and new files together, at most 1 MiB"),
        truncated: z.boolean().describe("Files, or the end of the patch, are left out"),
      })
      .meta({ id: "GitWork" }),
    errors: ["issue_not_found", "workspace_not_found", "no_repository"],
  }),
};
