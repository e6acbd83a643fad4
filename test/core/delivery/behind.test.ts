import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Delivered, fresh } from "../../../src/core/delivery/delivered.ts";
import type { Observation } from "../../../src/core/delivery/forge.ts";
import { openDeliveryStore } from "../../../src/core/delivery/store.ts";
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

/** A watch whose next reads of the pull request are `answers`. */
function bench(t: TestContext, { updates = true } = {}) {
  const store = openDeliveryStore(temporaryDir(t), () => 0);
  t.after(() => store.close());
  const where = { repository: "shop", branch: "symphony/A-1", base: "main" };
  const state = { mode: "pull_request", head: "h1", pushed: "h1", pullRequest: facts } as const;
  store.save({ ...fresh(issue("A-1")), ...where, ...state });
  const calls: string[] = [];
  const posted: string[] = [];
  let answer: Observation | "unchanged" = "unchanged";
  const watch = new Watch({
    clock: new FakeClock(),
    store,
    log: { warn: (_: string, fields: object) => calls.push(JSON.stringify(fields)) },
    bus: { publish() {} },
    config: () => ({ ...config(), git: { ...config().git, repositories: [{ name: "shop" }] } }),
    forgeFor: () => ({ observe: async () => answer, mayWrite: async () => true }),
    save: (next: Delivered) => store.save(next),
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
  return { look, posted, feedback: () => store.newFeedback(id).length };
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

test("with another base, or where nothing can update it, the conflict is the turn's", async (t) => {
  const moved = bench(t);
  assert.deepEqual(await moved.look(observed({ base: "release", mergeable: "no" })), []);
  assert.equal(moved.feedback(), 1);
  const plain = bench(t, { updates: false });
  await plain.look(observed({ mergeable: "no" }));
  assert.deepEqual([plain.feedback(), plain.posted], [1, ["offer.answered"]]);
});
