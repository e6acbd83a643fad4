import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Outbox, retryDelay, type Written } from "../../../src/core/delivery/outbox.ts";
import {
  type DeliveryStore,
  type Entry,
  openDeliveryStore,
} from "../../../src/core/delivery/store.ts";
import { feedbackPrompt } from "../../../src/core/prompt/prompt.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";

const minute = 60_000;

async function storeFor(t: TestContext, clock: FakeClock): Promise<DeliveryStore> {
  const dir = await mkdtemp(join(tmpdir(), "outbox-"));
  const store = openDeliveryStore(dir, () => clock.wall());
  t.after(async () => {
    store.close();
    await rm(dir, { recursive: true });
  });
  return store;
}

function entry(key: string, target = "a") {
  return { key, target, issueId: "i", kind: "push", payload: { key } };
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

interface World {
  readonly clock: FakeClock;
  readonly store: DeliveryStore;
  readonly outbox: Outbox;
  readonly made: string[];
  readonly logged: unknown[];
  answer(entry: Entry): Promise<Written>;
}

async function worldFor(t: TestContext, answer: World["answer"]): Promise<World> {
  const clock = new FakeClock();
  const store = await storeFor(t, clock);
  const made: string[] = [];
  const logged: unknown[] = [];
  const outbox = new Outbox({
    clock,
    log: { error: (_message, fields) => void logged.push(fields) },
    store,
    write(one) {
      made.push(one.key);
      return answer(one);
    },
    onWritten() {},
  });
  return { clock, store, outbox, made, logged, answer };
}

test("an entry is on disk once, whatever adds it again, and is made once", async (t) => {
  const { store, outbox, made } = await worldFor(t, async () => ({ outcome: "done" }));
  store.add([entry("x"), entry("x")]);
  store.add([entry("x")]);
  outbox.kick();
  await settled();
  store.add([entry("x")]);
  outbox.kick();
  await settled();
  assert.deepEqual(made, ["x"]);
});

test("DELIVERY-39: entries are ordered per target and independent across targets", async (t) => {
  const gate = Promise.withResolvers<void>();
  const { store, outbox, made } = await worldFor(t, async ({ key }) => {
    if (key === "a1") await gate.promise;
    return { outcome: "done" };
  });
  store.add([entry("a1"), entry("a2"), entry("b1", "b")]);
  outbox.kick();
  await settled();
  assert.deepEqual(made, ["a1", "b1"]);
  gate.resolve();
  await settled();
  assert.deepEqual(made, ["a1", "b1", "a2"]);
});

test("a failure is tried again after 1, 5 and 30 minutes, and holds up only its own target", async (t) => {
  assert.deepEqual(
    [0, 1, 2, 9].map(retryDelay),
    [1, 5, 30, 30].map((count) => count * minute),
  );
  let fails = 3;
  const { clock, store, outbox, made } = await worldFor(t, async ({ key }) =>
    key === "a1" && fails-- > 0 ? { outcome: "failed", reason: "502" } : { outcome: "done" },
  );
  store.add([entry("a1"), entry("a2"), entry("b1", "b")]);
  outbox.kick();
  await settled();
  assert.deepEqual(made, ["a1", "b1"]);
  for (const wait of [1, 5, 30]) {
    clock.advance(wait * minute - 1);
    await settled();
    const before = made.length;
    clock.advance(200);
    await settled();
    assert.ok(made.length > before, `after ${wait} minutes`);
  }
  assert.deepEqual(made, ["a1", "b1", "a1", "a1", "a1", "a2"]);
});

test("a final refusal is made once, and the next entry of its target follows", async (t) => {
  const { clock, store, outbox, made } = await worldFor(t, async ({ key }) =>
    key === "a1" ? { outcome: "final", reason: "GH006" } : { outcome: "done" },
  );
  store.add([entry("a1"), entry("a2")]);
  outbox.kick();
  await settled();
  clock.advance(90 * minute);
  await settled();
  assert.deepEqual(made, ["a1", "a2"]);
  store.retry("i", clock.wall());
  outbox.kick();
  await settled();
  assert.deepEqual(made, ["a1", "a2", "a1"], "a person's word tries it again");
});

test("what waits is made after a restart, and feedback is recognized over it", async (t) => {
  const clock = new FakeClock();
  const dir = await mkdtemp(join(tmpdir(), "outbox-"));
  t.after(() => rm(dir, { recursive: true }));
  const first = openDeliveryStore(dir, () => clock.wall());
  first.add([entry("x")]);
  const said = {
    ...{ issueId: "i", source: "issue_comment:1", hash: "h1", text: "why?", author: "grace" },
    ...{ url: null, byPerson: true, replyTo: null, at: 1 },
  };
  assert.deepEqual([first.addFeedback(said), first.addFeedback(said)], [true, false]);
  first.close();
  const second = openDeliveryStore(dir, () => clock.wall());
  t.after(() => second.close());
  assert.deepEqual(
    second.due(clock.wall()).map(({ key }) => key),
    ["x"],
  );
  assert.equal(second.addFeedback(said), false);
  assert.equal(second.addFeedback({ ...said, hash: "h2", text: "why not?" }), true);
  assert.deepEqual(
    second.newFeedback("i").map(({ text }) => text),
    ["why not?"],
    "the new text once",
  );
  second.give("i", second.newFeedback("i"), "att_1");
  assert.deepEqual(second.newFeedback("i"), []);
  assert.equal(second.givenTo("att_1").length, 1);
  second.answer("att_1");
  assert.equal(second.givenTo("att_1").length, 0);
  // Edited before the turn: the new text once. Edited after it: again, and said to be edited.
  const remark = { ...said, source: "issue_comment:2", replyTo: "issue_comment:2" };
  second.addFeedback(remark);
  second.addFeedback({ ...remark, hash: "h2", text: "two" });
  const [fresh] = second.newFeedback("i");
  assert.deepEqual([fresh?.text, fresh?.edited], ["two", undefined]);
  second.give("i", second.newFeedback("i"), "att_2");
  second.addFeedback({ ...remark, hash: "h3", text: "three" });
  const again = second.newFeedback("i");
  assert.match(
    feedbackPrompt(again),
    /^\[1\] issue comment, by grace \(edited since you read it\):\n> three$/m,
  );
});

test("a move to the state for running work that waits for another try holds up nothing that comes after the work", async (t) => {
  const { clock, store, outbox, made } = await worldFor(t, async ({ kind }) =>
    kind === "start" && made.length === 1
      ? { outcome: "failed", reason: "the answer was lost" }
      : { outcome: kind === "start" ? "dropped" : "done" },
  );
  store.add([{ ...entry("start", "a"), kind: "start" }]);
  outbox.kick();
  await settled();
  clock.advance(1_000);
  store.add([{ ...entry("elsewhere", "b"), kind: "comment" }]);
  outbox.kick();
  await settled();
  assert.deepEqual(made, ["start", "elsewhere"]);
  store.add([{ ...entry("finish", "a"), kind: "finish" }]);
  outbox.kick();
  await settled();
  assert.deepEqual(made, ["start", "elsewhere", "start", "finish"]);
});

test("what the disk does not record is not made again, and is recorded when the disk accepts writes", async (t) => {
  const { clock, store, outbox, made, logged } = await worldFor(t, async () => ({
    outcome: "done",
  }));
  const { settle, due } = store;
  const full = () => {
    throw new Error("database or disk is full");
  };
  store.add([entry("one")]);
  store.settle = full;
  outbox.kick();
  await settled();
  store.settle = settle;
  store.due = full;
  clock.advance(5_000);
  clock.advance(5_000);
  await settled();
  assert.deepEqual(made, ["one"]);
  assert.equal(store.waiting(), 0);
  assert.equal(logged.length, 3);
  store.due = due;
  store.add([entry("two"), entry("three", "b")]);
  clock.advance(5_000);
  await settled();
  assert.deepEqual(made, ["one", "two", "three"]);
});

test("what was said in a conversation is not kept; what answers a person is, by its key", async (t) => {
  const { store, outbox, made } = await worldFor(t, async () => ({ outcome: "done" }));
  const said = (key: string, step: string) => ({
    ...entry(key),
    kind: "conversation",
    payload: { step },
  });
  const all = [said("say:1", "say"), said("link:1", "link"), said("reply:1", "reply")];
  for (let time = 0; time < 2; time++) {
    store.add(all);
    outbox.kick();
    await settled();
  }
  assert.deepEqual(made, ["say:1", "link:1", "reply:1", "say:1", "link:1"]);
});
