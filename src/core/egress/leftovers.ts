import { lstat, readdir, rm } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { boxPrefix } from "../process/seatbelt.ts";
import { isAlive } from "../process/table.ts";

/** How the directory of a way begins. */
export const wayPrefix = "symphony-way-";
/** The name of its socket. */
export const socketName = "way.sock";

const prefixes = [wayPrefix, boxPrefix];

/** A younger one may be about to open. */
const leastAgeMs = 60_000;

/** Removes what servers that were killed have left in the temporary directory. Never rejects. */
export async function removeLeftovers(dir: string, wall: number): Promise<void> {
  const names: readonly string[] = await readdir(dir).catch(() => []);
  for (const name of names.filter((one) => prefixes.some((prefix) => one.startsWith(prefix)))) {
    const way = join(dir, name);
    const stats = await lstat(way).catch(() => null);
    const isOwn = stats?.isDirectory() === true && stats.uid === process.getuid?.();
    if (!isOwn || wall - stats.mtimeMs < leastAgeMs) continue;
    const owner = name.startsWith(boxPrefix)
      ? Number.parseInt(name.slice(boxPrefix.length), 10)
      : null;
    if (owner === null ? await isAnswered(join(way, socketName)) : isAlive(owner)) continue;
    await rm(way, { recursive: true, force: true }).catch(() => {});
  }
}

/** False only for a socket that no process listens on, or that is not there. */
function isAnswered(socket: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const trial = connect(socket, () => {
    trial.destroy();
    resolve(true);
  });
  trial.on("error", (error: NodeJS.ErrnoException) => {
    resolve(error.code !== "ECONNREFUSED" && error.code !== "ENOENT");
  });
  return promise;
}
