import assert from "node:assert/strict";
import { test } from "node:test";
import { startFakeLinear } from "../../../support/fakes/fake-linear.ts";
import { linearTracker } from "../../../support/fakes/linear-tracker.ts";
import { issue } from "../../../support/makers/issue.ts";

const tool = "linear_graphql";
const viewer = "query { viewer { id } }";

test("T-13, L-13: one tool, with a schema of its arguments", async () => {
  await using fake = await startFakeLinear();
  const { specs } = linearTracker(fake).tracker.bindTools(issue("ENG-1"));
  assert.deepEqual(
    specs.map(({ name }) => name),
    [tool],
  );
  assert.deepEqual(specs[0]?.inputSchema["required"], ["query"]);
});

const accepted: readonly (readonly [string, unknown])[] = [
  ["a query", { query: viewer }],
  ["null variables", { query: viewer, variables: null }],
  ["an operation name, which is ignored", { query: viewer, operationName: "Other" }],
  ["a bare string", `\n ${viewer} `],
];

for (const [what, args] of accepted) {
  test(`L-13: accepts ${what}`, async () => {
    await using fake = await startFakeLinear();
    const tools = linearTracker(fake).tracker.bindTools(issue("ENG-1"));
    const { success, output } = await tools.call(tool, args);
    assert.deepEqual(
      [success, JSON.parse(output)],
      [true, { data: { viewer: { id: "user-ada", name: "Ada", app: false } } }],
    );
    assert.equal(fake.requests[0]?.query, viewer);
  });
}

for (const args of [
  undefined,
  null,
  7,
  [],
  " ",
  {},
  { query: " " },
  { query: 7 },
  { query: viewer, variables: "x" },
]) {
  test(`L-13: bad arguments cause no request: ${JSON.stringify(args)}`, async () => {
    await using fake = await startFakeLinear();
    const tools = linearTracker(fake).tracker.bindTools(issue("ENG-1"));
    const { success, output } = await tools.call(tool, args);
    assert.equal(success, false);
    assert.match(JSON.parse(output).error.message, /query|variables/);
    assert.equal(fake.requests.length, 0);
  });
}

test("T-13: an unknown tool is a structured failure that lists the known ones", async () => {
  await using fake = await startFakeLinear();
  const tools = linearTracker(fake).tracker.bindTools(issue("ENG-1"));
  const { success, output } = await tools.call("shell", {});
  assert.deepEqual([success, JSON.parse(output).error.supportedTools], [false, [tool]]);
});

test("L-13: mutations with variables change the tracker", async () => {
  await using fake = await startFakeLinear({ issues: [{ identifier: "ENG-1" }] });
  const tools = linearTracker(fake).tracker.bindTools(issue("ENG-1"));
  const query =
    "mutation($input: CommentCreateInput!) { commentCreate(input: $input) { success } }";
  const variables = { input: { issueId: "ENG-1", body: "Done" } };
  assert.equal((await tools.call(tool, { query, variables })).success, true);
  assert.deepEqual(fake.issues[0]?.comments, ["Done"]);
});

test("L-14: errors next to data are a failure with the body kept", async () => {
  await using fake = await startFakeLinear();
  const body = { errors: [{ message: "partly" }], data: { viewer: null } };
  fake.fail({ kind: "body", body: JSON.stringify(body) });
  const tools = linearTracker(fake).tracker.bindTools(issue("ENG-1"));
  const { success, output } = await tools.call(tool, { query: viewer });
  assert.deepEqual([success, JSON.parse(output)], [false, body]);
});

test("L-14: HTTP failures report the status, and are not retried", async () => {
  await using fake = await startFakeLinear();
  fake.fail({ kind: "status", status: 503 });
  const tools = linearTracker(fake).tracker.bindTools(issue("ENG-1"));
  const { success, output } = await tools.call(tool, { query: viewer });
  assert.deepEqual([success, JSON.parse(output).error.status], [false, 503]);
  assert.equal(fake.requests.length, 1);
});

test("L-14: no response in time is a failure", async () => {
  await using fake = await startFakeLinear();
  fake.fail({ kind: "hang" });
  const tools = linearTracker(fake, { timeoutMs: 60 }).tracker.bindTools(issue("ENG-1"));
  const { success, output } = await tools.call(tool, { query: viewer });
  assert.deepEqual([success, JSON.parse(output).error.code], [false, "tracker_request"]);
});

test("an answer that is too long for an agent is a failure that says so", async () => {
  await using fake = await startFakeLinear();
  fake.fail({ kind: "body", body: JSON.stringify({ data: { text: "x".repeat(300_000) } }) });
  const tools = linearTracker(fake).tracker.bindTools(issue("ENG-1"));
  const { success, output } = await tools.call(tool, { query: viewer });
  assert.equal(success, false);
  assert.match(output, /request less/);
});

test("T-14: a session keeps its first credential, and its tools work after the tracker was closed", async () => {
  await using fake = await startFakeLinear();
  let key: string | undefined = fake.apiKey;
  const { tracker } = linearTracker(fake, { lookup: () => key, provider: { assignee: "" } });
  const tools = tracker.bindTools(issue("ENG-1"));
  key = "lin_api_new";
  tracker.close();
  assert.equal((await tools.call(tool, viewer)).success, true);
  assert.equal((await tracker.bindTools(issue("ENG-1")).call(tool, viewer)).success, false);
  key = undefined;
  const { success, output } = await tracker.bindTools(issue("ENG-1")).call(tool, viewer);
  assert.deepEqual([success, JSON.parse(output).error.code], [false, "missing_tracker_secret"]);
});

test("X-2, X-3: the key is in no result, even if Linear echoes it", async () => {
  await using fake = await startFakeLinear({ apiKey: "lin_api_canary" });
  const tools = linearTracker(fake).tracker.bindTools(issue("ENG-1"));
  for (const body of [
    '{"data":{"echo":"lin_api_canary"}}',
    '{"errors":[{"message":"lin_api_canary"}]}',
  ]) {
    fake.fail({ kind: "body", body });
    assert.doesNotMatch((await tools.call(tool, viewer)).output, /canary/);
  }
});
