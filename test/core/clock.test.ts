import assert from "node:assert/strict";
import { test } from "node:test";
import { ClockGap } from "../../src/core/clock.ts";
import { FakeClock } from "../support/fakes/fake-clock.ts";

test("a clock is wrong by what an answer's date demands, and a slow answer alone demands nothing", () => {
  const clock = new FakeClock();
  const gap = new ClockGap(clock);
  let aheadMs = 0;
  const ask = ({ before = 0, after = 0 }) => {
    const sentAt = clock.wall();
    clock.advance(before);
    const date = new Date(clock.wall() - aheadMs).toUTCString();
    clock.advance(after);
    gap.learn(date, sentAt);
    return gap.aheadMs;
  };
  clock.advance(900);
  for (const slow of [{ after: 10_000 }, { before: 10_000 }, { after: 8 * 3_600_000 }])
    assert.equal(ask(slow), 0, JSON.stringify(slow));
  for (const wrongMs of [300_000, -300_000]) {
    aheadMs = wrongMs;
    const first = ask({ before: 5_000, after: 5_000 });
    assert.ok(Math.abs(first - wrongMs) <= 6_000, `${first} ms`);
    const quick = ask({ before: 50, after: 50 });
    assert.ok(Math.abs(quick - wrongMs) <= 1_100, `${quick} ms`);
    assert.equal(
      ask({ after: 3_600_000 }),
      quick,
      "a slow answer does not take back what is known",
    );
  }
  aheadMs = 0;
  assert.equal(ask({ after: 50 }), 0, "the clock was set right");
  gap.learn("no date", clock.wall());
  gap.learn(undefined, clock.wall());
  assert.equal(gap.aheadMs, 0);
});
