import { z } from "zod";
import { bytesOf, section, size, text } from "./agents.ts";

/** What the host must have for new work to start. */
export interface HostLimits {
  /** Free bytes on a disk of `total` bytes; 0: no limit. */
  readonly minFree: FreeSpace;
  /** Memory that is available, in bytes; 0: no limit. */
  readonly minMemoryBytes: number;
  /** Load average of five minutes for each CPU; 0: no limit. */
  readonly maxLoad: number;
}

/** The smaller of the two; null: that one does not count. */
interface FreeSpace {
  readonly bytes: number | null;
  readonly share: number | null;
}

const percent = text.regex(/^\d{1,2}(?:\.\d+)? ?%$/, "must be a share such as 5%");
const defaultFree: FreeSpace = { bytes: 1024 ** 3, share: 0.05 };

/** Space that stays free. */
export const storageSection = section({
  min_free: z
    .union([size, percent], "must be a number of bytes, or text such as 2GiB or 5%")
    .nullable()
    .default(null),
});

/** What the machine itself must have left. */
export const hostSection = section({
  min_memory: size.default(256 * 1024 ** 2),
  max_load: z.number("must be a number").min(0, "must not be negative").default(8),
});

export function hostLimitsOf(
  storage: z.output<typeof storageSection>,
  host: z.output<typeof hostSection>,
): HostLimits {
  return {
    minFree: freeOf(storage.min_free),
    minMemoryBytes: bytesOf(host.min_memory),
    maxLoad: host.max_load,
  };
}

function freeOf(written: number | string | null): FreeSpace {
  if (written === null) return defaultFree;
  if (typeof written === "string" && written.endsWith("%")) {
    return { bytes: null, share: Number.parseFloat(written) / 100 };
  }
  return { bytes: bytesOf(written), share: null };
}

/** The bytes that must be free on a disk of this size. */
export function freeWanted({ bytes, share }: FreeSpace, total: number): number {
  return Math.min(
    bytes ?? Number.POSITIVE_INFINITY,
    share === null ? Number.POSITIVE_INFINITY : share * total,
  );
}
