import { lstat, readFile, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isInside } from "./view.ts";

// Unix sockets of other programs. A read-only directory does not keep a program from connecting to the sockets in it,
// and what listens there, such as the server of a package store, acts outside of the sandbox.

/**
 * The canonical paths of the sockets that programs of this machine have bound inside of `dirs`, which are canonical. Those
 * of containers with a network of their own are not known. Empty on macOS, whose profile names what may be reached. Never
 * rejects.
 */
export async function socketsIn(dirs: readonly string[]): Promise<readonly string[]> {
  const table = await readFile("/proc/net/unix", "utf8").catch(() => "");
  const bound = table
    .split("\n")
    // Seven columns and the path, which may have blanks; what begins with @ is no file.
    .flatMap((line) => /^(?:\S+\s+){7}(\/.+)$/.exec(line)?.[1] ?? []);
  const parents = new Map([...new Set(bound.map(dirname))].map((dir) => [dir, canonical(dir)]));
  const paths = await Promise.all(
    [...new Set(bound)].map(async (path) => {
      const parent = await parents.get(dirname(path));
      const at = parent && join(parent, basename(path));
      if (!at || !dirs.some((dir) => isInside(at, dir))) return [];
      return (await lstat(at).catch(() => null))?.isSocket() ? [at] : [];
    }),
  );
  return paths.flat();
}

function canonical(dir: string): Promise<string | null> {
  return realpath(dir).catch(() => null);
}
