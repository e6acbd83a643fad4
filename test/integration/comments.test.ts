import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { editorOf } from "../../src/core/tracker/editor.ts";
import { createLinearTracker } from "../../src/core/tracker/linear/tracker.ts";
import { apiKey, ask, schemaLinear } from "../support/fakes/schema-linear.ts";
import { config } from "../support/makers/issue.ts";

const create = `mutation($input: CommentCreateInput!) {
  commentCreate(input: $input) { success comment { id } }
}`;
interface Created {
  readonly commentCreate: { readonly comment: { readonly id: string } };
}

async function arrange() {
  const it = await schemaLinear("Todo");
  const { linear, issue, project } = it;
  const provider = { endpoint: linear.url, project_slug: project.slugId };
  const tracker = createLinearTracker({
    config: config({ tracker: { kind: "linear", provider } }).tracker,
    lookup: (name) => (name === "LINEAR_API_KEY" ? apiKey : undefined),
    clock: systemClock,
  });
  /** As another user: through the control endpoint. */
  const commentAs = async (as: string, body: string) => {
    const response = await fetch(`${new URL(linear.url).origin}/__act`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        as,
        query: create,
        variables: { input: { issueId: issue.id, body } },
      }),
    });
    const { data } = (await response.json()) as { data: Created };
    return data.commentCreate.comment.id;
  };
  const read = async (id: string) => (await tracker.comment?.(id)) ?? null;
  const close = async () => {
    tracker.close();
    await linear.close();
  };
  return { ...it, tracker, read, commentAs, [Symbol.asyncDispose]: close };
}

test("a comment is read by its id, with its author, in one request", async () => {
  await using it = await arrange();
  const person = await it.commentAs("grace", "@symphony use tabs");
  const app = await it.commentAs("app", "A bot's word");
  const input = { issueId: it.issue.id, body: "Written with the server's own key" };
  const own = (await ask<Created>(it.linear.url, create, { input })).commentCreate.comment.id;
  it.linear.clearLog();
  const found = await it.read(person);
  assert.deepEqual(found, {
    id: person,
    issueId: it.issue.id,
    body: "@symphony use tabs",
    author: "grace",
    by: "person",
  });
  assert.deepEqual(
    it.linear.requests.map(({ operationName }) => operationName),
    ["SymphonyComment"],
  );
  assert.equal((await it.read(app))?.by, "machine");
  assert.equal((await it.read(own))?.by, "own");
  assert.equal(await it.read("00000000-0000-4000-8000-000000000000"), null, "there is none");
});

test("DELIVERY-39: symphony's own comment is written once for each key, edited in place, and found among the others", async () => {
  await using it = await arrange();
  const [issue] = await it.tracker.fetchIssuesByIds([it.issue.id]);
  assert.ok(issue);
  const write = async (body: string) =>
    it.tracker.workflow.comment?.(issue, { key: "comment:1", body });
  await it.commentAs("grace", "/symphony retry");
  await write("**symphony: under way.**");
  it.linear.clearLog();
  // As after a crash between the write and its record.
  await write("**symphony: under way.**");
  assert.deepEqual(
    it.linear.requests.map(({ operationName }) => operationName),
    ["SymphonyComment"],
  );
  await write("**symphony: done.**");
  const found = await it.tracker.newComments?.(issue, 0);
  assert.deepEqual(
    found?.map(({ by, author, body, issueId }) => [by, author, body, issueId]),
    [
      ["person", "grace", "/symphony retry", issue.id],
      ["own", found?.[1]?.author, "**symphony: done.**", issue.id],
    ],
  );
  const left = it.tracker.budgetLeft?.();
  assert.ok(typeof left === "number" && left > 0.5 && left <= 1, String(left));
});

test("symphony issue comment is a comment on Linear, the same text each time anew; what is edited there is said", async () => {
  await using it = await arrange();
  const [issue] = await it.tracker.fetchIssuesByIds([it.issue.id]);
  assert.ok(issue);
  const editor = editorOf(it.tracker);
  for (const body of ["see the log", "see the log"]) await editor.comment(issue, body);
  const found = await it.tracker.newComments?.(issue, 0);
  assert.deepEqual(
    found?.map(({ by, body }) => [by, body]),
    [
      ["own", "see the log"],
      ["own", "see the log"],
    ],
  );
  for (const refused of [
    () => editor.create({ title: "New" }),
    () => editor.edit(issue, { state: "Done", title: "Other" }),
  ]) {
    await assert.rejects(async () => refused(), {
      code: "tracker_read_only",
      hint: /the tracker/,
    });
  }
  assert.deepEqual(await it.tracker.fetchIssuesByIds([it.issue.id]), [issue], "nothing changed");
});
