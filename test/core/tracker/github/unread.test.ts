import assert from "node:assert/strict";
import { test } from "node:test";
import { driven } from "../../../support/fakes/linear-tracker.ts";
import { githubTracker, startSmallGithub } from "../../../support/fakes/small-github.ts";

const provider = { repositories: ["acme/gone", "acme/app"] };

test("of two repositories one cannot be read: polls have the other's issues and say which, other reads fail", async () => {
  await using fake = await startSmallGithub();
  fake.add();
  const { tracker, clock } = githubTracker(fake.url, { provider });
  const { partial } = tracker;
  assert.ok(partial);
  const list = await partial.byStates(["Open"]);
  assert.deepEqual(
    list.issues.map(({ identifier, dispatchable }) => [identifier, dispatchable]),
    [["app-1", true]],
  );
  assert.match(list.unread?.message ?? "", /^acme\/gone: .*Not Found/);
  assert.equal(list.unread?.code, "tracker_status");
  await assert.rejects(tracker.fetchIssuesByStates(["Open"]), { code: "tracker_status" });
  // By ids: an issue of the unread one is not gone, that of the other is as it is.
  const read = await driven(clock, partial.byIds(["7#1", "9#1"]));
  assert.deepEqual(
    [read.issues.map(({ id }) => id), read.unread?.ids, tracker.whyGone?.("9#1")],
    [["7#1"], ["9#1"], null],
  );
  assert.equal((await tracker.fetchIssuesByIds(["7#1"])).length, 1);
  await assert.rejects(tracker.fetchIssuesByIds(["9#1"]), { code: "tracker_status" });
  tracker.close();
});

test("a limit, a token and a lost connection are of all repositories, and so is one that is alone", async () => {
  await using fake = await startSmallGithub();
  fake.add();
  const { tracker, clock } = githubTracker(fake.url, { provider });
  const failures = [
    { status: 401 },
    { status: 403, headers: { "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1796000000" } },
  ];
  for (const failure of failures) {
    fake.fail({ match: /acme\/gone\/issues/, ...failure });
    await assert.rejects(
      tracker.partial?.byStates(["Open"]) ?? Promise.resolve(),
      String(failure.status),
    );
    clock.advance(24 * 3_600_000 * 365);
  }
  assert.equal(githubTracker(fake.url).tracker.partial, undefined);
  fake.fail({ match: /acme\/app/, status: 404, times: 9 });
  await assert.rejects(tracker.partial?.byStates(["Open"]) ?? Promise.resolve());
  tracker.close();
});

test("an issue that is gone and was never worked on is told by its name why", async () => {
  await using fake = await startSmallGithub();
  fake.add({ movedTo: "https://x/repos/acme/docs/issues/5" });
  const { tracker } = githubTracker(fake.url);
  assert.equal(await tracker.find?.("app-1"), null);
  assert.equal(tracker.whyGone?.("app-1"), "transferred to acme/docs#5");
  assert.equal(tracker.whyGone?.("acme/app#1"), "transferred to acme/docs#5");
  assert.equal(tracker.whyGone?.("app-2"), null);
  tracker.close();
});
