import assert from "node:assert/strict";
import { test } from "node:test";
import { timeIn, timeOf, waitOf } from "../../../src/core/agent/reset-time.ts";

const wall = Date.parse("2026-11-25T22:30:37Z");
const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const at = (text: string) => Date.parse(text);
/** In the zone of the machine that runs the test. */
const local = (...civil: [number, number, number, number, number]) => new Date(...civil).getTime();

/** The next time at which this machine's clocks show `hours`:`minutes`. */
function nextLocal(hours: number, minutes: number): number {
  const now = new Date(wall);
  const day = (days: number) =>
    local(now.getFullYear(), now.getMonth(), now.getDate() + days, hours, minutes);
  return day(0) > wall ? day(0) : day(1);
}

/** Texts of programs and providers, each with where it was seen. */
const written: readonly (readonly [from: string, text: string, time: number | null])[] = [
  [
    "Claude Code 2.1.332, zone named",
    "You've hit your 5-hour limit · resets 2:26am (UTC)",
    at("2026-11-26T02:26Z"),
  ],
  [
    "Claude Code 2.1.332, full hour",
    "You've hit your 5-hour limit · resets 1am (UTC)",
    at("2026-11-26T01:00Z"),
  ],
  [
    "claude-code#81975",
    "You've hit your session limit · resets 12:50pm (Europe/Paris)",
    at("2026-11-26T11:50Z"),
  ],
  [
    "claude-code#12789",
    "Weekly limit reached · resets 10am (Asia/Seoul) · /upgrade to Max",
    at("2026-11-26T01:00Z"),
  ],
  [
    "claude-code#25583, with a date",
    "You've hit your limit · resets Nov 28, 11am (Europe/Berlin)",
    at("2026-11-28T10:00Z"),
  ],
  [
    "claude-code#92834, date without a zone",
    "You've hit your weekly limit · resets Dec 1 at 7pm",
    local(2026, 11, 1, 19, 0),
  ],
  ["Claude Code 1.x", "Claude AI usage limit reached|1795660000", 1_795_660_000_000],
  [
    "codex 0.169, the same day",
    "You’ve hit your usage limit. Upgrade to Pro or try again at 3:14 PM.",
    nextLocal(15, 14),
  ],
  [
    "codex 0.169, another day",
    "visit https://x/usage to purchase more credits or try again at Nov 27th, 2026 1:15 AM.",
    local(2026, 10, 27, 1, 15),
  ],
  [
    "codex#3124",
    "or try again in 2 days 17 hours 14 minutes.",
    wall + 2 * 24 * hour + 17 * hour + 14 * minute,
  ],
  [
    "gemini-cli#13004",
    "Your quota will reset after 8h44m7s.",
    wall + 8 * hour + 44 * minute + 7 * second,
  ],
  ["Gemini API", "Please retry in 34.074824224s.", wall + 34_074.824224],
  ["Gemini RetryInfo", '"retryDelay": "12011s"', wall + 12_011 * second],
  ["OpenAI", "Limit 30000, Used 26000. Please try again in 11.2s.", wall + 11_200],
  ["prose", "Too many requests, try again in 5 minutes", wall + 5 * minute],
  ["prose", "reset after 1 hour and 5 minutes", wall + hour + 5 * minute],
  ["a header in prose", "Retry-After: 120", wall + 120 * second],
  ["RFC 3339", "Resets at 2026-11-26T03:00:00+01:00.", at("2026-11-26T02:00Z")],
  ["RFC 3339 with a space", "Resets at 2026-11-26 03:00:00 UTC", at("2026-11-26T03:00Z")],
  ["HTTP date", "until Thu, 26 Nov 2026 03:00:00 GMT", at("2026-11-26T03:00Z")],
  ["24 hours", "resets at 17:00 (America/New_York)", at("2026-11-26T22:00Z")],
  ["an abbreviation", "resets 00:00 PT", at("2026-11-26T08:00Z")],
  ["an offset", "resets at 02:00 UTC+2", at("2026-11-26T00:00Z")],
  ["a day of the week", "resets Monday 9:00 AM UTC", at("2026-11-30T09:00Z")],
  ["a day of the week in a zone", "resets Thu 7pm (Europe/Berlin)", at("2026-11-26T18:00Z")],
  ["a zone after a quota", "quota will reset at 3pm (Europe/Vienna)", at("2026-11-26T14:00Z")],
  ["hours and minutes", "try again in 2 hours 5 minutes", wall + 2 * hour + 5 * minute],
  ["a clock of what is left", "resets in 2:05:00", wall + 2 * hour + 5 * minute],
  ["an hour", "try again in an hour", wall + hour],
  ["unix ms", "resets at 1795660000123", 1_795_660_000_123],
  ["the day first", "resets 30 November 2026 09:00 UTC", at("2026-11-30T09:00Z")],
  ["the day first, no year", "until 30 Nov, 9:00 UTC", at("2026-11-30T09:00Z")],
  ["a date alone", "exhausted until 2026-12-01", at("2026-12-01T00:00Z")],
  ["an offset in brackets", "Reset time: 2026-11-27 03:00 (UTC+8)", at("2026-11-26T19:00Z")],
  ["an offset without a colon", "until 2026-11-27T03:00:00+0800", at("2026-11-26T19:00Z")],
  ["noon", "resets at noon UTC", at("2026-11-26T12:00Z")],
  ["tomorrow, later than now", "again tomorrow at 11pm UTC", at("2026-11-26T23:00Z")],
  // Seconds are ignored: at 22:30:37 this is not tomorrow.
  ["the minute that it is", "resets 10:30pm (UTC)", at("2026-11-25T22:31Z")],
  ["a minute ago: tomorrow", "resets 10:29pm (UTC)", at("2026-11-26T22:29Z")],
];

/** Texts that give no credible time. */
const unread = [
  "rate limit reached",
  "resets 3pm (Middle/Earth)",
  "resets 13pm (UTC)",
  "resets 25:61",
  "try again later",
  "again at Nov 24th, 2026 1:15 AM",
  "resets Nov 20 at 7pm",
  "resets at 2026-11-25T22:30:00Z",
  "retry after 0 seconds",
  "check your gateway (127.0.0.1:33129), try again in a moment",
  "limit 250, used 240",
  "",
];

test("a time is read from every known text of a provider", () => {
  for (const [from, text, time] of written) assert.equal(timeIn(text, wall), time, from);
});

test("a text with no time, a past one, or nonsense gives none", () => {
  for (const text of unread) assert.equal(timeIn(text, wall), null, text);
});

test("changes between summer and winter time are followed", () => {
  const before = at("2026-03-28T23:00Z");
  assert.equal(timeIn("resets 9am (Europe/Berlin)", before), at("2026-03-29T07:00Z"));
  const after = at("2026-10-24T22:00Z");
  assert.equal(timeIn("resets 9am (Europe/Berlin)", after), at("2026-10-25T08:00Z"));
});

test("values of fields: epoch in seconds and ms, dates, durations, seconds", () => {
  const date = "Thu, 26 Nov 2026 03:00:00 GMT";
  const times = [1_795_660_000, "1795660000", 1_795_660_000_123, "2026-11-26T03:00:00Z", date];
  assert.deepEqual(times.map(timeOf), [
    ...[1_795_660_000_000, 1_795_660_000_000, 1_795_660_000_123],
    ...[at("2026-11-26T03:00Z"), at("2026-11-26T03:00Z")],
  ]);
  for (const value of [5, -1, "soon", "", null, {}, Number.NaN, "x".repeat(1_000)]) {
    assert.equal(timeOf(value), null);
  }
  const waits = ["12011s", "3h20m11s", "120", 2, "500ms", " 7 "];
  assert.deepEqual(waits.map(waitOf), [12_011_000, 12_011_000, 120_000, 2_000, 500, 7_000]);
  for (const value of ["soon", "", "-5", -5, null, "1 fortnight", date]) {
    assert.equal(waitOf(value), null);
  }
});

test("a hostile text is parsed in negligible time", () => {
  const long = ["again ".repeat(5_000), "retry 1 ".repeat(5_000), "resets 1m,".repeat(5_000)];
  const begun = process.cpuUsage();
  for (const text of long) timeIn(`${text} 1`, wall);
  assert.ok(process.cpuUsage(begun).user < 2_000_000);
});
