import { z } from "zod";
import { SymphonyError } from "../../model/errors.ts";
import { maxComments, maxSubIssues } from "../normalize.ts";

/** Issues on one page (requirement L-8). */
export const pageSize = 50;
/** Labels and relations requested with each issue of a page: 50 such issues cost 6,475 of 10,000 points. */
export const nestedSize = 20;
/** For issues with more of them: 18 such issues cost 9,099 points. */
export const detailPageSize = 18;
export const detailNestedSize = 100;

/** A page of issues. Its price by Linear's formula is `first` × (35.5 + 4.7 × `nested`) points. */
function issuesDocument(operation: string, nested: number): string {
  return `query ${operation}($filter: IssueFilter!, $first: Int!, $after: String) {
  issues(filter: $filter, first: $first, after: $after, orderBy: updatedAt) {
    nodes {
      id identifier title description priority branchName url createdAt updatedAt
      state { name type } assignee { id displayName } delegate { id }
      team { id key name } project { id slugId name }
      parent { id identifier title url state { name } }
      children(first: ${maxSubIssues}) { nodes { id identifier title url state { name } } }
      labels(first: ${nested}) { nodes { name } pageInfo { hasNextPage } }
      inverseRelations(first: ${nested}) {
        nodes { type issue { id identifier title url state { name } } }
        pageInfo { hasNextPage }
      }
    }
    pageInfo { hasNextPage endCursor }
  }
}`;
}

/** Every document that the adapter itself sends, by operation name. */
export const documents = {
  SymphonyCandidates: issuesDocument("SymphonyCandidates", nestedSize),
  SymphonyNewest: `query SymphonyNewest($filter: IssueFilter!) {
  issues(filter: $filter, first: 1, orderBy: updatedAt) { nodes { updatedAt } }
}`,
  SymphonyChanges: issuesDocument("SymphonyChanges", nestedSize),
  SymphonyIssuesById: issuesDocument("SymphonyIssuesById", nestedSize),
  SymphonyIssueDetails: issuesDocument("SymphonyIssueDetails", detailNestedSize),
  SymphonyScope: `query SymphonyScope($slugs: [String!]!) {
  projects(filter: { slugId: { in: $slugs } }, first: 2) {
    nodes {
      slugId
      teams(first: 50) { nodes { id key states(first: 50) { nodes { id name } } } }
    }
  }
}`,
  SymphonyViewer: "query SymphonyViewer { viewer { id } }",
  SymphonyComment: `query SymphonyComment($id: String!) {
  viewer { id }
  comment(id: $id) {
    id body archivedAt issue { id } user { id displayName app } botActor { type } externalUser { id }
  }
}`,
  SymphonyComments: `query SymphonyComments($id: String!) {
  viewer { id }
  issue(id: $id) {
    comments(first: ${maxComments}, orderBy: createdAt) {
      nodes {
        body createdAt user { id displayName app } botActor { name } externalUser { displayName }
      }
      pageInfo { hasNextPage }
    }
  }
}`,
  SymphonyWebhooks: `query SymphonyWebhooks($after: String) {
  webhooks(first: 50, after: $after) {
    nodes { id url enabled resourceTypes secret }
    pageInfo { hasNextPage endCursor }
  }
}`,
  SymphonyCreateWebhook: `mutation SymphonyCreateWebhook($input: WebhookCreateInput!) {
  webhookCreate(input: $input) { success webhook { id url enabled resourceTypes secret } }
}`,
  SymphonyUpdateWebhook: `mutation SymphonyUpdateWebhook($id: String!, $input: WebhookUpdateInput!) {
  webhookUpdate(id: $id, input: $input) { success webhook { id url enabled resourceTypes secret } }
}`,
  SymphonyMoveIssue: `mutation SymphonyMoveIssue($id: String!, $stateId: String!) {
  issueUpdate(id: $id, input: { stateId: $stateId }) { success }
}`,
  // Linear updates the attachment of the issue that has this address already.
  SymphonyLink: `mutation SymphonyLink($input: AttachmentCreateInput!) {
  attachmentCreate(input: $input) { success }
}`,
  SymphonyWriteComment: `mutation SymphonyWriteComment($input: CommentCreateInput!) {
  commentCreate(input: $input) { success }
}`,
} as const;

export type Operation = keyof typeof documents;

export const issuesPage = z.object({
  issues: z.object({
    nodes: z.array(z.unknown()),
    pageInfo: z.object({ hasNextPage: z.boolean(), endCursor: z.string().nullish() }),
  }),
});

const connection = <Node extends z.ZodType>(node: Node) => z.object({ nodes: z.array(node) });

export const scopeAnswer = z.object({
  projects: connection(
    z.object({
      slugId: z.string(),
      teams: connection(
        z.object({
          id: z.string(),
          key: z.string(),
          states: connection(z.object({ id: z.string(), name: z.string() })),
        }),
      ),
    }),
  ),
});

export const newestAnswer = z.object({
  issues: connection(z.object({ updatedAt: z.string() })),
});
export const viewerAnswer = z.object({ viewer: z.object({ id: z.string().nullish() }).nullish() });
export const linkAnswer = z.object({ attachmentCreate: z.object({ success: z.boolean() }) });
export const commentAnswer = z.object({ commentCreate: z.object({ success: z.boolean() }) });
export const moveAnswer = z.object({ issueUpdate: z.object({ success: z.boolean() }) });

/** The data in its expected shape; throws `tracker_response`. */
export function shaped<Shape extends z.ZodType>(
  shape: Shape,
  operation: Operation,
  data: unknown,
): z.infer<Shape> {
  const parsed = shape.safeParse(data);
  if (parsed.success) return parsed.data;
  const path = parsed.error.issues[0]?.path.join(".") ?? "";
  const message = `Linear's answer to ${operation} does not have the expected shape (at ${path || "data"})`;
  throw new SymphonyError("tracker_response", message, { details: { operation, path } });
}
