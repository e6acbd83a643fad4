import assert from "node:assert/strict";
import { test } from "node:test";
import { providerLimit } from "../../../../src/core/agent/codex/protocol.ts";

const ended = (info: unknown) => ({ message: "no more", info });
const at = 1_795_460_000;
const unknown = { limits: null, wall: 0 };

function untilOf(limits: Record<string, unknown> | null): unknown {
  return providerLimit(ended("usageLimitExceeded"), { limits, wall: 0 })?.details["untilWall"];
}

test("a used-up limit and a 429 without a time are provider_limited; other failures are not", () => {
  assert.equal(providerLimit(ended("usageLimitExceeded"), unknown)?.code, "provider_limited");
  const tooMany = { responseTooManyFailedAttempts: { httpStatusCode: 429 } };
  assert.equal(providerLimit(ended(tooMany), unknown)?.code, "provider_limited");
  const down = { responseTooManyFailedAttempts: { httpStatusCode: 503 } };
  for (const info of [down, "serverOverloaded", "other", null, undefined, 7, []]) {
    assert.equal(providerLimit(ended(info), unknown), null);
  }
});

test("the time is that of the used-up window, or of the later of two; other windows give no time", () => {
  const full = { usedPercent: 100, resetsAt: at };
  assert.equal(untilOf(null), null);
  assert.equal(untilOf({ primary: full }), at * 1_000);
  const week = { used_percent: 99.5, resets_at: at + 60 };
  assert.equal(untilOf({ primary: full, secondary: week }), (at + 60) * 1_000);
  const half = { usedPercent: 43, resetsAt: at + 60 };
  assert.equal(untilOf({ primary: full, secondary: half }), at * 1_000);
  assert.equal(untilOf({ primary: half }), null);
  assert.equal(untilOf({ primary: { usedPercent: 100, resetsAt: null }, secondary: "x" }), null);
});

test("without such a window the time is read from codex's error message", () => {
  const message = "You’ve hit your usage limit. Try again in 2 days 3 hours.";
  const info = "usageLimitExceeded";
  const limit = providerLimit({ message, info }, { limits: null, wall: 1_000 });
  assert.equal(limit?.details["untilWall"], 1_000 + 51 * 3_600_000);
});
