import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import {
  createGithubTracker,
  type GithubTrackerOptions,
} from "../../../src/core/tracker/github/tracker.ts";
import { config } from "../makers/issue.ts";
import { FakeClock } from "./fake-clock.ts";
import { SmallBoard } from "./small-board.ts";

type Values = Readonly<Record<string, unknown>>;

export interface SmallIssue {
  readonly number: number;
  title: string;
  body: string | null;
  state: "open" | "closed";
  state_reason: string | null;
  labels: string[];
  assignees: string[];
  updated_at: string;
  /** Numbers. */
  blockedBy: number[];
  /** Numbers. */
  subIssues?: number[];
  parent?: number;
  type?: string;
  milestone?: string;
  readonly comments: {
    readonly id: number;
    body: string;
    readonly user: string;
    readonly at?: number;
  }[];
  readonly pull?: boolean;
  /** Where its old address leads. */
  movedTo?: string;
}

export interface SmallRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly status: number;
  readonly authorization: string;
}

/** How the next requests are answered instead. */
export interface SmallFault {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly times?: number;
  readonly after?: number;
  /** The work is done, the answer is lost. */
  readonly lost?: boolean;
  /** Of the method and path, such as `POST /repos/acme/app/issues/1/comments`. */
  readonly match?: RegExp;
}

const seconds = (at: number) => new Date(at).toISOString().replace(/\.\d+Z$/, "Z");
const start = Date.parse("2026-11-26T08:00:00Z");

/** The issues of `acme/app` in this process, with pages, `since`, tags and faults. */
export async function startSmallGithub() {
  const issues = new Map<number, SmallIssue>();
  const requests: SmallRequest[] = [];
  const faults: (SmallFault & { left: number; skip: number })[] = [];
  const headers: Record<string, string> = {};
  const board = new SmallBoard();
  const labels = new Set(["agent", "bug", "p0"]);
  /** Uploads by their path, for those who show a token. */
  const files = new Map<string, Buffer>();
  const repository = { id: 7, full_name: "acme/app" };
  const permission: Record<string, string> = { ada: "write", mallory: "read" };
  /** What happens after the next page of a list was answered. */
  const between: (() => void)[] = [];
  let now = start;
  let comments = 100;

  const touch = (issue: SmallIssue) => {
    now += 1_000;
    issue.updated_at = seconds(now);
    return issue;
  };
  const add = (fields: Partial<SmallIssue> = {}): SmallIssue => {
    const number = issues.size + 1;
    const made = {
      ...{ number, title: `Issue ${number}`, body: null, state: "open", state_reason: null },
      ...{ labels: [], assignees: [], updated_at: "", blockedBy: [], comments: [] },
      ...fields,
    } as SmallIssue;
    issues.set(number, touch(made));
    return made;
  };
  const change = (number: number, fields: Partial<SmallIssue>) =>
    touch(Object.assign(issues.get(number) as SmallIssue, fields));

  const rowOf = (issue: SmallIssue): Values => ({
    ...{ id: 9_000 + issue.number, number: issue.number, title: issue.title, body: issue.body },
    ...{ state: issue.state, state_reason: issue.state_reason, comments: issue.comments.length },
    node_id: `I_${issue.number}`,
    url: `https://x/repos/${repository.full_name}/issues/${issue.number}`,
    html_url: `https://github.test/${repository.full_name}/issues/${issue.number}`,
    labels: issue.labels.map((name) => ({ name })),
    assignees: issue.assignees.map((login) => ({ login })),
    milestone: issue.milestone === undefined ? null : { number: 1, title: issue.milestone },
    type: issue.type === undefined ? null : { name: issue.type },
    ...(issue.parent !== undefined && {
      parent_issue_url: `https://x/repos/${repository.full_name}/issues/${issue.parent}`,
    }),
    sub_issues_summary: { total: issue.subIssues?.length ?? 0 },
    issue_dependencies_summary: {
      total_blocked_by: issue.blockedBy.length,
      blocked_by: issue.blockedBy.filter((one) => issues.get(one)?.state === "open").length,
    },
    created_at: seconds(start + issue.number * 1_000),
    updated_at: issue.updated_at,
    ...(issue.pull && { pull_request: {} }),
  });
  const commentOf = (issue: SmallIssue, one: SmallIssue["comments"][number]): Values => ({
    ...{
      id: one.id,
      body: one.body,
      created_at: seconds(one.at ?? start),
      author_association: "NONE",
    },
    issue_url: `https://x/repos/${repository.full_name}/issues/${issue.number}`,
    user: { login: one.user, type: "User" },
  });

  // biome-ignore lint/suspicious/noExplicitAny: the body is what a test sends
  const write = (method: string, rest: string, issue: SmallIssue | undefined, body: any) => {
    if (method === "POST" && rest === "") {
      const { title, body: text, labels: names = [] } = body;
      return rowOf(add({ title, body: text, labels: names }));
    }
    if (issue === undefined) return null;
    touch(issue);
    if (method === "PATCH") {
      Object.assign(issue, body);
      return rowOf(issue);
    }
    if (rest === "/comments") {
      comments += 1;
      const made = { id: comments, body: body.body, user: "symphony-bot" };
      issue.comments.push(made);
      return commentOf(issue, made);
    }
    if (method === "POST") {
      for (const name of body.labels) {
        labels.add(name);
        if (!issue.labels.includes(name)) issue.labels.push(name);
      }
    } else issue.labels = issue.labels.filter((name) => rest !== `/labels/${name}`);
    return issue.labels.map((name) => ({ name }));
  };

  const listOf = (query: URLSearchParams): Values[] => {
    const state = query.get("state") ?? "open";
    const since = query.get("since") ?? "";
    const all = [...issues.values()].filter(
      (one) => !one.movedTo && (state === "all" || one.state === state) && one.updated_at >= since,
    );
    if (query.get("sort") === "updated") {
      all.sort((a, b) => b.updated_at.localeCompare(a.updated_at));
    }
    return all.map(rowOf);
  };

  // biome-ignore lint/suspicious/noExplicitAny: the body is what a test sends
  const answer = (method: string, path: string, query: URLSearchParams, body: any): unknown => {
    if (path === "/graphql") {
      const { errors } = board;
      const data = board.answer(body.query, body.variables);
      return { data, ...(errors.length > 0 && { errors }) };
    }
    if (path === "/user") return { login: "symphony-bot" };
    if (path === "/user/repos") {
      const other = { has_issues: true, archived: false, description: null };
      return [
        { ...other, full_name: "acme/shop", description: "The shop" },
        { ...other, full_name: repository.full_name },
        { ...other, full_name: "acme/old", archived: true },
        { ...other, full_name: "acme/wiki", has_issues: false },
      ];
    }
    const [, , name] =
      /^\/(repos|repositories)\/(acme\/app|acme\/renamed|7)(?=\/|$)/.exec(path) ?? [];
    if (name === undefined) return null;
    const below = path.replace(/^\/repos\/[^/]+\/[^/]+/, "");
    if (below === "") return repository;
    if (below === "/labels") return [...labels].map((one) => ({ name: one }));
    const [, login] = /^\/collaborators\/(.+)\/permission$/.exec(below) ?? [];
    if (login !== undefined) return { permission: permission[login] ?? "none" };
    const [, comment] = /^\/issues\/comments\/(\d+)$/.exec(below) ?? [];
    for (const issue of issues.values()) {
      const found = issue.comments.find(({ id }) => String(id) === comment);
      if (found && method === "PATCH") found.body = body.body;
      if (found) return commentOf(issue, found);
    }
    if (comment !== undefined) return null;
    const [, number, rest = ""] = /^\/issues(?:\/(\d+)(\/.*)?)?$/.exec(below) ?? [];
    const issue = issues.get(Number(number));
    if (method !== "GET") return write(method, rest, issue, body);
    if (number === undefined) return listOf(query);
    if (issue === undefined) return null;
    if (rest === "/comments") return issue.comments.map((one) => commentOf(issue, one));
    if (rest === "/dependencies/blocked_by") {
      return issue.blockedBy.flatMap((one) => rowOf(issues.get(one) as SmallIssue));
    }
    if (rest === "/sub_issues") {
      return issue.subIssues?.flatMap((one) => rowOf(issues.get(one) as SmallIssue));
    }
    if (issue.movedTo) return { ...rowOf(issue), url: issue.movedTo };
    return rowOf(issue);
  };

  const faultFor = (call: string) => {
    const at = faults.findIndex((one) => (one.match?.test(call) ?? true) && one.skip-- <= 0);
    const fault = faults[at];
    if (fault !== undefined && --fault.left <= 0) faults.splice(at, 1);
    return fault;
  };

  const server = createServer(async (incoming, outgoing) => {
    const { method = "GET" } = incoming;
    const { pathname, searchParams: query } = new URL(incoming.url ?? "/", "http://fake");
    const path = decodeURIComponent(pathname);
    const text = Buffer.concat(await incoming.toArray()).toString();
    const authorization = incoming.headers.authorization ?? "";
    const respond = (status: number, body: string, more: Values = {}) => {
      requests.push({ method, path, query, status, authorization });
      const type = { "content-type": "application/json; charset=utf-8" };
      // Its clock is that of the test, unless `headers` has another.
      outgoing.sendDate = false;
      outgoing.writeHead(status, { ...type, ...headers, ...more }).end(status === 304 ? "" : body);
    };
    const file = files.get(path);
    if (file !== undefined) {
      requests.push({ method, path, query, status: 200, authorization });
      return outgoing.writeHead(authorization === "" ? 404 : 200).end(file);
    }
    const fault = faultFor(`${method} ${path}`);
    if (fault && !fault.lost) {
      if (fault.status === undefined && fault.body === undefined) return outgoing.destroy();
      return respond(fault.status ?? 200, fault.body ?? '{"message":"no"}', fault.headers);
    }
    const found = answer(method, path, query, text === "" ? null : JSON.parse(text));
    if (fault?.lost) return outgoing.destroy();
    if (found === null) return respond(404, '{"message":"Not Found"}');
    const [page, per] = [Number(query.get("page") ?? 1), Number(query.get("per_page") ?? 30)];
    const isList = Array.isArray(found) && method === "GET";
    const shown = isList ? found.slice((page - 1) * per, page * per) : found;
    const body = JSON.stringify(shown);
    const etag = `W/"${createHash("sha256").update(body).digest("hex")}"`;
    if (method === "GET" && incoming.headers["if-none-match"] === etag) {
      return respond(304, "", { etag });
    }
    const next = isList && found.length > page * per ? { link: '<https://x>; rel="next"' } : {};
    respond(method === "POST" && path !== "/graphql" ? 201 : 200, body, { etag, ...next });
    if (isList) between.shift()?.();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    ...{ url, issues, requests, headers, labels, repository, board, add, change, files },
    between,
    /** The requests since the last call, as `GET /path 200`. */
    taken: () => requests.splice(0).map((one) => `${one.method} ${one.path} ${one.status}`),
    fail: (fault: SmallFault) =>
      faults.push({ ...fault, left: fault.times ?? 1, skip: fault.after ?? 0 }),
    say: (number: number, user: string, body: string, at = start) => {
      comments += 1;
      touch(issues.get(number) as SmallIssue).comments.push({ id: comments, body, user, at });
      return `${repository.id}/${comments}`;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

interface Parts extends Partial<Omit<GithubTrackerOptions, "config" | "clock">> {
  readonly provider?: Values;
  readonly tracker?: Values;
}

/** The adapter for a double of GitHub, or for any server with an address. */
export function githubTracker(url: string, { provider, tracker, ...parts }: Parts = {}) {
  const clock = new FakeClock();
  const made = createGithubTracker({
    config: config({
      tracker: {
        kind: "github",
        activeStates: ["Open"],
        terminalStates: ["Closed", "Not planned", "Duplicate"],
        provider: { base_url: url, repositories: ["acme/app"], ...provider },
        ...tracker,
      },
    }).tracker,
    lookup: (name) => (name === "GITHUB_TOKEN" ? "ghp_secret" : undefined),
    clock,
    writeGapMs: 0,
    ...parts,
  });
  return { tracker: made, clock };
}

/** The settings of a tracker on the board of a small GitHub. */
export const onBoard = {
  provider: { project: "acme/1" },
  tracker: {
    activeStates: ["Todo", "In Progress"],
    terminalStates: ["Done", "Closed", "Not planned", "Duplicate"],
  },
};
