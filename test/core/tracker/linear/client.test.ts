import assert from "node:assert/strict";
import { test } from "node:test";
import type { RequestOutcome } from "../../../../src/core/tracker/linear/client.ts";
import { capBytes } from "../../../../src/core/tracker/linear/refusal.ts";
import { type FakeFault, startFakeLinear } from "../../../support/fakes/fake-linear.ts";
import { driven, linearTracker } from "../../../support/fakes/linear-tracker.ts";

const active = ["Todo"];
const one = { issues: [{ identifier: "ENG-1" }] };

const failures: readonly (readonly [string, FakeFault, string, number])[] = [
  ["a server error, three times", { kind: "status", status: 503, times: 9 }, "tracker_status", 3],
  ["a broken connection, three times", { kind: "reset", times: 9 }, "tracker_request", 3],
  ["a hanging server, three times", { kind: "hang", times: 9 }, "tracker_request", 3],
  ["not found from a proxy, once", { kind: "status", status: 404 }, "tracker_status", 1],
  ["a web page, once", { kind: "status", status: 200 }, "tracker_response", 1],
  ["cut-off JSON, once", { kind: "cut" }, "tracker_response", 1],
  ["null, once", { kind: "body", body: "null" }, "tracker_response", 1],
  ["an answer without data, once", { kind: "body", body: "{}" }, "tracker_response", 1],
  ["another shape, once", { kind: "body", body: '{"data":{"x":1}}' }, "tracker_response", 1],
  [
    "errors next to data, once",
    { kind: "body", body: '{"data":{"issues":null},"errors":[{"message":"no"}]}' },
    "tracker_response",
    1,
  ],
];

for (const [what, fault, code, requests] of failures) {
  test(`L-12, T-9: ${what}: ${code}`, async () => {
    await using fake = await startFakeLinear(one);
    // Real time: a busy machine must not turn another fault into a timeout.
    const { tracker, clock } = linearTracker(fake, {
      timeoutMs: fault.kind === "hang" ? 60 : 20_000,
    });
    fake.fail({ ...fault, operation: "SymphonyScope" });
    await assert.rejects(driven(clock, tracker.fetchIssuesByStates(active)), { code });
    assert.equal(fake.requests.length, requests);
  });
}

test("a read is retried after two server errors, half a second and two seconds apart", async () => {
  await using fake = await startFakeLinear(one);
  const { tracker, clock } = linearTracker(fake);
  fake.fail({ kind: "status", times: 2 });
  assert.equal((await driven(clock, tracker.fetchIssuesByStates(active))).length, 1);
  assert.equal(clock.now(), 2_500);
});

test("a mutation is sent once, because it may have been carried out", async () => {
  await using fake = await startFakeLinear(one);
  const { tracker, clock } = linearTracker(fake);
  const [issue] = await tracker.fetchIssuesByStates(active);
  assert.ok(issue);
  fake.fail({ kind: "reset", operation: "SymphonyMoveIssue" });
  await assert.rejects(driven(clock, tracker.workflow.move(issue, "Done")), {
    code: "tracker_request",
  });
  assert.equal(
    fake.requests.filter(({ operation }) => operation === "SymphonyMoveIssue").length,
    1,
  );
});

test("Linear refuses the key: tracker_status 401 with a hint, and no retry", async () => {
  await using fake = await startFakeLinear(one);
  const { tracker } = linearTracker({ ...fake, apiKey: "lin_api_revoked" });
  await assert.rejects(tracker.fetchIssuesByStates(active), {
    code: "tracker_status",
    hint: /API key/,
  });
  assert.equal(fake.requests.length, 1);
});

test("a server that cannot be reached is tracker_request", async () => {
  const fake = await startFakeLinear(one);
  await fake.close();
  const { tracker, clock } = linearTracker(fake);
  await assert.rejects(driven(clock, tracker.fetchIssuesByStates(active)), {
    code: "tracker_request",
    message: /ECONNREFUSED/,
  });
});

test("a redirect is not followed", async () => {
  await using elsewhere = await startFakeLinear(one);
  await using fake = await startFakeLinear(one);
  fake.fail({ kind: "status", status: 307, times: 9, headers: { location: elsewhere.url } });
  const { tracker, clock } = linearTracker(fake);
  await assert.rejects(driven(clock, tracker.fetchIssuesByStates(active)), {
    code: "tracker_request",
  });
  assert.equal(elsewhere.requests.length, 0);
});

const waits: readonly (readonly [string, Record<string, string>, number])[] = [
  ["Retry-After in seconds", { "retry-after": "37" }, 37_000],
  [
    "Retry-After as a date, by Linear's own clock",
    { "retry-after": "Wed, 01 Jan 2031 00:00:40 GMT", date: "Wed, 01 Jan 2031 00:00:00 GMT" },
    40_000,
  ],
  ["garbage in Retry-After", { "retry-after": "soon" }, 60_000],
  ["nothing", {}, 60_000],
  ["an hour, but no longer than five minutes", { "retry-after": "3600" }, 300_000],
  [
    "the refill of a leaky bucket",
    { "x-ratelimit-requests-limit": "60", "x-ratelimit-requests-remaining": "0" },
    60_000,
  ],
];

for (const [what, headers, waitMs] of waits) {
  test(`FAULT-8: a rate limit is respected: ${what}`, async () => {
    await using fake = await startFakeLinear(one);
    const { tracker, clock } = linearTracker(fake);
    fake.fail({ kind: "ratelimited", headers });
    const limited = { code: "tracker_rate_limited" };
    await assert.rejects(tracker.fetchIssuesByStates(active), limited);
    clock.advance(waitMs - 10_001);
    await assert.rejects(tracker.fetchIssuesByStates(active), limited);
    assert.equal(fake.requests.length, 1);
    clock.advance(1);
    assert.equal((await driven(clock, tracker.fetchIssuesByStates(active))).length, 1);
    assert.equal(clock.now(), waitMs);
  });
}

test("T-9: HTTP 429 is a rate limit too", async () => {
  await using fake = await startFakeLinear(one);
  const { tracker } = linearTracker(fake);
  fake.fail({ kind: "status", status: 429 });
  await assert.rejects(tracker.fetchIssuesByStates(active), { code: "tracker_rate_limited" });
});

test("a short refill is waited for: 1,440 ms at 2,500 requests an hour", async () => {
  await using fake = await startFakeLinear(one);
  const limit = "x-ratelimit-requests";
  Object.assign(fake.headers, { [`${limit}-limit`]: "2500", [`${limit}-remaining`]: "0" });
  const { tracker, clock } = linearTracker(fake);
  await driven(clock, tracker.fetchIssuesByStates(active));
  assert.equal(fake.requests.length, 3);
  assert.ok(clock.now() >= 2 * 1_440);
  assert.deepEqual(tracker.budget.requests, { limit: 2_500, remaining: 0, resetAt: null });
});

test("close ends a running read", async () => {
  await using fake = await startFakeLinear(one);
  fake.fail({ kind: "hang" });
  const { tracker } = linearTracker(fake);
  const read = tracker.fetchIssuesByStates(active);
  read.catch(() => {});
  tracker.close();
  await assert.rejects(read, { code: "tracker_request" });
});

test("every request is reported once, with its outcome", async () => {
  await using fake = await startFakeLinear(one);
  const outcomes: RequestOutcome[] = [];
  const { tracker, clock } = linearTracker(fake, {
    onRequest: (outcome) => outcomes.push(outcome),
  });
  fake.fail({ kind: "status" });
  await driven(clock, tracker.fetchIssuesByStates(active));
  assert.deepEqual(
    outcomes.map(({ operation, outcome }) => `${operation} ${outcome}`),
    [
      "SymphonyScope tracker_status",
      "SymphonyScope ok",
      "SymphonyNewest ok",
      "SymphonyCandidates ok",
    ],
  );
});

test("X-2, L-12: errors contain a body of up to 1,000 bytes, one line of message, and never the key", async () => {
  await using fake = await startFakeLinear({ ...one, apiKey: "lin_api_canary" });
  const { tracker, clock } = linearTracker(fake);
  const said = `lin_api_canary\u0007\nlevel=error ${"é".repeat(3_000)}`;
  const bodies = [
    said,
    JSON.stringify({ errors: [{ message: said, extensions: { type: said, code: said } }] }),
  ];
  for (const body of bodies) {
    fake.fail({
      kind: "body",
      body,
      headers: { "content-type": body === said ? "text/html" : "application/json" },
    });
    const read = driven(clock, tracker.fetchIssuesByStates(active));
    const error = await read.then(
      () => assert.fail(),
      (thrown: Error & { details: { body: string } }) => thrown,
    );
    assert.ok(!JSON.stringify([error, error.message, error.stack, error.cause]).includes("canary"));
    assert.doesNotMatch(error.message, /\p{Cc}/u);
    assert.ok(Buffer.byteLength(error.details.body) <= 1_000);
  }
});

test("capBytes never splits a character", () => {
  assert.equal(capBytes("aéé", 4), "aé");
  assert.equal(capBytes("aé", 3), "aé");
});
