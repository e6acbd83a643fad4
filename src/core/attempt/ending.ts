import type { AttemptGit, Needs } from "../model/attempt.ts";
import { adviceOf, messageOf, SymphonyError } from "../model/errors.ts";
import { gitChanges, gitHead } from "../workspace/git.ts";

/** How the work of an attempt ended. */
export type Ending =
  | { kind: "completed" }
  | { kind: "stopped" }
  | { kind: "failed"; code: string; message: string; untilWall?: number | null }
  | { kind: "needs"; needs: Needs; code: string };

/** What the error that ended the work makes of the attempt. */
export function endingOf(error: unknown): Ending {
  if (!(error instanceof SymphonyError)) {
    return { kind: "failed", code: "internal_error", message: messageOf(error) };
  }
  const needs = error.details["needs"];
  if (isNeeds(needs)) return { kind: "needs", needs, code: error.code };
  // Whoever reads why it failed wants to know what to do.
  const ending = { kind: "failed", code: error.code, message: adviceOf(error) } as const;
  if (error.code !== "provider_limited") return ending;
  const until = error.details["untilWall"];
  return { ...ending, untilWall: typeof until === "number" ? until : null };
}

function isNeeds(value: unknown): value is Needs {
  return typeof value === "object" && value !== null && "prompt" in value && "options" in value;
}

/** What the attempt did to the repository it worked in; null where there is none. */
export async function gitFacts(
  path: string,
  headBefore: string | null,
): Promise<AttemptGit | null> {
  const now = await gitHead(path);
  if (now === null) return null;
  const { branch, head: headAfter } = now;
  const moved = headBefore !== null && headAfter !== null && headBefore !== headAfter;
  const changes = moved ? await gitChanges(path, headBefore, headAfter) : null;
  const { commits, changedFiles } = changes ?? { commits: 0, changedFiles: 0 };
  return { branch, headBefore, headAfter, commits, changedFiles };
}
