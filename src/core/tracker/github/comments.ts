import { z } from "zod";
import type { GithubAccount } from "../../github/account.ts";
import type { GithubClient } from "../../github/client.ts";
import { commentIdOf, issueIdOf } from "../../github/settings.ts";
import { ForgeError } from "../../model/forge-error.ts";
import type { CommentList, IssueComment } from "../../model/issue.ts";
import { commentList, instantOf, maxComments, maxNewComments } from "../normalize.ts";
import type { TimedComment, TrackerComment } from "../tracker.ts";
import type { IssueRow } from "./rows.ts";
import { placeIn } from "./rows.ts";

const commentRow = z.object({
  id: z.union([z.number(), z.bigint()]).transform(String),
  issue_url: z.string(),
  body: z.string().nullish(),
  user: z.object({ login: z.string(), type: z.string().nullish() }).nullish(),
  performed_via_github_app: z.object({}).nullish(),
  created_at: z.string(),
});

/** One object: an unchanged answer is known by its schema. */
const commentRows = z.array(commentRow);

type CommentRow = z.output<typeof commentRow>;

interface Place {
  readonly owner: string;
  readonly repo: string;
}

const perPage = 100;

/** All comments of an issue, oldest first. */
export function readComments(
  client: GithubClient,
  at: Place & { readonly number: number },
): Promise<CommentRow[]> {
  return client.list(commentRow, "GET /repos/{owner}/{repo}/issues/{number}/comments", { ...at });
}

interface Wanted {
  readonly row: IssueRow;
  readonly at: Place;
}

/** The last page, and those before it until there are enough, and none on them is newer than `since`. */
async function newestRows(
  client: GithubClient,
  { row, at }: Wanted,
  since = Number.POSITIVE_INFINITY,
): Promise<readonly CommentRow[]> {
  const route = "GET /repos/{owner}/{repo}/issues/{number}/comments";
  const last = Math.max(Math.ceil((row.comments ?? 0) / perPage), 1);
  const page = (number: number) =>
    client.read(commentRows, route, {
      ...{ owner: at.owner, repo: at.repo, number: row.number },
      ...{ per_page: perPage, page: number },
    });
  let rows: readonly CommentRow[] = [];
  for (let number = last; number >= 1 && rows.length < maxNewComments; number--) {
    rows = [...(await page(number)), ...rows];
    const oldest = instantOf(rows[0]?.created_at) ?? Number.NEGATIVE_INFINITY;
    if (rows.length >= maxComments && oldest < since) break;
  }
  return rows;
}

/** The newest comments as people read them. */
export async function newestComments(
  client: GithubClient,
  account: GithubAccount,
  wanted: Wanted,
): Promise<CommentList> {
  const found = await newestRows(client, wanted);
  const login = await account.login();
  const rows = found.map((one) => ({
    author: one.user?.login ?? "ghost",
    by: writerOf(one, login),
    body: one.body ?? "",
    createdAt: instantOf(one.created_at),
  }));
  return commentList(rows, (wanted.row.comments ?? 0) > rows.length);
}

/** The newest comments with their ids and rights; each author is asked for once. */
export async function timedComments(
  client: GithubClient,
  account: GithubAccount,
  {
    repositoryId,
    since,
    ...wanted
  }: Wanted & { readonly repositoryId: number; readonly since: number },
): Promise<readonly TimedComment[]> {
  const rows = await newestRows(client, wanted, since);
  const login = await account.login();
  const { repo } = wanted.at;
  const rights = new Map<string, boolean | null>();
  const comments: TimedComment[] = [];
  for (const row of rows) {
    const author = row.user?.login ?? "ghost";
    const by = writerOf(row, login);
    if (by === "person" && !rights.has(author)) {
      rights.set(author, await account.mayWrite(author, { repo }));
    }
    comments.push({
      id: `${repositoryId}/${row.id}`,
      issueId: issueIdOf(repositoryId, wanted.row.number),
      ...{ author, by, body: row.body ?? "", createdAt: instantOf(row.created_at) },
      ...(by === "person" && { mayWrite: rights.get(author) ?? null }),
    });
  }
  return comments;
}

/** One comment by its id in its repository; null when there is none. A person is one who may write to the repository. */
export async function oneComment(
  client: GithubClient,
  account: GithubAccount,
  {
    id,
    at,
    repositoryId,
  }: { readonly id: string; readonly at: Place; readonly repositoryId: number },
): Promise<TrackerComment | null> {
  const route = "GET /repos/{owner}/{repo}/issues/comments/{id}";
  const { owner, repo } = at;
  const row = await client.read(commentRow, route, { owner, repo, id }).catch((error: unknown) => {
    if (error instanceof ForgeError && error.category === "not_found") return null;
    throw error;
  });
  const place = row && placeIn(row.issue_url);
  if (row === null || !place) return null;
  const by = writerOf(row, await account.login());
  const author = row.user?.login ?? "ghost";
  return {
    id: commentIdOf(repositoryId, row.id),
    issueId: issueIdOf(repositoryId, place.number),
    body: row.body ?? "",
    author,
    by,
    createdAt: instantOf(row.created_at),
    ...(by === "person" && { mayWrite: await account.mayWrite(author, { repo }) }),
  };
}

function writerOf(
  { user, performed_via_github_app: app }: CommentRow,
  login: string | null,
): IssueComment["by"] {
  if (user && login !== null && user.login.toLowerCase() === login.toLowerCase()) return "own";
  return !user || user.type === "Bot" || app ? "machine" : "person";
}
