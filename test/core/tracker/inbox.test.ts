import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { sameText } from "../../../src/core/text/text.ts";
import { openDeliveries } from "../../../src/core/tracker/deliveries.ts";
import { WebhookInbox } from "../../../src/core/tracker/inbox.ts";
import { signatureOf, webhookSecret } from "../../../src/core/tracker/linear/deliveries.ts";
import type { PartialRead } from "../../../src/core/tracker/partial.ts";
import { RateWindow } from "../../../src/core/tracker/rate-window.ts";
import { sharedReads } from "../../../src/core/tracker/reads.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { issue } from "../../support/makers/issue.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

describe("the signature", () => {
  test("is the HMAC-SHA256 that RFC 4231 gives for its second test", () => {
    assert.equal(
      signatureOf("what do ya want for nothing?", "Jefe"),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    );
  });

  test("THREAT-21: any length and any characters compare without throwing", () => {
    const right = signatureOf("{}", "s");
    assert.ok(sameText(right, right));
    for (const wrong of ["", "ü", right.slice(1), `${right}0`, "0".repeat(100_000)]) {
      assert.equal(sameText(wrong, right), false);
    }
  });
});

test("THREAT-21: the time of a comparison depends on neither side: digests of one length are compared in constant time", (t) => {
  const { mock } = t.mock.method(process.getBuiltinModule("node:crypto"), "timingSafeEqual");
  const texts = ["", "s", "s3cret", "s3creT", "x".repeat(10_000)];
  for (const given of texts) sameText(given, "s3cret");
  const compared = mock.calls.map(({ arguments: [one, other] }) => [
    one.byteLength,
    other.byteLength,
  ]);
  assert.deepEqual(
    compared,
    texts.map(() => [32, 32]),
  );
});

describe("the secret", () => {
  const env: Record<string, string> = { MINE: "one", EMPTY: "", LINEAR_WEBHOOK_SECRET: "two" };
  const lookup = (name: string) => env[name];
  for (const [written, expected] of [
    ["$MINE", "one"],
    [undefined, "two"],
    ["$UNSET", "two"],
    ["$EMPTY", null],
    ["lin_wh_literal", "lin_wh_literal"],
    [" ", null],
    [7, "two"],
  ] as const) {
    test(`${JSON.stringify(written)} is ${JSON.stringify(expected)}`, () =>
      assert.equal(webhookSecret(written, lookup), expected));
  }

  test("is null if nothing is set", () => {
    assert.equal(
      webhookSecret("$MINE", () => undefined),
      null,
    );
  });
});

describe("the rate window", () => {
  test("allows the limit in any window, wherever the window begins", () => {
    const clock = new FakeClock();
    const window = new RateWindow({ limit: 3, windowMs: 60_000, clock });
    assert.deepEqual(window.standing(), { limit: 3, remaining: 3, resetSeconds: 0 });
    assert.ok(window.take());
    clock.advance(40_000);
    assert.ok(window.take() && window.take());
    assert.equal(window.take(), false);
    assert.deepEqual(window.standing(), { limit: 3, remaining: 0, resetSeconds: 20 });
    clock.advance(20_000);
    assert.ok(window.take());
    assert.equal(window.take(), false, "two windows do not add up");
    clock.advance(40_000);
    assert.equal(window.standing().remaining, 2);
  });
});

test("work that the disk refused is tried again a minute later, and not after the server has ended", async (t) => {
  const clock = new FakeClock();
  const deliveries = openDeliveries(temporaryDir(t));
  t.after(() => deliveries.close());
  const [kind, at, until] = ["linear", clock.wall(), clock.wall() + 3_600_000];
  const none = { id: null, type: "AgentSessionEvent", action: null, issueId: null };
  deliveries.add(
    ["a", "b"].map((name) => ({ signature: name, kind, ...none, work: { name }, at, until })),
  );
  const worked: unknown[] = [];
  const sender = {
    ...{ kind, secret: () => "s" },
    async work({ name }: { readonly name?: unknown }) {
      worked.push(name);
      if (worked.length < 4) throw new Error("database or disk is full");
    },
  };
  const log = { warn() {} };
  const inbox = new WebhookInbox({ sender, clock, deliveries, log } as never);
  const turns = () => new Promise((resolve) => setImmediate(resolve));
  inbox.resume();
  await turns();
  clock.advance(60_000);
  await turns();
  assert.deepEqual(worked, ["a", "b", "a", "b"]);
  assert.deepEqual(deliveries.waiting(kind), [{ signature: "a", work: { name: "a" } }]);
  inbox.close();
  clock.advance(120_000);
  assert.equal(worked.length, 4);
});

describe("shared reads", () => {
  interface Asked {
    readonly ids: readonly string[];
    readonly answer: PromiseWithResolvers<PartialRead>;
  }

  function world() {
    const asked: Asked[] = [];
    const fetch = sharedReads((ids) => {
      const answer = Promise.withResolvers<PartialRead>();
      asked.push({ ids, answer });
      return answer.promise;
    });
    const answer = (index: number, unread: PartialRead["unread"] = null) => {
      const ids = asked[index]?.ids.filter((id) => !unread?.ids.includes(id)) ?? [];
      asked[index]?.answer.resolve({ issues: ids.map((id) => issue(id, { id })), unread });
    };
    return { asked, fetch, answer };
  }

  test("a burst costs few requests, and each caller gets its own issue", async () => {
    const { asked, fetch, answer } = world();
    const names = Array.from({ length: 40 }, (_, index) => `i${index % 10}`);
    const all = names.map((name) => fetch([name]));
    assert.deepEqual(
      asked.map(({ ids }) => ids),
      [["i0"], ["i1"], ["i2"]],
    );
    answer(0);
    await all[0];
    await new Promise(setImmediate);
    assert.equal(asked.length, 4);
    assert.deepEqual(asked[3]?.ids.toSorted(), [...new Set(names)].toSorted());
    for (const index of [1, 2, 3]) answer(index);
    const found = await Promise.all(all);
    assert.deepEqual(
      found.map(({ issues }) => issues.map(({ id }) => id)),
      names.map((name) => [name]),
    );
  });

  test("a part that cannot be read is said to those alone who asked for it", async () => {
    const { asked, fetch, answer } = world();
    const all = ["a", "b", "c", "d", "e"].map((id) => fetch([id]));
    answer(0);
    await all[0];
    await new Promise(setImmediate);
    const unread = { code: "tracker_status", message: "acme/b: Not Found", ids: ["e"] };
    for (const index of [1, 2, 3]) answer(index, unread);
    assert.deepEqual(asked[3]?.ids, ["d", "e"]);
    assert.deepEqual(await all[3], { issues: [issue("d", { id: "d" })], unread: null });
    assert.deepEqual(await all[4], { issues: [], unread });
  });

  test("a failure rejects all who shared the read, and the next read is sent", async () => {
    const { asked, fetch } = world();
    const first = [fetch(["a"]), fetch(["b"]), fetch(["c"]), fetch(["d"]), fetch(["e"])];
    const outcome = Promise.allSettled(first);
    asked[0]?.answer.reject(new Error("away"));
    await assert.rejects(first[0] ?? Promise.resolve(), /away/);
    await new Promise(setImmediate);
    for (const { answer } of asked) answer.reject(new Error("away"));
    assert.ok((await outcome).every(({ status }) => status === "rejected"));
    const again = fetch(["a"]);
    asked.at(-1)?.answer.resolve({ issues: [], unread: null });
    assert.deepEqual(await again, { issues: [], unread: null });
  });

  test("lists of ids are sent unchanged", async () => {
    const { asked, fetch } = world();
    void fetch(["a", "b"]);
    void fetch([]);
    assert.deepEqual(
      asked.map(({ ids }) => ids),
      [["a", "b"], []],
    );
  });
});
