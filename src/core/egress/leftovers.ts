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

/** A younger one without a socket or a process may be about to open. */
const leastAgeMs = 60_000;

/** Removes what servers that were killed have left in the temporary directory. Never rejects. */
export async function removeLeftovers(dir: string, wall: number): Promise<void> {
  const names: readonly string[] = await readdir(dir).catch(() => []);
  for (const name of names.filter((one) => prefixes.some((prefix) => one.startsWith(prefix)))) {
    const way = join(dir, name);
    const stats = await lstat(way).catch(() => null);
    const isOwn = stats?.isDirectory() === true && stats.uid === process.getuid?.();
    if (!isOwn) continue;
    const isYoung = wall - stats.mtimeMs < leastAgeMs;
    const isUsed = name.startsWith(boxPrefix)
      ? isYoung || isAlive(Number.parseInt(name.slice(boxPrefix.length), 10))
      : await isAnswered(join(way, socketName), isYoung);
    if (isUsed) continue;
    await rm(way, { recursive: true, force: true }).catch(() => {});
  }
}

/** False only for a socket that no process listens on, or that is not there and does not come. */
function isAnswered(socket: string, comes: boolean): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const trial = connect(socket, () => {
    trial.destroy();
    resolve(true);
  });
  trial.on("error", (error: NodeJS.ErrnoException) => {
    resolve(error.code === "ENOENT" ? comes : error.code !== "ECONNREFUSED");
  });
  return promise;
}
