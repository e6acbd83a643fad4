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
