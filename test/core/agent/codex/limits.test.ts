import assert from "node:assert/strict";
import { test } from "node:test";
import {
  isOutage,
  providerLimit,
  providerRefusal,
} from "../../../../src/core/agent/codex/protocol.ts";
import { bench } from "../../../support/worlds/scripted-agent.ts";

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

for (const [name, message, info, reason] of [
  [
    "401",
    "unexpected status",
    { httpConnectionFailed: { httpStatusCode: 401 } },
    "authentication_failed",
  ],
  [
    "an expired login",
    "Your access token has expired. Please sign in again.",
    "other",
    "authentication_failed",
  ],
  ["a login that codex names", "unauthorized", "unauthorized", "authentication_failed"],
  ["402", "payment", { responseTooManyFailedAttempts: { httpStatusCode: 402 } }, "billing_error"],
  ["an unknown model", "no such model", "modelNotFound", "model_not_found"],
  [
    "a model of another plan",
    `{"detail":"The 'gpt-9' model is not supported when using Codex with a ChatGPT account."}`,
    "other",
    "model_not_found",
  ],
] as const) {
  test(`A11: ${name} is refused until a person mends it`, () => {
    const error = providerRefusal({ message, info });
    assert.equal(error?.code, "provider_refused");
    assert.equal(error.details["reason"], reason);
    assert.match(error.hint ?? "", /symphony refresh$/);
  });
}

test("A24: a provider of codex that fails or is not reached is an outage, one that refuses is none", () => {
  const broken = (httpStatusCode: number | null) => ({
    responseStreamDisconnected: { httpStatusCode },
  });
  for (const info of ["serverOverloaded", "internalServerError", broken(502), broken(null)]) {
    assert.equal(isOutage(info), true, JSON.stringify(info));
  }
  for (const info of ["other", "badRequest", broken(400), { other: {} }, null]) {
    assert.equal(isOutage(info), false, JSON.stringify(info));
  }
});

test("A11: a firewall's page says nothing of the key, and a proxy that wants a login refuses everything", () => {
  const message = "unexpected status 403 Forbidden: <html><head><title>Blocked</title></head>";
  const answered = (httpStatusCode: number) => ({ httpConnectionFailed: { httpStatusCode } });
  assert.equal(providerRefusal({ message, info: answered(403) }), null);
  assert.equal(providerRefusal({ message, info: "unauthorized" }), null);
  const error = providerRefusal({ message: "no tunnel", info: answered(407) });
  assert.equal(error?.details["reason"], "refused_by_a_proxy");
});

test("A11: a key that codex does not get is refused with what the workflow has to say", () => {
  for (const message of [
    "Missing environment variable: `CORP_KEY`.",
    "Missing environment variable: `CORP_KEY`. Ask the platform team for one.",
  ]) {
    const error = providerRefusal({ message, info: "other" });
    assert.equal(error?.code, "provider_refused");
    assert.equal(error.hint, "write codex.env_passthrough: [CORP_KEY] in the workflow file");
  }
});

test("A11: other failures of codex are no refusal", () => {
  for (const [message, info] of [
    ["stream disconnected", { responseStreamDisconnected: { httpStatusCode: 500 } }],
    ["the sandbox denied a token file", "sandboxError"],
    ["overloaded", "serverOverloaded"],
    ["context", "contextWindowExceeded"],
  ] as const) {
    assert.equal(providerRefusal({ message, info }), null, message);
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

test("a provider that codex does not reach ends the turn as an outage after the limit for silence, although codex says each time that it tries again", async () => {
  const waiting = {
    do: "notify",
    method: "error",
    params: {
      error: {
        message: "Reconnecting... waiting for network",
        additionalDetails: "Connection failed",
      },
      willRetry: true,
    },
  } as const;
  const later = { do: "sleep", ms: 400 } as const;
  const said = { do: "say", text: "it was reached" } as const;
  const config = { stallTimeoutMs: 700 };
  await using unreached = await bench([[waiting, later, waiting, later, waiting, { do: "hang" }]], {
    config,
  });
  await using session = await unreached.start();
  await assert.rejects(session.turn("go", { model: null }), {
    code: "provider_unavailable",
    message: /was not reached: Connection failed$/,
  });
  await using reached = await bench([[waiting, later, said, waiting, later, waiting]], { config });
  await using other = await reached.start();
  await other.turn("go", { model: null });
});
