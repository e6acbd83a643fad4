import assert from "node:assert/strict";
import { test } from "node:test";
import { startFakeLinear } from "../../../support/fakes/fake-linear.ts";
import { linearTracker } from "../../../support/fakes/linear-tracker.ts";

test("the relations of an issue come with its page", async () => {
  await using fake = await startFakeLinear({
    issues: [
      { identifier: "ENG-1", parent: "ENG-3", blockedBy: ["ENG-2"], assigneeId: "user-bea" },
      { identifier: "ENG-2", parent: "ENG-1", title: "Second", state: "Backlog" },
      { identifier: "ENG-3" },
    ],
  });
  const { tracker } = linearTracker(fake);
  const listed = await tracker.fetchIssuesByStates(["Todo"]);
  const pages = fake.requests.filter(({ operation }) => operation === "SymphonyCandidates");
  assert.equal(pages.length, 1);
  const issue = listed.find(({ identifier }) => identifier === "ENG-1");
  assert.ok(issue);
  assert.equal(issue.stateType, "unstarted");
  assert.deepEqual(issue.assignee, { id: "user-bea", name: "user-bea" });
  assert.deepEqual(issue.team, { id: "team-ENG", key: "ENG", name: "Team ENG" });
  assert.deepEqual(issue.project, {
    id: `project-${fake.project}`,
    slug: fake.project,
    name: `Project ${fake.project}`,
  });
  assert.deepEqual([issue.parent?.identifier, issue.parent?.state], ["ENG-3", "Todo"]);
  const second = {
    id: fake.issues[1]?.id,
    identifier: "ENG-2",
    title: "Second",
    state: "Backlog",
    url: "https://linear.app/acme/issue/ENG-2",
  };
  assert.deepEqual(issue.subIssues, [second]);
  assert.deepEqual(issue.blockedBy, [second]);
});

test("comments are read in one request: the newest 50, oldest first, plain and limited", async () => {
  await using fake = await startFakeLinear({ issues: [{ identifier: "ENG-1" }] });
  const { tracker } = linearTracker(fake);
  const [issue] = await tracker.fetchIssuesByStates(["Todo"]);
  const comments = fake.issues[0]?.comments;
  assert.ok(issue && comments && tracker.comments);
  assert.deepEqual(await tracker.comments(issue), { comments: [], truncated: false });
  comments.push("mine", "a\u001b[31mred\u0007\u202e text\nnext");
  fake.requests.length = 0;
  const two = await tracker.comments(issue);
  assert.equal(fake.requests.length, 1);
  assert.deepEqual(
    two.comments.map(({ by, author, body }) => [by, author, body]),
    [
      ["own", "Person 0", "mine"],
      ["person", "Person 1", "ared text\nnext"],
    ],
  );
  assert.equal(two.truncated, false);
  for (let at = 2; at < 60; at++) comments.push(`comment ${at}`);
  comments.push("word ".repeat(10_000));
  const many = await tracker.comments(issue);
  assert.deepEqual([many.comments.length, many.truncated], [50, true]);
  assert.equal(many.comments[0]?.body, "comment 11");
  assert.ok((many.comments.at(-1)?.body.length ?? 0) <= 8_000);
  const written = await tracker.newComments?.(issue, 0);
  assert.deepEqual([written?.length, written?.[0]?.body], [61, "mine"], "those of every page");
  const last = written?.at(-1)?.createdAt ?? 0;
  assert.equal((await tracker.newComments?.(issue, last))?.length, 50, "one page is enough");
});

test("many long comments are limited together, and the oldest are left out", async () => {
  await using fake = await startFakeLinear({ issues: [{ identifier: "ENG-1" }] });
  const { tracker } = linearTracker(fake);
  const [issue] = await tracker.fetchIssuesByStates(["Todo"]);
  assert.ok(issue);
  for (let at = 0; at < 20; at++) fake.issues[0]?.comments.push(`${at} ${"x".repeat(7_000)}`);
  const list = await tracker.comments?.(issue);
  assert.deepEqual([list?.comments.length, list?.truncated], [9, true]);
  assert.equal(list?.comments[0]?.body.slice(0, 2), "11");
});
