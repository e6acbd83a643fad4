import { z } from "zod";
import { notNegative, section, text } from "./agents.ts";

/** When the copies and workspaces of issues that have ended are removed. */
export interface RetentionConfig {
  /** In ms; null: no limit. */
  readonly maxAgeMs: number | null;
  /** Of all of them together; null: no limit. */
  readonly maxTotalBytes: number | null;
}

export interface WorkspaceConfig {
  /** Absolute and normalized. */
  readonly root: string;
  /** The largest copy of the work in a workspace that is removed; 0: no copies, such a workspace stays. */
  readonly keepMaxBytes: number;
  readonly retention: RetentionConfig;
}

const sizes: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};
const hourMs = 3_600_000;
const times: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: hourMs,
  d: 24 * hourMs,
  w: 7 * 24 * hourMs,
};

const sizeError = "must be a number of bytes, or text such as 500MiB or 10GiB";
const timeError = "must be a number of ms, or text such as 12h or 30d";
const sizeText = text.regex(/^\d{1,9} ?(?:B|KiB|MiB|GiB|TiB)$/, sizeError);
const timeText = text.regex(/^\d{1,9} ?(?:ms|s|m|h|d|w)$/, timeError);
/** Bytes, as a number or with a unit. */
export const size = z.union([notNegative, sizeText], sizeError);
const time = z.union([notNegative, timeText], timeError);

const defaultKeepMax = 2 * 1024 ** 3;

export const workspaceSection = section({
  root: text.optional(),
  keep_max: size.default(defaultKeepMax),
  retention: section({ max_age: time.optional(), max_total: size.optional() }).prefault({}),
});

export function workspaceConfigOf(
  written: z.output<typeof workspaceSection>,
  root: string,
): WorkspaceConfig {
  const { keep_max: keepMax, retention } = written;
  const { max_age: age, max_total: total } = retention;
  return {
    root,
    keepMaxBytes: bytesOf(keepMax),
    retention: {
      maxAgeMs: age === undefined ? null : inUnits(age, times),
      maxTotalBytes: total === undefined ? null : bytesOf(total),
    },
  };
}

/** The number of bytes. */
export function bytesOf(written: z.output<typeof size>): number {
  return inUnits(written, sizes);
}

function inUnits(written: number | string, units: Readonly<Record<string, number>>): number {
  if (typeof written === "number") return written;
  const [, count = "", unit = ""] = /^(\d+) ?([A-Za-z]+)$/.exec(written) ?? [];
  return Number(count) * (units[unit] ?? 1);
}
