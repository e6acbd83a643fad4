import { SymphonyError } from "../../model/errors.ts";
import { isRecord } from "../normalize.ts";
import type { LinearClient } from "./client.ts";
import { isCut } from "./normalize.ts";
import {
  detailPageSize,
  documents,
  issuesPage,
  type Operation,
  pageSize,
  shaped,
} from "./queries.ts";

export interface IssuesQuery {
  readonly operation: Operation;
  readonly filter: Readonly<Record<string, unknown>>;
  /** Issues a page; `pageSize` when left out. */
  readonly first?: number;
}

/** One page of issues, with the labels and relations of each complete as far as Linear tells them. */
export interface IssuesPage {
  readonly nodes: readonly unknown[];
  readonly requests: number;
  readonly complexity: number;
}

/** 20,000 issues; a tracker that always has one more page ends here. */
const mostPages = 400;

/**
 * The pages of a query, one request each and more only for issues with very many relations. Throws
 * `tracker_pagination` for a missing or a repeated cursor (requirement T-10).
 */
export async function* readPages(
  client: LinearClient,
  query: IssuesQuery,
): AsyncGenerator<IssuesPage, void, void> {
  const seen = new Set<string>();
  let after: string | null = null;
  for (let count = 0; count < mostPages; count++) {
    const page = await readPage(client, query, after);
    const { nodes, spent } = await completed(client, page.nodes);
    yield {
      nodes,
      requests: 1 + spent.requests,
      complexity: page.complexity + spent.complexity,
    };
    if (!page.hasNextPage) return;
    after = page.endCursor;
    if (after === "") throw pagination("Linear has more issues, but gave no cursor to them");
    if (seen.has(after)) throw pagination("Linear gave the same cursor twice");
    seen.add(after);
  }
  throw pagination(`Linear has more than ${mostPages} pages of issues`);
}

async function readPage(client: LinearClient, query: IssuesQuery, after: string | null) {
  const { operation, filter } = query;
  const { data, complexity } = await client.read({
    operation,
    document: documents[operation],
    variables: { filter, first: query.first ?? pageSize, after },
  });
  const { nodes, pageInfo } = shaped(issuesPage, operation, data).issues;
  return {
    nodes,
    complexity,
    hasNextPage: pageInfo.hasNextPage,
    endCursor: pageInfo.endCursor ?? "",
  };
}

/** A hidden label or blocker would decide about an issue, so those that were cut are read with more room. */
async function completed(client: LinearClient, nodes: readonly unknown[]) {
  const cut = nodes
    .filter(isCut)
    .map(idOf)
    .filter((id) => typeof id === "string");
  const whole = new Map<unknown, unknown>();
  const spent = { requests: 0, complexity: 0 };
  for (let from = 0; from < cut.length; from += detailPageSize) {
    const batch = cut.slice(from, from + detailPageSize);
    const query: IssuesQuery = {
      operation: "SymphonyIssueDetails",
      filter: { id: { in: batch } },
      first: batch.length,
    };
    const page = await readPage(client, query, null);
    for (const node of page.nodes) whole.set(idOf(node), node);
    spent.requests += 1;
    spent.complexity += page.complexity;
  }
  return { nodes: nodes.map((node) => whole.get(idOf(node)) ?? node), spent };
}

function idOf(node: unknown): unknown {
  return isRecord(node) ? node["id"] : undefined;
}

function pagination(message: string): SymphonyError {
  return new SymphonyError("tracker_pagination", message);
}
