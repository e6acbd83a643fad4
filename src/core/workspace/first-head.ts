import type { Attempt } from "../model/attempt.ts";

/**
 * The commit that the first of an issue's attempts found in the workspace at `path`, for where no remote says what the work
 * started from. `attempts` are newest first; where none is known to have been there, all count.
 */
export function firstHeadOf(attempts: readonly Attempt[], path: string): string | null {
  const here = attempts.filter(({ workspacePath }) => workspacePath === path);
  const counted = here.length > 0 ? here : attempts;
  return counted.findLast(({ git }) => git?.headBefore != null)?.git?.headBefore ?? null;
}
