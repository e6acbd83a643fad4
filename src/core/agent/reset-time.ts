/** Date and time on the clock of a zone. */
interface Civil {
  readonly year: number;
  /** 0-based. */
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
}

type Clock = Pick<Civil, "hour" | "minute"> & { readonly second: number | null };

const minuteMs = 60_000;
const dayMs = 86_400_000;
/** A date without a year that would be further in the future than this is in the past. */
const maxUnknownYearMs = 40 * dayMs;
const maxTextChars = 4_000;

const unitsMs: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["s", 1_000],
  ["m", minuteMs],
  ["h", 60 * minuteMs],
  ["d", dayMs],
  ["w", 7 * dayMs],
]);
const months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const weekdays = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/** Names that are in use but not in the time zone database. */
const zones: ReadonlyMap<string, string> = new Map([
  ...["utc", "gmt", "z"].map((name) => [name, "UTC"] as const),
  ...["pt", "pst", "pdt"].map((name) => [name, "America/Los_Angeles"] as const),
  ...["mt", "mdt"].map((name) => [name, "America/Denver"] as const),
  ...["ct", "cst", "cdt"].map((name) => [name, "America/Chicago"] as const),
  ...["et", "est", "edt"].map((name) => [name, "America/New_York"] as const),
  ...["cet", "cest"].map((name) => [name, "Europe/Berlin"] as const),
  ["bst", "Europe/London"],
  ["jst", "Asia/Tokyo"],
]);

// All patterns are for lower-case text, and bounded: the text comes from a program.
const unit =
  "(?:milliseconds?|msecs?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|w)";
const part = `\\d{1,12}(?:\\.\\d{1,9})?\\s?${unit}(?:\\(s\\))?(?![a-z])`;
const duration = `${part}(?:[,\\s]{0,3}(?:and\\s)?${part}){0,5}`;
/** Text before a time at which a limit ends. */
const cue =
  "\\b(?:resets?\\w{0,6}|again|retry\\w{0,12}|wait|available|refill\\w{0,3}|renews?|until|back)\\b";
const month =
  "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?";
const weekday =
  "sun(?:day)?|mon(?:day)?|tue(?:s?day)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?";
const clock =
  "(?<hour>\\d{1,2})(?::(?<minute>\\d{2}))?(?::(?<second>\\d{2}))?(?:\\s?(?<half>[ap])\\.?m\\b)?";
const zone = `(?:\\s?\\((?<inBrackets>[^)\\n]{1,40})\\)|\\s?(?<named>(?:utc|gmt)[+-]\\d{1,2}(?::?\\d\\d)?|${[...zones.keys()].join("|")}|[a-z]{3,12}/[a-z_/+-]{2,40})\\b)?`;

const dayAndTime = `(?:,? (?<year>\\d{4}))?(?:,? (?:at )?${clock}${zone})?(?!\\d)`;

const patterns = {
  epoch: new RegExp(`(?:\\||${cue}[^\\d\\n]{0,30})(\\d{13}|\\d{10})(?![\\d.])`, "g"),
  wait: new RegExp(`${cue}[^.;\\n\\d]{0,40}(${duration})`, "g"),
  bareWait:
    /\b(?:retry[-_ ]?after|resets?_in_seconds)["']?\s{0,3}[:=]?\s{0,3}["']?(\d{1,9})(?![\w.:-])(?!\s?[ap]\.?m)/g,
  hours: new RegExp(`${cue} (?:in|after) (\\d{1,3}):(\\d\\d):(\\d\\d)(?![\\d:])`, "g"),
  /** A date without a time of day. */
  isoDay: new RegExp(`${cue}[^\\d\\n]{0,30}(\\d{4}-\\d\\d-\\d\\d)(?![\\dt:-]| \\d)`, "g"),
  iso: /\b(\d{4}-\d\d-\d\d)[t ](\d\d:\d\d(?::\d\d)?)(?:\.\d{1,9})?\s?(z\b|\(?(?:utc|gmt)(?:[+-]\d{1,2}(?::?\d\d)?)?|[+-]\d\d:?\d\d)?/g,
  /** The three forms of a date of HTTP: RFC 9110, section 5.6.7. The last one, of asctime, names no zone. */
  http: /\b(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6},? (?:(\d{1,2}[ -][a-z]{3}[ -]\d{2,4} \d\d:\d\d:\d\d) (?:gmt|utc)|([a-z]{3} {1,2}\d{1,2}) (\d\d:\d\d:\d\d) (?:(?:gmt|utc) )?(\d{4})\b)/g,
  dated: new RegExp(
    `${cue}[^\\d\\n]{0,30}?\\b(?<month>${month})\\.? (?<day>\\d{1,2})(?:st|nd|rd|th)?${dayAndTime}`,
    "g",
  ),
  dayFirst: new RegExp(
    `${cue}[^\\d\\n]{0,30}?\\b(?<day>\\d{1,2})(?:st|nd|rd|th)? (?<month>${month})\\b\\.?${dayAndTime}`,
    "g",
  ),
  weekday: new RegExp(
    `${cue}[^\\d\\n]{0,30}?\\b(?<weekday>${weekday}),? (?:at )?${clock}${zone}`,
    "g",
  ),
  clock: new RegExp(`${cue}(?<between>[^\\d\\n]{0,30})${clock}${zone}`, "g"),
};

/**
 * The time, in epoch ms, from which a text says that requests are accepted again; null when it
 * names no time after `wall`. A time of day is the next one, in the zone that the text names, else
 * in this machine's.
 */
export function timeIn(text: string, wall: number): number | null {
  const read = words(text.slice(0, maxTextChars).toLowerCase());
  for (const at of candidates(read, wall)) if (at !== null && at > wall) return at;
  return null;
}

/**
 * A time without other text, such as the value of a field: epoch in seconds or ms, RFC 3339 or an
 * HTTP date.
 */
export function timeOf(value: unknown): number | null {
  const isNumber = typeof value === "string" && /^\d{10,13}(?:\.\d{1,9})?$/.test(value.trim());
  const number = isNumber ? Number(value) : value;
  if (typeof number === "number") return epochMs(number);
  if (typeof value !== "string" || value.length > 100) return null;
  const text = value.toLowerCase();
  const [found] = [...text.matchAll(patterns.iso)].map(isoTime);
  return found ?? [...text.matchAll(patterns.http)].map(httpTime)[0] ?? null;
}

/** A duration without other text, in ms: `12011s`, `3h20m11s`, `PT30S`, or a number of seconds. */
export function waitOf(value: unknown): number | null {
  const text =
    typeof value === "string"
      ? value
          .trim()
          .toLowerCase()
          .replace(/^pt(?=\d)/, "")
      : null;
  if (typeof value === "number" || (text !== null && /^\d{1,9}(?:\.\d{1,9})?$/.test(text))) {
    const seconds = Number(value);
    return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1_000 : null;
  }
  const whole = new RegExp(`^${duration}$`);
  return text !== null && text.length <= 100 && whole.test(text) ? durationMs(text) : null;
}

/** Words that stand for numbers are written as these. */
function words(text: string): string {
  return text
    .replaceAll(/\b(?:an?|one) (?=(?:minute|hour|day|week)\b)/g, "1 ")
    .replaceAll(/\b(at|until) (noon|midnight)\b/g, (_, at, word) =>
      word === "noon" ? `${at} 12:00` : `${at} 00:00`,
    );
}

function* candidates(text: string, wall: number): Generator<number | null> {
  for (const [, digits] of text.matchAll(patterns.epoch)) yield epochMs(Number(digits));
  for (const [, told] of text.matchAll(patterns.wait)) yield wall + durationMs(told ?? "");
  for (const [, ...each] of text.matchAll(patterns.hours)) yield wall + spanMs(each);
  for (const [, seconds] of text.matchAll(patterns.bareWait)) yield wall + Number(seconds) * 1_000;
  for (const match of text.matchAll(patterns.iso)) yield isoTime(match);
  for (const match of text.matchAll(patterns.http)) yield httpTime(match);
  for (const { groups } of text.matchAll(patterns.dated)) yield datedTime(groups ?? {}, wall);
  for (const { groups } of text.matchAll(patterns.dayFirst)) yield datedTime(groups ?? {}, wall);
  for (const [, day] of text.matchAll(patterns.isoDay)) yield Date.parse(day ?? "") || null;
  for (const { groups } of text.matchAll(patterns.weekday)) yield dailyTime(groups ?? {}, wall);
  for (const { groups } of text.matchAll(patterns.clock)) yield dailyTime(groups ?? {}, wall);
}

function epochMs(number: number): number | null {
  if (!Number.isFinite(number) || number < 1e9) return null;
  return number < 1e12 ? number * 1_000 : number;
}

function durationMs(text: string): number {
  const parts = text.matchAll(/(\d{1,12}(?:\.\d{1,9})?)\s?(ms|milli|[smhdw])/g);
  const each = [...parts].map(([, count, name = ""]) => {
    const known = unitsMs.get(name === "milli" ? "ms" : name) ?? 0;
    return Number(count) * known;
  });
  return each.reduce((sum, one) => sum + one, 0);
}

/** Hours, minutes and seconds. */
function spanMs(each: readonly (string | undefined)[]): number {
  return each.reduce((sum, one) => sum * 60 + Number(one), 0) * 1_000;
}

function isoTime([, date, time, offset]: RegExpMatchArray): number | null {
  const named = offset?.replace("(", "");
  const written = named === "utc" || named === "gmt" ? "z" : offsetOf(named ?? "");
  // Without a zone it is read in this machine's zone.
  const at = Date.parse(`${date}T${time}${written.toUpperCase()}`);
  return Number.isNaN(at) ? null : at;
}

function httpTime([, dayFirst, monthFirst, time, year]: RegExpMatchArray): number | null {
  const at = Date.parse(`${dayFirst ?? `${monthFirst} ${year} ${time}`} GMT`);
  return Number.isNaN(at) ? null : at;
}

type Groups = Readonly<Record<string, string | undefined>>;

function datedTime(groups: Groups, wall: number): number | null {
  const name = zoneOf(groups);
  const at = groups["hour"] === undefined ? midnight : clockOf(groups);
  if (name === null || at === null) return null;
  const month = months.indexOf((groups["month"] ?? "").slice(0, 3));
  const day = Number(groups["day"]);
  const inYear = (year: number) => {
    const time = instant({ year, month, day, ...at, second: at.second ?? 0 }, name);
    return notJustPast(time, at, wall);
  };
  if (groups["year"] !== undefined) return inYear(Number(groups["year"]));
  const { year } = civilAt(wall, name);
  const next = [inYear(year), inYear(year + 1)].find((time) => time > wall);
  return next === undefined || next - wall > maxUnknownYearMs ? null : next;
}

/** The next occurrence of a time of day, on one day of the week if one is named. */
function dailyTime(groups: Groups, wall: number): number | null {
  const name = zoneOf(groups);
  const at = clockOf(groups);
  if (name === null || at === null) return null;
  const today = civilAt(wall, name);
  const first = groups["between"]?.includes("tomorrow") ? 1 : 0;
  const weekday =
    groups["weekday"] === undefined ? -1 : weekdays.indexOf(groups["weekday"].slice(0, 3));
  for (let days = first; days <= 7; days++) {
    const day = { ...today, day: today.day + days, ...at, second: at.second ?? 0 };
    const isIt = weekday === -1 || new Date(civilMs(day)).getUTCDay() === weekday;
    const time = notJustPast(instant(day, name), at, wall);
    if (isIt && time > wall) return time;
  }
  return null;
}

const midnight: Clock = { hour: 0, minute: 0, second: 0 };

function clockOf({ hour, minute, second, half }: Groups): Clock | null {
  // A bare number is not a time of day.
  if (hour === undefined || (minute === undefined && half === undefined)) return null;
  const written = Number(hour);
  if (half !== undefined && (written < 1 || written > 12)) return null;
  const hours = half === undefined ? written : (written % 12) + (half === "p" ? 12 : 0);
  if (hours > 23 || Number(minute ?? 0) > 59 || Number(second ?? 0) > 59) return null;
  return {
    hour: hours,
    minute: Number(minute ?? 0),
    second: second === undefined ? null : Number(second),
  };
}

/** Such times have no seconds: during the named minute its end is meant, not the next day. */
function notJustPast(time: number, { second }: Clock, wall: number): number {
  const justPast = second === null && time <= wall && wall - time < minuteMs;
  return justPast ? time + minuteMs : time;
}

/** The named zone, else this machine's; null when there is no such zone. */
function zoneOf({ inBrackets, named }: Groups): string | null {
  const written = inBrackets ?? named;
  if (written === undefined) return Intl.DateTimeFormat().resolvedOptions().timeZone;
  const name = zones.get(written) ?? offsetOf(written);
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone;
  } catch {
    return null;
  }
}

/** `utc+2` as `+02:00`; anything else as it is. */
function offsetOf(written: string): string {
  const [, sign, hours = "", minutes = "00"] =
    /^(?:utc|gmt)([+-])(\d{1,2}):?(\d\d)?$/.exec(written) ?? [];
  return sign === undefined ? written : `${sign}${hours.padStart(2, "0")}:${minutes}`;
}

function civilMs({ year, month, day, hour, minute, second }: Civil): number {
  return Date.UTC(year, month, day, hour, minute, second);
}

function civilAt(wall: number, zone: string): Civil {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });
  const parts = new Map(format.formatToParts(wall).map(({ type, value }) => [type, Number(value)]));
  const get = (type: Intl.DateTimeFormatPartTypes) => parts.get(type) ?? 0;
  return {
    year: get("year"),
    month: get("month") - 1,
    day: get("day"),
    hour: get("hour"),
    minute: get("minute"),
    second: get("second"),
  };
}

/** The instant at which the clocks of a zone show a date and time. */
function instant(civil: Civil, zone: string): number {
  const shown = civilMs(civil);
  const offsetAt = (at: number) => civilMs(civilAt(at, zone)) - at;
  // The first guess may use the offset from the other side of a clock change.
  return shown - offsetAt(shown - offsetAt(shown));
}
