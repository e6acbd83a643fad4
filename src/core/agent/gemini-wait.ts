import { type Limit, limitIn } from "./limits.ts";

/** Gemini sits out a shorter wait by itself; for a longer one its slot is better used by others. */
const longestOwnWaitMs = 120_000;
const waiting =
  /Attempt \d+ failed(?:(?!Attempt \d+ failed)[\s\S])*Retrying after (\d{1,12})(?:\.\d+)?ms\.\.\.\s*$/;

/**
 * The limit that Gemini CLI waits for, or null. It waits for hours where the provider names a time, and says so on stderr alone:
 * `Attempt 1 failed: … Your quota will reset after 3h20m11s.. Retrying after 12773246ms...`. `stderr` is the end of what it wrote.
 */
export function geminiWait(stderr: string, wall: number): Limit | null {
  const [text, waitMs] = waiting.exec(stderr) ?? [];
  if (text === undefined || Number(waitMs) <= longestOwnWaitMs) return null;
  // The provider's time comes first: the agent's own wait is longer at random.
  return limitIn(text, wall);
}
