import { createHash } from "node:crypto";
import type { GithubClient } from "../../github/client.ts";
import { ForgeError } from "../../model/forge-error.ts";
import type { Observation, PullRequest, Remark, Review } from "../forge.ts";
import type { GithubChecks } from "./checks.ts";
import {
  type Comment,
  comment,
  type LineComment,
  lineComment,
  review,
  type SubmittedReview,
  type ThreadPage,
  threads,
  type User,
} from "./shapes.ts";

interface Deps {
  readonly client: GithubClient;
  readonly checks: GithubChecks;
  readonly wall: () => number;
  readonly isOwn: (author: User) => boolean;
}

interface Thread {
  readonly id: string;
  readonly resolved: boolean;
  readonly outdated: boolean;
}

/** By the id of the first comment; null: the credential may not read them. */
type Threads = ReadonlyMap<string, Thread> | null;

/** Everything about one pull request. Rejects when a part cannot be read: a missing part must not look like an empty one. */
export async function observe(pullRequest: PullRequest, deps: Deps): Promise<Observation> {
  const { client, checks, wall, isOwn } = deps;
  const at = wall();
  const { number, head } = pullRequest;
  const [base, comments, reviews, lines, all] = await Promise.all([
    checks.base(pullRequest.base),
    commentsOf(client, number),
    client.list(review, "GET /repos/{owner}/{repo}/pulls/{number}/reviews", { number }),
    lineCommentsOf(client, number),
    checks.of(head),
  ]);
  const red = all.filter(({ state }) => state === "failure");
  const [known, baseRed] = await Promise.all([
    lines.length === 0 ? new Map() : threadsOf(client, number),
    red.length === 0 || base.head === null ? new Set<string>() : checks.failedOf(base.head),
  ]);
  const remarks = [
    ...comments.map((one) => remarkOf(one, isOwn)),
    ...reviews.flatMap((one) => reviewRemark(one, isOwn)),
    ...lines.map((one) => lineRemark(one, known, isOwn)),
  ];
  return {
    at,
    pullRequest,
    baseHead: base.head,
    remarks: remarks.sort((a, b) => a.at - b.at),
    reviews: reviews.flatMap((one) => reviewOf(one, isOwn)).sort((a, b) => a.at - b.at),
    checks: all,
    requiredChecks: base.required,
    baseRed: [...new Set(red.map(({ name }) => name))].filter((name) => baseRed.has(name)),
  };
}

/** Equal for observations that say the same. */
export function digestOf({ at: _at, ...said }: Observation): string {
  return createHash("sha256").update(JSON.stringify(said)).digest("hex");
}

export function commentsOf(client: GithubClient, number: number): Promise<Comment[]> {
  return client.list(comment, "GET /repos/{owner}/{repo}/issues/{number}/comments", { number });
}

export function lineCommentsOf(client: GithubClient, number: number): Promise<LineComment[]> {
  return client.list(lineComment, "GET /repos/{owner}/{repo}/pulls/{number}/comments", { number });
}

/** REST does not say which threads are resolved. */
const threadsQuery = `query($owner: String!, $repo: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $repo) {
    pullRequest(number: $number) {
      reviewThreads(first: 100, after: $after) {
        pageInfo { hasNextPage endCursor }
        nodes { id isResolved isOutdated comments(first: 1) { nodes { fullDatabaseId } } }
      }
    }
  }
}`;
const maxThreadPages = 20;

async function threadsOf(client: GithubClient, number: number): Promise<Threads> {
  const found = new Map<string, Thread>();
  let after: string | null = null;
  try {
    for (let page = 0; page < maxThreadPages; page++) {
      const variables: Readonly<Record<string, unknown>> = { ...client.place, number, after };
      const answer: ThreadPage = await client.query(threads, threadsQuery, variables);
      const { nodes, pageInfo } = answer.repository.pullRequest.reviewThreads;
      for (const { id, isResolved: resolved, isOutdated: outdated, comments } of nodes) {
        const first = comments.nodes[0]?.fullDatabaseId;
        if (first) found.set(first, { id, resolved, outdated });
      }
      if (!pageInfo.hasNextPage || !pageInfo.endCursor) return found;
      after = pageInfo.endCursor;
    }
    return found;
  } catch (error) {
    // One field that a token may not read costs the whole query (cli/cli#12597); the comments still count.
    if (error instanceof ForgeError && error.final) return null;
    throw error;
  }
}

function authorOf(author: User, isOwn: Deps["isOwn"]): Pick<Remark, "author" | "bot" | "own"> {
  return {
    author: author?.login ?? null,
    bot: author?.type === "Bot" || (author?.login.endsWith("[bot]") ?? false),
    own: isOwn(author),
  };
}

const general = {
  path: null,
  line: null,
  thread: null,
  resolved: null,
  outdated: false,
  verdict: null,
} as const;

function remarkOf(one: Comment, isOwn: Deps["isOwn"]): Remark {
  return {
    ...general,
    ...authorOf(one.user, isOwn),
    id: `issue_comment:${one.id}`,
    kind: "comment",
    body: one.body,
    at: one.created_at,
    editedAt: one.updated_at,
    url: one.html_url,
  };
}

const verdicts: Readonly<Record<string, Review["verdict"]>> = {
  APPROVED: "approved",
  CHANGES_REQUESTED: "changes_requested",
  COMMENTED: "commented",
  DISMISSED: "dismissed",
};

/** A review without words and verdict only holds line comments, which are remarks of their own. */
function reviewRemark(one: SubmittedReview, isOwn: Deps["isOwn"]): readonly Remark[] {
  const { submitted_at: at } = one;
  const verdict = verdicts[one.state];
  const isSilent = one.body === "" && (verdict === "commented" || verdict === "dismissed");
  if (at == null || verdict === undefined || isSilent) return [];
  return [
    {
      ...general,
      ...authorOf(one.user, isOwn),
      id: `review:${one.id}`,
      kind: "review",
      body: one.body,
      verdict: verdict === "dismissed" ? null : verdict,
      at,
      editedAt: at,
      url: one.html_url,
    },
  ];
}

function lineRemark(one: LineComment, known: Threads, isOwn: Deps["isOwn"]): Remark {
  const root = one.in_reply_to_id ?? one.id;
  const thread = known?.get(root);
  const isOnFile = one.subject_type === "file";
  return {
    ...authorOf(one.user, isOwn),
    id: `review_comment:${one.id}`,
    kind: "line",
    body: one.body,
    path: one.path,
    line: one.line ?? null,
    thread: root,
    resolved: thread?.resolved ?? null,
    outdated: thread?.outdated ?? (!isOnFile && one.line == null),
    verdict: null,
    at: one.created_at,
    editedAt: one.updated_at,
    url: one.html_url,
  };
}

function reviewOf(one: SubmittedReview, isOwn: Deps["isOwn"]): readonly Review[] {
  const { submitted_at: at, user } = one;
  const verdict = verdicts[one.state];
  if (at == null || user === null || verdict === undefined) return [];
  return [{ author: user.login, own: isOwn(user), verdict, head: one.commit_id ?? "", at }];
}
