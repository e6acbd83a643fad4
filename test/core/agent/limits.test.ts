import assert from "node:assert/strict";
import { test } from "node:test";
import { geminiWait, limitIn, limitInOutput } from "../../../src/core/agent/limits.ts";
import { refusalInWords } from "../../../src/core/agent/refusals.ts";

const wall = Date.parse("2026-11-25T22:30:37Z");
const at = (text: string) => Date.parse(text);
const hours = (count: number, minutes = 0, seconds = 0) =>
  wall + ((count * 60 + minutes) * 60 + seconds) * 1_000;
const googleError = {
  error: {
    code: 429,
    message: "You have exhausted your capacity on this model. Your quota will reset after 8h44m7s.",
    errors: [{ message: "x", domain: "global", reason: "rateLimitExceeded" }],
    status: "RESOURCE_EXHAUSTED",
  },
};
const exhausted = {
  error: { code: 429, message: "Resource has been exhausted (e.g. check quota)." },
};
const nested = JSON.stringify({
  error: { message: JSON.stringify(exhausted, null, 2), code: 429, status: "Too Many Requests" },
});

/** Failures that are a usage limit: where they were seen, their content, and until when; null: no time is given. */
const limits: readonly (readonly [from: string, failure: unknown, until: number | null])[] = [
  ["a cap by the hour", { message: "Usage cap reached for this hour" }, null],
  ["a free plan", { message: "You've used up your free messages for today" }, null],
  ["requests at once", { message: "Concurrency limit exceeded for user" }, null],
  [
    "claude-agent-acp 0.101.0, a login's window",
    {
      code: -32603,
      message: "Internal error: You've hit your 5-hour limit · resets 1:09am (UTC)",
      data: { errorKind: "rate_limit" },
    },
    at("2026-11-26T01:09Z"),
  ],
  [
    "claude-agent-acp 0.101.0, an API key",
    {
      code: -32603,
      message: "Internal error: API Error: Request rejected (429) · This request would exceed",
      data: { errorKind: "rate_limit" },
    },
    null,
  ],
  [
    "gemini --acp 0.61.0",
    { code: 429, message: "You have exhausted your daily quota on this model." },
    null,
  ],
  [
    "an older gemini --acp, in the details",
    {
      code: -32603,
      message: "Internal error",
      data: {
        details:
          "You have exhausted your capacity on this model. Your quota will reset after 3h20m11s.",
      },
    },
    hours(3, 20, 11),
  ],
  [
    "gemini-cli#13004, the provider's answer in the text",
    { code: -32603, message: `[API Error: [${JSON.stringify(googleError)}]]` },
    hours(8, 44, 7),
  ],
  ["gemini-cli#1800, a response within a response", `✕ [API Error: ${nested}]`, null],
  [
    "google.rpc.RetryInfo",
    {
      code: -32603,
      message: "x",
      data: { status: "RESOURCE_EXHAUSTED", details: [{ retryDelay: "12011s" }] },
    },
    hours(3, 20, 11),
  ],
  [
    "an AI SDK error with headers",
    {
      code: -32603,
      message: "x",
      data: {
        name: "APIError",
        data: { message: "slow down", statusCode: 429, responseHeaders: { "retry-after": "9000" } },
      },
    },
    hours(2, 30),
  ],
  [
    "a header that is a date",
    { data: { status: 429, headers: { "Retry-After": "Thu, 26 Nov 2026 03:00:00 GMT" } } },
    at("2026-11-26T03:00Z"),
  ],
  ["data that is text", { code: -32603, message: "x", data: "429 Too Many Requests" }, null],
  [
    "codex's provider",
    {
      error: {
        type: "usage_limit_reached",
        message: "The usage limit has been reached",
        resets_at: 1_795_660_000,
        resets_in_seconds: 13_872,
      },
    },
    1_795_660_000_000,
  ],
  [
    "codex exec 0.169",
    "You’ve hit your usage limit. Visit https://x/usage to purchase more credits or try again in 2 days 3 hours.",
    hours(51),
  ],
  ["codex exec, 429", "exceeded retry limit, last status: 429 Too Many Requests", null],
  ["codex exec, quota", "Quota exceeded. Check your plan and billing details.", null],
  ["Claude Code 1.x", "Claude AI usage limit reached|1795660000", 1_795_660_000_000],
  ["Claude Code, short", "You've hit your limit", null],
  ["Claude Code, one model", "You've reached your Fable limit", null],
  ["Claude Code, one model of a version", "You've reached your Fable 5.1 limit", null],
  ["Claude Code, extra", "You're out of extra usage · resets 3am (UTC)", at("2026-11-26T03:00Z")],
  ["OpenAI", "Rate limit reached for gpt-5. Please try again in 20s.", wall + 20_000],
  ["HTTP as prose", "the request failed: HTTP 429", null],
  ["a share of a session", "You've used 100% of your 5h session", null],
  ["all of a plan", "You have used all of your included requests for this month.", null],
  ["free requests", "You have reached the limit of free requests for today", null],
  ["OpenRouter's free models", "free-models-per-day limit exceeded", null],
  ["Groq, per day", "Requests per day limit (RPD): Limit 9. Try again in 7m12s", wall + 432_000],
  ["a budget", "You have exceeded your monthly budget", null],
  ["LiteLLM's budget", { error: { type: "budget_exceeded", message: "x" } }, null],
  ["LiteLLM, as prose", "Budget has been exceeded! Current cost: 12.3, Max budget: 10", null],
  ["messages", "You are out of messages until 5:00 PM UTC", at("2026-11-26T17:00Z")],
  [
    "premium requests",
    "You have no premium requests left until Dec 1, 8am UTC",
    at("2026-12-01T08:00Z"),
  ],
  ["an allowance", "Premium request allowance exceeded", null],
  ["Bedrock", "ThrottlingException: Too many tokens, please wait before trying again.", null],
  ["throttled", "Request was throttled. Expected available in 86 seconds.", wall + 86_000],
  ["a key that is throttled", "Your API key is currently throttled", null],
  ["an account", "This account has been temporarily throttled", null],
  ["a monthly cap", "Monthly spend cap of $20 reached", null],
  ["a weekly allowance", "You have used up your weekly premium allowance", null],
  ["a budget that is over", "The request would go over the configured monthly budget", null],
  ["a quota", "The daily quota has run out. It renews at midnight UTC", at("2026-11-26T00:00Z")],
  ["a bare reset", { code: 429, data: { reset: "2026-11-26T03:00:00Z" } }, at("2026-11-26T03:00Z")],
];

/** Failures with a similar text. They keep their backoff and their retries. */
const others: readonly unknown[] = [
  "exceeded retry limit, last status: 503 Service Unavailable",
  "API Error: 529 Overloaded. This is a server-side issue, usually temporary — try again in a moment.",
  {
    code: -32603,
    message: "The model is overloaded. Please try again later.",
    data: { status: 503 },
  },
  { code: -32603, message: "The engine is overloaded", data: { status: 429 } },
  "Selected model is at capacity. Please try a different model.",
  "Service unavailable, try again in 5 minutes",
  // A person has to pay.
  "Credit balance is too low",
  "Insufficient Balance",
  "You're out of usage credits",
  { code: -32603, message: "402 Payment Required", data: { status: 402 } },
  // This request is too large, others are not.
  "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 50000 (429)",
  "prompt is too long: 1200000 tokens > 1000000 maximum",
  "maximum context length is 128000 tokens",
  { status: 429, message: "Extra usage is required for long context requests." },
  "agent thread limit reached",
  "the thinking budget exceeded the maximum",
  "You have used 100% of your context window",
  "EDQUOT: disk quota exceeded, write",
  "Reached maximum budget ($5)",
  "recursion limit reached",
  "error_max_turns",
  "output token limit hit",
  "line 429 of the log",
  "error: the monthly budget page does not render",
  "TypeError: cannot read property of undefined in monthlyBudget, the daily cap chart",
  "warning: the scroll handler is throttled",
  "Error: expected the callback to have been throttled",
  "the spending allowance form has a test that fails",
  "CPU was throttled while the tests ran",
  { code: -32603, message: "bad key", data: { status: 401 } },
  null,
  undefined,
  {},
  [],
  7,
];

test("usage limits in texts of agents and providers, with their time", () => {
  for (const [from, failure, until] of limits) {
    assert.deepEqual(limitIn(failure, wall), { untilWall: until }, from);
  }
});

test("overload, billing and requests that are too large are no usage limit", () => {
  for (const failure of others) assert.equal(limitIn(failure, wall), null, JSON.stringify(failure));
});

test("a time in the past, or one that cannot be read, leaves the default", () => {
  for (const resetsAt of [1_000_000_000, 0, -1, "soon", null, Number.NaN, {}]) {
    const failure = { code: 429, data: { resetsAt } };
    assert.deepEqual(limitIn(failure, wall), { untilWall: null });
  }
});

test("A1: stderr that only speaks of limits is none; a refusal in it is, with its time", () => {
  for (const text of [
    "Working on: add a rate limit to the login route",
    "plan:\n1. read the usage limit docs\n2. write the monthly budget page",
    "loaded skill quota-limit (per day limit of requests)",
    "tool: edit src/request-limit.ts",
    "Summary: message limits are configurable now",
    "src/rateLimit.ts: rate limit reset works",
    "working on rate limits\nwait 5 minutes for CI",
    "usage limit docs\nretry the tests",
  ]) {
    assert.equal(limitInOutput(text, wall), null, text);
  }
  for (const [text, until] of [
    ["Error: rate limit reached for gpt-5.5", null],
    ["RateLimitError: rate limit", null],
    ["started\nYou've hit your limit · resets 1:09am (UTC)\nbye", at("2026-11-26T01:09Z")],
    ["429 usage limit, try again in 3h20m11s", hours(3, 20, 11)],
    ["Too many requests", null],
    [JSON.stringify({ error: { code: 429, message: "slow down" } }, null, 2), null],
    ["Your account is throttled", null],
    ["You are out of messages", null],
    ["Insufficient quota.", null],
    ["You have used all of your requests for today", null],
    ["You have used 100% of your session", null],
    ["No requests remaining", null],
    ["no messages remaining today", null],
    ["You have spent your monthly budget", null],
    ["Over your monthly budget", null],
    ["message limit, wait 5 hours", hours(5)],
    ["Usage limit\n  resets in 2 hours", hours(2)],
    ["Rate limit.\n\nPlease retry after 7200 seconds", hours(2)],
  ] as const) {
    assert.deepEqual(limitInOutput(text, wall), { untilWall: until }, text);
  }
});

test("a hostile error is parsed in negligible time", () => {
  const deep = JSON.parse(`${'{"error":'.repeat(900)}{"code":429}${"}".repeat(900)}`);
  const wide = { data: Array.from({ length: 100_000 }, () => ({ message: "rate" })) };
  const long = `${"exceeded your ".repeat(100_000)}{${"[".repeat(10_000)}}`;
  const begun = process.cpuUsage();
  for (const failure of [deep, wide, long]) limitIn(failure, wall);
  assert.ok(process.cpuUsage(begun).user < 2_000_000);
});

test("gemini 0.61.0 waits by itself: hours are a limit, a minute or two and other failures are not", () => {
  const quota =
    "Attempt 1 failed: You have exhausted your capacity on this model. Your quota will reset after 3h20m11s.. Retrying after 12773246ms...";
  assert.deepEqual(geminiWait(`Ripgrep is not available.\n${quota}`, wall), {
    untilWall: hours(3, 20, 11),
  });
  const short =
    "Attempt 1 failed: You have exhausted your capacity on this model. Your quota will reset after 5s.. Retrying after 6173ms...";
  const server = "Attempt 1 failed: Internal error. Retrying after 300000ms...";
  for (const text of [short, server, "Retrying after 12773246ms...", `${quota}\nIt went on.`, ""]) {
    assert.equal(geminiWait(text, wall), null, text);
  }
  // Only the newest attempt counts.
  assert.equal(geminiWait(`${quota}\n${short}`, wall), null);
});

test("A11: an account without credit is told by its words for every agent, as for a provider", () => {
  for (const words of [
    "API Error: 402 Insufficient Balance",
    "You have run out of credits for this billing period",
    "Your team has either used all available credits or reached its limit",
    "403 Key limit exceeded (total limit)",
    "Billing hard limit has been reached",
  ]) {
    assert.equal(refusalInWords(words), "billing_error", words);
  }
});
