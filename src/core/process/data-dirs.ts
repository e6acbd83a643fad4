import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, realpath, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { isObject, parseJson } from "../text/text.ts";

/*
 * The data directories of all projects of this user, with their directories of workspaces, so that no
 * agent of one project reads another's, wherever it is. One file for each, because servers of several
 * projects start at the same time.
 */

type Environment = Readonly<Record<string, string | undefined>>;

/** The directories of one project, as real paths. */
interface Entry {
  readonly data_dir: string;
  readonly workspace_root: string;
}

/** Everything of symphony's in the home of this user. */
export function ownDirIn(home: string): string {
  return join(home, ".symphony");
}

function registryIn(env: Environment): string {
  return join(ownDirIn(env["HOME"] || homedir()), "projects");
}

/** Remembers a project, and forgets those whose data directory is gone. Rejects as the file system does. */
export async function registerDataDir(
  { dataDir, workspaceRoot }: { readonly dataDir: string; readonly workspaceRoot: string },
  env: Environment,
): Promise<void> {
  const registry = registryIn(env);
  await mkdir(registry, { recursive: true, mode: 0o700 });
  const entry: Entry = {
    data_dir: await realpath(dataDir),
    workspace_root: await realpath(workspaceRoot).catch(() => workspaceRoot),
  };
  const name = createHash("sha256").update(entry.data_dir).digest("hex").slice(0, 16);
  const draft = join(registry, `${name}.${process.pid}`);
  await writeFile(draft, `${JSON.stringify(entry)}\n`, { mode: 0o600 });
  await rename(draft, join(registry, `${name}.json`));
  for (const [file, { data_dir: dir }] of await entriesIn(registry)) {
    const isThere = (await realpath(dir).catch(() => null)) !== null;
    if (!isThere) await rm(file, { force: true });
  }
}

/** The data directories and directories of workspaces of all projects that are known. */
export async function knownDataDirs(env: Environment): Promise<readonly string[]> {
  const entries = await entriesIn(registryIn(env));
  const dirs = entries.flatMap(([, { data_dir, workspace_root }]) => [data_dir, workspace_root]);
  return [...new Set(dirs)];
}

async function entriesIn(registry: string): Promise<readonly (readonly [string, Entry])[]> {
  const names: readonly string[] = await readdir(registry).catch(() => []);
  const whole = names.filter((name) => name.endsWith(".json"));
  const read = whole.map(async (name): Promise<readonly (readonly [string, Entry])[]> => {
    const file = join(registry, name);
    const entry = parseJson(await readFile(file, "utf8").catch(() => ""));
    if (!isObject(entry)) return [];
    const { data_dir, workspace_root } = entry;
    const isWhole = typeof data_dir === "string" && typeof workspace_root === "string";
    return isWhole ? [[file, { data_dir, workspace_root }]] : [];
  });
  return (await Promise.all(read)).flat();
}
