import { SymphonyError } from "../core/model/errors.ts";

// Durations, days and times as they are typed: every option that takes one reads it here.

const dayMs = 86_400_000;
const unitsMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: dayMs,
  w: 7 * dayMs,
};
/** The last moment that a date can express. */
const lastMs = 8_640_000_000_000_000;

/** `90s`, `30m`, `1h30m`, `7d`, `500ms` as ms; `0` is 0. Throws `usage`, naming the option. */
export function parseDuration(text: string, option: string): number {
  const ms = durationOf(text);
  if (ms !== null) return ms;
  throw new SymphonyError("usage", `${option}: "${text}" is not a duration`, {
    hint: "write a number with its unit: 90s, 30m, 12h, 7d",
  });
}

function durationOf(text: string): number | null {
  const whole = text.trim();
  if (whole === "0") return 0;
  const parts = [...whole.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d|w)\s*/g)];
  if (parts.length === 0 || parts.map(([all]) => all).join("") !== whole) return null;
  const ms = parts.reduce(
    (sum, [, amount, unit]) => sum + Number(amount) * (unitsMs[unit ?? ""] ?? 0),
    0,
  );
  return ms <= lastMs ? ms : null;
}

/** How an option's help lists what it takes. */
export const whenForms = "yesterday, 2026-11-23, 2026-11-23T17:00Z or 12h ago (12h, 7d)";

/** A moment, or a whole day (UTC). */
interface When {
  /** ms since the epoch; of a day its first. */
  readonly fromMs: number;
  readonly isDay: boolean;
}

/**
 * `12h`, `7d`: so long ago. `today`, `yesterday`, `2026-11-23`: a day (UTC). `now`, `2026-11-23T17:00:00Z`: a moment. Throws
 * `usage`, naming the option.
 */
function parseWhen(text: string, option: string): When {
  const found = whenOf(text.trim(), Date.now());
  if (found !== null && Math.abs(found.fromMs) <= lastMs) return found;
  throw new SymphonyError("usage", `${option}: "${text}" is not a day, a time or a duration`, {
    hint: "write yesterday, 2026-11-23, 2026-11-23T17:00:00Z, or how long ago: 90s, 12h, 7d",
  });
}

function whenOf(text: string, nowMs: number): When | null {
  const today = Math.floor(nowMs / dayMs) * dayMs;
  switch (text.toLowerCase()) {
    case "now":
      return { fromMs: nowMs, isDay: false };
    case "today":
      return { fromMs: today, isDay: true };
    case "yesterday":
      return { fromMs: today - dayMs, isDay: true };
  }
  const ago = durationOf(text);
  if (ago !== null) return { fromMs: nowMs - ago, isDay: false };
  const [, day, time] = /^(\d{4}-\d\d-\d\d)(?:[T ](\S+))?$/i.exec(text) ?? [];
  if (day === undefined || !isDay(day)) return null;
  if (time === undefined) return { fromMs: Date.parse(day), isDay: true };
  const fromMs = /^\d\d:\d\d/.test(time) ? Date.parse(`${day}T${time.toUpperCase()}`) : Number.NaN;
  return Number.isNaN(fromMs) ? null : { fromMs, isDay: false };
}

/** False for a day that no month has: the 30th of February is read as one of March. */
function isDay(text: string): boolean {
  const ms = Date.parse(text);
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(text);
}

/** The first moment that `--since` includes, ms since the epoch. */
export function sinceMs(text: string, option: string): number {
  // Nothing is older than the epoch, and an API takes no years before it.
  return Math.max(parseWhen(text, option).fromMs, 0);
}

/** The same as the API writes it. */
export function sinceTime(text: string, option: string): string {
  return new Date(sinceMs(text, option)).toISOString();
}

/** The first moment that `--until` no longer includes: a day is included as a whole. */
export function untilTime(text: string, option: string): string {
  const { fromMs, isDay: whole } = parseWhen(text, option);
  return new Date(whole ? fromMs + dayMs : fromMs).toISOString();
}

/** The day (UTC) in which the moment lies. */
export function dayOf(text: string, option: string): string {
  return sinceTime(text, option).slice(0, 10);
}
