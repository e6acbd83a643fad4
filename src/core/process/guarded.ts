import { constants } from "node:fs";
import { lstat, open, realpath } from "node:fs/promises";
import { dirname, isAbsolute, join, normalize } from "node:path";
import { guardedNames } from "./view.ts";

const maxModulesBytes = 256 * 1024;
const deepest = 5;
const maxSubmodules = 100;

/**
 * The paths of a workspace that are read-only for a confined program: those of `names` that exist, and the
 * repositories of its submodules, because git at the top starts what their configuration names. With `.git` also
 * `.gitmodules`, which says how git looks into them. None is a link: the agent could choose its target.
 */
export async function guardedIn(
  workspace: string,
  names: readonly string[] = guardedNames,
): Promise<readonly string[]> {
  const submodules = await submodulesIn(workspace);
  const modules = submodules.length > 0 && names.includes(".git") ? [".gitmodules"] : [];
  const repositories = submodules.map((name) => join(name, ".git"));
  const all = [...names, ...modules, ...repositories].map(async (name) => {
    const path = join(workspace, name);
    const found = await lstat(path).catch(() => null);
    return found?.isDirectory() || found?.isFile() ? [path] : [];
  });
  return (await Promise.all(all)).flat();
}

/** Paths of the submodules that `.gitmodules` names and that are real directories of the workspace. */
async function submodulesIn(workspace: string): Promise<readonly string[]> {
  const root = await realpath(workspace).catch(() => workspace);
  const found: string[] = [];
  let level = [""];
  for (let depth = 0; depth < deepest && level.length > 0; depth++) {
    const next: string[] = [];
    for (const above of level) {
      for (const written of pathsIn(await modulesOf(join(workspace, above)))) {
        const name = join(above, normalize(written));
        const isBelow = !isAbsolute(written) && !name.startsWith("..") && name !== ".";
        const place = join(root, name);
        if (!isBelow || (await realpath(place).catch(() => null)) !== place) continue;
        if (found.length < maxSubmodules && !found.includes(name)) next.push(name);
      }
    }
    found.push(...next);
    level = next;
  }
  return found;
}

function pathsIn(text: string): readonly string[] {
  return [...text.matchAll(/\bpath[ \t]*=[ \t]*"?([^"\r\n]+?)"?[ \t]*$/gim)].map(
    ([, path = ""]) => path,
  );
}

async function modulesOf(dir: string): Promise<string> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
  const opened = await open(join(dir, ".gitmodules"), flags).catch(() => null);
  if (opened === null) return "";
  await using file = opened;
  const found = await file.stat();
  return found.isFile() && found.size <= maxModulesBytes ? await file.readFile("utf8") : "";
}

/** The directories of the workspace above guarded paths, outer ones first: one that is renamed leaves its name to another. */
export function aboveGuarded(workspace: string, paths: readonly string[]): readonly string[] {
  const above = new Set<string>();
  for (const path of paths)
    for (let dir = dirname(path); dir !== workspace; dir = dirname(dir)) above.add(dir);
  return [...above].toSorted((a, b) => a.length - b.length);
}
