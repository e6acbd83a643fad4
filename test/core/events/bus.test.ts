import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { type Bus, createBus } from "../../../src/core/events/bus.ts";
import type { EventDraft, SymphonyEvent } from "../../../src/core/model/event.ts";
import { openHistory } from "../../../src/core/store/history.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { breakable } from "../../support/fakes/history.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

function setUp(t: TestContext) {
  const opened = openHistory(join(temporaryDir(t), "history.db"));
  const disk = breakable(opened);
  const clock = new FakeClock();
  const redactor = createRedactor();
  const errors: unknown[] = [];
  const bus = createBus({
    history: disk.history,
    clock,
    redact: redactor.redact,
    onError: (error) => errors.push(error),
  });
  t.after(() => {
    bus.close();
    opened.close();
  });
  return { bus, disk, history: opened, clock, redactor, errors };
}

function draft(message: string, fields: Partial<EventDraft> = {}): EventDraft {
  return { type: "agent.message", message, ...fields };
}

/** The events that a subscriber received, in order. */
function eventsOf(bus: Bus, afterSeq?: number): SymphonyEvent[] {
  const events: SymphonyEvent[] = [];
  bus.subscribe(afterSeq === undefined ? {} : { afterSeq }, (event) => events.push(event));
  return events;
}

const seqs = (events: readonly SymphonyEvent[]) => events.map(({ seq }) => seq);
const stored = (history: {
  events: (q: { afterSeq: number; limit: number }) => readonly SymphonyEvent[];
}) => history.events({ afterSeq: 0, limit: 50_000 });
const upTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1);

async function turns(count = 4): Promise<void> {
  for (let n = 0; n < count; n++) await turn();
}

test("events are numbered when published, and delivered once they are on disk", async (t) => {
  const { bus, history } = setUp(t);
  const onDisk: number[] = [];
  bus.subscribe({}, () => onDisk.push(history.lastSeq()));
  bus.publish(draft("one", { issueId: "i", issueIdentifier: "ENG-1", data: { a: 1 } }));
  bus.publish(draft("two"));
  assert.equal(bus.lastSeq, 2);
  assert.deepEqual(onDisk, [], "nobody is called from publish");
  await turns();
  assert.deepEqual(onDisk, [2, 2]);
  const [first] = stored(history);
  assert.deepEqual(first, {
    seq: 1,
    type: "agent.message",
    at: Date.parse("2026-11-23T10:00:00.000Z"),
    issueId: "i",
    issueIdentifier: "ENG-1",
    attemptId: null,
    sessionId: null,
    message: "one",
    data: { a: 1 },
  });
});

test("INV-24: the series continues after a restart", (t) => {
  const { bus, history } = setUp(t);
  bus.publish(draft("one"));
  bus.flush();
  const next = createBus({
    history,
    clock: new FakeClock(),
    redact: (text) => text,
    onError: assert.ifError,
  });
  next.publish(draft("two"));
  next.close();
  assert.deepEqual(
    stored(history).map(({ seq, message }) => [seq, message]),
    [
      [1, "one"],
      [2, "two"],
    ],
  );
});

test("a subscriber replays from its seq and continues live, without gap or repeat", async (t) => {
  const { bus } = setUp(t);
  for (let n = 0; n < 1_300; n++) bus.publish(draft(`old ${n}`));
  bus.flush();
  bus.publish(draft("not yet on disk"));
  const all = eventsOf(bus, 0);
  const late = eventsOf(bus, 1_299);
  const live = eventsOf(bus);
  const ahead = eventsOf(bus, 99_999);
  for (let n = 0; n < 5; n++) {
    bus.publish(draft(`new ${n}`));
    await turn();
  }
  await turns();
  assert.deepEqual(seqs(all), upTo(1_306));
  assert.deepEqual(seqs(late), upTo(1_306).slice(1_299));
  assert.deepEqual(seqs(live), [1_302, 1_303, 1_304, 1_305, 1_306]);
  assert.deepEqual(seqs(ahead), seqs(live), "a number of nobody's counts as now");
});

test("filters apply to replayed and live events", async (t) => {
  const { bus } = setUp(t);
  const publish = (issueIdentifier: string | null, type: EventDraft["type"]) =>
    bus.publish({ type, issueIdentifier, message: "x" });
  publish("ENG-1", "turn.started");
  publish("ENG-2", "turn.started");
  bus.flush();
  const filter = { issueIdentifiers: ["eng-1"], types: ["turn.started" as const] };
  const found: number[] = [];
  bus.subscribe({ afterSeq: 0, filter }, ({ seq }) => found.push(seq));
  publish(null, "turn.started");
  publish("Eng-1", "turn.started");
  publish("ENG-1", "turn.completed");
  await turns();
  assert.deepEqual(found, [1, 4]);
});

test("an unsubscribed listener receives nothing more, even when it unsubscribes during a delivery", (t) => {
  const { bus } = setUp(t);
  const found: number[] = [];
  const stopOther = bus.subscribe({}, ({ seq }) => found.push(seq));
  const stop = bus.subscribe({}, () => stop());
  bus.subscribe({}, () => stopOther());
  bus.publish(draft("one"));
  bus.publish(draft("two"));
  bus.flush();
  assert.deepEqual(found, [1]);
});

test("a throwing listener affects no other listener and is reported once", (t) => {
  const { bus, errors } = setUp(t);
  bus.subscribe({}, () => {
    throw new Error("bad listener");
  });
  const others = eventsOf(bus);
  bus.publish(draft("one"));
  bus.publish(draft("two"));
  bus.flush();
  assert.deepEqual(seqs(others), [1, 2]);
  assert.equal(errors.length, 1);
});

test("an event that a listener publishes comes after the one that is being delivered", async (t) => {
  const { bus } = setUp(t);
  bus.subscribe({}, ({ message }) => {
    if (message === "one") bus.publish(draft("answer"));
    bus.flush();
  });
  const messages: string[] = [];
  bus.subscribe({}, ({ message }) => messages.push(message));
  bus.publish(draft("one"));
  bus.publish(draft("two"));
  await turns();
  assert.deepEqual(messages, ["one", "two", "answer"]);
});

test("FAULT-9: an outage delays events for a second, then delivers them live; all are stored after it", async (t) => {
  const { bus, disk, clock, errors, history } = setUp(t);
  const events = eventsOf(bus);
  disk.break();
  bus.publish(draft("one"));
  await turns();
  clock.advance(999);
  await turns();
  assert.deepEqual(seqs(events), []);
  clock.advance(1);
  await turns();
  assert.deepEqual(seqs(events), [1]);
  bus.publish(draft("two"));
  await turns();
  assert.deepEqual(seqs(events), [1, 2], "no waiting once the outage is long");
  assert.equal(errors.length, 1, "one report for one outage");

  disk.mend();
  clock.advance(5_000);
  await turns();
  assert.deepEqual(seqs(stored(history)), [1, 2]);
  bus.publish(draft("three"));
  await turns();
  assert.deepEqual(seqs(events), [1, 2, 3]);
  assert.equal(clock.pending, 0);

  disk.break();
  bus.publish(draft("four"));
  await turns();
  assert.equal(errors.length, 2);
});

test("FAULT-9: a short outage is invisible to subscribers", async (t) => {
  const { bus, disk, clock, history } = setUp(t);
  const events = eventsOf(bus);
  disk.break();
  bus.publish(draft("one"));
  await turns();
  disk.mend();
  clock.advance(100);
  await turns();
  assert.deepEqual(seqs(events), [1]);
  assert.equal(history.lastSeq(), 1);
});

test("FAULT-9: memory stays bounded in a long outage; the stored series has placeholders and no gap", async (t) => {
  const { bus, disk, clock, history } = setUp(t);
  const events = eventsOf(bus);
  disk.break();
  bus.publish(draft("first"));
  await turns();
  for (let n = 2; n <= 12_000; n++) bus.publish(draft(`event ${n}`));
  await turns();
  assert.deepEqual(seqs(events), upTo(12_000), "every event was shown");
  disk.mend();
  clock.advance(5_000);
  await turns(10);
  const all = stored(history);
  assert.deepEqual(seqs(all), upTo(12_000));
  const lost = all.filter(({ data }) => data["lost"] === true);
  assert.deepEqual(seqs(lost), upTo(lost.length), "the oldest were let go");
  assert.ok(lost.length >= 2_000 && lost.length <= 5_000, `${lost.length}`);
  assert.equal(all.at(-1)?.message, "event 12000");
  bus.publish(draft("after"));
  await turns();
  assert.equal(history.lastSeq(), 12_001);
});

test("G-6, E-12: messages are one plain line with a limit of 1,000 characters", (t) => {
  const { bus, history } = setUp(t);
  bus.publish(draft("a\x1b[31mred\x1b[0m\x07\r\nb\u2028c\u202ed\x1b]0;title\x07e\0"));
  bus.publish(draft("😀".repeat(600)));
  bus.flush();
  const [plain, long] = stored(history);
  assert.equal(plain?.message, "ared b cde");
  assert.ok((long?.message.length ?? 0) <= 1_000 && long?.message.isWellFormed());
  assert.ok(long?.message.endsWith("…"));
});

test("X-2: known secrets appear neither in messages nor in data", (t) => {
  const { bus, history, redactor } = setUp(t);
  const pem = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\n-----END KEY-----";
  redactor.add("lin_api_canary");
  redactor.add(pem);
  bus.publish(
    draft(
      `token lin_api_canary, torn lin_\x00api_canary, ${pem}, ${"x".repeat(950)}lin_api_canary`,
      {
        data: { deep: [{ text: "Bearer lin_api_canary" }], lin_api_canary: pem },
      },
    ),
  );
  bus.flush();
  const text = JSON.stringify(stored(history));
  assert.doesNotMatch(text, /canary|lin_api|MIIEv/);
  assert.match(text, /\[redacted\]/);
});

test("data that is not JSON, or too large, does not break the event", (t) => {
  const { bus, history } = setUp(t);
  const loop: Record<string, unknown> = {};
  loop["self"] = loop;
  const changed = { items: [1] };
  bus.publish(draft("loop", { data: loop }));
  bus.publish(draft("odd", { data: { big: 10n, fn: () => 1, none: undefined, nan: Number.NaN } }));
  bus.publish(draft("long", { data: { text: "x".repeat(100_000) } }));
  bus.publish(
    draft("vast", { data: { all: Array.from({ length: 100 }, () => "y".repeat(9_000)) } }),
  );
  bus.publish(draft("changed later", { data: changed }));
  changed.items.push(2);
  bus.flush();
  const [unreadable, odd, long, vast, copied] = stored(history).map(({ data }) => data);
  assert.deepEqual(unreadable, { unreadable: true });
  assert.deepEqual(odd, { big: "10", nan: null });
  assert.equal(String(long?.["text"]).length, 16 * 1024);
  assert.equal(vast?.["truncated"], true);
  assert.deepEqual(copied, { items: [1] });
});

test("close writes pending events, stops timers and accepts nothing more", (t) => {
  const { bus, disk, clock, history } = setUp(t);
  disk.break();
  bus.publish(draft("one"));
  bus.flush();
  disk.mend();
  bus.close();
  bus.publish(draft("two"));
  assert.deepEqual(seqs(stored(history)), [1]);
  assert.equal(clock.pending, 0);
});

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ type: fc.constant("publish"), count: fc.nat(30) }) },
  fc.record({ type: fc.constant("subscribe"), count: fc.nat(200) }),
  fc.record({ type: fc.constant("flush"), count: fc.constant(0) }),
  fc.record({ type: fc.constant("turn"), count: fc.nat(3) }),
  fc.record({ type: fc.constant("advance"), count: fc.nat(6_000) }),
  fc.record({ type: fc.constant("break"), count: fc.constant(0) }),
  fc.record({ type: fc.constant("mend"), count: fc.constant(0) }),
);

test("INV-24: for any sequence of actions, each subscriber receives and the disk holds an unbroken series", async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const { bus, disk, clock, history } = setUp(t);
      const listeners: { from: number; events: SymphonyEvent[] }[] = [];
      for (const { type, count } of steps) {
        if (type === "publish") for (let n = 0; n < count; n++) bus.publish(draft(`${n}`));
        if (type === "subscribe") {
          const from = Math.min(count, bus.lastSeq);
          listeners.push({ from, events: eventsOf(bus, from) });
        }
        if (type === "flush") bus.flush();
        if (type === "turn") await turns(count);
        if (type === "advance") clock.advance(count);
        if (type === "break") disk.break();
        if (type === "mend") disk.mend();
      }
      disk.mend();
      bus.flush();
      await turns(10);
      assert.deepEqual(seqs(stored(history)), upTo(bus.lastSeq));
      for (const { from, events } of listeners) {
        assert.deepEqual(seqs(events), upTo(bus.lastSeq).slice(from));
      }
      bus.close();
    }),
    { numRuns: 40 },
  );
});
