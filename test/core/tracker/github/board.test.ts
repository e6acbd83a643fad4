import assert from "node:assert/strict";
import { test } from "node:test";
import { driven } from "../../../support/fakes/linear-tracker.ts";
import { githubTracker, onBoard, startSmallGithub } from "../../../support/fakes/small-github.ts";

const never = (): never => assert.fail("the tracker has it");

test("a board of several pages is read whole; what is no issue of the repositories, archived or closed is left out", async () => {
  await using fake = await startSmallGithub();
  for (let at = 1; at <= 5; at++) {
    fake.add();
    fake.board.cards.set(at, { status: "Todo" });
  }
  fake.add();
  const other = { id: "PVTI_x", isArchived: false, status: { name: "Todo" }, priority: null };
  const docs = { nameWithOwner: "acme/docs" };
  fake.board.foreign = [
    { ...other, estimate: null, type: "DRAFT_ISSUE", content: {} },
    { ...other, estimate: null, type: "REDACTED", content: null },
    { ...other, estimate: null, content: { id: "I_of_another", repository: docs } },
  ];
  fake.board.perPage = 3;
  fake.board.cards.set(2, { status: "Todo", archived: true });
  fake.change(3, { state: "closed", state_reason: "completed" });
  fake.board.cards.set(4, { status: null });
  const left: string[] = [];
  const { tracker } = githubTracker(fake.url, { ...onBoard, onLeftOut: (what) => left.push(what) });
  const list = await tracker.fetchIssuesByStates(["Todo", "In Progress"]);
  assert.deepEqual(
    list.map(({ identifier }) => identifier),
    ["app-1", "app-5"],
  );
  assert.deepEqual(
    fake.taken().filter((one) => one.startsWith("POST")),
    ["POST /graphql 200", "POST /graphql 200", "POST /graphql 200"],
  );
  const found = await tracker.find?.("app-6");
  assert.deepEqual(
    found?.scope.map(({ detail }) => detail),
    ["acme/app", "not in the project Roadmap, which has 1 item that the token may not see"],
  );
  const [none] = await tracker.fetchIssuesByIds(["7#4"]);
  assert.equal(none?.state, "No Status");
  assert.equal(tracker.whyGone?.("7#6"), null);
  assert.deepEqual(await tracker.fetchIssuesByIds(["7#6", "7#2"]), []);
  assert.match(tracker.whyGone?.("7#6") ?? "", /^not in the project Roadmap/);
  assert.equal(tracker.whyGone?.("7#2"), "archived in the project Roadmap");
  assert.equal(await tracker.idOfNode?.("I_5", null), "7#5");
  assert.equal(await tracker.idOfNode?.("I_5", "PVT_another"), null, "of another project");
  await tracker.fetchIssuesByStates(["Todo"]);
  const once = "1 draft, 1 item that the token may not see, 1 issue of another repository";
  assert.deepEqual(left, [`acme/1: ${once}`], "said once");
  assert.equal(tracker.leftOut?.(), once);
  fake.board.foreign = [];
  await tracker.fetchIssuesByStates(["Todo"]);
  assert.equal(tracker.leftOut?.(), null);
  tracker.close();
});

test("an item behind a single sign-on fails no read, and its issue does not leave the board; any other error fails it", async () => {
  await using fake = await startSmallGithub();
  for (let at = 1; at <= 2; at++) {
    fake.add();
    fake.board.cards.set(at, { status: "Todo" });
  }
  const { tracker, clock } = githubTracker(fake.url, onBoard);
  const todo = async () =>
    (await tracker.fetchIssuesByStates(["Todo"])).map(({ identifier }) => identifier);
  assert.deepEqual(await todo(), ["app-1", "app-2"]);
  fake.board.cards.delete(2);
  const hidden = { id: "PVTI_2", isArchived: false, priority: null, estimate: null };
  fake.board.foreign = [{ ...hidden, status: { name: "Todo" }, content: null }];
  const message = "Resource protected by organization SAML enforcement.";
  const path = ["repositoryOwner", "projectV2", "items", "nodes", 0, "content"];
  fake.board.errors = [{ type: "FORBIDDEN", path, message, extensions: { saml_failure: true } }];
  assert.deepEqual(await todo(), ["app-1", "app-2"]);
  assert.equal(tracker.leftOut?.(), "1 item that the token may not see");
  for (const error of [
    { type: "FORBIDDEN", path: ["repositoryOwner", "projectV2"], message },
    { type: "INTERNAL", path, message: "Something broke" },
    { message },
  ]) {
    fake.board.errors = [...fake.board.errors.slice(0, 1), error];
    const reading = driven(clock, tracker.fetchIssuesByStates(["Todo"]));
    await assert.rejects(reading, { name: "SymphonyError" }, JSON.stringify(error));
  }
  tracker.close();
});

test("partial answers of a board move and stop nothing: null items, a field without permission, a cursor that is missing, a limit", async () => {
  await using fake = await startSmallGithub();
  for (let at = 1; at <= 2; at++) {
    fake.add();
    fake.board.cards.set(at, { status: "Todo" });
  }
  const { tracker, clock } = githubTracker(fake.url, onBoard);
  const names = (issues: readonly { identifier: string }[]) =>
    issues.map(({ identifier }) => identifier);
  const todo = async () => names(await tracker.fetchIssuesByStates(["Todo"]));
  assert.deepEqual(await todo(), ["app-1", "app-2"]);
  const second = { status: "Todo" };
  fake.board.cards.delete(2);
  fake.board.foreign = [null];
  assert.deepEqual(await todo(), ["app-1", "app-2"], "the null may be it");
  fake.board.hidden.add(2);
  assert.deepEqual(names(await tracker.fetchIssuesByIds(["7#1", "7#2"])), ["app-1", "app-2"]);
  fake.board.hidden.clear();
  assert.deepEqual(names(await tracker.fetchIssuesByIds(["7#1", "7#2"])), ["app-1"], "it left");
  assert.deepEqual(await todo(), ["app-1"]);
  fake.board.foreign = [];
  fake.board.cards.set(2, second);
  const path = ["repositoryOwner", "projectV2", "items", "nodes", 0, "status"];
  const failing = (answer: object) => {
    fake.board.errors = [{ type: "FORBIDDEN", path, message: "not this field", ...answer }];
    return driven(clock, tracker.fetchIssuesByStates(["Todo"]));
  };
  await assert.rejects(failing({}), { code: "tracker_status", message: /not this field/ });
  fake.board.errors = [];
  assert.deepEqual(await todo(), ["app-1", "app-2"]);
  fake.board.statusField = "State";
  const renamed = { code: "invalid_tracker_config", message: /has no field Status.*has State$/ };
  await assert.rejects(tracker.fetchIssuesByIds(["7#1"]), renamed, "a renamed field is no move");
  fake.board.statusField = "Status";
  fake.board.cards.set(1, { status: null });
  assert.equal((await tracker.fetchIssuesByIds(["7#1"]))[0]?.state, "No Status");
  fake.board.cards.set(1, { status: "Todo" });
  fake.board.perPage = 1;
  fake.board.endCursor = null;
  await assert.rejects(driven(clock, tracker.fetchIssuesByStates(["Todo"])), {
    code: "tracker_response",
    message: /pages without a next one of acme\/1/,
  });
  fake.board.perPage = 100;
  const limit = { type: "RATE_LIMITED", path: undefined, message: "API rate limit exceeded" };
  fake.board.errors = [{ type: "NOT_FOUND", path: ["repositoryOwner"], message: "x" }, limit];
  await assert.rejects(driven(clock, tracker.fetchIssuesByStates(["Todo"])), {
    code: "tracker_rate_limited",
  });
  tracker.close();
  fake.board.errors = [];
  fake.board.hidden.add(1);
  const restarted = githubTracker(fake.url, onBoard);
  const reading = driven(restarted.clock, restarted.tracker.fetchIssuesByIds(["7#1"]));
  const code = "tracker_request";
  await assert.rejects(reading, { code, message: /did not show an issue on acme\/1/ });
  restarted.tracker.close();
});

test("without repositories those of the board count: its issues are found, polled and created in them, also as the first request", async () => {
  await using fake = await startSmallGithub();
  fake.add();
  fake.add();
  fake.board.cards.set(1, { status: "Todo" });
  const all = { ...onBoard, provider: { project: "acme/1", repositories: undefined } };
  const started = githubTracker(fake.url, all);
  // The first request after a restart is for an issue that ran.
  const [first] = await started.tracker.fetchIssuesByIds(["7#1"]);
  assert.deepEqual([first?.identifier, first?.state], ["app-1", "Todo"]);
  started.tracker.close();
  const { tracker, clock } = githubTracker(fake.url, all);
  assert.equal((await tracker.find?.("app-1"))?.issue.id, "7#1");
  assert.deepEqual(
    (await tracker.fetchIssuesByStates(["Todo"])).map(({ identifier }) => identifier),
    ["app-1"],
  );
  const made = await driven(clock, tracker.editor?.create({ title: "New" }) ?? never());
  assert.deepEqual([made.identifier, made.state], ["app-3", "Todo"]);
  fake.repository.full_name = "acme/renamed";
  fake.board.repository = "acme/renamed";
  assert.deepEqual(
    (await tracker.fetchIssuesByStates(["Todo"])).map(({ identifier }) => identifier),
    ["app-1", "app-3"],
    "a repository that is renamed is the same one",
  );
  assert.equal(await tracker.idOfNode?.("I_1", null), "7#1");
  tracker.close();
});

test("a blocker of the board waits until its status is terminal, and a card's priority comes before labels", async () => {
  await using fake = await startSmallGithub();
  fake.add();
  fake.add({ blockedBy: [1], labels: ["p1"] });
  fake.board.cards.set(1, { status: "In Progress" });
  fake.board.cards.set(2, { status: "Todo", priority: "P0" });
  const { tracker } = githubTracker(fake.url, onBoard);
  const read = async () => (await tracker.fetchIssuesByStates(["Todo"]))[0];
  const first = await read();
  assert.deepEqual([first?.dispatchable, first?.priority], [false, 1]);
  assert.equal(first?.blockedBy[0]?.state, "In Progress");
  fake.taken();
  fake.board.cards.set(1, { status: "Done" });
  assert.equal((await read())?.dispatchable, true);
  assert.ok(!fake.taken().some((one) => one.includes("blocked_by")), "the board says it");
  tracker.close();
});

test("a terminal status closes the issue, another one opens it, and a new issue begins in the first active state", async () => {
  await using fake = await startSmallGithub();
  const { tracker, clock } = githubTracker(fake.url, onBoard);
  const made = await driven(clock, tracker.editor?.create({ title: "New" }) ?? never());
  assert.deepEqual([made.state, made.identifier], ["Todo", "app-1"]);
  assert.equal(fake.board.writes, 1);
  await driven(clock, tracker.workflow.move(made, "done"));
  assert.deepEqual(
    [fake.issues.get(1)?.state, fake.issues.get(1)?.state_reason, fake.board.cards.get(1)?.status],
    ["closed", "completed", "Done"],
  );
  await driven(clock, tracker.workflow.move(made, "In Progress"));
  assert.deepEqual(
    [fake.issues.get(1)?.state, fake.board.cards.get(1)?.status],
    ["open", "In Progress"],
  );
  await driven(clock, tracker.workflow.move(made, "Not planned"));
  const [after] = await tracker.fetchIssuesByIds([made.id]);
  assert.equal(after?.state, "Not planned");
  assert.equal(fake.board.writes, 3, "a reason of closing is no status");
  tracker.close();
});

test("polls take at most half of the points that are left, as the answers say them", async () => {
  await using fake = await startSmallGithub();
  fake.add();
  fake.board.cost = 50;
  const now = Date.parse("2026-11-26T08:00:00Z");
  Object.assign(fake.headers, {
    date: new Date(now).toUTCString(),
    "x-ratelimit-limit": "5000",
    "x-ratelimit-remaining": "1000",
    "x-ratelimit-reset": String(now / 1_000 + 1_800),
  });
  const { tracker } = githubTracker(fake.url, onBoard);
  await tracker.fetchIssuesByStates(["Todo"]);
  // 50 points each, 500 of them in 30 minutes.
  assert.deepEqual(tracker.pollPace?.(30_000), {
    intervalMs: 180_000,
    reason: "GitHub's budget for this hour: a poll costs 50 points, 1000 of 5000 are left",
  });
  assert.equal(tracker.budgetLeft?.(), 0.2);
  tracker.close();
});

test("settings of a project that do not fit are refused with their key", () => {
  const refusal = (provider: Readonly<Record<string, unknown>>) => {
    try {
      githubTracker("http://127.0.0.1:1", { provider });
      return null;
    } catch (error) {
      return error instanceof Error ? error.message : error;
    }
  };
  const key = "tracker.provider";
  assert.deepEqual(
    [
      refusal({ project: "https://github.com/orgs/acme/projects/4/views/2" }),
      refusal({ project: "users/ada" }),
      refusal({ project: { owner: "acme" } }),
      refusal({ project: "acme/1", state_from: "labels" }),
      refusal({ state_from: "project" }),
      refusal({ status_field: "Stage" }),
      refusal({ repositories: undefined }),
      refusal({ repositories: undefined, project: "acme/1" }),
      refusal({ repositories: [], project: "acme/1" }),
    ],
    [
      null,
      `${key}.project must be OWNER/NUMBER, such as acme/1, or the project's address`,
      `${key}.project must be OWNER/NUMBER, such as acme/1`,
      `${key}.state_from is labels: with tracker.provider.project it is project`,
      `${key}.project is missing: state_from is project`,
      `${key}.status_field is of a project, and tracker.provider.project is not set`,
      `${key}.repositories names no repository: write owner/name, such as [acme/app]`,
      null,
      `${key}.repositories must name a repository`,
    ],
  );
});
