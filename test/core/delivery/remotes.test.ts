import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { test } from "node:test";
import { Remotes } from "../../../src/core/delivery/remotes.ts";
import { Mirrors } from "../../../src/core/repository/mirrors.ts";
import { gitIn } from "../../support/makers/git-repository.ts";
import { config } from "../../support/makers/issue.ts";
import { cloneWorld, refusalOf } from "../../support/worlds/clone-world.ts";

test("a workspace whose mirror was not restored has it fetched again, and kept for it", async (t) => {
  const { dir, clock, mirrors, order, clone } = cloneWorld(t);
  const { path, git, loan } = await clone();
  const before = git("log", "--format=%H");
  rmSync(mirrors.dir, { recursive: true });
  assert.throws(() => git("log", "--format=%H"));
  const env = { PATH: process.env["PATH"], HOME: dir };
  const after = new Mirrors({ dir: mirrors.dir, clock, env });
  const { repository } = order();
  const remotesOf = (repositories: readonly (typeof repository)[]) =>
    new Remotes({
      ...{ clock, env, mirrors: after, runId: `test/${dir}` },
      config: () => config({ git: { timeoutMs: 60_000, repositories } }),
      lookup: () => undefined,
      learn() {},
      borrowedBy: async () => [],
    });
  await remotesOf([]).remake(loan);
  assert.equal((await refusalOf(after.repair(path, loan))).code, "workspace_error");
  await remotesOf([repository]).remake(loan);
  const mirror = await after.repair(path, loan);
  assert.equal(git("log", "--format=%H"), before);
  const kept = gitIn(mirror)("for-each-ref", "--format=%(refname)", "refs/keep/");
  assert.equal(kept.trim(), `refs/keep/${loan.keep}`);
});
