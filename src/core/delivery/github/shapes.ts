import { z } from "zod";
import type { PullRequest } from "../forge.ts";

// The fields of GitHub's answers that are read. An author is null when the account is gone.

/** octokit reads ids above 2^53 as bigints. */
export const id = z.union([z.number(), z.bigint()]).transform(String);
export const user = z
  .object({ login: z.string(), type: z.string().nullish() })
  .nullish()
  .transform((value) => value ?? null);
export const time = z.iso.datetime({ offset: true }).transform((text) => Date.parse(text));
const body = z
  .string()
  .nullish()
  .transform((text) => text ?? "");

export type User = z.output<typeof user>;

export const repository = z.object({
  id: z.number(),
  full_name: z.string().regex(/^[^/]+\/[^/]+$/),
  default_branch: z.string(),
  archived: z.boolean().default(false),
  private: z.boolean(),
  permissions: z.object({ push: z.boolean().optional() }).nullish(),
});

const side = z.object({
  ref: z.string(),
  sha: z.string(),
  /** null: the fork is gone. */
  repo: z.object({ id }).nullable(),
});

/** As it is listed: without what GitHub computes for a single one. */
export const listedPull = z.object({
  number: z.number(),
  state: z.enum(["open", "closed"]),
  body,
  head: side,
});

export type ListedPull = z.output<typeof listedPull>;

export const pull = listedPull.extend({
  node_id: z.string(),
  html_url: z.string(),
  draft: z.boolean().default(false),
  title: z.string(),
  base: side,
  merged: z.boolean(),
  merge_commit_sha: z.string().nullish(),
  merged_by: user,
  mergeable: z.boolean().nullable(),
  mergeable_state: z.string().nullish(),
  user,
  updated_at: time,
});
export type Pull = z.output<typeof pull>;

export const issue = z.object({ closed_by: user });

export const comment = z.object({
  id,
  html_url: z.string(),
  user,
  body,
  created_at: time,
  updated_at: time,
});
export type Comment = z.output<typeof comment>;

export const lineComment = comment.extend({
  path: z.string(),
  /** Missing or null: the line has changed, or the comment is on the whole file. */
  line: z.number().nullish(),
  original_line: z.number().nullish(),
  subject_type: z.string().nullish(),
  in_reply_to_id: id.nullish(),
});
export type LineComment = z.output<typeof lineComment>;

export const review = z.object({
  id,
  html_url: z.string(),
  user,
  body,
  state: z.string(),
  commit_id: z.string().nullish(),
  /** Missing in a review that is not submitted yet. */
  submitted_at: time.nullish(),
});
export type SubmittedReview = z.output<typeof review>;

export const threads = z.object({
  repository: z.object({
    pullRequest: z.object({
      reviewThreads: z.object({
        pageInfo: z.object({ hasNextPage: z.boolean(), endCursor: z.string().nullish() }),
        nodes: z.array(
          z.object({
            id: z.string(),
            isResolved: z.boolean(),
            isOutdated: z.boolean(),
            comments: z.object({
              nodes: z.array(z.object({ fullDatabaseId: z.union([z.string(), id]).nullable() })),
            }),
          }),
        ),
      }),
    }),
  }),
});

export type ThreadPage = z.output<typeof threads>;

export const branch = z.object({
  commit: z.object({ sha: z.string() }),
  protected: z.boolean(),
  protection: z
    .object({
      required_status_checks: z.object({ contexts: z.array(z.string()) }).nullish(),
    })
    .nullish(),
});

export const rule = z.object({
  type: z.string(),
  parameters: z
    .object({ required_status_checks: z.array(z.object({ context: z.string() })).optional() })
    .nullish(),
});

export const checkRun = z.object({
  id,
  name: z.string(),
  head_sha: z.string(),
  status: z.string(),
  conclusion: z.string().nullable(),
  html_url: z.string().nullish(),
  started_at: time.nullish(),
  completed_at: time.nullish(),
  app: z.object({ id, slug: z.string().nullish() }).nullish(),
  check_suite: z.object({ id }).nullish(),
  output: z
    .object({
      title: z.string().nullish(),
      summary: z.string().nullish(),
      annotations_count: z.number().default(0),
    })
    .nullish(),
});
export type CheckRun = z.output<typeof checkRun>;

export const annotation = z.object({
  path: z.string(),
  start_line: z.number(),
  annotation_level: z.string().nullish(),
  message: z.string().nullish(),
});

export const status = z.object({
  context: z.string(),
  state: z.string(),
  description: z.string().nullish(),
  target_url: z.string().nullish(),
});

export const workflowRun = z.object({
  id,
  name: z.string().nullish(),
  event: z.string(),
  status: z.string().nullable(),
  conclusion: z.string().nullable(),
  run_attempt: z.number().default(1),
  workflow_id: id,
  check_suite_id: id.nullish(),
  html_url: z.string(),
});
export type WorkflowRun = z.output<typeof workflowRun>;

export const posted = z.object({ id, html_url: z.string() });
export const merged = z.object({ sha: z.string(), merged: z.boolean() });
/** An answer of which nothing is read. */
export const anything = z.unknown();

/** `closer`: who closed it without merging, which the pull request itself does not say. */
export function pullRequestOf(read: Pull, closer: User): PullRequest {
  const open = read.state === "open" ? "open" : "closed";
  return {
    number: read.number,
    url: read.html_url,
    state: read.merged ? "merged" : open,
    draft: read.draft,
    title: read.title,
    body: read.body,
    branch: read.head.ref,
    head: read.head.sha,
    base: read.base.ref,
    // Before the merge it is a test merge, which may be out of date.
    mergeSha: read.merged ? (read.merge_commit_sha ?? null) : null,
    closedBy: (read.merged ? read.merged_by : closer)?.login ?? null,
    mergeable: mergeableOf(read.mergeable),
    mergeState: read.mergeable_state ?? null,
    author: read.user?.login ?? null,
    updatedAt: read.updated_at,
  };
}

/** null: GitHub is still computing it. */
function mergeableOf(value: boolean | null): PullRequest["mergeable"] {
  if (value === null) return "unknown";
  return value ? "yes" : "no";
}
