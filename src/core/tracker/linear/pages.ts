import { tooLargeIn } from "../../answers.ts";
import { SymphonyError } from "../../model/errors.ts";
import { field } from "../normalize.ts";
import type { LinearClient, LinearRequest } from "./client.ts";
import { isCut } from "./normalize.ts";
import {
  detailPageSize,
  documents,
  issuesPage,
  type Operation,
  pageSize,
  shaped,
} from "./queries.ts";
import type { LinearFilter } from "./settings.ts";

export interface IssuesQuery {
  readonly operation: Operation;
  readonly filter: LinearFilter;
  /** Issues per page; default `pageSize`. */
  readonly first?: number;
  /** Further variables of the document. */
  readonly variables?: LinearRequest["variables"];
}

/** One page of issues, with the labels and relations of each as complete as Linear returns them. */
interface IssuesPage {
  readonly nodes: readonly unknown[];
  /** The whole answer. */
  readonly data: unknown;
  readonly requests: number;
  readonly complexity: number;
}

/** A page of so few issues is not made smaller. */
const leastPage = 5;
/** 20,000 issues; stops a tracker that always reports one more page. */
const maxPages = 400;

/**
 * The pages of a query, one request each; more requests only for issues with very many relations. Throws
 * `tracker_pagination` for a missing or a repeated cursor (requirement T-10).
 */
export async function* readPages(
  client: LinearClient,
  query: IssuesQuery,
): AsyncGenerator<IssuesPage, void, void> {
  const seen = new Set<string>();
  let after: string | null = null;
  for (let count = 0; count < maxPages; count++) {
    const page = await readPage(client, query, after);
    const { nodes, spent } = await completed(client, page.nodes);
    yield {
      nodes,
      data: page.data,
      requests: 1 + spent.requests,
      complexity: page.complexity + spent.complexity,
    };
    if (!page.hasNextPage) return;
    after = page.endCursor;
    if (after === "") throw pagination("Linear has more issues, but returned no cursor");
    if (seen.has(after)) throw pagination("Linear returned the same cursor twice");
    seen.add(after);
  }
  throw pagination(`Linear has more than ${maxPages} pages of issues`);
}

/** Pages that cost more than Linear allows, or are too long, are read again with half of the issues, as later ones are for a while. */
async function readPage(
  client: LinearClient,
  query: IssuesQuery,
  after: string | null,
): Promise<PageRead> {
  const { operation, filter } = query;
  const first = Math.min(query.first ?? pageSize, client.pageLimit);
  const variables = { ...query.variables, filter, first, after };
  const request = { operation, document: documents[operation], variables };
  const answer = await readFiltered(client, request, filter).catch((error: unknown) => {
    if (first <= leastPage || !isTooMuch(error)) throw error;
    client.refusedPage(first);
    return null;
  });
  if (answer === null) return readPage(client, query, after);
  const { data, complexity } = answer;
  const { nodes, pageInfo } = shaped(issuesPage, operation, data).issues;
  return {
    nodes,
    data,
    complexity,
    hasNextPage: pageInfo.hasNextPage,
    endCursor: pageInfo.endCursor ?? "",
  };
}

interface PageRead {
  readonly nodes: readonly unknown[];
  readonly data: unknown;
  readonly complexity: number;
  readonly hasNextPage: boolean;
  readonly endCursor: string;
}

function isTooMuch(error: unknown): boolean {
  const isRefused = error instanceof SymphonyError && /too complex/i.test(error.message);
  return isRefused || tooLargeIn(error) !== null;
}

/** As `client.read`; a filter of the configuration that Linear refuses is `invalid_tracker_config`. */
export async function readFiltered(
  client: LinearClient,
  request: LinearRequest,
  filter: LinearFilter,
) {
  return client.read(request).catch((error: unknown) => {
    throw isRefusedFilter(error, filter) ? refusedFilter(error) : error;
  });
}

/** The other filters of a request are symphony's own, or Linear's. */
function isRefusedFilter(error: unknown, filter: LinearFilter): error is SymphonyError {
  const isOfFilter = /got invalid value|Argument Validation/;
  return (
    filter["and"] !== undefined && error instanceof SymphonyError && isOfFilter.test(error.message)
  );
}

function refusedFilter(error: SymphonyError): SymphonyError {
  const path = "tracker.provider.filter";
  const message = `${path} is refused: ${error.message}`;
  const hint = "https://linear.app/developers/filtering describes filters";
  return new SymphonyError("invalid_tracker_config", message, {
    cause: error,
    details: { ...error.details, path },
    hint,
  });
}

/** A missing label or blocker could decide about an issue, so truncated issues are read again with larger pages. */
async function completed(client: LinearClient, nodes: readonly unknown[]) {
  const cut = nodes
    .filter(isCut)
    .map(idOf)
    .filter((id) => typeof id === "string");
  const whole = new Map<unknown, unknown>();
  const spent = { requests: 0, complexity: 0 };
  for (let from = 0; from < cut.length; ) {
    const batch = cut.slice(from, from + Math.min(detailPageSize, client.pageLimit));
    const query: IssuesQuery = {
      operation: "SymphonyIssueDetails",
      filter: { id: { in: batch } },
      first: batch.length,
    };
    const page = await readPage(client, query, null);
    if (batch.length <= client.pageLimit) from += batch.length;
    for (const node of page.nodes) whole.set(idOf(node), node);
    spent.requests += 1;
    spent.complexity += page.complexity;
  }
  return { nodes: nodes.map((node) => whole.get(idOf(node)) ?? node), spent };
}

export function idOf(node: unknown): unknown {
  return field(node, "id");
}

function pagination(message: string): SymphonyError {
  return new SymphonyError("tracker_pagination", message);
}
