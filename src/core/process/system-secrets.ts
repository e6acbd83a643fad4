import { access, constants, lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { systemSecrets } from "./view.ts";

/** Where settings of services are, among the directories that every sandbox shows, and how deep they are searched. */
const searched: readonly (readonly [dir: string, depth: number])[] = [
  ["/etc", 6],
  ["/usr/local/etc", 6],
  ["/opt", 2],
];
const anyMayRead = 0o004;
const anyMayEnter = 0o001;
const keptMs = 60_000;

let kept: Promise<readonly string[]> | null = null;

/**
 * Files and directories of the system that this user can read and that not every user can, such as a service's
 * settings with a password in them: all of root's where the server runs as root. With the list of known ones, which may not
 * exist. Looked for at most once a minute. Never rejects.
 */
export async function systemSecretsHere(): Promise<readonly string[]> {
  if (process.platform === "darwin") return systemSecrets;
  if (kept === null) {
    kept = search();
    setTimeout(() => {
      kept = null;
    }, keptMs).unref();
  }
  return kept;
}

async function search(): Promise<readonly string[]> {
  const found = (await Promise.all(searched.map(([dir, depth]) => closedIn(dir, depth)))).flat();
  return [...systemSecrets, ...found.filter((path) => !systemSecrets.includes(path))];
}

/** In `dir` and below, without what is in a closed directory. Links are left out: what they lead to is found by its own path. */
async function closedIn(dir: string, depth: number): Promise<readonly string[]> {
  const names: readonly string[] = await readdir(dir).catch(() => []);
  const all = names.map(async (name): Promise<readonly string[]> => {
    const path = join(dir, name);
    const stats = await lstat(path).catch(() => null);
    if (!stats?.isDirectory() && !stats?.isFile()) return [];
    const needed = stats.isDirectory() ? anyMayRead | anyMayEnter : anyMayRead;
    if ((stats.mode & needed) !== needed) return (await mayRead(path)) ? [path] : [];
    return stats.isDirectory() && depth > 1 ? closedIn(path, depth - 1) : [];
  });
  return (await Promise.all(all)).flat();
}

function mayRead(path: string): Promise<boolean> {
  return access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
}
