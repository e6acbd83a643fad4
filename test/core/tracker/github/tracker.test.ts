import assert from "node:assert/strict";
import { test } from "node:test";
import { driven } from "../../../support/fakes/linear-tracker.ts";
import { githubTracker, startSmallGithub } from "../../../support/fakes/small-github.ts";

const never = (): never => assert.fail("the tracker takes no comments");
const identifiers = (issues: readonly { readonly identifier: string }[]) =>
  issues.map(({ identifier }) => identifier);

test("an unchanged poll is one request that costs nothing, and pull requests are no issues", async () => {
  await using fake = await startSmallGithub();
  fake.add({ labels: ["P0"], assignees: ["Ada"] });
  fake.add({ pull: true });
  const { tracker } = githubTracker(fake.url);
  const first = await tracker.fetchIssuesByStates(["Open"]);
  assert.deepEqual(identifiers(first), ["app-1"]);
  assert.equal(first[0]?.priority, 1);
  assert.equal(first[0]?.id, "7#1");
  assert.deepEqual(first[0]?.team, { id: "7", key: "app", name: "acme/app" });
  fake.taken();
  assert.equal(await tracker.fetchIssuesByStates(["Open"]), first);
  assert.deepEqual(fake.taken(), ["GET /repos/acme/app/issues 304"]);
  fake.change(1, { title: "Another" });
  const [changed] = await tracker.fetchIssuesByStates(["Open"]);
  assert.equal(changed?.title, "Another");
  tracker.close();
});

test("of a long list the changes are read: one request, free until something changes, and all of it every five minutes", async () => {
  await using fake = await startSmallGithub();
  for (let at = 1; at <= 250; at++) fake.add();
  const { tracker, clock } = githubTracker(fake.url);
  const first = await tracker.fetchIssuesByStates(["Open"]);
  assert.equal(first.length, 250);
  await tracker.fetchIssuesByStates(["Open"]);
  fake.taken();
  assert.equal(await tracker.fetchIssuesByStates(["Open"]), first);
  assert.deepEqual(fake.taken(), ["GET /repos/acme/app/issues 304"]);
  fake.change(3, { state: "closed" });
  fake.add({ title: "New" });
  const next = await tracker.fetchIssuesByStates(["Open"]);
  assert.equal(next.length, 250);
  assert.deepEqual([next[2]?.identifier, next.at(-1)?.identifier], ["app-4", "app-251"]);
  assert.deepEqual(fake.taken(), ["GET /repos/acme/app/issues 200"]);
  // Deleted issues are in no list of changes.
  fake.issues.delete(200);
  clock.advance(300_000);
  assert.equal((await tracker.fetchIssuesByStates(["Open"])).length, 249);
  tracker.close();
});

test("an issue that closes while a long list is read hides none: the list is read a second time", async () => {
  await using fake = await startSmallGithub();
  for (let at = 1; at <= 250; at++) fake.add({ pull: at === 5 });
  const { tracker, clock } = githubTracker(fake.url);
  // This machine is an hour ahead of GitHub.
  const theirs = () => new Date(clock.wall() - 3_600_000);
  const later = (ms = 300_000) => {
    clock.advance(ms);
    fake.headers["date"] = theirs().toUTCString();
  };
  later(0);
  const closes = (number: number) => {
    fake.change(number, { state: "closed" }).updated_at = theirs().toISOString();
  };
  // Issue 101 moves to the first page, which was read before.
  fake.between.push(() => closes(3));
  const found = await tracker.fetchIssuesByStates(["Open"]);
  assert.equal(found.length, 248);
  assert.ok(identifiers(found).includes("app-101"));
  assert.ok(!identifiers(found).includes("app-3"));
  // Of a pull request likewise, at the next complete read.
  later();
  fake.between.push(() => closes(5));
  assert.equal((await tracker.fetchIssuesByStates(["Open"])).length, 248);
  later();
  fake.taken();
  assert.equal((await tracker.fetchIssuesByStates(["Open"])).length, 248);
  assert.equal(fake.taken().length, 5, "three pages, what has closed meanwhile, the name");
  const ahead = () => Math.round((tracker.aheadMs?.() ?? 0) / 10_000) * 10_000;
  assert.equal(ahead(), 3_600_000);
  // A program on the way that refuses has a clock of its own.
  fake.headers["date"] = new Date(0).toUTCString();
  fake.fail({ status: 403 });
  await assert.rejects(tracker.fetchIssuesByStates(["Open"]));
  assert.equal(ahead(), 3_600_000);
  tracker.close();
});

test("types, milestones, parents and sub-issues are read, and types and milestones say what is started", async () => {
  await using fake = await startSmallGithub();
  fake.add({ type: "Feature", subIssues: [2], title: "Epic" });
  fake.add({ type: "bug", milestone: "v1", parent: 1 });
  fake.add({ type: "Bug", parent: 99 });
  const provider = { types: ["Bug", "Task"], milestones: "V1" };
  const { tracker } = githubTracker(fake.url, { provider });
  const [epic, bug, late] = await tracker.fetchIssuesByStates(["Open"]);
  const why = "its type is Feature, not bug or task (tracker.provider.types)";
  assert.deepEqual([epic?.dispatchable, epic?.withheld], [false, why]);
  assert.deepEqual(
    epic?.subIssues.map(({ id, title }) => [id, title]),
    [["7#2", "Issue 2"]],
  );
  assert.deepEqual([bug?.dispatchable, bug?.withheld], [true, null]);
  assert.deepEqual([bug?.nativeRef?.["type"], bug?.project?.name], ["bug", "v1"]);
  assert.deepEqual(
    [bug?.parent?.id, bug?.parent?.title, bug?.parent?.state],
    ["7#1", "Epic", "Open"],
  );
  assert.deepEqual([late?.parent?.identifier, late?.parent?.state], ["app-99", null]);
  assert.equal(late?.withheld, "its milestone is none, not v1 (tracker.provider.milestones)");
  fake.change(1, { title: "Renamed" });
  fake.change(3, { milestone: "v1" });
  const [, renamed, now] = await tracker.fetchIssuesByStates(["Open"]);
  assert.deepEqual([renamed?.parent?.title, now?.dispatchable], ["Renamed", true]);
  tracker.close();
});

test("a blocked issue waits, and runs once its blocker is closed", async () => {
  await using fake = await startSmallGithub();
  fake.add();
  fake.add({ blockedBy: [1] });
  const { tracker } = githubTracker(fake.url);
  const read = async () => (await tracker.fetchIssuesByStates(["Open"])).at(-1);
  const blocked = await read();
  assert.equal(blocked?.dispatchable, false);
  assert.deepEqual(blocked?.blockedBy[0]?.identifier, "app-1");
  fake.change(1, { state: "closed", state_reason: "not_planned" });
  const free = await read();
  assert.equal(free?.dispatchable, true);
  assert.equal(free?.blockedBy[0]?.state, "Not planned");
  tracker.close();
});

test("T-5: an issue that is deleted, transferred or unreadable says why; a repository that cannot be read is an error", async () => {
  await using fake = await startSmallGithub();
  for (let at = 1; at <= 3; at++) fake.add();
  const { tracker, clock } = githubTracker(fake.url);
  const read = (id: string) => driven(clock, tracker.fetchIssuesByIds([id]));
  fake.fail({ match: /\/issues\/1$/, status: 410 });
  assert.deepEqual(await read("7#1"), []);
  assert.equal(tracker.whyGone?.("7#1"), "deleted");
  // Issues that are switched off are not gone.
  Object.assign(fake.repository, { has_issues: false });
  fake.fail({ match: /\/issues\/1$/, status: 410 });
  await assert.rejects(read("7#1"), { code: "tracker_status" });
  Object.assign(fake.repository, { has_issues: true });
  fake.change(2, { movedTo: "https://x/repos/acme/docs/issues/5" });
  assert.deepEqual(await read("7#2"), []);
  assert.equal(tracker.whyGone?.("7#2"), "transferred to acme/docs#5");
  // A new issue may not have reached the replica that answers.
  fake.fail({ match: /\/issues\/3$/, status: 404 });
  assert.deepEqual(identifiers(await read("7#3")), ["app-3"]);
  fake.fail({ match: /\/issues\/3$/, status: 404, times: 2 });
  fake.fail({ match: /^GET \/repos\/acme\/app$/, status: 404 });
  await assert.rejects(read("7#3"), { code: "tracker_status" });
  tracker.close();
});

test("pull requests count as entries of a long list, and exactly 100 blockers are read", async () => {
  await using fake = await startSmallGithub();
  for (let at = 1; at <= 101; at++) fake.add({ pull: at > 99 });
  fake.add({ blockedBy: Array.from({ length: 99 }, (_, at) => at + 1).concat(101) });
  const { tracker } = githubTracker(fake.url);
  const first = await tracker.fetchIssuesByStates(["Open"]);
  assert.deepEqual([first.length, first.at(-1)?.blockedBy.length], [100, 99]);
  await tracker.fetchIssuesByStates(["Open"]);
  fake.taken();
  assert.equal(await tracker.fetchIssuesByStates(["Open"]), first);
  assert.deepEqual(fake.taken(), ["GET /repos/acme/app/issues 304"], "the changes, not two pages");
  tracker.close();
});

test("a name that two repositories have stands for neither", async () => {
  await using fake = await startSmallGithub();
  fake.add();
  const { tracker } = githubTracker(fake.url, {
    provider: { repositories: ["acme/app", "other/app"] },
  });
  assert.equal(await tracker.find?.("app-1"), null);
  assert.equal((await tracker.find?.("acme/app#1"))?.issue.identifier, "acme-app-1");
  assert.equal((await tracker.find?.("acme-app-1"))?.issue.id, "7#1");
  tracker.close();
});

test("a renamed repository keeps its issues and their names", async () => {
  await using fake = await startSmallGithub();
  fake.add();
  const { tracker, clock } = githubTracker(fake.url);
  const [before] = await tracker.fetchIssuesByStates(["Open"]);
  fake.repository.full_name = "acme/renamed";
  fake.add({ blockedBy: [1] });
  const [after, blocked] = await tracker.fetchIssuesByStates(["Open"]);
  assert.deepEqual([after?.id, after?.identifier], [before?.id, "app-1"]);
  const [blocker] = blocked?.blockedBy ?? [];
  assert.deepEqual([blocker?.id, blocker?.identifier], [before?.id, "app-1"]);
  assert.equal((await tracker.fetchIssuesByIds(["7#1"]))[0]?.identifier, "app-1");
  // Another repository takes the name.
  Object.assign(fake.repository, { id: 8, full_name: "acme/app" });
  clock.advance(300_000);
  await tracker.fetchIssuesByStates(["Open"]);
  assert.deepEqual(await tracker.fetchIssuesByIds(["7#1"]), []);
  assert.match(tracker.whyGone?.("7#1") ?? "", /of a repository that/);
  tracker.close();
});

test("labels as states: the label is moved, nothing else is touched, and a token that may not label is told", async () => {
  await using fake = await startSmallGithub();
  fake.labels.add("Status: In Progress");
  fake.add({ labels: ["bug", "status: todo"] });
  fake.add();
  const { tracker, clock } = githubTracker(fake.url, {
    provider: { state_from: "labels", states: ["In Review"] },
    tracker: { activeStates: ["Todo", "In Progress"], terminalStates: ["Done"] },
  });
  const [issue, ...others] = await tracker.fetchIssuesByStates(["Todo"]);
  assert.ok(issue && others.length === 0);
  assert.equal(issue.state, "Todo");
  await driven(clock, tracker.workflow.move(issue, "in progress"));
  assert.deepEqual(fake.issues.get(1)?.labels, ["bug", "Status: In Progress"]);
  const [moved] = await tracker.fetchIssuesByIds([issue.id]);
  assert.equal(moved?.state, "In Progress");
  await driven(clock, tracker.workflow.move(issue, "Closed"));
  assert.equal(fake.issues.get(1)?.state, "closed");
  await driven(clock, tracker.workflow.move(issue, "In Review"));
  assert.deepEqual(fake.issues.get(1)?.labels, ["bug", "status:In Review"]);
  fake.fail({ match: /^POST .*labels$/, body: "[]" });
  await assert.rejects(driven(clock, tracker.workflow.move(issue, "Todo")), {
    code: "tracker_status",
    message: "GitHub did not set the label status:Todo",
  });
  const made = await driven(clock, tracker.editor?.create({ title: "New" }) ?? never());
  assert.equal(made.state, "Todo", "the first active state");
  fake.change(1, { state: "closed" });
  fake.change(3, { blockedBy: [1] });
  const [free] = await tracker.fetchIssuesByIds([made.id]);
  assert.deepEqual([free?.blockedBy[0]?.state, free?.dispatchable], ["Closed", true]);
  tracker.close();
});

test("a comment with a key is written once, also when its answer was lost, and its text is replaced", async () => {
  await using fake = await startSmallGithub();
  fake.add();
  const { tracker, clock } = githubTracker(fake.url);
  const issue = { id: "7#1", identifier: "app-1" };
  const write = async (body: string) =>
    driven(clock, tracker.workflow.comment?.(issue, { key: "state app-1", body }) ?? never());
  fake.say(1, "mallory", "<!-- symphony state app-1 -->\nquoted");
  fake.fail({ match: /^POST .*comments$/, lost: true });
  await assert.rejects(write("one"), { code: "tracker_request" });
  await write("one");
  await write("two");
  assert.deepEqual(
    fake.issues.get(1)?.comments.map(({ user, body }) => `${user}: ${body.split("\n")[1]}`),
    ["mallory: quoted", "symphony-bot: two"],
  );
  tracker.close();
});

test("comments say who wrote them, and who may write to the repository", async () => {
  await using fake = await startSmallGithub();
  fake.add();
  const { tracker } = githubTracker(fake.url);
  const by = async (user: string) => {
    const found = await tracker.comment?.(fake.say(1, user, "@symphony hello"));
    return [found?.issueId, found?.by, found?.mayWrite];
  };
  assert.deepEqual(await by("ada"), ["7#1", "person", true]);
  assert.deepEqual(await by("mallory"), ["7#1", "person", false]);
  assert.deepEqual(await by("symphony-bot"), ["7#1", "own", undefined]);
  assert.equal(await tracker.comment?.("7/1"), null);
  assert.equal(await tracker.comment?.("8/101"), null);
  const list = await tracker.comments?.({ id: "7#1", identifier: "app-1" });
  assert.deepEqual(
    list?.comments.map(({ author }) => author),
    ["ada", "mallory", "symphony-bot"],
  );
  const timed = await tracker.newComments?.({ id: "7#1", identifier: "app-1" }, 0);
  assert.deepEqual(
    timed?.map(({ author, by, mayWrite, issueId }) => [author, by, mayWrite, issueId]),
    [
      ["ada", "person", true, "7#1"],
      ["mallory", "person", false, "7#1"],
      ["symphony-bot", "own", undefined, "7#1"],
    ],
  );
  assert.equal(tracker.ownLogin?.(), "symphony-bot");
  fake.taken();
  await tracker.newComments?.({ id: "7#1", identifier: "app-1" }, 0);
  assert.ok(fake.taken().includes("GET /repos/acme/app/issues/1/comments 304"), "unchanged: free");
  fake.fail({ match: /\/collaborators\/ada\//, status: 403, times: 2 });
  const unknown = await tracker.newComments?.({ id: "7#1", identifier: "app-1" }, 0);
  assert.deepEqual(
    unknown?.map(({ mayWrite }) => mayWrite),
    [null, false, undefined],
    "a right that cannot be asked is not known",
  );
  assert.equal((await by("ada"))[2], null);
  for (let at = 0; at < 250; at++) fake.say(1, "ada", `more ${at}`, at < 100 ? 1_000 : 2_000);
  fake.taken();
  const since = async (at: number) =>
    (await tracker.newComments?.({ id: "7#1", identifier: "app-1" }, at))?.length;
  assert.equal(await since(2_000), 154, "all that were written at once");
  assert.equal(await since(9_000), 54, "the last page is enough");
  const [first] = timed ?? [];
  assert.equal((await tracker.comment?.(first?.id ?? ""))?.author, "ada", "the same ids");
  tracker.close();
});

test("primary and secondary limits are waited out without a request, and a budget that runs out slows the polls", async () => {
  await using fake = await startSmallGithub();
  fake.add();
  const { tracker, clock } = githubTracker(fake.url);
  const date = new Date(clock.wall()).toUTCString();
  Object.assign(fake.headers, {
    ...{ date, "x-ratelimit-limit": "5000", "x-ratelimit-remaining": "40" },
    "x-ratelimit-reset": String(Math.round(clock.wall() / 1_000) + 1_800),
  });
  await tracker.fetchIssuesByStates(["Open"]);
  assert.equal(tracker.quota?.(), "40 of 5000 requests");
  const pace = tracker.pollPace?.(5_000);
  assert.ok(pace && pace.intervalMs > 60_000, JSON.stringify(pace));
  fake.taken();
  fake.fail({
    status: 403,
    headers: { "retry-after": "30" },
    body: '{"message":"secondary rate limit"}',
  });
  const limited = { code: "tracker_rate_limited" };
  await assert.rejects(tracker.fetchIssuesByStates(["Open"]), limited);
  await assert.rejects(tracker.fetchIssuesByStates(["Open"]), limited);
  assert.equal(fake.taken().length, 1);
  clock.advance(31_000);
  assert.equal((await tracker.fetchIssuesByStates(["Open"])).length, 1);
  tracker.close();
});

test("an agent that reads in a loop leaves the last tenth of the hour to polls and moves, until the hour is over", async () => {
  await using fake = await startSmallGithub();
  fake.add();
  const { tracker, clock } = githubTracker(fake.url);
  const [issue] = await tracker.fetchIssuesByStates(["Open"]);
  assert.ok(issue);
  const tools = tracker.bindTools(issue);
  const left = (remaining: number) =>
    Object.assign(fake.headers, {
      date: new Date(clock.wall()).toUTCString(),
      ...{ "x-ratelimit-limit": "5000", "x-ratelimit-remaining": String(remaining) },
      "x-ratelimit-reset": String(Math.round(clock.wall() / 1_000) + 1_800),
    });
  left(600);
  assert.equal((await tools.call("issue_get", {})).success, true);
  left(400);
  await tracker.fetchIssuesByStates(["Open"]);
  fake.taken();
  const { error } = JSON.parse((await tools.call("issue_get", {})).output);
  assert.equal(error.code, "tracker_rate_limited");
  assert.match(error.message, /kept for moves and polls/);
  assert.deepEqual(fake.taken(), []);
  assert.equal((await tools.call("issue_move", { state: "Closed" })).success, true);
  assert.equal(tracker.budgetLeft?.(), 0.08);
  clock.advance(1_801_000);
  assert.equal(tracker.budgetLeft?.(), null, "a new hour has begun");
  assert.equal((await tools.call("issue_get", {})).success, true);
  tracker.close();
});

test("people create and edit issues, and `assignee` withholds those of others", async () => {
  await using fake = await startSmallGithub();
  const { tracker, clock } = githubTracker(fake.url, { provider: { assignee: "me" } });
  const { editor } = tracker;
  assert.ok(editor);
  const made = await editor.create({ title: "New", priority: 1, labels: ["bug"] });
  assert.deepEqual([made.identifier, made.priority, made.labels], ["app-1", 1, ["bug", "p0"]]);
  assert.equal(
    made.withheld,
    "assigned to nobody, not to symphony-bot (tracker.provider.assignee)",
  );
  fake.change(1, { assignees: ["Symphony-Bot"] });
  const edited = await driven(clock, editor.edit(made, { labels: ["agent"], title: "Newer" }));
  assert.deepEqual(
    [edited.title, edited.labels, edited.dispatchable],
    ["Newer", ["p0", "agent"], true],
  );
  await driven(clock, editor.comment(made, "A word"));
  assert.equal(fake.issues.get(1)?.comments[0]?.body, "A word");
  await assert.rejects(driven(clock, editor.edit(made, { priority: 4 })), {
    code: "invalid_request",
  });
  tracker.close();
  // A token of Actions belongs to no user.
  fake.fail({ match: /^GET \/user$/, status: 403 });
  const { tracker: nameless } = githubTracker(fake.url, { provider: { assignee: "me" } });
  await assert.rejects(nameless.fetchIssuesByStates(["Open"]), { code: "invalid_tracker_config" });
  nameless.close();
});

test("T-14: a session keeps the token that it was bound with", async () => {
  await using fake = await startSmallGithub();
  fake.add();
  let token = "ghp_first";
  const { tracker } = githubTracker(fake.url, { lookup: () => token });
  const [issue] = await tracker.fetchIssuesByStates(["Open"]);
  assert.ok(issue);
  const tools = tracker.bindTools(issue);
  token = "ghp_second";
  fake.taken();
  const body = "Done, @ada: <!-- symphony state --> and `<!-- symphony -->`, closes #4";
  assert.equal((await tools.call("issue_comment", { body })).success, true);
  await tracker.fetchIssuesByStates(["Open"]);
  tracker.close();
  const [comment, ...more] = fake.issues.get(1)?.comments ?? [];
  assert.deepEqual(more, []);
  assert.match(comment?.body ?? "", /^Done, @/);
  assert.doesNotMatch(comment?.body ?? "", /@ada|#4|<!-- symphony/, "it does nothing there");
});

test("T-9: settings that cannot be used name their key, and no secret", () => {
  const refused = (provider: object, path: string, code = "invalid_tracker_config") =>
    assert.throws(
      () => githubTracker("http://127.0.0.1:1", { provider: { ...provider } }),
      (error: { code?: string; details?: { path?: string } }) => {
        assert.deepEqual([error.code, error.details?.path], [code, `tracker.provider.${path}`]);
        return true;
      },
    );
  refused({ repositories: [] }, "repositories");
  refused({ repositories: ["app"] }, "repositories.0");
  refused({ repositories: ["a/b-c", "b/c", "x/c"] }, "repositories");
  refused({ state_from: "search" }, "state_from");
  refused({ base_url: "ftp://x" }, "base_url");
  refused({ token: "ghp_plain" }, "token");
  refused({ token: "$OTHER" }, "token", "missing_tracker_secret");
});
