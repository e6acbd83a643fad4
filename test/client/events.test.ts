import assert from "node:assert/strict";
import { test } from "node:test";
import { followEvents, type StreamItem, type StreamWish } from "../../src/client/events.ts";
import { reconnecting } from "../../src/commands/context.ts";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { type ApiDouble, startApiDouble } from "../support/fakes/api-double.ts";

/** Reads until `count` items arrived; `meanwhile` is called after each with the items so far. */
async function take(
  api: ApiDouble,
  count: number,
  wish: Partial<StreamWish> & { meanwhile?: (items: readonly StreamItem[]) => void },
): Promise<StreamItem[]> {
  const items: StreamItem[] = [];
  const stream = followEvents({ baseUrl: api.url, token: api.token }, { since: 0, pause, ...wish });
  for await (const item of stream) {
    items.push(item);
    wish.meanwhile?.(items);
    if (items.length === count) break;
  }
  return items;
}

const pause = () => Promise.resolve();
const seqs = (items: readonly StreamItem[]) =>
  items.map((item) => (item.kind === "event" ? item.event.seq : `gap ${item.oldestSeq}`));

test("the event stream replays missed events, then continues live", async () => {
  await using api = await startApiDouble();
  api.publish({});
  api.publish({ message: "zwei\u2028Zeilen" });
  const items = await take(api, 3, {
    meanwhile: ({ length }) => {
      if (length === 2) api.publish({});
    },
  });
  assert.deepEqual(seqs(items), [1, 2, 3]);
  assert.equal(items[1]?.kind === "event" && items[1].event.message, "zwei\u2028Zeilen");
});

test("the event stream reconnects after the last event received: no gap, no repeat", async () => {
  await using api = await startApiDouble();
  for (let count = 0; count < 3; count += 1) api.publish({});
  const items = await take(api, 6, {
    meanwhile: ({ length }) => {
      if (length !== 3) return;
      api.dropStreams();
      for (let count = 0; count < 3; count += 1) api.publish({});
    },
  });
  assert.deepEqual(seqs(items), [1, 2, 3, 4, 5, 6]);
  const lastEventIds = api.seen.map(({ headers }) => headers["last-event-id"]);
  assert.deepEqual(lastEventIds, ["0", "3"]);
});

test("the event stream reconnects after answers that are not 200, with growing pauses", async () => {
  await using api = await startApiDouble();
  api.publish({});
  const pauses: number[] = [];
  const items = await take(api, 2, {
    onLost: (_, delayMs) => pauses.push(delayMs),
    meanwhile: ({ length }) => {
      if (length !== 1) return;
      api.streamFailures.push(503, 503, 503);
      api.dropStreams();
      api.publish({});
    },
  });
  assert.deepEqual(seqs(items), [1, 2]);
  assert.deepEqual(pauses, [250, 500, 1_000, 2_000]);
});

test("the event stream reconnects after the server was down", async () => {
  const first = await startApiDouble();
  const port = Number(new URL(first.url).port);
  first.publish({});
  const successors: ApiDouble[] = [];
  const lost: (string | undefined)[] = [];
  const stream = followEvents(
    { baseUrl: first.url },
    {
      since: 0,
      onLost: (error) => lost.push(error?.code),
      pause: async () => {
        if (lost.length < 3) return;
        const successor = await startApiDouble(port);
        successor.publish({});
        successor.publish({});
        successors.push(successor);
      },
    },
  );
  const seen: StreamItem[] = [];
  for await (const item of stream) {
    seen.push(item);
    if (seen.length === 1) await first[Symbol.asyncDispose]();
    if (seen.length === 2) break;
  }
  assert.deepEqual(seqs(seen), [1, 2]);
  assert.deepEqual(lost.slice(1), ["server_unreachable", "server_unreachable"]);
  for (const successor of successors) await successor[Symbol.asyncDispose]();
});

test("the event stream reports a gap once, and continues from the oldest stored event", async () => {
  await using api = await startApiDouble();
  api.oldestSeq = 50;
  api.publish({});
  const items = await take(api, 3, {
    since: 7,
    meanwhile: ({ length }) => {
      if (length !== 2) return;
      api.dropStreams();
      api.publish({});
    },
  });
  assert.deepEqual(seqs(items), ["gap 50", 50, 51]);
});

test("the event stream delivers event types that this client does not know", async () => {
  await using api = await startApiDouble();
  api.publishUnknown("moon.rose");
  const items = await take(api, 1, {});
  assert.equal(items[0]?.kind === "event" && items[0].event.type, "moon.rose");
});

test("the event stream sends the token, and rejects without a retry when it is wrong", async () => {
  await using api = await startApiDouble();
  api.token = "right";
  api.publish({});
  assert.equal((await take(api, 1, {})).length, 1);
  const wrong = followEvents({ baseUrl: api.url, token: "wrong" }, { since: 0, pause });
  await assert.rejects(
    () => wrong.next(),
    (error) => error instanceof SymphonyError && error.code === "unauthorized",
  );
});

test("a token that is removed is looked for a while and then refused; meanwhile it is not called a lost connection", async () => {
  await using api = await startApiDouble();
  api.token = "right";
  api.publish({});
  const said: string[] = [];
  const renewed = async () => ({ baseUrl: api.url, token: "right" });
  const { renew, onLost } = reconnecting({ renewed, note: (text) => void said.push(text) });
  assert.ok(renew && onLost);
  const wish = { since: 0, pause, renew, onLost };
  const stream = followEvents({ baseUrl: api.url, token: "right" }, wish);
  await stream.next();
  api.token = "another";
  api.dropStreams();
  await assert.rejects(
    () => stream.next(),
    (error) => error instanceof SymphonyError && error.code === "unauthorized",
  );
  assert.match(said[0] ?? "", /^connection lost/);
  assert.match(said[1] ?? "", /^the token is refused; trying again in 500 ms/);
});

test("the event stream rejects when no server listens at the first connection", async () => {
  const api = await startApiDouble();
  await api[Symbol.asyncDispose]();
  const stream = followEvents({ baseUrl: api.url }, { since: null, pause });
  await assert.rejects(
    () => stream.next(),
    (error) => error instanceof SymphonyError && error.code === "server_unreachable",
  );
});

test("the event stream ends without an error when its signal is aborted", async () => {
  await using api = await startApiDouble();
  const controller = new AbortController();
  api.publish({});
  const items = await take(api, 99, {
    signal: controller.signal,
    meanwhile: () => controller.abort(),
  });
  assert.deepEqual(seqs(items), [1]);
});
