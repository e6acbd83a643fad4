import assert from "node:assert/strict";
import { join } from "node:path";
import { before, test } from "node:test";
import { pathToFileURL } from "node:url";
import type { RequestOutcome } from "../../src/core/tracker/linear/client.ts";
import { equipment } from "../support/fakes/equipment.ts";
import { driven, linearTracker } from "../support/fakes/linear-tracker.ts";
import { ask } from "../support/fakes/schema-linear.ts";

/** The part that these tests use of the server that validates every query against Linear's own schema. */
interface SchemaServer {
  readonly url: string;
  readonly requests: { readonly operationName: string; readonly complexity: number }[];
  readonly faults: { add(fault: Readonly<Record<string, unknown>>): void };
  readonly world: {
    readonly projects: {
      readonly list: readonly { readonly id: string; readonly slugId: string }[];
    };
    readonly issues: {
      readonly byId: ReadonlyMap<string, { projectId: string | null; description: string }>;
    };
  };
  clearLog(): void;
  close(): Promise<void>;
}

let start: (options: Readonly<Record<string, unknown>>) => Promise<SchemaServer>;
before(async () => {
  const server = await import(pathToFileURL(join(equipment("fake-linear"), "server.mjs")).href);
  start = server.startFakeLinear;
});

const states = "Triage,Backlog,Todo,In Progress,In Review,Done,Canceled,Duplicate".split(",");
const page = 50;

/** A server whose issues all belong to one project, and the adapter for it. */
async function world(issues: number, parts: { readonly timeoutMs?: number } = {}) {
  const server = await start({ issues, epoch: "2026-11-01T00:00:00.000Z", port: 0 });
  const [project] = server.world.projects.list;
  assert.ok(project);
  for (const issue of server.world.issues.byId.values()) issue.projectId = project.id;
  const target = { url: server.url, project: project.slugId, apiKey: "lin_api_fake" };
  const outcomes: RequestOutcome[] = [];
  const onRequest = (outcome: RequestOutcome) => outcomes.push(outcome);
  return {
    server,
    outcomes,
    ...linearTracker(target, { ...parts, onRequest }),
    sent: () => server.requests.map(({ operationName }) => operationName.replace("Symphony", "")),
    [Symbol.asyncDispose]: () => server.close(),
  };
}

test("L-8: 1,000 issues take 20 pages and three more requests, each below the complexity cap", async () => {
  await using it = await world(1_000);
  const issues = await it.tracker.fetchIssuesByStates(states);
  assert.equal(issues.length, 1_000);
  assert.equal(new Set(issues.map(({ id }) => id)).size, 1_000);
  const pages = Array.from({ length: 1_000 / page }, () => "Candidates");
  assert.deepEqual(it.sent(), ["Scope", "Newest", ...pages, "Changes"]);
  const dearest = Math.max(...it.server.requests.map(({ complexity }) => complexity));
  assert.ok(dearest < 10_000, `${dearest} points`);
  assert.ok(issues.some(({ blockedBy }) => blockedBy.length > 0));
  assert.ok(issues.some(({ labels }) => labels.length > 0));
  assert.ok(it.tracker.budget.requests?.limit === 2_500);
});

test("pages of very long descriptions are read with fewer issues", async () => {
  await using it = await world(40);
  for (const issue of it.server.world.issues.byId.values()) issue.description = "ä".repeat(300_000);
  assert.equal((await it.tracker.fetchIssuesByStates(states)).length, 40);
});

async function control(url: string, change: object): Promise<void> {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify(change);
  await fetch(new URL("/__control", url), { method: "POST", headers, body });
}

test("an agent that reads in a loop leaves the last tenth of the hour's budget to polls and moves", async () => {
  await using it = await world(3);
  await control(it.server.url, { requestsLimit: 40 });
  const [issue] = await it.tracker.fetchIssuesByStates(states);
  assert.ok(issue);
  const tools = it.tracker.bindTools(issue);
  const call = (query: string) => tools.call("linear_graphql", { query });
  let calls = 0;
  for (let answer = await call(viewer); answer.success; answer = await call(viewer)) calls += 1;
  assert.ok(calls > 25 && calls < 38, `${calls} reads`);
  const left = it.tracker.budgetLeft?.() ?? 1;
  assert.ok(left > 0.05 && left < 0.1, `${left} is left`);
  const { error } = JSON.parse((await call(viewer)).output);
  assert.deepEqual(
    [error.code, /kept for moves/.test(error.message)],
    ["tracker_rate_limited", true],
  );
  const move = `mutation { issueUpdate(id: "${issue.id}", input: { priority: 1 }) { success } }`;
  assert.equal((await call(move)).success, true);
  assert.equal((await it.tracker.fetchIssuesByIds([issue.id])).length, 1);
});

const viewer = "query { viewer { id } }";

test("L-8: a page that Linear finds too complex is asked for again with fewer issues, and no issue is lost", async () => {
  await using it = await world(120);
  const issues = await it.tracker.fetchIssuesByStates(states);
  await control(it.server.url, { maxComplexity: 3_000 });
  const found = await it.tracker.fetchIssuesByIds(issues.map(({ id }) => id));
  assert.deepEqual(found, issues);
  it.server.clearLog();
  await it.tracker.fetchIssuesByIds(issues.slice(0, 12).map(({ id }) => id));
  assert.equal(it.sent().length, 1, "the size is kept");
  // Once Linear takes such pages again, they become as large as before.
  await control(it.server.url, { maxComplexity: 10_000 });
  for (let hours = 0; hours < 3; hours++) {
    it.clock.advance(3_600_000);
    await it.tracker.fetchIssuesByIds(issues.slice(0, 50).map(({ id }) => id));
  }
  it.server.clearLog();
  await it.tracker.fetchIssuesByIds(issues.slice(0, 50).map(({ id }) => id));
  assert.equal(it.sent().length, 1);
});

test("a blocker that is archived or deleted holds nothing back any more", async () => {
  for (const gone of ["issueArchive", "issueDelete"]) {
    await using it = await world(3);
    const { url } = it.server;
    const [first, second] = await it.tracker.fetchIssuesByStates(states);
    assert.ok(first && second);
    const { workflowStates } = await ask<{
      workflowStates: { nodes: { id: string; name: string }[] };
    }>(url, "query { workflowStates(first: 50) { nodes { id name } } }");
    const stateId = workflowStates.nodes.find(({ name }) => name === "Todo")?.id;
    const put =
      "mutation($id: String!, $input: IssueUpdateInput!) { issueUpdate(id: $id, input: $input) { success } }";
    for (const { id } of [first, second]) await ask(url, put, { id, input: { stateId } });
    await ask(
      url,
      "mutation($input: IssueRelationCreateInput!) { issueRelationCreate(input: $input) { success } }",
      { input: { issueId: first.id, relatedIssueId: second.id, type: "blocks" } },
    );
    const read = async () => {
      const [issue] = await it.tracker.fetchIssuesByIds([second.id]);
      return [issue?.dispatchable, issue?.blockedBy.some(({ id }) => id === first.id)];
    };
    assert.deepEqual(await read(), [false, true]);
    await ask(url, `mutation($id: String!) { ${gone}(id: $id) { success } }`, { id: first.id });
    assert.equal((await read())[1], false, gone);
  }
});

test("an issue's relations cost no further request, and its comments cost one", async () => {
  await using it = await world(60);
  const issues = await it.tracker.fetchIssuesByStates(states);
  const page = it.server.requests.find(({ operationName }) => operationName.includes("Candidates"));
  assert.ok(page && page.complexity < 10_000, `${page?.complexity} points`);
  assert.ok(issues.every(({ team, project, stateType }) => team && project && stateType));
  assert.ok(issues.some(({ blockedBy }) => blockedBy.some(({ title, url }) => title && url)));
  const [issue] = issues;
  assert.ok(issue);
  it.server.clearLog();
  const list = await it.tracker.comments?.(issue);
  assert.deepEqual(it.sent(), ["Comments"]);
  assert.ok(list?.comments.every(({ body, author }) => body !== "" && author !== ""));
  const dearest = Math.max(...it.server.requests.map(({ complexity }) => complexity));
  assert.ok(dearest < 300, `${dearest} points`);
});

test("10,000 issues: a poll without changes is one request and the same array", async () => {
  await using it = await world(10_000);
  const first = await it.tracker.fetchIssuesByStates(states);
  assert.equal(first.length, 10_000);
  for (let poll = 0; poll < 3; poll++) {
    it.clock.advance(30_000);
    it.server.clearLog();
    assert.equal(await it.tracker.fetchIssuesByStates(states), first);
    assert.deepEqual(it.sent(), ["Changes"]);
  }
  const [moved] = first.filter(({ state }) => state === "Todo");
  assert.ok(moved);
  await it.tracker.workflow.move(moved, "Done");
  it.server.clearLog();
  const second = await it.tracker.fetchIssuesByStates(states);
  assert.deepEqual(it.sent(), ["Changes"]);
  assert.deepEqual([second[0]?.id, second[0]?.state, second.length], [moved.id, "Done", 10_000]);
});

test("T-8: a read by ids gives the same snapshots as the list, in batches of 50", async () => {
  await using it = await world(120);
  const listed = await it.tracker.fetchIssuesByStates(states);
  const wanted = listed.slice(0, 55).reverse();
  it.server.clearLog();
  assert.deepEqual(await it.tracker.fetchIssuesByIds(wanted.map(({ id }) => id)), wanted);
  assert.deepEqual(it.sent(), ["IssuesById", "IssuesById"]);
});

test("L-10: assignee `me` is resolved, and a state matches in another case", async () => {
  await using it = await world(60);
  const { server } = it;
  const slug = server.world.projects.list[0]?.slugId ?? "";
  const target = { url: server.url, project: slug, apiKey: "lin_api_fake" };
  const { tracker } = linearTracker(target, { provider: { assignee: "me" } });
  const issues = await tracker.fetchIssuesByStates(["todo", "IN PROGRESS"]);
  assert.deepEqual(new Set(issues.map(({ state }) => state)), new Set(["Todo", "In Progress"]));
  assert.ok(issues.some(({ dispatchable }) => dispatchable));
  assert.ok(issues.some(({ dispatchable }) => !dispatchable));
});

test("L-13: the tool can use the whole schema, and Linear's error for a wrong field is returned unchanged", async () => {
  await using it = await world(3);
  const [issue] = await it.tracker.fetchIssuesByStates(states);
  assert.ok(issue);
  const tools = it.tracker.bindTools(issue);
  const query =
    "mutation($input: CommentCreateInput!) { commentCreate(input: $input) { success } }";
  const variables = { input: { issueId: issue.identifier, body: "Started" } };
  const written = await tools.call("linear_graphql", { query, variables });
  assert.deepEqual(JSON.parse(written.output), { data: { commentCreate: { success: true } } });
  const wrong = await tools.call("linear_graphql", "{ viewer { shoeSize } }");
  assert.equal(wrong.success, false);
  assert.match(wrong.output, /shoeSize/);
  const gone = await tools.call("linear_graphql", '{ issue(id: "ENG-999") { id } }');
  assert.match(gone.output, /Entity not found/);
});

type Fault = Readonly<Record<string, unknown>>;
const faults: readonly (readonly [string, Fault, string, number])[] = [
  ["rate limited with 400", { kind: "ratelimited" }, "tracker_rate_limited", 1],
  ["rate limited with 429", { kind: "ratelimited", status: 429 }, "tracker_rate_limited", 1],
  [
    "too much complexity",
    { kind: "ratelimited", what: "complexity", retryAfter: null },
    "tracker_rate_limited",
    1,
  ],
  ["an endpoint's limit", { kind: "ratelimited", endpoint: "issues" }, "tracker_rate_limited", 1],
  ["500", { kind: "server_error", times: 9 }, "tracker_status", 3],
  ["502 with a web page", { kind: "bad_gateway", times: 9 }, "tracker_status", 3],
  ["401", { kind: "auth" }, "tracker_status", 1],
  ["403", { kind: "forbidden" }, "tracker_status", 1],
  ["no answer", { kind: "timeout", times: 9 }, "tracker_request", 3],
  ["a broken connection", { kind: "reset", times: 9 }, "tracker_request", 3],
  ["cut-off JSON", { kind: "malformed_json" }, "tracker_response", 1],
  ["a web page with 200", { kind: "html" }, "tracker_response", 1],
  ["nothing with 200", { kind: "empty" }, "tracker_response", 1],
  [
    "an error next to the data",
    { kind: "partial", path: ["issues", "nodes", 0, "assignee"] },
    "tracker_response",
    3,
  ],
  ["an internal error with 200", { kind: "errors", times: 9 }, "tracker_response", 3],
];

for (const [what, fault, code, requests] of faults) {
  test(`FAULT-8, L-12: ${what} on a later page is ${code}, and the next poll is complete again`, async () => {
    await using it = await world(120, { timeoutMs: 150 });
    const earlier = await driven(it.clock, it.tracker.fetchIssuesByStates(states));
    it.clock.advance(300_000);
    it.outcomes.length = 0;
    const match = { operationName: "SymphonyCandidates" };
    it.server.faults.add({ times: 3, after: 1, ...fault, match });
    await assert.rejects(driven(it.clock, it.tracker.fetchIssuesByStates(states)), { code });
    const attempted = it.outcomes.filter(({ operation }) => operation === match.operationName);
    assert.deepEqual(
      attempted.map(({ outcome }) => outcome),
      ["ok", ...Array.from({ length: requests }, () => code)],
    );
    Object.assign(it.server.faults, { list: [] });
    it.clock.advance(300_000);
    assert.equal(await driven(it.clock, it.tracker.fetchIssuesByStates(states)), earlier);
  });
}

test("a slow answer within the time limit is accepted", async () => {
  await using it = await world(3);
  it.server.faults.add({ kind: "slow", ms: 30 });
  assert.equal((await it.tracker.fetchIssuesByStates(states)).length, 3);
});
