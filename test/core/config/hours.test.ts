import assert from "node:assert/strict";
import { test } from "node:test";
import { toConfig } from "../../../src/core/config/resolve.ts";
import { parseWritten } from "../../../src/core/config/schema.ts";
import { sections } from "../../../src/core/kinds.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { hoursText, openingAt } from "../../../src/core/model/hours.ts";

function hoursOf(written: object) {
  const values = { tracker: { kind: "local" }, agent: { active_hours: written } };
  const hours = toConfig(parseWritten(values, sections), "/nowhere", sections).agent.activeHours;
  assert.ok(hours);
  return hours;
}

function problemOf(written: unknown): string {
  try {
    parseWritten({ tracker: { kind: "local" }, agent: { active_hours: written } }, sections);
  } catch (error) {
    assert.ok(error instanceof SymphonyError);
    return error.message;
  }
  return assert.fail("it should have been refused");
}

const berlin = { tz: "Europe/Berlin" };

/** Whether the hours are open at `at`, and the next change, in UTC. */
function at(written: object, time: string): [boolean, string] {
  const { open, untilWall } = openingAt(hoursOf(written), Date.parse(time));
  return [open, new Date(untilWall).toISOString().slice(0, 16)];
}

test("a window on some days opens and closes by the clocks of its zone", () => {
  const week = { ...berlin, days: ["mon", "tue", "wed", "thu", "fri"], from: "09:00", to: "17:30" };
  assert.deepEqual(at(week, "2026-11-26T07:59:59.999Z"), [false, "2026-11-26T08:00"]);
  assert.deepEqual(at(week, "2026-11-26T08:00:00Z"), [true, "2026-11-26T16:30"]);
  assert.deepEqual(at(week, "2026-11-26T16:29:59.999Z"), [true, "2026-11-26T16:30"]);
  assert.deepEqual(at(week, "2026-11-26T16:30:00Z"), [false, "2026-11-27T08:00"]);
  assert.deepEqual(at(week, "2026-11-27T16:30:00Z"), [false, "2026-11-30T08:00"]);
  assert.deepEqual(at({ ...week, days: "mon-fri" }, "2026-11-28T12:00:00Z"), [
    false,
    "2026-11-30T08:00",
  ]);
});

test("a window over midnight belongs to the day on which it begins", () => {
  const nights = { ...berlin, days: "fri", from: "22:00", to: "06:00" };
  assert.deepEqual(at(nights, "2026-11-27T20:59:00Z"), [false, "2026-11-27T21:00"]);
  assert.deepEqual(at(nights, "2026-11-27T21:00:00Z"), [true, "2026-11-28T05:00"]);
  assert.deepEqual(at(nights, "2026-11-28T04:59:00Z"), [true, "2026-11-28T05:00"]);
  assert.deepEqual(at(nights, "2026-11-28T05:00:00Z"), [false, "2026-12-04T21:00"]);
  assert.deepEqual(at(nights, "2026-11-27T01:00:00Z"), [false, "2026-11-27T21:00"]);
});

test("when clocks go forward a window is an hour shorter, and one inside the gap does not open", () => {
  // Europe/Berlin: 02:00 becomes 03:00 on 2026-03-29 at 01:00Z.
  const early = { ...berlin, from: "01:00", to: "04:00" };
  assert.deepEqual(at(early, "2026-03-28T23:00:00Z"), [false, "2026-03-29T00:00"]);
  assert.deepEqual(at(early, "2026-03-29T00:00:00Z"), [true, "2026-03-29T02:00"]);
  const gap = { ...berlin, from: "02:10", to: "02:50" };
  assert.deepEqual(at(gap, "2026-03-28T02:00:00Z"), [false, "2026-03-30T00:10"]);
  const cut = { ...berlin, from: "02:30", to: "05:00" };
  assert.deepEqual(at(cut, "2026-03-28T23:00:00Z"), [false, "2026-03-29T01:00"]);
  // The end is inside the gap, asked in the last minute before it, and in that of any hour before.
  const over = { ...berlin, from: "22:00", to: "02:30" };
  assert.deepEqual(at(over, "2026-03-28T21:59:30Z"), [true, "2026-03-29T01:00"]);
  assert.deepEqual(at(over, "2026-03-29T00:59:30Z"), [true, "2026-03-29T01:00"]);
});

test("when clocks go back a window is an hour longer, and one in the repeated hour opens twice", () => {
  // Europe/Berlin: 03:00 becomes 02:00 on 2026-10-25 at 01:00Z.
  const early = { ...berlin, from: "01:00", to: "04:00" };
  assert.deepEqual(at(early, "2026-10-24T23:00:00Z"), [true, "2026-10-25T03:00"]);
  const twice = { ...berlin, from: "02:10", to: "02:50" };
  assert.deepEqual(at(twice, "2026-10-25T00:00:00Z"), [false, "2026-10-25T00:10"]);
  assert.deepEqual(at(twice, "2026-10-25T00:10:00Z"), [true, "2026-10-25T00:50"]);
  assert.deepEqual(at(twice, "2026-10-25T00:50:00Z"), [false, "2026-10-25T01:10"]);
  assert.deepEqual(at(twice, "2026-10-25T01:50:00Z"), [false, "2026-10-26T01:10"]);
});

test("zones with offsets of half and quarter hours, and a clock change of half an hour", () => {
  const kolkata = { tz: "Asia/Kolkata", from: "09:00", to: "18:00" };
  assert.deepEqual(at(kolkata, "2026-11-26T03:29:00Z"), [false, "2026-11-26T03:30"]);
  const nepal = { tz: "Asia/Kathmandu", from: "09:00", to: "09:05" };
  assert.deepEqual(at(nepal, "2026-11-26T03:14:00Z"), [false, "2026-11-26T03:15"]);
  assert.deepEqual(at(nepal, "2026-11-26T03:15:00Z"), [true, "2026-11-26T03:20"]);
  // Lord Howe Island: 02:00 becomes 02:30 on 2026-10-04 at 15:30Z of the day before.
  const howe = { tz: "Australia/Lord_Howe", from: "01:30", to: "03:00" };
  assert.deepEqual(at(howe, "2026-10-03T15:00:00Z"), [true, "2026-10-03T16:00"]);
});

test("whole days, and hours that are always open", () => {
  const weekend = { ...berlin, days: "sat,sun" };
  assert.deepEqual(at(weekend, "2026-11-27T22:59:00Z"), [false, "2026-11-27T23:00"]);
  assert.deepEqual(at(weekend, "2026-11-27T23:00:00Z"), [true, "2026-11-29T23:00"]);
  assert.equal(openingAt(hoursOf(berlin), 0).open, true);
  assert.equal(hoursText(hoursOf(weekend)), "Sun, Sat 00:00 to 24:00 Europe/Berlin");
});

test("the next change is the first minute that differs, for a whole year of three zones", () => {
  for (const tz of ["America/New_York", "Pacific/Chatham", "Africa/Casablanca"]) {
    const hours = hoursOf({ tz, days: "mon-sat", from: "22:37", to: "02:13" });
    let wall = Date.parse("2026-01-01T00:00:00Z");
    const end = wall + 366 * 86_400_000;
    while (wall < end) {
      const { open, untilWall } = openingAt(hours, wall);
      assert.ok(untilWall > wall);
      assert.notEqual(openingAt(hours, untilWall).open, open, `${tz} ${new Date(wall)}`);
      assert.equal(openingAt(hours, untilWall - 1).open, open, `${tz} ${new Date(wall)}`);
      const middle = wall + Math.floor((untilWall - wall) / 2);
      assert.deepEqual(openingAt(hours, middle), { open, untilWall });
      wall = untilWall;
    }
  }
});

test("hours that mean nothing are refused with the key and what is right", () => {
  assert.match(problemOf({}), /agent\.active_hours\.tz is required, such as Europe\/Berlin/);
  assert.match(problemOf({ tz: "Europe/Berlinn" }), /active_hours\.tz must be a time zone such as/);
  assert.match(problemOf({ ...berlin, from: "9" }), /active_hours\.from must be a time of day/);
  assert.match(problemOf({ ...berlin, to: "24:01" }), /active_hours\.to must be a time of day/);
  assert.match(problemOf({ ...berlin, from: "9:00", to: "09:00" }), /active_hours\.to must differ/);
  assert.match(problemOf({ ...berlin, days: "mondy" }), /active_hours\.days must name days/);
  assert.match(problemOf({ ...berlin, form: "09:00" }), /active_hours must be a map of days, from/);
});
