import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fresh } from "../../../src/core/delivery/delivered.ts";
import { branchHolds, isSetBack, moved } from "../../../src/core/delivery/moved-branch.ts";
import { openDeliveryStore } from "../../../src/core/delivery/store.ts";
import { issue } from "../../support/makers/issue.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

/** An issue whose pushes of `c1`, `c2` and `c3` were ordered, and of which `c2` is recorded as pushed. */
function pushedTwice(t: TestContext) {
  const store = openDeliveryStore(temporaryDir(t), () => 0);
  t.after(() => store.close());
  const known = { ...fresh(issue("ENG-1")), branch: "symphony/ENG-1", pushed: "c2", head: "c3" };
  const { issueId } = known;
  const push = (commit: string) => ({
    ...{ kind: "push", key: commit, target: issueId, issueId, payload: { commit } },
  });
  store.add(["c1", "c2", "c3"].map(push));
  return { store, known };
}

test("a branch at a later push of symphony is ours; at an earlier one a person set it back; at another commit it is theirs", (t) => {
  const { store, known } = pushedTwice(t);
  const holds = (found: string | null) => branchHolds(found, known, store);
  assert.deepEqual(["c3", "c1", "c2", "p1", null].map(holds), [
    ...["ours", "back", "back", "theirs", "gone"],
  ]);
  assert.equal(branchHolds("c1", { ...known, pushed: null }, store), "ours");
});

test("a branch that was set back is held with the command that pushes over it; no pull would bring anything", async (t) => {
  const { store, known } = pushedTwice(t);
  const posts: unknown[] = [];
  const reach = { store, newestOf: async () => null, post: (one: unknown) => posts.push(one) };
  const repository = { name: "shop", address: { address: "https://git.test/shop.git" } };
  const written = await moved(
    known,
    { repository: repository as Parameters<typeof moved>[1]["repository"], found: "c1" },
    reach,
  );
  const reason =
    "push refused: another party set symphony/ENG-1 back to c1, and symphony pushes nothing over that; next: symphony deliver ENG-1 pushes the work all the same";
  assert.deepEqual(written, { outcome: "final", reason });
  assert.partialDeepStrictEqual(posts, [{ type: "offer.stopped", reason, next: "deliver" }]);
});

test("a pull request that shows an earlier own commit is set back; one that shows another party's is not", (t) => {
  const { store, known } = pushedTwice(t);
  const facts = { number: 1, url: "https://git.test/1", state: "open", draft: false } as const;
  const shows = (headSha: string) => ({
    ...known,
    pullRequest: { ...facts, headSha, checks: "none", review: "none" } as const,
  });
  assert.deepEqual(
    ["c1", "c2", "c3", "p1"].map((head) => isSetBack(shows(head), store)),
    [true, false, false, false],
  );
});
