import { createHash } from "node:crypto";

/**
 * The cookie of a run's processes: `name` is an attempt id, or `hook`. The data directory is part of it, so that
 * two servers on one machine never take each other's processes for their own.
 */
export function runIdOf(dataDir: string, name: string): string {
  return `${createHash("sha256").update(dataDir).digest("hex").slice(0, 16)}/${name}`;
}
