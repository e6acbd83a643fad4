import { SymphonyError } from "./errors.ts";

interface Words {
  readonly pattern: RegExp;
  /** What mends it. */
  readonly hint: string;
}

/** The words of the system, also as git repeats them. */
const words: readonly Words[] = [
  {
    pattern: /no space left|\bENOSPC\b/i,
    hint: "free space on its disk (df -h), and try again",
  },
  {
    pattern: /quota exceeded|\bEDQUOT\b/i,
    hint: "free space, or raise the quota of the user, and try again",
  },
  {
    pattern: /read-only file system|\bEROFS\b/i,
    hint: "mount its disk writable, and try again",
  },
  {
    pattern: /input\/output error|\bEIO\b/i,
    hint: "its disk is failing: see the log of the system (dmesg)",
  },
];

/**
 * A `workspace_error` that is the disk's, as `storage_unavailable`: nothing that its caller did is in the way. Any other
 * error is returned as it is.
 */
export function asFaultOfDisk(error: unknown): unknown {
  if (!(error instanceof SymphonyError) || error.code !== "workspace_error") return error;
  const said: string[] = [];
  for (let one: unknown = error; one instanceof Error; one = one.cause) said.push(one.message);
  const found = words.find(({ pattern }) => said.some((text) => pattern.test(text)));
  if (found === undefined) return error;
  const { message, details } = error;
  return new SymphonyError("storage_unavailable", message, {
    cause: error,
    details,
    hint: found.hint,
  });
}
