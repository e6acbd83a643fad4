import { z } from "zod";
import type { TrackerComment } from "../tracker.ts";
import type { LinearClient } from "./client.ts";
import { documents, shaped } from "./queries.ts";

const answer = z.object({
  viewer: z.object({ id: z.string() }),
  comment: z
    .object({
      id: z.string(),
      body: z.string(),
      archivedAt: z.string().nullish(),
      issue: z.object({ id: z.string() }).nullish(),
      user: z.object({ id: z.string(), displayName: z.string(), app: z.boolean() }).nullish(),
      botActor: z.object({ type: z.string() }).nullish(),
      externalUser: z.object({ id: z.string() }).nullish(),
    })
    .nullish(),
});

/** One request: the comment, its author, and whose key this is. null for one that is gone or on no issue. */
export async function readComment(
  client: LinearClient,
  id: string,
): Promise<TrackerComment | null> {
  const operation = "SymphonyComment";
  const document = documents[operation];
  const { data } = await client.read({ operation, document, variables: { id } });
  const { viewer, comment } = shaped(answer, operation, data);
  if (!comment?.issue || comment.archivedAt) return null;
  const { user, botActor, externalUser } = comment;
  const machine = !user || user.app || Boolean(botActor) || Boolean(externalUser);
  return {
    id: comment.id,
    issueId: comment.issue.id,
    body: comment.body,
    author: user?.displayName ?? "somebody",
    by: user?.id === viewer.id ? "own" : machine ? "machine" : "person",
  };
}
