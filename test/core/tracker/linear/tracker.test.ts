import assert from "node:assert/strict";
import { test } from "node:test";
import { rowOf } from "../../../../src/core/tracker/linear/normalize.ts";
import { startFakeLinear } from "../../../support/fakes/fake-linear.ts";
import { linearTracker } from "../../../support/fakes/linear-tracker.ts";
import { issue } from "../../../support/makers/issue.ts";

const active = ["Todo", "In Progress"];
const identifiers = (issues: readonly { readonly identifier: string }[]) =>
  issues.map(({ identifier }) => identifier);

test("T-2: an empty list makes no request", async () => {
  await using fake = await startFakeLinear();
  const { tracker } = linearTracker(fake);
  assert.deepEqual(await tracker.fetchIssuesByStates([]), []);
  assert.deepEqual(await tracker.fetchIssuesByIds([]), []);
  assert.equal(fake.requests.length, 0);
});

test("T-3, L-8: reads every page in order, with undispatchable issues and Linear's spelling of states", async () => {
  const issues = Array.from({ length: 55 }, (_, at) => ({ identifier: `ENG-${at + 1}` }));
  await using fake = await startFakeLinear({ issues });
  fake.change("ENG-55", { blockedBy: ["ENG-1"] });
  fake.setState("ENG-3", "Done");
  fake.add({ identifier: "ENG-99", project: "another" });
  const { tracker } = linearTracker(fake);
  const read = await tracker.fetchIssuesByStates([" todo ", "IN PROGRESS", "Nowhere"]);
  const rest = Array.from({ length: 54 }, (_, at) => `ENG-${54 - at}`).filter(
    (id) => id !== "ENG-3",
  );
  assert.deepEqual(identifiers(read), ["ENG-55", ...rest]);
  assert.equal(read[0]?.dispatchable, false);
  const pages = fake.requests.filter(({ operation }) => operation === "SymphonyCandidates");
  assert.deepEqual(
    pages.map(({ variables }) => variables["first"]),
    [50, 50],
  );
  assert.deepEqual(pages[0]?.variables["filter"], {
    project: { slugId: { eq: fake.project } },
    state: { name: { in: ["Todo", "In Progress", "Nowhere"] } },
  });
  assert.equal(pages[0]?.headers.authorization, fake.apiKey);
  assert.equal(pages[0]?.headers["user-agent"], "symphony");
});

test("T-4, T-5, T-8, L-8: ids are a set, returned in the requested order, read in batches of 50, complete", async () => {
  const issues = Array.from({ length: 56 }, (_, at) => ({
    identifier: `ENG-${at + 1}`,
    labels: ["A"],
  }));
  await using fake = await startFakeLinear({ issues });
  const { tracker } = linearTracker(fake);
  const [foreign, ...own] = fake.issues;
  assert.ok(foreign && own[0]);
  foreign.project = "another";
  const ids = own.map(({ id }) => id);
  const asked = [
    ...ids,
    own[0].id,
    foreign.id,
    "00000000-0000-4000-8000-999999999999",
    "not-a-uuid",
  ];
  const read = await tracker.fetchIssuesByIds(asked);
  assert.deepEqual(
    read.map(({ id }) => id),
    ids,
  );
  const batches = fake.requests.filter(({ operation }) => operation === "SymphonyIssuesById");
  assert.deepEqual(
    batches.map(({ variables }) => variables["first"]),
    [50, 7],
  );
  const listed = await tracker.fetchIssuesByStates(active);
  assert.deepEqual(
    read[0],
    listed.find(({ id }) => id === ids[0]),
  );
});

test("T-4: a record that moves to a later page is listed once", async () => {
  const issues = Array.from({ length: 60 }, (_, at) => ({ identifier: `ENG-${at + 1}` }));
  await using fake = await startFakeLinear({ issues });
  const { tracker } = linearTracker(fake);
  const anchor = fake.issues[57];
  assert.ok(anchor);
  fake.fail({ kind: "cursor", operation: "SymphonyCandidates", cursor: anchor.id });
  const read = await tracker.fetchIssuesByStates(active);
  assert.equal(read.length, 60);
  assert.equal(new Set(read).size, 60);
});

test("T-6: a malformed record is dropped and counted by states, and fails a read by ids", async () => {
  await using fake = await startFakeLinear({
    issues: [{ identifier: "ENG-1" }, { identifier: "ENG-2" }],
  });
  fake.change("ENG-1", { title: " " });
  const counts: number[] = [];
  const { tracker } = linearTracker(fake, { onMalformed: (count) => counts.push(count) });
  assert.deepEqual(identifiers(await tracker.fetchIssuesByStates(active)), ["ENG-2"]);
  assert.deepEqual(counts, [1]);
  const ids = fake.issues.map(({ id }) => id);
  await assert.rejects(tracker.fetchIssuesByIds(ids), { code: "tracker_response" });
});

test("T-6: labels or blockers that were not read are not taken for none", () => {
  const rules = { terminalStates: new Set<string>(), blockerStates: null, firstActive: null };
  const node = { id: "i", identifier: "ENG-1", title: "T", state: { name: "Todo" } };
  const isRow = (more: object) =>
    rowOf({ ...node, ...more }, { ...rules, assignee: null }) !== null;
  assert.ok(isRow({ labels: { nodes: [{ name: "a" }] }, inverseRelations: { nodes: [] } }));
  for (const hole of [null, { nodes: [null] }, { nodes: [{ name: "a" }, null] }]) {
    assert.ok(!isRow({ labels: hole }), JSON.stringify(hole));
    assert.ok(!isRow({ inverseRelations: hole }), JSON.stringify(hole));
  }
});

test("T-7: a failed later page is an error, and the list is unchanged", async () => {
  const issues = Array.from({ length: 60 }, (_, at) => ({ identifier: `ENG-${at + 1}` }));
  await using fake = await startFakeLinear({ issues });
  const { tracker, clock } = linearTracker(fake);
  const before = await tracker.fetchIssuesByStates(active);
  clock.advance(300_000);
  fake.fail({ kind: "status", status: 404, operation: "SymphonyCandidates", after: 1 });
  await assert.rejects(tracker.fetchIssuesByStates(active), { code: "tracker_status" });
  assert.equal(await tracker.fetchIssuesByStates(active), before);
});

for (const [what, cursor] of [
  ["no", null],
  ["an empty", ""],
] as const) {
  test(`T-10: more pages with ${what} cursor is tracker_pagination`, async () => {
    await using fake = await startFakeLinear({ issues: [{ identifier: "ENG-1" }] });
    fake.fail({ kind: "cursor", operation: "SymphonyCandidates", cursor });
    const { tracker } = linearTracker(fake);
    await assert.rejects(tracker.fetchIssuesByStates(active), { code: "tracker_pagination" });
  });
}

test("T-10: a repeated cursor is tracker_pagination", async () => {
  await using fake = await startFakeLinear({ issues: [{ identifier: "ENG-1" }] });
  fake.fail({ kind: "cursor", operation: "SymphonyCandidates", cursor: "again", times: 9 });
  const { tracker } = linearTracker(fake);
  await assert.rejects(tracker.fetchIssuesByStates(active), { code: "tracker_pagination" });
  assert.equal(
    fake.requests.filter(({ operation }) => operation === "SymphonyCandidates").length,
    2,
  );
});

test("N-10, N-11: labels after the first page of them are read as well", async () => {
  const labels = Array.from({ length: 30 }, (_, at) => `Label ${at}`);
  await using fake = await startFakeLinear({ issues: [{ identifier: "ENG-1", labels }] });
  const { tracker } = linearTracker(fake);
  const [read] = await tracker.fetchIssuesByStates(active);
  assert.equal(read?.labels.length, 30);
});

test("L-10: assignee me is the viewer, read once; without a viewer it is an error", async () => {
  const issues = [{ identifier: "ENG-1", assigneeId: "user-ada" }, { identifier: "ENG-2" }];
  await using fake = await startFakeLinear({ issues });
  const { tracker } = linearTracker(fake, { provider: { assignee: "me" } });
  const read = await tracker.fetchIssuesByStates(active);
  assert.deepEqual(
    read.map(({ dispatchable }) => dispatchable),
    [false, true],
  );
  await tracker.fetchIssuesByStates(active);
  assert.equal(fake.requests.filter(({ operation }) => operation === "SymphonyViewer").length, 1);
  await using mute = await startFakeLinear({ viewer: null });
  const { tracker: lost } = linearTracker(mute, { provider: { assignee: "me" } });
  await assert.rejects(lost.fetchIssuesByStates(active), {
    code: "tracker_response",
    message: /whose API key/,
  });
});

test("an unknown project is an error that names the slug, not an empty list", async () => {
  await using fake = await startFakeLinear();
  const { tracker } = linearTracker({ ...fake, project: "nowhere" });
  await assert.rejects(tracker.fetchIssuesByStates(active), {
    code: "invalid_tracker_config",
    message: /nowhere/,
  });
});

test("the slug may be the last part of the project's address, including its name", async () => {
  await using fake = await startFakeLinear({ issues: [{ identifier: "ENG-1" }] });
  const { tracker } = linearTracker({ ...fake, project: `agents-${fake.project}` });
  assert.deepEqual(identifiers(await tracker.fetchIssuesByStates(active)), ["ENG-1"]);
});

test("an operator's move uses the team's states; an unknown one is refused with the allowed ones", async () => {
  await using fake = await startFakeLinear({ issues: [{ identifier: "ENG-1" }] });
  const { tracker } = linearTracker(fake);
  const [read] = await tracker.fetchIssuesByStates(active);
  assert.ok(read);
  const states = await tracker.workflow.states(read);
  assert.deepEqual(states.at(1), { name: "Todo", terminal: false });
  assert.deepEqual(states.at(-1), { name: "Canceled", terminal: true });
  await tracker.workflow.move(read, " in review ");
  assert.equal(fake.issues[0]?.state, "In Review");
  await assert.rejects(tracker.workflow.move(read, "Nirvana"), { code: "transition_not_allowed" });
  const stranger = issue("OPS-1", { id: read.id });
  await assert.rejects(tracker.workflow.states(stranger), { code: "tracker_response" });
  const scopes = fake.requests.filter(({ operation }) => operation === "SymphonyScope");
  assert.equal(scopes.length, 1);
});
