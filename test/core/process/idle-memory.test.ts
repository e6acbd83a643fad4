import assert from "node:assert/strict";
import { test } from "node:test";
import { giveBackWhenIdle, ownMemory } from "../../../src/core/process/idle-memory.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";

const mb = 1024 * 1024;

test("memory that the start and a burst left is given back once the server is idle, and not while it works", () => {
  const clock = new FakeClock();
  let [resident, cpu, collected] = [130 * mb, 0, 0];
  const end = giveBackWhenIdle({
    clock,
    cpuMs: () => cpu,
    residentBytes: () => resident,
    collect() {
      collected += 1;
      resident = resident === 130 * mb ? 110 * mb : 115 * mb;
    },
  });
  cpu += 400;
  clock.advance(500);
  assert.equal(collected, 0, "it still starts");
  cpu += 1;
  clock.advance(500);
  assert.equal(collected, 1, "what the start left");
  collected = 0;
  const pass = (cpuMs: number) => {
    cpu += cpuMs;
    clock.advance(15_000);
  };
  pass(10);
  assert.equal(collected, 0, "nothing has grown");
  resident = 180 * mb;
  pass(9_000);
  assert.equal(collected, 0, "it works");
  pass(10);
  assert.equal(collected, 1);
  for (let look = 0; look < 10; look += 1) pass(10);
  assert.equal(collected, 1, "nothing more is to be had");
  resident = 140 * mb;
  pass(10);
  assert.equal(collected, 2, "it has grown again");
  end();
  resident = 300 * mb;
  clock.advance(60_000);
  assert.equal(collected, 2);
  assert.equal(clock.pending, 0);
});

test("a collection of this process frees what nothing holds any more", () => {
  const own = ownMemory(new FakeClock());
  const held = new WeakRef({});
  // A weak reference is kept until the present job has ended.
  return new Promise<void>((done) => {
    setImmediate(() => {
      own.collect();
      assert.equal(held.deref(), undefined);
      assert.ok(own.cpuMs() > 0 && own.residentBytes() > mb);
      done();
    });
  });
});
