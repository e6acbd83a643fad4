import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Delivered, fresh } from "../../../src/core/delivery/delivered.ts";
import type { Written } from "../../../src/core/delivery/outbox.ts";
import { Outcomes } from "../../../src/core/delivery/outcomes.ts";
import { openDeliveryStore, startKey } from "../../../src/core/delivery/store.ts";
import { Writes } from "../../../src/core/delivery/writes.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { ForgeError } from "../../../src/core/model/forge-error.ts";
import { trackerError } from "../../../src/core/tracker/github/errors.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { issue } from "../../support/makers/issue.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

/** Moves of one issue, on a tracker that has it in `state`; `refuse` answers a move instead. */
function worldFor(t: TestContext, { state, attemptId }: { state: string; attemptId: string }) {
  const clock = new FakeClock();
  const store = openDeliveryStore(temporaryDir(t), () => clock.wall());
  t.after(() => store.close());
  const there = issue("ENG-1", { state });
  const known = { ...fresh(there), attemptId };
  store.save(known, []);
  const moved: string[] = [];
  let refusal: Error | null = null;
  const tracker = {
    fetchIssuesByIds: async () => [there],
    workflow: {
      states: async () =>
        ["Todo", "In Progress", "In Review"].map((name) => ({ name, terminal: false })),
      async move(_: unknown, to: string) {
        if (refusal !== null) throw refusal;
        moved.push(to);
      },
    },
  };
  const onSuccess = { kind: "state", name: "In Review" };
  const config = {
    tracker: { updates: "state", inProgress: "In Progress", onSuccess },
    delivery: { mergeMethod: "squash" },
    git: { repositories: [{ name: "shop", address: { address: "https://git.test/a/shop.git" } }] },
  };
  let isMergeable = false;
  const merges: string[] = [];
  let names = ["a/shop", "A/Shop"];
  const reason = "HTTP 301";
  const push = async () => ({ outcome: "refused", final: true, reason, category: "redirected" });
  const forge = {
    async merge(_: number, { head }: { head: string }) {
      merges.push(head);
      return { outcome: "merged", sha: head };
    },
    pushCredential: async () => null,
    look: async () => ({ name: names[1], configured: names[0] }),
  };
  const deps = {
    ...{ forgeFor: () => forge, isMergeable: async () => isMergeable },
    ...{ push, clock, store, tracker: () => tracker, config: () => config },
    ...{ rests: async () => {}, bus: { publish() {} } },
  };
  const writes = new Writes(deps as unknown as ConstructorParameters<typeof Writes>[0]);
  const make = (kind: string, key: string, payload: object) => {
    store.add([{ kind, key, target: "x", issueId: there.id, payload: { ...payload } }]);
    const entry = store.due(clock.wall()).find((one) => one.key === key);
    assert.ok(entry);
    return writes.make(entry, new AbortController().signal);
  };
  return {
    ...{ clock, store, known, moved, merges, make },
    rename(to: string) {
      names = ["a/shop", to];
    },
    allow() {
      isMergeable = true;
    },
    refuse(error: Error) {
      refusal = error;
    },
  };
}

const toReview = { from: "todo", mode: "none" };
const toProgress = { from: "todo", to: "In Progress" };

test("a move to the state for running work that comes after the work was offered is not made", async (t) => {
  const late = worldFor(t, { state: "Todo", attemptId: "att_1" });
  assert.deepEqual(await late.make("start", startKey("att_1"), toProgress), { outcome: "dropped" });
  assert.deepEqual(late.moved, []);
  const next = worldFor(t, { state: "Todo", attemptId: "att_1" });
  assert.deepEqual(await next.make("start", startKey("att_2"), toProgress), { outcome: "done" });
  assert.deepEqual(next.moved, ["In Progress"]);
});

test("offered work is moved to review from the state that symphony itself had moved it to, and from no other", async (t) => {
  const ours = worldFor(t, { state: "In Progress", attemptId: "att_1" });
  assert.deepEqual(await ours.make("move", "m", toReview), { outcome: "done" });
  assert.deepEqual(ours.moved, ["In Review"]);
  const theirs = worldFor(t, { state: "QA", attemptId: "att_1" });
  assert.deepEqual(await theirs.make("move", "m", toReview), { outcome: "dropped" });
});

test("a write that meets a tracker's rate limit is tried again when the limit ends", async (t) => {
  for (const details of [
    { retryAfterMs: 30_000 },
    { retryAt: new Date(new FakeClock().wall() + 30_000).toISOString() },
  ]) {
    const world = worldFor(t, { state: "Todo", attemptId: "att_1" });
    world.refuse(new SymphonyError("tracker_rate_limited", "the limit is reached", { details }));
    const written = await world.make("move", "m", toReview);
    assert.equal(written.outcome === "failed" && written.at, world.clock.wall() + 30_000);
  }
});

test("a merge that waited is judged again, dropped if it may not be made any more, and ordered again later", async (t) => {
  const { store, known, make, merges, allow } = worldFor(t, { state: "Todo", attemptId: "att_1" });
  const pullRequest = { number: 7 } as Delivered["pullRequest"];
  store.save({ ...known, repository: "shop", pushed: "h1", head: "h1", pullRequest });
  assert.deepEqual(await make("merge", "merge:1", { head: "h1" }), { outcome: "dropped" });
  assert.deepEqual(merges, []);
  const [entry] = store.waitingOf(known.issueId);
  assert.ok(entry);
  store.settle(entry.id, { state: "dropped" });
  assert.deepEqual(store.waitingOf(known.issueId), []);
  allow();
  assert.deepEqual(await make("merge", "merge:1", { head: "h1" }), { outcome: "done" });
  assert.deepEqual(merges, ["h1"]);
  store.settle(entry.id, { state: "done" });
  const { kind, key, target, issueId, payload } = entry;
  store.add([{ kind, key, target, issueId, payload }]);
  assert.deepEqual(store.waitingOf(known.issueId), [], "what was made is not made again");
});

test("what GitHub refuses for good through the tracker is not tried again; what may pass is", async (t) => {
  for (const [category, outcome] of [
    ["forbidden", "final"],
    ["unavailable", "failed"],
  ] as const) {
    const world = worldFor(t, { state: "Todo", attemptId: "att_1" });
    world.refuse(trackerError(new ForgeError(category, "no")));
    assert.equal((await world.make("move", "m", toReview)).outcome, outcome);
  }
});

test("a push that the site redirects names the line of the configuration to change", async (t) => {
  const { store, known, make, rename } = worldFor(t, { state: "Todo", attemptId: "att_1" });
  store.save({ ...known, repository: "shop", branch: "b", workspacePath: "/w", head: "h1" });
  const unknown = await make("push", "p", { commit: "h1" });
  const [entry] = store.waitingOf(known.issueId);
  assert.ok(entry);
  store.settle(entry.id, { state: "final", error: "refused" });
  rename("b/store");
  const named = await make("push", "q", { commit: "h1" });
  const next = "of shop in git.repositories, then symphony deliver ENG-1";
  assert.deepEqual(
    [unknown, named],
    [
      `the site redirects https://git.test/a/shop.git; next: write its new address in the url ${next}`,
      `a/shop is b/store now; next: write b/store instead of a/shop in the url ${next}`,
    ].map((what) => ({ outcome: "final", reason: `push refused: ${what}` })),
  );
});

test("a credential that may not move issues is said once, stands in the delivery of each issue, and is said again after a move that worked", (t) => {
  const clock = new FakeClock();
  const store = openDeliveryStore(temporaryDir(t), () => clock.wall());
  t.after(() => store.close());
  const said: string[] = [];
  const deps = {
    ...{ store, clock, comments: null, save: (known: Delivered) => store.save(known, []) },
    log: {
      warn: (_: string, fields: { issue_identifier: string }) => said.push(fields.issue_identifier),
    },
    bus: { publish: ({ type }: { type: string }) => said.push(type) },
  };
  const outcomes = new Outcomes(deps as unknown as ConstructorParameters<typeof Outcomes>[0]);
  const take = (name: string, kind: string, written: Written) => {
    const known = issue(name);
    if (store.of(known.id) === null) store.save(fresh(known), []);
    const target = `${kind}:${known.id}`;
    store.add([{ kind, key: target, target, issueId: known.id, payload: {} }]);
    const entry = store.due(clock.wall()).find(({ key }) => key === target);
    assert.ok(entry);
    outcomes.take(entry, written);
    return store.of(known.id)?.problem ?? "";
  };
  const refused = { outcome: "final", reason: "Must have triage access" } as const;
  for (const name of ["ENG-1", "ENG-2"])
    for (const kind of ["start", "move"]) assert.match(take(name, kind, refused), /^Must have/);
  assert.deepEqual(said, ["ENG-1", "delivery.refused"]);
  take("ENG-3", "start", { outcome: "done" });
  take("ENG-4", "start", refused);
  assert.deepEqual(said.slice(2), ["ENG-4", "delivery.refused"]);
});
