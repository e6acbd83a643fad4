import { z } from "zod";
import type { CommentList, IssueComment, IssueName } from "../../model/issue.ts";
import { commentList, instantOf, maxNewComments } from "../normalize.ts";
import type { TimedComment, TrackerComment } from "../tracker.ts";
import type { LinearClient } from "./client.ts";
import { isNotFound, query } from "./queries.ts";

const author = {
  body: z.string(),
  user: z
    .object({
      id: z.string(),
      displayName: z.string(),
      app: z.boolean(),
      guest: z.boolean().nullish(),
    })
    .nullish(),
};

const viewer = z.object({ id: z.string(), displayName: z.string().nullish() });

/** The name of the credential's user, once an answer has said it. */
export interface Owner {
  name: string | null;
}

const oneAnswer = z.object({
  viewer,
  comment: z
    .object({
      ...author,
      id: z.string(),
      archivedAt: z.string().nullish(),
      issue: z.object({ id: z.string() }).nullish(),
      botActor: z.object({ type: z.string() }).nullish(),
      externalUser: z.object({ id: z.string() }).nullish(),
    })
    .nullish(),
});

const listAnswer = z.object({
  viewer,
  issue: z.object({
    comments: z.object({
      nodes: z.array(
        z.object({
          ...author,
          id: z.string(),
          createdAt: z.string(),
          botActor: z.object({ name: z.string().nullish() }).nullish(),
          externalUser: z.object({ displayName: z.string().nullish() }).nullish(),
        }),
      ),
      pageInfo: z.object({ hasNextPage: z.boolean(), endCursor: z.string().nullish() }),
    }),
  }),
});

/** One request: the comment, its author, and the key's owner. null if the comment is gone or not on an issue. */
export async function readComment(
  client: LinearClient,
  id: string,
  owner: Owner = { name: null },
): Promise<TrackerComment | null> {
  const answer = await query(client, {
    operation: "SymphonyComment",
    variables: { id },
    shape: oneAnswer,
  }).catch((error: unknown) => {
    if (isNotFound(error)) return null;
    throw error;
  });
  const comment = answer?.comment;
  owner.name = answer?.viewer.displayName ?? owner.name;
  if (!answer || !comment?.issue || comment.archivedAt) return null;
  return {
    id: comment.id,
    issueId: comment.issue.id,
    body: comment.body,
    author: comment.user?.displayName ?? "someone",
    by: writerOf(comment, answer.viewer.id),
    ...(comment.user?.guest && { mayWrite: false }),
  };
}

/** One request: the newest comments of an issue, and the key's owner. */
export async function readComments(client: LinearClient, issue: IssueName): Promise<CommentList> {
  const { rows, hasOlder } = await readNewest(client, issue, {});
  return commentList(rows, hasOlder);
}

/** The comments since `since` (ms since the epoch), at least those of one page, oldest first: one request for each 50. */
export async function readSince(
  client: LinearClient,
  issue: IssueName,
  { since, owner }: { readonly since: number; readonly owner: Owner },
): Promise<readonly TimedComment[]> {
  let found: readonly TimedComment[] = [];
  let after: string | null = null;
  do {
    const page: Awaited<ReturnType<typeof readNewest>> = await readNewest(client, issue, {
      ...{ owner, after },
    });
    found = [...page.rows, ...found];
    const isOver = (page.rows[0]?.createdAt ?? 0) < since;
    after = isOver || !page.hasOlder ? null : page.endCursor;
  } while (after !== null && found.length < maxNewComments);
  return found;
}

async function readNewest(
  client: LinearClient,
  { id }: IssueName,
  {
    owner = { name: null },
    after = null,
  }: { readonly owner?: Owner; readonly after?: string | null },
) {
  const { viewer: own, issue } = await query(client, {
    operation: "SymphonyComments",
    variables: { id, after },
    shape: listAnswer,
  });
  owner.name = own.displayName ?? owner.name;
  const rows = issue.comments.nodes.map(
    (comment): TimedComment => ({
      ...{ id: comment.id, issueId: id },
      ...(comment.user?.guest && { mayWrite: false }),
      author:
        comment.user?.displayName ??
        comment.externalUser?.displayName ??
        comment.botActor?.name ??
        "someone",
      by: writerOf(comment, own.id),
      body: comment.body,
      createdAt: instantOf(comment.createdAt),
    }),
  );
  rows.sort((a, b) => (a.createdAt ?? 0) - (b.createdAt ?? 0));
  const { hasNextPage: hasOlder, endCursor = null } = issue.comments.pageInfo;
  return { rows, hasOlder, endCursor };
}

interface Written {
  readonly user?: { readonly id: string; readonly app: boolean } | null | undefined;
  readonly botActor?: object | null | undefined;
  readonly externalUser?: object | null | undefined;
}

/** Whose text it is; `ownerId` is the user of the credential. */
export function writerOf(
  { user, botActor, externalUser }: Written,
  ownerId: string,
): IssueComment["by"] {
  if (user?.id === ownerId) return "own";
  return !user || user.app || botActor || externalUser ? "machine" : "person";
}
