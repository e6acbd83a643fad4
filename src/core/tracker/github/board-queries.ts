import { z } from "zod";

// What is asked about a project (GraphQL, Projects v2), and the form of the answers.

const value = z
  .object({ name: z.string().nullish(), number: z.number().nullish() })
  .nullish()
  .transform((one) => one?.name ?? one?.number ?? null);
export const item = z.object({
  id: z.string(),
  isArchived: z.boolean(),
  status: value,
  priority: value,
  estimate: value,
});
export const field = z.object({
  id: z.string().optional(),
  name: z.string().optional(),
  options: z.array(z.object({ id: z.string(), name: z.string() })).optional(),
});
const repository = z.object({ nameWithOwner: z.string() });
const pageInfo = z.object({ hasNextPage: z.boolean(), endCursor: z.string().nullish() });
export const project = z.object({
  id: z.string(),
  title: z.string(),
  fields: z.object({ nodes: z.array(field.nullable()) }).optional(),
  items: z
    .object({
      pageInfo,
      nodes: z.array(
        item
          .extend({
            type: z.string().optional(),
            content: z.object({ id: z.string(), repository }).partial().nullish(),
          })
          .nullable(),
      ),
    })
    .optional(),
});
const cost = z
  .object({ cost: z.number() })
  .nullish()
  .transform((one) => one?.cost ?? 1);
export const boardAnswer = z.object({
  rateLimit: cost,
  repositoryOwner: z.object({ projectV2: project.nullish() }).nullable(),
});
export const cardsAnswer = z.object({
  rateLimit: cost,
  nodes: z.array(
    z
      .object({
        id: z.string().optional(),
        projectItems: z
          .object({
            pageInfo,
            nodes: z.array(
              item.extend({ project: z.object({ id: z.string() }).nullish() }).nullable(),
            ),
          })
          .optional(),
      })
      .nullable(),
  ),
});
export const issueAnswer = z.object({
  rateLimit: cost,
  node: z
    .object({
      number: z.number().optional(),
      repository: repository.optional(),
    })
    .nullable(),
});
export const added = z.object({
  addProjectV2ItemById: z.object({ item: z.object({ id: z.string() }) }),
});

const shown = `fragment card on ProjectV2Item {
  id isArchived
  status: fieldValueByName(name: $status) { ...value }
  priority: fieldValueByName(name: $priority) { ...value }
  estimate: fieldValueByName(name: $estimate) { ...value }
}
fragment value on ProjectV2ItemFieldValue {
  ... on ProjectV2ItemFieldSingleSelectValue { name }
  ... on ProjectV2ItemFieldNumberValue { number }
}`;
/** One page of at most 100 items; the fields with the first. Both lists together cost one point. */
export const boardQuery = `query ($owner: String!, $number: Int!, $after: String, $items: Boolean!, $fields: Boolean!,
  $status: String!, $priority: String!, $estimate: String!) {
  rateLimit { cost }
  repositoryOwner(login: $owner) { ... on ProjectV2Owner { projectV2(number: $number) {
    id title
    fields(first: 100) @include(if: $fields) {
      nodes { ... on ProjectV2SingleSelectField { id name options { id name } } ... on ProjectV2Field { id name } }
    }
    items(first: 100, after: $after) @include(if: $items) {
      pageInfo { hasNextPage endCursor }
      nodes { ...card type content { ... on Issue { id repository { nameWithOwner } } } }
    }
  } } }
}
${shown}`;
export const cardsQuery = `query ($ids: [ID!]!, $status: String!, $priority: String!, $estimate: String!) {
  rateLimit { cost }
  nodes(ids: $ids) { ... on Issue { id projectItems(first: 100) {
    pageInfo { hasNextPage endCursor }
    nodes { ...card project { id } }
  } } }
}
${shown}`;
export const issueQuery = `query ($id: ID!) {
  rateLimit { cost }
  node(id: $id) { ... on Issue { number repository { nameWithOwner } } }
}`;
export const addItem = `mutation ($project: ID!, $issue: ID!) {
  addProjectV2ItemById(input: { projectId: $project, contentId: $issue }) { item { id } }
}`;
export const setField = `mutation ($project: ID!, $item: ID!, $field: ID!, $option: String!) {
  updateProjectV2ItemFieldValue(
    input: { projectId: $project, itemId: $item, fieldId: $field, value: { singleSelectOptionId: $option } }
  ) { projectV2Item { id } }
}`;
