import { z } from "zod";
import { SymphonyError } from "../../model/errors.ts";
import { maxComments, maxSubIssues } from "../normalize.ts";
import type { LinearClient, LinearRequest } from "./client.ts";

/** Issues on one page (requirement L-8). */
export const pageSize = 50;
/** Labels and relations requested with each issue of a page: 50 such issues cost 6,575 of 10,000 points. */
export const nestedSize = 20;
/** For issues with more of them: 18 such issues cost 9,279 points. */
export const detailPageSize = 18;
export const detailNestedSize = 100;

/** One issue. Its price by Linear's formula is 35.5 + 4.8 × `nested` points. */
function issueFields(nested: number): string {
  return `id identifier title description priority branchName url createdAt updatedAt archivedAt trashed
      state { name type } assignee { id displayName } delegate { id displayName }
      team { id key name } project { id slugId name }
      parent { id identifier title url state { name } }
      children(first: ${maxSubIssues}) { nodes { id identifier title url state { name } } }
      labels(first: ${nested}) { nodes { name } pageInfo { hasNextPage } }
      inverseRelations(first: ${nested}) {
        nodes { type issue { id identifier title url archivedAt state { name } } }
        pageInfo { hasNextPage }
      }`;
}

function issuesDocument(operation: string, nested: number): string {
  return `query ${operation}($filter: IssueFilter!, $first: Int!, $after: String) {
  issues(filter: $filter, first: $first, after: $after, orderBy: updatedAt) {
    nodes {
      ${issueFields(nested)}
    }
    pageInfo { hasNextPage endCursor }
  }
}`;
}

/** Which of the wanted issues fit the filters that only Linear can evaluate. */
const memberVariables = "$filtered: IssueFilter!, $viewed: IssueFilter!";
const memberFields = (first: string) =>
  `filtered: issues(filter: $filtered, first: ${first}, includeArchived: true) { nodes { id } }
  viewed: issues(filter: $viewed, first: ${first}, includeArchived: true) { nodes { id } }`;

/** Every document that the adapter itself sends, by operation name. */
export const documents = {
  SymphonyCandidates: issuesDocument("SymphonyCandidates", nestedSize),
  SymphonyNewest: `query SymphonyNewest($filter: IssueFilter!) {
  issues(filter: $filter, first: 1, orderBy: updatedAt) { nodes { updatedAt } }
}`,
  SymphonyChanges: issuesDocument("SymphonyChanges", nestedSize),
  // Issues outside of the scope too, archived ones included: the answer says why they are outside.
  SymphonyIssuesById: `query SymphonyIssuesById(
  $filter: IssueFilter!, $first: Int!, $after: String, ${memberVariables}
) {
  issues(filter: $filter, first: $first, after: $after, orderBy: updatedAt, includeArchived: true) {
    nodes {
      ${issueFields(nestedSize)}
    }
    pageInfo { hasNextPage endCursor }
  }
  ${memberFields("$first")}
}`,
  SymphonyFind: `query SymphonyFind($id: String!, ${memberVariables}) {
  issue(id: $id) {
      ${issueFields(nestedSize)}
  }
  ${memberFields("1")}
}`,
  SymphonyIssueDetails: issuesDocument("SymphonyIssueDetails", detailNestedSize),
  SymphonyScope: `query SymphonyScope(
  $projects: ProjectFilter!, $projectCount: Int!, $teamsEach: Int!, $teams: TeamFilter!, $teamCount: Int!
) {
  projects(filter: $projects, first: $projectCount) {
    nodes {
      id slugId name
      teams(first: $teamsEach) { nodes { id key name states(first: 50) { nodes { id name } } } }
    }
  }
  teams(filter: $teams, first: $teamCount) {
    nodes { id key name states(first: 50) { nodes { id name } } }
  }
}`,
  SymphonyProjects: "query SymphonyProjects { projects(first: 50) { nodes { slugId name } } }",
  SymphonyLabels: `query SymphonyLabels($after: String) {
  issueLabels(first: 250, after: $after) {
    nodes { name isGroup team { id } }
    pageInfo { hasNextPage endCursor }
  }
}`,
  SymphonyViewer: "query SymphonyViewer { viewer { id displayName app } }",
  SymphonyUsers: `query SymphonyUsers($filter: UserFilter!) {
  users(filter: $filter, first: 3) { nodes { id displayName } }
}`,
  SymphonyViews: `query SymphonyViews {
  customViews(first: 250) { nodes { id slugId name filterData } }
}`,
  SymphonySession: `query SymphonySession($id: String!) {
  viewer { id }
  agentSession(id: $id) {
    id createdAt issue { id identifier trashed }
    creator { id displayName app guest }
    comment { id body createdAt user { id displayName app guest } }
    activities(first: 20, orderBy: createdAt) { nodes { id content { __typename } } }
  }
}`,
  SymphonyPrompt: `query SymphonyPrompt($id: String!) {
  viewer { id }
  agentActivity(id: $id) {
    id createdAt signal user { id displayName app guest }
    agentSession { id issue { id } } sourceComment { id }
    content { __typename ... on AgentActivityPromptContent { body } }
  }
}`,
  SymphonySay: `mutation SymphonySay($input: AgentActivityCreateInput!) {
  agentActivityCreate(input: $input) { success }
}`,
  SymphonySessionLinks: `mutation SymphonySessionLinks($id: String!, $input: AgentSessionUpdateInput!) {
  agentSessionUpdate(id: $id, input: $input) { success }
}`,
  SymphonyComment: `query SymphonyComment($id: String!) {
  viewer { id displayName }
  comment(id: $id) {
    id body archivedAt issue { id } user { id displayName app guest } botActor { type } externalUser { id }
  }
}`,
  SymphonyComments: `query SymphonyComments($id: String!, $after: String) {
  viewer { id displayName }
  issue(id: $id) {
    comments(first: ${maxComments}, after: $after, orderBy: createdAt) {
      nodes {
        id body createdAt user { id displayName app guest } botActor { name } externalUser { displayName }
      }
      pageInfo { hasNextPage endCursor }
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
  SymphonyEditComment: `mutation SymphonyEditComment($id: String!, $body: String!) {
  commentUpdate(id: $id, input: { body: $body }) { success }
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

const team = z.object({
  id: z.string(),
  key: z.string(),
  name: z.string().nullish(),
  states: connection(z.object({ id: z.string(), name: z.string() })),
});
export type TeamNode = z.output<typeof team>;

export const scopeAnswer = z.object({
  projects: connection(
    z.object({
      id: z.string().nullish(),
      slugId: z.string(),
      name: z.string().nullish(),
      teams: connection(team),
    }),
  ),
  teams: connection(team),
});

export const labelsAnswer = z.object({
  issueLabels: z.object({
    nodes: z.array(
      z.object({
        name: z.string(),
        isGroup: z.boolean().nullish(),
        team: z.object({ id: z.string() }).nullish(),
      }),
    ),
    pageInfo: z.object({ hasNextPage: z.boolean(), endCursor: z.string().nullish() }),
  }),
});

export const viewerAnswer = z.object({
  viewer: z
    .object({
      ...{ id: z.string().nullish(), displayName: z.string().nullish() },
      app: z.boolean().nullish(),
    })
    .nullish(),
});
export const projectsAnswer = z.object({
  projects: connection(z.object({ slugId: z.string(), name: z.string() })),
});
export const usersAnswer = z.object({
  users: connection(z.object({ id: z.string(), displayName: z.string().nullish() })),
});
export const viewsAnswer = z.object({
  customViews: connection(
    z.object({
      id: z.string(),
      slugId: z.string(),
      name: z.string(),
      filterData: z.record(z.string(), z.unknown()),
    }),
  ),
});

const ids = connection(z.object({ id: z.string() }));
export const findAnswer = z.looseObject({ issue: z.unknown() });
export const membersAnswer = z.object({ filtered: ids, viewed: ids });

export const newestAnswer = z.object({
  issues: connection(z.object({ updatedAt: z.string() })),
});
export const linkAnswer = z.object({ attachmentCreate: z.object({ success: z.boolean() }) });
export const commentAnswer = z.object({ commentCreate: z.object({ success: z.boolean() }) });
export const editAnswer = z.object({ commentUpdate: z.object({ success: z.boolean() }) });
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

interface Question<Shape extends z.ZodType> {
  readonly operation: Operation;
  readonly variables: LinearRequest["variables"];
  readonly shape: Shape;
}

/** The data of one of the adapter's own queries. Rejects as `client.read`, and as `shaped` throws. */
export async function query<Shape extends z.ZodType>(
  client: LinearClient,
  { operation, variables, shape }: Question<Shape>,
): Promise<z.infer<Shape>> {
  const { data } = await client.read({ operation, document: documents[operation], variables });
  return shaped(shape, operation, data);
}

/** The same of a mutation, which is sent once. */
export async function mutate<Shape extends z.ZodType>(
  client: LinearClient,
  { operation, variables, shape }: Question<Shape>,
): Promise<z.infer<Shape>> {
  const data = await client.write({ operation, document: documents[operation], variables });
  return shaped(shape, operation, data);
}

/** Whether Linear answered that there is no such record; it has no code for that. */
export function isNotFound(error: unknown): boolean {
  return error instanceof SymphonyError && error.message.includes("Entity not found");
}
