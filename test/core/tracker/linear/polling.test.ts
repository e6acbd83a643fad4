import assert from "node:assert/strict";
import { test } from "node:test";
import { type FakeLinear, startFakeLinear } from "../../../support/fakes/fake-linear.ts";
import { linearTracker } from "../../../support/fakes/linear-tracker.ts";

const active = ["Todo", "In Progress"];
const minute = 60_000;

async function manyIssues(count = 60): Promise<FakeLinear> {
  const issues = Array.from({ length: count }, (_, at) => ({ identifier: `ENG-${at + 1}` }));
  return startFakeLinear({ issues });
}

function sent(fake: FakeLinear): readonly string[] {
  return fake.requests.splice(0).map(({ operation }) => operation.replace("Symphony", ""));
}

test("a small list is read as a whole each time: one request, and the same array while nothing changes", async () => {
  await using fake = await manyIssues(3);
  const { tracker } = linearTracker(fake);
  const first = await tracker.fetchIssuesByStates(active);
  assert.deepEqual(sent(fake), ["Scope", "Newest", "Candidates"]);
  assert.equal(await tracker.fetchIssuesByStates(active), first);
  assert.deepEqual(sent(fake), ["Candidates"]);
  fake.change("ENG-1", { title: "New title" });
  const second = await tracker.fetchIssuesByStates(active);
  assert.equal(second[0]?.title, "New title");
  assert.equal(second[1], first[0]);
});

test("between full passes a long list costs one request for the changes", async () => {
  await using fake = await manyIssues();
  const { tracker, clock } = linearTracker(fake);
  const first = await tracker.fetchIssuesByStates(active);
  assert.deepEqual(sent(fake), ["Scope", "Newest", "Candidates", "Candidates", "Changes"]);
  clock.advance(minute);
  assert.equal(await tracker.fetchIssuesByStates(active), first);
  assert.deepEqual(sent(fake), ["Changes"]);
  clock.advance(4 * minute);
  assert.equal(await tracker.fetchIssuesByStates(active), first);
  assert.deepEqual(sent(fake), ["Newest", "Candidates", "Candidates", "Changes"]);
});

test("a delta adds new issues, updates changed ones, and drops those that leave", async () => {
  await using fake = await manyIssues();
  fake.add({ identifier: "ENG-61", state: "Backlog" });
  const { tracker, clock } = linearTracker(fake);
  const first = await tracker.fetchIssuesByStates(active);
  clock.advance(minute);
  fake.setState("ENG-61", "Todo");
  fake.change("ENG-7", { title: "New title" });
  fake.setState("ENG-8", "Done");
  const second = await tracker.fetchIssuesByStates(active);
  assert.equal(second.length, 60);
  assert.deepEqual(
    second.slice(0, 2).map(({ title }) => title),
    ["New title", "Title of ENG-61"],
  );
  assert.ok(!second.some(({ identifier }) => identifier === "ENG-8"));
  assert.equal(second[2], first[0]);
});

test("a blocker that closes unblocks its issue, although that one did not change", async () => {
  await using fake = await manyIssues();
  fake.change("ENG-60", { blockedBy: ["ENG-1"] });
  const { tracker, clock } = linearTracker(fake);
  const [blocked] = await tracker.fetchIssuesByStates(active);
  assert.deepEqual([blocked?.identifier, blocked?.dispatchable], ["ENG-60", false]);
  clock.advance(minute);
  fake.setState("ENG-1", "Done");
  const [freed] = await tracker.fetchIssuesByStates(active);
  assert.deepEqual([freed?.identifier, freed?.dispatchable], ["ENG-60", true]);
  assert.deepEqual(
    freed?.blockedBy.map(({ state }) => state),
    ["Done"],
  );
});

test("the watermark is Linear's time, with an overlap at first and exact once no change can be late", async () => {
  await using fake = await manyIssues();
  const { tracker, clock } = linearTracker(fake);
  await tracker.fetchIssuesByStates(active);
  clock.jump(-86_400_000);
  const newest = Date.parse(fake.issues.at(-1)?.updatedAt ?? "");
  const overlaps: number[] = [];
  for (let poll = 0; poll < 3; poll++) {
    clock.advance(30_000);
    fake.requests.length = 0;
    await tracker.fetchIssuesByStates(active);
    const gt = /"gt":"([^"]+)"/.exec(JSON.stringify(fake.requests[0]?.variables))?.[1] ?? "";
    overlaps.push(newest - Date.parse(gt));
  }
  assert.deepEqual(overlaps, [10_000, 0, 0]);
});

test("a change with more pages than the list leads to a full pass", async () => {
  await using fake = await manyIssues();
  for (let at = 100; at < 400; at++) fake.add({ identifier: `ENG-${at}`, state: "Done" });
  const { tracker, clock } = linearTracker(fake);
  const first = await tracker.fetchIssuesByStates(active);
  clock.advance(minute);
  for (let at = 100; at < 400; at++) fake.change(`ENG-${at}`, { labels: ["archive"] });
  fake.requests.length = 0;
  assert.equal(await tracker.fetchIssuesByStates(active), first);
  assert.ok(sent(fake).includes("Candidates"));
});

test("full passes leave half of the rate budget: an expensive one comes later", async () => {
  await using fake = await manyIssues();
  Object.assign(fake.headers, {
    "x-complexity": "4760",
    "x-ratelimit-complexity-limit": "60000",
    "x-ratelimit-complexity-remaining": "29000",
  });
  const { tracker, clock } = linearTracker(fake);
  await tracker.fetchIssuesByStates(active);
  fake.requests.length = 0;
  clock.advance(18 * minute);
  await tracker.fetchIssuesByStates(active);
  assert.deepEqual(sent(fake), ["Changes"]);
  clock.advance(2 * minute);
  await tracker.fetchIssuesByStates(active);
  assert.ok(sent(fake).includes("Candidates"));
  assert.deepEqual(tracker.budget.complexity, { limit: 60_000, remaining: 29_000, resetAt: null });
});

test("a read by ids removes missing issues from the list", async () => {
  await using fake = await manyIssues();
  const { tracker } = linearTracker(fake);
  await tracker.fetchIssuesByStates(active);
  const archived = fake.issues[4];
  assert.ok(archived);
  archived.archived = true;
  assert.deepEqual(await tracker.fetchIssuesByIds([archived.id]), []);
  const read = await tracker.fetchIssuesByStates(active);
  assert.ok(!read.some(({ id }) => id === archived.id));
});

test("concurrent reads of the same states run one after the other", async () => {
  await using fake = await manyIssues(3);
  const { tracker } = linearTracker(fake);
  const [first, second] = await Promise.all([
    tracker.fetchIssuesByStates(active),
    tracker.fetchIssuesByStates(["in progress", "todo"]),
  ]);
  assert.equal(first, second);
  assert.deepEqual(sent(fake), ["Scope", "Newest", "Candidates", "Candidates"]);
});

test("a state that was not found is read again, but not at every poll", async () => {
  await using fake = await manyIssues(1);
  const { tracker, clock } = linearTracker(fake);
  await tracker.fetchIssuesByStates(["Nowhere"]);
  await tracker.fetchIssuesByStates(["Nowhere"]);
  clock.advance(6 * minute);
  await tracker.fetchIssuesByStates(["Nowhere"]);
  assert.equal(sent(fake).filter((operation) => operation === "Scope").length, 2);
});

// S8 is a row of the cases of scheduler and configuration: polls that use up the hour's budget.
test("S8: polls become slower when the response headers say that the hour's budget runs out", async () => {
  await using fake = await manyIssues(3);
  const { tracker } = linearTracker(fake);
  const left = async (points: number, requests = 5_000) => {
    Object.assign(fake.headers, {
      "x-complexity": "4700",
      "x-ratelimit-complexity-limit": "3000000",
      "x-ratelimit-complexity-remaining": String(points),
      "x-ratelimit-requests-limit": "5000",
      "x-ratelimit-requests-remaining": String(requests),
    });
    await tracker.fetchIssuesByStates(active);
    return tracker.pollPace?.(1_000) ?? null;
  };
  assert.equal(await left(2_990_000), null);
  assert.equal(await left(800_000), null);
  const scarce = await left(600_000);
  // One request of 4,700 points: half of what is refilled in this time.
  assert.equal(scarce?.intervalMs, 11_280);
  assert.match(scarce?.reason ?? "", /600000 of 3000000 points are left/);
  assert.ok(((await left(15_000))?.intervalMs ?? 0) >= 11_280);
  assert.ok(((await left(3_000_000, 50))?.intervalMs ?? 0) >= 25_000);
  assert.equal(await left(3_000_000), null);
});

test("S8: at 1,000 ms and 4,700 points a request, an hour of polls stays inside the budget", async () => {
  await using fake = await manyIssues(3);
  const { tracker, clock } = linearTracker(fake);
  const limit = 3_000_000;
  let [points, refused, nextMs] = [limit, 0, 1_000];
  for (let passedMs = 0; passedMs < 3_600_000; passedMs += nextMs) {
    points = Math.min(points + (limit * nextMs) / 3_600_000, limit) - 4_700;
    if (points < 0) refused++;
    Object.assign(fake.headers, {
      "x-complexity": "4700",
      "x-ratelimit-complexity-limit": String(limit),
      "x-ratelimit-complexity-remaining": String(Math.max(Math.round(points), 0)),
    });
    await tracker.fetchIssuesByStates(active);
    clock.advance(nextMs);
    nextMs = Math.max(1_000, tracker.pollPace?.(1_000)?.intervalMs ?? 0);
  }
  assert.equal(refused, 0);
  assert.ok(points > limit / 10, `${points} points are left`);
});
