import assert from "node:assert/strict";
import { test } from "node:test";
import { driven } from "../../../support/fakes/linear-tracker.ts";
import { githubTracker, startSmallGithub } from "../../../support/fakes/small-github.ts";

test("an issue whose state or blocker is refused is neither created nor changed", async () => {
  await using fake = await startSmallGithub();
  const { tracker, clock } = githubTracker(fake.url);
  const { editor } = tracker;
  assert.ok(editor);
  const unknown = {
    code: "transition_not_allowed",
    message: /a new issue cannot move to Nonsense/,
  };
  await assert.rejects(editor.create({ title: "New", state: "Nonsense" }), unknown);
  const blocked = driven(clock, editor.create({ title: "New", blockedBy: ["app-9"] }));
  await assert.rejects(blocked, { code: "invalid_request", message: /no issue app-9/ });
  assert.equal(fake.issues.size, 0);

  const made = await editor.create({ title: "New", state: "open" });
  for (const [change, code] of [
    [{ state: "Nonsense" }, "transition_not_allowed"],
    [{ blockedBy: ["app-9"] }, "invalid_request"],
    [{ blockedBy: ["app-1"] }, "invalid_request"],
  ] as const) {
    const edited = driven(clock, editor.edit(made, { title: "Half", ...change }));
    await assert.rejects(edited, { code });
  }
  assert.equal(fake.issues.get(1)?.title, "New");
  tracker.close();
});

test("an issue whose answer is lost is made once, and what else may have been done is said", async () => {
  await using fake = await startSmallGithub();
  const { tracker, clock } = githubTracker(fake.url);
  const { editor } = tracker;
  assert.ok(editor);
  // The clocks of both are far apart: an answer says by how much.
  fake.headers["date"] = new Date(Date.parse("2026-11-26T08:00:00Z")).toUTCString();
  await tracker.fetchIssuesByStates(["Open"]);
  fake.fail({ match: /^POST .*\/issues$/, lost: true });
  const made = await driven(clock, editor.create({ title: "New", description: "Text" }));
  assert.deepEqual([made.identifier, fake.issues.size], ["app-1", 1]);
  // An earlier one of the same words is another issue.
  fake.headers["date"] = new Date(Date.parse("2026-11-26T09:00:00Z")).toUTCString();
  await tracker.fetchIssuesByIds(["7#1"]);
  fake.fail({ match: /^POST .*\/issues$/, status: 502 });
  const again = driven(clock, editor.create({ title: "New", description: "Text" }));
  await assert.rejects(again, { code: "tracker_status", hint: /look with symphony issue list/ });
  fake.fail({ match: /comments$/, lost: true });
  const comment = driven(clock, editor.comment(made, "A word"));
  await assert.rejects(comment, { hint: /look with symphony issue comments app-1/ });
  tracker.close();
});
