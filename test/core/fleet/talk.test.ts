// The letters of an attempt while its engine takes them slowly.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import type { Part } from "../../../src/core/fleet/engine.ts";
import { Talk } from "../../../src/core/fleet/talk.ts";
import type { JsonObject } from "../../../src/core/text/text.ts";

const key = Buffer.alloc(32, 7);

/** A worker that says what it is told to and the server that reads it; the engine takes one part for each call of `take`. */
function talking(readsMany: boolean) {
  const parts: Part[] = [];
  const waiting: (() => void)[] = [];
  const got: JsonObject[] = [];
  const engine = {
    append: (_: unknown, part: Part) =>
      new Promise<void>((resolve) => {
        waiting.push(() => {
          parts.push(part);
          resolve();
        });
      }),
  };
  const silent = { told() {}, asked: async () => ({}) };
  const asked = async ({ body }: { body: JsonObject }) => ({ of: String(body["type"]) });
  const worker = new Talk(
    "r",
    { engine, key, stream: { way: "up", worker: "w" }, sends: "up", receives: "down" },
    { told() {}, asked },
  );
  worker.readsMany = readsMany;
  const down: Part[] = [];
  const server = new Talk(
    "r",
    {
      engine: { append: async (_, part) => void down.push(part) },
      ...{ key, stream: { way: "down", worker: "w" }, sends: "down", receives: "up" },
    },
    { ...silent, told: (body) => void got.push(body) },
  );
  return {
    ...{ worker, parts, got },
    /** The worker has what the server sends. */
    async ask(body: JsonObject): Promise<JsonObject> {
      const answer = server.ask(body);
      await server.settled();
      for (const { seq, isLast, data } of down.splice(0)) worker.received(seq, isLast, data);
      return answer;
    },
    async take(): Promise<boolean> {
      await setImmediate();
      const next = waiting.shift();
      next?.();
      await setImmediate();
      for (const { seq, isLast, data } of parts.slice(-1)) server.received(seq, isLast, data);
      return next !== undefined;
    },
  };
}

test("what an agent says while the engine takes a letter goes together and in order, to a server that reads that", async () => {
  for (const readsMany of [true, false]) {
    const { worker, parts, got, take } = talking(readsMany);
    for (let at = 0; at < 40; at++) worker.tell({ type: "event", at });
    while (await take());
    assert.deepEqual(
      got.map(({ at }) => at),
      Array.from({ length: 40 }, (_, at) => at),
    );
    assert.equal(parts.length, readsMany ? 3 : 40);
  }
});

test("the answer to guidance does not wait behind what the agent has said before; that of a turn does", async () => {
  const { worker, got, ask, take } = talking(true);
  const answers: unknown[] = [];
  for (let at = 0; at < 50; at++) worker.tell({ type: "event", at });
  for (const type of ["turn", "steer"])
    void ask({ type }).then(({ of }) => answers.push([of, got.length]));
  await setImmediate();
  while (await take());
  assert.deepEqual(answers, [
    ["steer", 16],
    ["turn", 50],
  ]);
});
