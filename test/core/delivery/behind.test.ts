import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Delivered, fresh } from "../../../src/core/delivery/delivered.ts";
import type { Check, Observation, Remark } from "../../../src/core/delivery/forge.ts";
import { hashOf } from "../../../src/core/delivery/judge.ts";
import {
  type Feedback,
  type NewEntry,
  openDeliveryStore,
} from "../../../src/core/delivery/store.ts";
import { Watch } from "../../../src/core/delivery/watch.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const id = "id-A-1";
const facts = {
  ...{ number: 12, url: "https://example.org/12", draft: false, headSha: "h1" },
  state: "open",
  checks: "none",
  review: "none",
} as const;

function observed(parts: Partial<Observation["pullRequest"]>): Observation {
  const pullRequest = {
    ...({ state: "open", mergeable: "yes" } as const),
    ...{ number: 12, url: facts.url, draft: false, title: "", body: "" },
    ...{ branch: "symphony/A-1", head: "h1", base: "main", mergeSha: null, closedBy: null },
    ...{ mergeState: "clean", author: "sym", updatedAt: 0 },
    ...parts,
  } as const;
  const lists = { remarks: [], reviews: [], checks: [], requiredChecks: [], baseRed: [] };
  return { at: 1, baseHead: "b1", pullRequest, ...lists };
}

function remark(body: string): Remark {
  const author = { author: "grace", bot: false, own: false } as const;
  return {
    ...({ id: "issue_comment:1", kind: "comment", ...author } as const),
    ...{ body, path: null, line: null, thread: null, resolved: null, outdated: false },
    ...{ verdict: null, at: 1, editedAt: 1, url: facts.url },
  };
}

/** A watch whose next reads of the pull request are `answers`. */
function bench(t: TestContext, { updates = true, merge = "never" } = {}) {
  const store = openDeliveryStore(temporaryDir(t), () => 0);
  t.after(() => store.close());
  const where = { repository: "shop", branch: "symphony/A-1", base: "main" };
  const state = { mode: "pull_request", head: "h1", pushed: "h1", pullRequest: facts } as const;
  store.save({ ...fresh(issue("A-1")), ...where, ...state });
  const calls: string[] = [];
  const posted: string[] = [];
  let answer: Observation | "unchanged" = "unchanged";
  const busy = { running: false, attached: false };
  const settings = config({ delivery: { merge } as object });
  const ordered: string[] = [];
  const clock = new FakeClock();
  let reads = 0;
  const observe = async () => {
    reads++;
    return answer;
  };
  const watch = new Watch({
    clock,
    store,
    log: { warn: (_: string, fields: object) => calls.push(JSON.stringify(fields)) },
    bus: { publish() {} },
    config: () => ({ ...settings, git: { ...settings.git, repositories: [{ name: "shop" }] } }),
    isIncluded: async () => false,
    isRunning: () => busy.running,
    isAttached: () => busy.attached,
    isEnded: () => false,
    forgeFor: () => ({ observe, mayWrite: async () => true }),
    save: (next: Delivered, entries: readonly NewEntry[] = []) => {
      store.save(next, entries);
      ordered.push(...entries.map(({ key }) => key));
    },
    post: ({ type }: { type: string }) => posted.push(type),
    kick() {},
    updates: updates
      ? {
          update: async (_: string, wanted: { base: string; conflict: object | null }) => {
            calls.push(`update ${wanted.base}${wanted.conflict === null ? "" : " conflict"}`);
          },
        }
      : null,
  } as never);
  const look = async (next: Observation | "unchanged") => {
    answer = next;
    await watch.look(id);
    return calls.splice(0);
  };
  return {
    ...{ look, posted, feedback: () => store.newFeedback(id).length, store, busy },
    /** How often a person's refresh reads it. */
    asked: async () => {
      reads = 0;
      await watch.all(true);
      return reads;
    },
    /** How often the first poll after so many minutes reads it. */
    polls: async (minutes: number) => {
      if (clock.pending === 0) watch.start();
      clock.jump(minutes * 60_000);
      reads = 0;
      clock.advance(settings.delivery.pollIntervalMs);
      while (clock.pending === 0) await new Promise(setImmediate);
      return reads;
    },
    isMergeable: (next: Observation) => {
      answer = next;
      return watch.isMergeable(id, "h1");
    },
    /** The orders to merge, and what it waits for, after a read. */
    merged: async (next: Observation) => {
      await look(next);
      return [ordered.splice(0).length, store.of(id)?.waitingFor];
    },
  };
}

test("a pull request that is behind or conflicts is updated before any turn", async (t) => {
  const { look, posted, feedback } = bench(t);
  assert.deepEqual(await look(observed({})), []);
  assert.deepEqual(await look(observed({ mergeState: "behind" })), ["update b1"]);
  assert.deepEqual(await look(observed({ mergeable: "no", mergeState: "dirty" })), [
    "update b1 conflict",
  ]);
  // What was last seen is judged again.
  assert.deepEqual(await look("unchanged"), ["update b1 conflict"]);
  assert.deepEqual([feedback(), posted], [0, []]);
});

test("a head that somebody else pushed, and an unknown state, lead to no update", async (t) => {
  const { look } = bench(t);
  assert.deepEqual(await look(observed({ head: "h2", mergeState: "behind" })), []);
  assert.deepEqual(await look(observed({ head: "h2", mergeable: "no" })), []);
  assert.deepEqual(await look(observed({ mergeable: "unknown", mergeState: null })), []);
});

test("DELIVERY-23: another base is merged into the branch, and earlier reviews and checks are remembered as such", async (t) => {
  const { look, store } = bench(t, { merge: "when_approved" });
  const moved = {
    ...approved(),
    baseHead: "r1",
    pullRequest: observed({ base: "release" }).pullRequest,
  };
  assert.deepEqual(await look(moved), ["update r1"]);
  const known = store.of(id);
  assert.deepEqual(
    [known?.base, known?.from, known?.retargeted?.reviews, known?.retargeted?.checks.length],
    ["release", "r1", 1, 1],
  );
  assert.match(known?.waitingFor ?? "", /to run again for release/);
  // Later reviews of it leave what is remembered as it is; back to the first base everything is new again.
  await look({ ...moved, reviews: [...moved.reviews, ...moved.reviews] });
  assert.deepEqual(store.of(id)?.retargeted, known?.retargeted);
  await look({ ...approved(), reviews: [...moved.reviews, ...moved.reviews] });
  assert.deepEqual([store.of(id)?.base, store.of(id)?.retargeted?.reviews], ["main", 2]);
  // Its own update has other checks.
  store.save({ ...(store.of(id) ?? fresh(issue("A-1"))), head: "h2", pushed: "h2" });
  assert.deepEqual(await look({ ...moved, pullRequest: observed({ head: "h2" }).pullRequest }), []);
});

test("a closed pull request is read now and then: opened again by a person, it waits for people as before", async (t) => {
  const { look, posted, store, polls, asked } = bench(t);
  const closed = { ...observed({ state: "closed", closedBy: "grace" }), baseHead: null };
  await look(closed);
  assert.deepEqual([store.of(id)?.over, posted], [true, ["offer.stopped"]]);
  assert.equal(await polls(11), 1);
  assert.equal(await polls(5), 0);
  assert.equal(await asked(), 1, "symphony refresh reads it now");
  await look(closed);
  assert.deepEqual(posted, ["offer.stopped"]);
  await look({ ...observed({}), remarks: [remark("I was wrong")] });
  assert.deepEqual(posted, ["offer.stopped", "offer.resumed", "offer.answered"]);
  const { over, waitingFor, pullRequest } = store.of(id) ?? {};
  assert.deepEqual([over, waitingFor, pullRequest?.state], [false, "a review", "open"]);
  await look(closed);
  assert.deepEqual([store.of(id)?.over, posted.at(-1)], [true, "offer.stopped"]);
  assert.deepEqual([await polls(11), await polls(15 * 24 * 60)], [1, 0], "for fourteen days");
});

test("where nothing can update it, the conflict is the turn's", async (t) => {
  const plain = bench(t, { updates: false });
  await plain.look(observed({ mergeable: "no" }));
  assert.deepEqual([plain.feedback(), plain.posted], [1, ["offer.answered"]]);
});

test("feedback whose attempt ended in a crash before it read it is told again by each read, until one has it", async (t) => {
  const { look, posted, store } = bench(t);
  const said = { ...observed({}), remarks: [remark("Why?")] };
  await look(said);
  assert.deepEqual(posted.splice(0), ["offer.answered"]);
  // The attempt that was started for it was killed while it was being prepared.
  await look(said);
  await look("unchanged");
  assert.deepEqual(posted.splice(0), ["offer.answered", "offer.answered"]);
  store.give(id, store.newFeedback(id), "att_2");
  await look(said);
  assert.deepEqual(posted, []);
  assert.equal(store.unanswered(id, "att_3").length, 1, "a later attempt is given it too");
});

const approved = (head = "h1", parts: Partial<Observation> = {}): Observation => {
  const check = { attempt: 1, runId: null, url: null, excerpt: null };
  return {
    ...observed({}),
    checks: [{ ...check, name: "test", state: "success", head: "h1" }],
    reviews: [{ author: "grace", own: false, verdict: "approved", head, at: 1 }],
    ...parts,
  };
};

test("nothing is merged while more is asked for: in a run, by hand, in a new commit, or by feedback that no turn has answered", async (t) => {
  const { merged, isMergeable, store, busy } = bench(t, { merge: "when_approved" });
  const seen = approved();
  const change = (fields: Partial<Delivered>) =>
    store.save({ ...(store.of(id) as Delivered), ...fields });
  busy.running = true;
  assert.deepEqual(await merged(seen), [0, "the end of its run"]);
  Object.assign(busy, { running: false, attached: true });
  assert.deepEqual(await merged(seen), [0, "the person in its workspace"]);
  busy.attached = false;
  change({ head: "h2" });
  assert.deepEqual(await merged(seen), [0, "its new commit to be pushed"]);
  change({ head: "h1" });
  const said = { issueId: id, url: null, author: null, byPerson: false, replyTo: null, at: 1 };
  const say = (source: string, hash: string): Feedback => ({ ...said, source, hash, text: "" });
  // A check that is green again and a conflict with an earlier base ask for nothing any more.
  for (const stale of [say("check:test", "x"), say("conflict:base", hashOf("h1 b0"))])
    store.addFeedback(stale);
  store.give(id, [{ source: "check:test", hash: "x" }], "att_1");
  for (const one of [say("review:1", "x"), say("conflict:base", hashOf("h1 b1"))]) {
    store.addFeedback(one);
    const waits = [0, "an answer to what was said"];
    assert.deepEqual(await merged(seen), waits);
    store.give(id, [one], "att_2");
    assert.deepEqual(await merged(seen), waits, "a turn that reads it has not ended");
    assert.equal(await isMergeable(seen), false);
    store.answer("att_2");
  }
  assert.deepEqual(await merged(seen), [1, "its merge"]);
  // What is judged again before the merge.
  assert.equal(await isMergeable(seen), true);
  const red = approved("h1", { checks: [{ ...seen.checks[0], state: "failure" } as Check] });
  assert.equal(await isMergeable(red), false);
});

test("an approval is carried to the update of the base that it was carried for, and to no later commit", async (t) => {
  const { merged, store } = bench(t, { merge: "when_approved" });
  const carry = { carried: ["h0"], carriedTo: "h1" };
  store.save({ ...(store.of(id) as Delivered), ...carry, carriedTo: "hx" });
  assert.deepEqual(await merged(approved("h0")), [0, "a review of its new commit"]);
  store.save({ ...(store.of(id) as Delivered), ...carry });
  assert.deepEqual(await merged(approved("h0")), [1, "its merge"]);
});
