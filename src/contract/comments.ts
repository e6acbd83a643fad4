import { z } from "zod";
import type { CommentList, Issue } from "../core/model/issue.ts";
import { writerOf } from "../core/model/names.ts";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { byIssue, Time } from "./values.ts";

export const comment = route({
  ...paths.issues.comment,
  summary: "Comment on an issue in its tracker",
  params: byIssue,
  body: z
    .strictObject({ body: z.string().trim().min(1).max(200_000) })
    .meta({ example: { body: "The flag is called --verbose now." } }),
  status: 201,
  reply: z.object({ issue_identifier: z.string(), body: z.string(), at: Time }),
  errors: ["issue_not_found", "tracker_read_only"],
});

/** The newest comments of an issue, oldest first. */
const CommentsView = z
  .object({
    issue_identifier: z.string(),
    comments: z.array(
      z.object({
        author: z.string(),
        by: z
          .enum(["person", "own", "machine"])
          .describe("`own`: written with symphony's credential; `machine`: a bot or an app"),
        body: z.string().describe("Plain text: control characters are removed"),
        created_at: Time.nullable(),
      }),
    ),
    truncated: z
      .boolean()
      .describe(
        "There are older ones, or text was cut: at most 50 comments, 8,000 characters of each",
      ),
  })
  .meta({ id: "Comments" });

const writeComments = writerOf(CommentsView);

/** The comments of an issue in wire form. */
export function commentsView({ identifier }: Pick<Issue, "identifier">, list: CommentList) {
  return writeComments({ issueIdentifier: identifier, ...list });
}

export const comments = route({
  ...paths.issues.comments,
  summary: "The newest comments of an issue, oldest first, read from the tracker",
  params: byIssue,
  status: 200,
  reply: CommentsView,
  errors: ["issue_not_found", "tracker_request"],
});
