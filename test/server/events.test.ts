// S14 is a row of the cases of scheduler and configuration: an event stream behind a proxy that buffers.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { describe, test } from "node:test";
import { EventView, GapView } from "../../src/contract/values.ts";
import type { EventDraft } from "../../src/core/model/event.ts";
import { EventReader } from "../support/fakes/event-reader.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { serve } from "../support/worlds/server.ts";

/** Publishes events `A-<n>` / `B-<n>` in turn, every third one an `agent.command`. */
function publish({ core }: World, count: number, extra: Partial<EventDraft> = {}): void {
  for (let index = 0; index < count; index++) {
    core.bus.publish({
      type: index % 3 === 0 ? "agent.command" : "agent.message",
      issueId: "x",
      issueIdentifier: index % 2 === 0 ? "A-1" : "B-1",
      message: `message ${index}`,
      ...extra,
    });
  }
  core.bus.flush();
}

const series = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

async function opened() {
  const world = await createWorld();
  const server = await serve(world);
  return {
    world,
    server,
    first: world.core.bus.lastSeq + 1,
    open: (query?: string, headers?: Record<string, string>) =>
      EventReader.open(server.listening.port, query, headers),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
}

describe("the event stream", () => {
  test("begins with the retry time and then sends the events from now on", async () => {
    await using at = await opened();
    publish(at.world, 3);
    await using reader = await at.open();
    assert.match(reader.response.headers["content-type"] ?? "", /^text\/event-stream/);
    await reader.until(({ retries }) => retries.length === 1);
    assert.deepEqual(reader.retries, ["2000"]);
    publish(at.world, 2, { message: "line\u2028two\nthree", data: { path: "a/b" } });
    await reader.until(({ messages }) => messages.length === 2);
    const [message] = reader.messages;
    const event = EventView.parse(message?.data);
    assert.equal(message?.id, String(event.seq));
    assert.equal(message?.event, event.type);
    assert.deepEqual(reader.seqs, series(at.first + 3, at.first + 4));
    assert.deepEqual(event.data, { path: "a/b" });
  });

  test("S14: tells a proxy in between not to buffer and not to compress it", async () => {
    await using at = await opened();
    await using reader = await at.open();
    assert.equal(reader.response.headers["x-accel-buffering"], "no");
    assert.equal(reader.response.headers["cache-control"], "no-cache, no-transform");
    const { port } = at.server.listening;
    const head = await fetch(`http://127.0.0.1:${port}/api/v1/events`, { method: "HEAD" });
    assert.equal(head.headers.get("x-accel-buffering"), "no");
  });

  test("replays after since, then continues without gap or repeat", async () => {
    await using at = await opened();
    publish(at.world, 1_700);
    await using reader = await at.open(`?since=${at.first - 1}`);
    const more = setInterval(() => publish(at.world, 7), 1);
    await reader.until(({ messages }) => messages.length > 1_750);
    clearInterval(more);
    publish(at.world, 1);
    const last = at.world.core.bus.lastSeq;
    await reader.until(({ seqs }) => seqs.at(-1) === last);
    assert.deepEqual(reader.seqs, series(at.first, last));
  });

  test("Last-Event-ID wins over since", async () => {
    await using at = await opened();
    publish(at.world, 10);
    const headers = { "last-event-id": String(at.first + 7) };
    await using reader = await at.open("?since=0", headers);
    await reader.until(({ messages }) => messages.length === 2);
    assert.deepEqual(reader.seqs, [at.first + 8, at.first + 9]);
  });

  test("filters by issue in any case and by type, both repeatable, replayed and live", async () => {
    await using at = await opened();
    publish(at.world, 12);
    const since = at.first - 1;
    await using byIssue = await at.open(`?since=${since}&issue=a-1`);
    await using byType = await at.open(`?since=${since}&type=agent.command&type=poll.completed`);
    await using both = await at.open(`?since=${since}&issue=a-1&issue=C-1&type=agent.message`);
    publish(at.world, 12);
    await byIssue.until(({ messages }) => messages.length >= 12);
    await byType.until(({ messages }) => messages.length >= 8);
    await both.until(({ messages }) => messages.length >= 8);
    assert.ok(byIssue.messages.every(({ data }) => data.issue_identifier === "A-1"));
    assert.ok(byType.messages.every(({ data }) => data.type === "agent.command"));
    const pairs = both.messages.map(({ data }) => `${data.issue_identifier} ${data.type}`);
    assert.deepEqual(new Set(pairs), new Set(["A-1 agent.message"]));
  });

  test("sends a comment every 15 s", async () => {
    await using at = await opened();
    await using reader = await at.open();
    const { clock } = at.world.scheduler;
    await reader.until(({ retries }) => retries.length === 1);
    clock.advance(14_999);
    clock.advance(1);
    await reader.until(({ comments }) => comments.length === 1);
    clock.advance(30_000);
    await reader.until(({ comments }) => comments.length === 3);
  });

  test("begins with gap when older events are no longer stored", async () => {
    await using at = await opened();
    publish(at.world, 10);
    const oldest = at.first + 5;
    at.world.core.history.oldestSeq = () => oldest;
    await using reader = await at.open(`?since=${at.first - 1}`);
    await reader.until(({ messages }) => messages.length === 6);
    const [gap] = reader.messages;
    assert.deepEqual([gap?.event, gap?.id], ["gap", String(oldest - 1)]);
    assert.deepEqual(GapView.parse(gap?.data), { oldest_seq: oldest });
    assert.deepEqual(reader.seqs, series(oldest, at.first + 9));
  });

  test("begins with gap for a number that no event has had yet, and continues from now", async () => {
    await using at = await opened();
    publish(at.world, 2);
    await using reader = await at.open("?since=999999");
    await reader.until(({ messages }) => messages.length === 1);
    const next = at.world.core.bus.lastSeq + 1;
    assert.deepEqual(reader.messages[0]?.data, { oldest_seq: next });
    publish(at.world, 1);
    await reader.until(({ messages }) => messages.length === 2);
    assert.deepEqual(reader.seqs, [next]);
  });
});

describe("subscribers (FAULT-13)", () => {
  test("a subscriber that does not read is dropped at 1 MiB; the others lose nothing", async () => {
    await using at = await opened();
    const stuck = connect(at.server.listening.port, "127.0.0.1");
    stuck.on("error", () => {});
    await once(stuck, "connect");
    stuck.pause();
    stuck.write("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await using good = await at.open();
    await good.until(({ retries }) => retries.length === 1);
    const data = { text: "x".repeat(50_000) };
    const timers = at.world.scheduler.clock;
    const bothOpen = timers.pending;
    let sent = 0;
    while (timers.pending === bothOpen && sent < 2_000) {
      publish(at.world, 10, { data });
      sent += 10;
      await good.until(({ messages }) => messages.length === sent);
    }
    assert.ok(sent * 50_000 > 1024 * 1024);
    assert.equal(timers.pending, bothOpen - 1, "the stuck one's heartbeat is gone");
    publish(at.world, 1);
    await good.until(({ messages }) => messages.length === sent + 1);
    assert.deepEqual(good.seqs, series(at.first, at.first + sent));
    stuck.destroy();
  });

  test("a slow reader of a long replay is not dropped; the server waits for it", async () => {
    await using at = await opened();
    publish(at.world, 3_000, { data: { text: "x".repeat(4_000) } });
    await using reader = await at.open(`?since=${at.first - 1}`);
    reader.response.pause();
    for (let turn = 0; turn < 200; turn++) await new Promise((done) => setImmediate(done));
    assert.equal(reader.ended, false);
    reader.response.resume();
    await reader.until(({ messages }) => messages.length === 3_000);
    assert.deepEqual(reader.seqs, series(at.first, at.first + 2_999));
  });

  test("a subscriber that reads nothing of its replay for a minute is dropped", async () => {
    await using at = await opened();
    publish(at.world, 3_000, { data: { text: "x".repeat(4_000) } });
    const { clock } = at.world.scheduler;
    const before = clock.pending;
    await using reader = await at.open(`?since=${at.first - 1}`);
    reader.response.pause();
    // The heartbeat, and the limit of the wait.
    while (clock.pending < before + 2) await new Promise((done) => setImmediate(done));
    clock.advance(60_000);
    while (clock.pending > before) await new Promise((done) => setImmediate(done));
    reader.response.resume();
    await reader.until(({ ended }) => ended);
    assert.ok(reader.messages.length < 3_000);
  });

  test("a subscriber that disconnects is removed completely", async () => {
    await using at = await opened();
    const { clock } = at.world.scheduler;
    const before = clock.pending;
    const readers = [await at.open(), await at.open("?since=0")];
    await Promise.all(readers.map((reader) => reader.until(({ retries }) => retries.length === 1)));
    assert.equal(clock.pending, before + 2);
    for (const reader of readers) await reader[Symbol.asyncDispose]();
    while (clock.pending > before) await new Promise((done) => setImmediate(done));
    publish(at.world, 5);
    assert.equal((await at.server.ask("/api/v1/runtime")).status, 200);
  });

  test("a failed read of the history ends the stream, so that the subscriber reconnects", async () => {
    await using at = await opened();
    at.world.core.history.events = () => {
      throw new Error("disk");
    };
    publish(at.world, 2);
    await using reader = await at.open(`?since=${at.first - 1}`);
    await reader.until(({ ended }) => ended);
    assert.deepEqual(reader.messages, []);
  });
});
