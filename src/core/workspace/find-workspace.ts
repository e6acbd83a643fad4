import { readBaseline } from "./baseline.ts";
import { requirePlace } from "./place.ts";

/**
 * The first of `places` that is a workspace, and was not made for another issue: one may have had the same name before, or
 * has it now. null where there is none. `root` is today's directory of workspaces, as its real path.
 */
export async function findWorkspace(
  issueId: string,
  places: Iterable<string | null | undefined>,
  root: string,
): Promise<string | null> {
  for (const path of new Set(places)) {
    if (path === undefined || path === null) continue;
    const found = await requirePlace(path, root).catch(() => null);
    if (found !== "directory") continue;
    const baseline = await readBaseline(path);
    if (baseline === null || baseline.issueId === issueId) return path;
  }
  return null;
}
