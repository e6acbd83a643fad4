import { z } from "zod";
import { bytesOf, inUnits, notNegative, section, size, text } from "./agents.ts";

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

const hourMs = 3_600_000;
const times: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: hourMs,
  d: 24 * hourMs,
  w: 7 * 24 * hourMs,
};

const timeError = "must be a number of ms, or text such as 12h or 30d";
const timeText = text.regex(/^\d{1,9} ?(?:ms|s|m|h|d|w)$/, timeError);
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
