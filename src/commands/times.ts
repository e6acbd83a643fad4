import { SymphonyError } from "../core/model/errors.ts";

const unitsMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `90s`, `30m`, `1h30m`, `500ms` as ms; `0` is 0. Throws `usage`, naming the option. */
export function parseDuration(text: string, option: string): number {
  if (text === "0") return 0;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  if (parts.length > 0 && parts.map(([all]) => all).join("") === text) {
    return parts.reduce(
      (sum, [, amount, unit]) => sum + Number(amount) * (unitsMs[unit ?? ""] ?? 0),
      0,
    );
  }
  throw new SymphonyError("usage", `${option}: "${text}" is not a duration`, {
    hint: "write a number with its unit, such as 90s, 30m or 2h",
  });
}

/** `3s`, `4m`, `2h 5m`, `3d`: as much as a person wants to know. */
export function span(ms: number): string {
  const seconds = Math.max(Math.round(ms / 1_000), 0);
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours}h` : `${hours}h ${minutes % 60}m`;
  return `${Math.floor(hours / 24)}d`;
}

/** `in 12s`, `3m ago`, or a dash for no time. */
export function relative(time: string | null, nowMs: number): string {
  if (time === null) return "-";
  const ms = Date.parse(time) - nowMs;
  return ms > 0 ? `in ${span(ms)}` : `${span(-ms)} ago`;
}

/** How long it has been since `time`. */
export function since(time: string | null, nowMs: number): string {
  return time === null ? "-" : span(nowMs - Date.parse(time));
}

/** `950`, `12.3k`, `4.5M`. */
export function amount(count: number): string {
  if (count < 1_000) return String(count);
  return count < 1_000_000
    ? `${(count / 1_000).toFixed(1)}k`
    : `${(count / 1_000_000).toFixed(1)}M`;
}
