import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "../../../src/core/clock.ts";
import type { Forge } from "../../../src/core/delivery/forge.ts";
import { githubForge } from "../../../src/core/delivery/github/forge.ts";
import { githubOf } from "../../../src/core/github/settings.ts";

type Values = Readonly<Record<string, unknown>>;

export interface FakeAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON, unless it is text. */
  readonly body?: unknown;
}

export interface FakeRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  // biome-ignore lint/suspicious/noExplicitAny: the test knows what was sent
  readonly body: any;
}

type Script = FakeAnswer | ((request: FakeRequest) => FakeAnswer);

export interface FakeGithub {
  readonly url: string;
  readonly requests: readonly FakeRequest[];
  /** Sets the answer to `GET /path`; paths below `/repos/acme/app` may be written without that. */
  on(route: string, script: Script): void;
  /** A forge for `acme/app`; default token: `ghp_secret`. */
  forge(clock: Clock, token?: () => string): Forge;
  [Symbol.asyncDispose](): Promise<void>;
}

export const seconds = "2026-11-26T08:00:00Z";
export const headSha = "a".repeat(40);
export const baseSha = "b".repeat(40);
export const ada = { login: "ada", type: "User" };

export const repository = {
  id: 1,
  full_name: "acme/app",
  default_branch: "main",
  archived: false,
  private: false,
  permissions: { push: true },
};

/** An open pull request as `GET /pulls/7` answers it. */
export function pullAnswer(change: Values = {}): Values {
  return {
    number: 7,
    node_id: "PR_7",
    html_url: "https://github.test/acme/app/pull/7",
    state: "open",
    draft: false,
    title: "A title",
    body: "A body",
    head: { ref: "symphony/eng-1", sha: headSha, repo: { id: 1 } },
    base: { ref: "main", sha: baseSha, repo: { id: 1 } },
    merged: false,
    merge_commit_sha: null,
    merged_by: null,
    mergeable: true,
    mergeable_state: "clean",
    user: { login: "symphony-bot", type: "User" },
    updated_at: seconds,
    ...change,
  };
}

/** A check run of GitHub Actions as it is listed. */
export function runAnswer(change: Values): Values {
  return {
    id: 10,
    name: "test",
    head_sha: headSha,
    status: "completed",
    conclusion: "success",
    html_url: null,
    started_at: seconds,
    completed_at: seconds,
    app: { id: 15368, slug: "github-actions" },
    check_suite: { id: 100 },
    output: { title: null, summary: null, annotations_count: 0 },
    ...change,
  };
}

export function workflowAnswer(change: Values): Values {
  return {
    id: 200,
    name: "CI",
    event: "push",
    status: "completed",
    conclusion: "success",
    run_attempt: 1,
    workflow_id: 1,
    check_suite_id: 100,
    html_url: "https://github.test/acme/app/actions/runs/200",
    ...change,
  };
}

/** A GitHub in this process with one quiet pull request, number 7. What a test does not script is 404. */
export async function startFakeGithub(): Promise<FakeGithub> {
  const scripts = new Map<string, Script>();
  const requests: FakeRequest[] = [];
  const server = createServer(async (incoming, outgoing) => {
    const chunks = await incoming.toArray();
    const text = Buffer.concat(chunks).toString();
    const { pathname, searchParams } = new URL(incoming.url ?? "/", "http://fake");
    const { method = "GET", headers } = incoming;
    const body = text === "" ? null : JSON.parse(text);
    const request = { method, path: pathname, query: searchParams, headers, body };
    requests.push(request);
    const script = scripts.get(`${method} ${pathname}`) ?? {
      status: 404,
      body: { message: "Not Found" },
    };
    const answer = typeof script === "function" ? script(request) : script;
    const isText = typeof answer.body === "string";
    outgoing.writeHead(answer.status ?? 200, {
      "content-type": isText ? "text/plain; charset=utf-8" : "application/json; charset=utf-8",
      ...answer.headers,
    });
    outgoing.end(isText ? answer.body : JSON.stringify(answer.body));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const forges: Forge[] = [];
  const on = (route: string, script: Script) => {
    const [method, path = ""] = route.split(" ");
    const isWhole = /^\/(repos|user|app|graphql|repositories|elsewhere)/.test(path);
    scripts.set(`${method} ${isWhole ? path : `/repos/acme/app${path}`}`, script);
  };
  on("GET /user", { body: { login: "symphony-bot", type: "User" } });
  on("GET /repos/acme/app", { body: repository });
  on("GET /pulls/7", { body: pullAnswer() });
  on("GET /branches/main", { body: { commit: { sha: baseSha }, protected: false } });
  for (const path of ["/issues/7/comments", "/pulls/7/reviews", "/pulls/7/comments"]) {
    on(`GET ${path}`, { body: [] });
  }
  on("GET /rules/branches/main", { body: [] });
  for (const sha of [headSha, baseSha]) {
    on(`GET /commits/${sha}/check-runs`, { body: { total_count: 0, check_runs: [] } });
    on(`GET /commits/${sha}/status`, { body: { state: "pending", statuses: [] } });
  }
  on("GET /actions/runs", { body: { total_count: 0, workflow_runs: [] } });
  return {
    url,
    requests,
    on,
    forge(clock, token = () => "ghp_secret") {
      const settings = githubOf({ token: "$TOKEN", base_url: url }, token);
      const place = { owner: "acme", name: "app" };
      const forge = githubForge({ settings, clock, repository: place, writeGapMs: 0 });
      forges.push(forge);
      return forge;
    },
    async [Symbol.asyncDispose]() {
      for (const forge of forges) forge.close();
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
