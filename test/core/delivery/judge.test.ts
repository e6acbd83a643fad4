import assert from "node:assert/strict";
import { test } from "node:test";
import type { Check, Observation, Remark, Review } from "../../../src/core/delivery/forge.ts";
import { judge, type Known, runName } from "../../../src/core/delivery/judge.ts";

const head = "a".repeat(40);

function check(name: string, state: Check["state"], fields: Partial<Check> = {}): Check {
  return { name, state, head, attempt: 1, runId: null, url: null, excerpt: null, ...fields };
}

function remark(id: string, author: string | null, fields: Partial<Remark> = {}): Remark {
  return {
    id,
    kind: "comment",
    author,
    bot: false,
    own: false,
    body: `words of ${id}`,
    path: null,
    line: null,
    thread: null,
    resolved: null,
    outdated: false,
    verdict: null,
    at: 1,
    editedAt: 1,
    url: "https://example.com",
    ...fields,
  };
}

function review(author: string, verdict: Review["verdict"], fields: Partial<Review> = {}): Review {
  return { author, own: false, verdict, head, at: 1, ...fields };
}

type Fields = Omit<Partial<Observation>, "pullRequest"> & {
  readonly pullRequest?: Partial<Observation["pullRequest"]>;
};

function seen({ pullRequest, ...fields }: Fields = {}): Observation {
  return {
    at: 5,
    pullRequest: {
      number: 7,
      url: "https://example.com/7",
      state: "open",
      draft: false,
      title: "t",
      body: "b",
      branch: "symphony/A-1",
      head,
      base: "main",
      mergeSha: null,
      closedBy: null,
      mergeable: "yes",
      mergeState: "clean",
      author: "symphony-bot",
      updatedAt: 1,
      ...pullRequest,
    },
    baseHead: "b".repeat(40),
    remarks: [],
    reviews: [],
    checks: [check("test", "success")],
    requiredChecks: [],
    baseRed: [],
    ...fields,
  };
}

function known(fields: Partial<Known> = {}): Known {
  return {
    issueId: "i",
    pushed: head,
    retargeted: null,
    ownDraft: false,
    shown: true,
    reruns: {},
    mayWrite: new Map([
      ["grace", true],
      ["linus", true],
      ["margaret", false],
    ]),
    carried: [],
    pushedAt: 0,
    hadChecks: false,
    waited: { for: null, since: 0 },
    rules: { feedbackFrom: ["reviewbot"], merge: "when_approved", mergeWithoutChecks: false },
    ...fields,
  };
}

const sources = (fields: Fields, more: Partial<Known> = {}) =>
  judge(seen(fields), known(more)).feedback.map(({ source }) => source);

test("DELIVERY-12: only people who may write are heard; unknown rights wait, and a missing author has none", () => {
  const remarks = ["grace", "margaret", "mallory", null].map((who, at) =>
    remark(`issue_comment:${at}`, who),
  );
  assert.deepEqual(sources({ remarks }), ["issue_comment:0"]);
  assert.deepEqual(sources({ remarks }, { mayWrite: new Map([["grace", null]]) }), []);
  const bots = [
    remark("issue_comment:8", "reviewbot", { bot: true }),
    remark("issue_comment:9", "otherbot", { bot: true }),
  ];
  assert.deepEqual(sources({ remarks: bots }), ["issue_comment:8"]);
  const own = [remark("issue_comment:1", "grace", { own: true })];
  assert.deepEqual(sources({ remarks: own }), []);
});

test("DELIVERY-11: a standing change request is delivered with its resolved threads, a settled one is not", () => {
  const lines = [
    remark("review_comment:1", "grace", { kind: "line", resolved: true, path: "a.ts", line: 3 }),
    remark("review:2", "grace", { kind: "review", verdict: "changes_requested", body: "" }),
  ];
  const standing = { remarks: lines, reviews: [review("grace", "changes_requested")] };
  const { feedback } = judge(seen(standing), known());
  assert.deepEqual(
    feedback.map(({ source }) => source),
    ["review_comment:1", "review:2"],
  );
  assert.match(feedback[0]?.text ?? "", /^\(a\.ts:3; resolved meanwhile\)\n/);
  const over = { remarks: lines.slice(0, 1), reviews: [review("grace", "approved")] };
  assert.deepEqual(sources(over), []);
  const gone = remark("review:2", "grace", { kind: "review", body: "Please no" });
  assert.deepEqual(sources({ remarks: [gone], reviews: [review("grace", "dismissed")] }), []);
});

test("DELIVERY-8: each comment has a key of its own, and an edited one another hash", () => {
  const one = judge(seen({ remarks: [remark("issue_comment:1", "grace")] }), known());
  const edited = remark("issue_comment:1", "grace", { body: "other" });
  const two = judge(seen({ remarks: [edited] }), known());
  assert.equal(one.feedback[0]?.source, two.feedback[0]?.source);
  assert.notEqual(one.feedback[0]?.hash, two.feedback[0]?.hash);
});

test("DELIVERY-15: a verdict belongs to a commit; checks of other commits do not count", () => {
  const old = check("test", "failure", { head: "c".repeat(40) });
  const verdict = judge(seen({ checks: [old] }), known());
  assert.deepEqual([verdict.facts.checks, verdict.feedback.length], ["none", 0]);
  const pushed = "d".repeat(40);
  const lagging = judge(seen({ checks: [check("test", "failure")] }), known({ pushed }));
  assert.deepEqual([lagging.facts.checks, lagging.feedback.length], ["unknown", 0]);
  assert.equal(lagging.mergeable, false);
});

test("DELIVERY-19: a failed check runs again once, then it is feedback; red on the base too is none", () => {
  const red = check("test", "failure", { runId: "9", excerpt: "not ok 1" });
  const first = judge(seen({ checks: [red] }), known());
  assert.deepEqual([first.reruns.length, first.feedback.length], [1, 0]);
  const reruns = { [`test@${head}`]: { of: "9#1", at: seen().at } };
  const waiting = judge(seen({ checks: [red] }), known({ reruns }));
  assert.deepEqual(
    [waiting.reruns.length, waiting.feedback.length],
    [0, 0],
    "its next attempt decides",
  );
  const refused = { [`test@${head}`]: { of: "", at: 0 } };
  assert.equal(judge(seen({ checks: [red] }), known({ reruns: refused })).feedback.length, 1);
  const second = judge(seen({ checks: [{ ...red, attempt: 2 }] }), known({ reruns }));
  assert.equal(second.reruns.length, 0);
  assert.match(second.feedback[0]?.text ?? "", /"test" failed on aaaaaaaaaa\.\n\nnot ok 1/);
  const both = judge(seen({ checks: [red], baseRed: ["test"] }), known());
  assert.deepEqual([both.reruns.length, both.feedback.length], [0, 0]);
  assert.match(both.waitingFor ?? "", /test, which is red on main too/);
});

test("DELIVERY-16: a cancelled check is run again once by symphony, and starts no turn", () => {
  const lost = check("test", "cancelled", { runId: "9" });
  const verdict = judge(seen({ checks: [lost] }), known());
  assert.deepEqual([verdict.reruns.length, verdict.feedback.length], [1, 0]);
  const reruns = { [`test@${head}`]: { of: "9#1", at: 0 } };
  const again = judge(seen({ checks: [lost] }), known({ reruns }));
  assert.deepEqual([again.reruns.length, again.feedback.length, again.stuck], [0, 0, null]);
  // Its second run was cancelled too: a person has to look.
  const second = check("test", "cancelled", { runId: "9", attempt: 2 });
  const held = judge(seen({ checks: [second] }), known({ reruns }));
  assert.deepEqual([held.reruns.length, held.feedback.length], [0, 0]);
  assert.match(held.stuck ?? "", /^the check test was cancelled or given up, and running it again/);
});

test("a failed job is run again when the other jobs of its run are over", () => {
  const red = check("test", "failure", { runId: "9" });
  const busy = check("build", "running", { runId: "9" });
  const verdict = judge(seen({ checks: [red, busy] }), known());
  assert.deepEqual([verdict.reruns.length, verdict.feedback.length], [0, 0]);
});

test("DELIVERY-9: one conflict is one turn for each pair of head and base; unknown is none", () => {
  const conflict = { pullRequest: { mergeable: "no" as const } };
  const one = judge(seen(conflict), known()).feedback[0];
  assert.equal(one?.source, "conflict:base");
  assert.equal(judge(seen(conflict), known()).feedback[0]?.hash, one?.hash);
  const moved = judge(seen({ ...conflict, baseHead: "e".repeat(40) }), known()).feedback[0];
  assert.notEqual(moved?.hash, one?.hash);
  assert.deepEqual(sources({ pullRequest: { mergeable: "unknown" } }), []);
});

const merges = (fields: Fields, more: Partial<Known> = {}) =>
  judge(seen({ reviews: [review("grace", "approved")], ...fields }), known(more));

test("DELIVERY-18: none yet, running, expected and green are four things", () => {
  assert.equal(merges({}).mergeable, true);
  assert.match(merges({ checks: [], requiredChecks: null }).waitingFor ?? "", /no checks/);
  // The approval came before the first check exists, or there will be none: only a setting tells.
  const none = merges({ checks: [] });
  assert.deepEqual([none.mergeable, none.stuck], [false, null]);
  assert.match(none.waitingFor ?? "", /^a check to start.*merge_without_checks/);
  const rules = { ...known().rules, mergeWithoutChecks: true };
  const quiet = { at: 120_000, checks: [] };
  assert.equal(merges(quiet, { rules }).mergeable, true);
  // The checks of an update that was pushed just now, and those that its earlier commits had.
  assert.equal(merges(quiet, { rules, pushedAt: 1 }).mergeable, false);
  const without = merges(quiet, { rules, hadChecks: true });
  assert.deepEqual(
    [without.mergeable, without.waitingFor],
    [false, "a check to start, as on its earlier commits"],
  );
  assert.equal(merges({ checks: [], requiredChecks: null }, { rules }).mergeable, false);
  assert.equal(merges({ checks: [check("test", "running")] }).mergeable, false);
  const silent = merges({ requiredChecks: ["e2e"] });
  assert.deepEqual(
    [silent.mergeable, silent.waitingFor],
    [false, "the check e2e, which has not started"],
  );
  const late = { at: 3_600_002, requiredChecks: ["e2e"] };
  const waited = { for: silent.waitingFor, since: 1 };
  assert.equal(merges(late, { waited }).stuck, "it waits for the check e2e, which has not started");
  // The hour begins with the push, also of an update, and with what it waits for.
  assert.equal(merges(late, { waited, pushedAt: 3_600_000 }).stuck, null);
  assert.equal(merges(late, { waited: { for: "a review", since: 1 } }).stuck, null);
  const runs = { checks: [check("test", "running")] };
  const since = { waited: { for: "the check test", since: 1 } };
  assert.equal(merges({ ...late, ...runs }, since).stuck, null);
  const nextDay = { ...runs, at: 24 * 3_600_000 + 2 };
  assert.equal(merges(nextDay, since).stuck, "it waits for the check test");
  const unmoved: readonly Fields[] = [
    { checks: [check("e2e", "waiting")] },
    { pullRequest: { mergeable: "unknown" } },
    { checks: [check("e2e", "failure")], baseRed: ["e2e"] },
  ];
  for (const endless of unmoved) {
    const { waitingFor } = merges(endless);
    const held = merges({ ...endless, at: 3_600_002 }, { waited: { for: waitingFor, since: 1 } });
    assert.equal(held.stuck, `it waits for ${waitingFor}`);
  }
  assert.match(
    merges({ checks: [check("e2e", "action_required")] }).waitingFor ?? "",
    /allow the check e2e/,
  );
});

test("DELIVERY-22: the latest decisive review of each person with write counts", () => {
  const both = [
    review("linus", "approved"),
    review("grace", "changes_requested"),
    review("grace", "commented"),
  ];
  assert.equal(merges({ reviews: both }).mergeable, false);
  assert.equal(merges({ reviews: [...both, review("grace", "approved")] }).mergeable, true);
  assert.equal(merges({ reviews: [review("margaret", "approved")] }).mergeable, false);
  assert.equal(merges({ reviews: [review("grace", "approved", { own: true })] }).mergeable, false);
  assert.equal(merges({ reviews: [review("newcomer", "approved")] }).facts.review, "unknown");
});

test("an approval is one of the commit that its person saw; only a base that came in is carried over", () => {
  const earlier = "c".repeat(40);
  const reviews = [review("grace", "approved", { head: earlier })];
  const stale = merges({ reviews });
  assert.deepEqual([stale.mergeable, stale.facts.review], [false, "none"]);
  assert.equal(stale.waitingFor, "a review of its new commit");
  assert.equal(merges({ reviews }, { carried: [earlier] }).mergeable, true);
  // A request for changes stands over all commits.
  const request = review("linus", "changes_requested", { head: earlier });
  assert.equal(merges({ reviews: [request] }).facts.review, "changes_requested");
});

test("DELIVERY-25: a person's draft is a hold on merging", () => {
  assert.equal(merges({ pullRequest: { draft: true } }).mergeable, false);
});

test("DELIVERY-23: reviews and checks that were there before another base was set do not count for it", () => {
  const approved = review("grace", "approved");
  const test1 = check("test", "success", { runId: "9" });
  const retargeted = { head, reviews: 1, checks: [runName(test1)] };
  const at = (fields: Fields) =>
    merges({ checks: [test1], pullRequest: { base: "release" }, ...fields }, { retargeted });
  const moved = at({ reviews: [approved] });
  assert.deepEqual(
    [moved.mergeable, moved.facts.review, moved.facts.checks],
    [false, "none", "unknown"],
  );
  const late = { at: 3_600_002, reviews: [approved] };
  assert.match(moved.waitingFor ?? "", /^the check test to run again for release/);
  const waited = { for: moved.waitingFor, since: 1 };
  const whole = { pullRequest: { base: "release" }, checks: [test1], ...late };
  assert.match(merges(whole, { retargeted, waited }).stuck ?? "", /^it waits for the check test/);
  // A red one says nothing about the new base either.
  const red = check("test", "failure", { runId: "9" });
  const fails = at({ reviews: [approved], checks: [red] });
  assert.deepEqual([fails.reruns.length, fails.feedback.length], [0, 0]);
  const checks = [{ ...test1, attempt: 2 }];
  assert.equal(at({ reviews: [approved], checks }).waitingFor, "a review of its change to release");
  // A dismissal or a request for changes from before still speaks against it.
  const request = [review("linus", "changes_requested"), approved];
  assert.equal(at({ reviews: request, checks }).facts.review, "changes_requested");
  assert.equal(at({ reviews: [approved, approved] }).mergeable, false, "its checks are missing");
  assert.equal(at({ reviews: [approved, approved], checks }).mergeable, true);
});

test("merged and closed are ends, whatever else is there", () => {
  const remarks = [remark("issue_comment:1", "grace")];
  const over = judge(seen({ remarks, pullRequest: { state: "merged" } }), known());
  assert.deepEqual([over.end, over.feedback.length, over.waitingFor], ["merged", 0, null]);
});
