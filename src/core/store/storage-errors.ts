import { getSystemErrorMessage } from "node:util";
import { messageOf, SymphonyError } from "../model/errors.ts";

/** https://sqlite.org/rescode.html#full: there is no errno behind it. */
const sqliteFull = 13;

/** `storage_unavailable`: the file system refused; what is on disk is as it was. */
export function storageUnavailable(file: string, cause: unknown): SymphonyError {
  return new SymphonyError("storage_unavailable", `Cannot use ${file}: ${messageOf(cause)}`, {
    cause,
    details: { file },
    hint: "Check free space, permissions and that the disk is writable",
  });
}

/** What the disk refused is in force all the same, and is written as soon as the disk takes it. */
export class SavedLater extends SymphonyError {
  /** Resolves when it is on disk; rejects when the process ends before that. */
  readonly saved: Promise<void>;

  constructor(message: string, cause: unknown, saved: Promise<void>) {
    const file = cause instanceof SymphonyError ? cause.details["file"] : undefined;
    super("storage_unavailable", message, {
      cause,
      details: { ...(file !== undefined && { file }), reason: reasonOf(cause), savedLater: true },
      hint: "make room on the disk of the data directory; symphony state says whether writes still wait",
    });
    this.saved = saved;
  }

  /** The same, told as what it means for who asked: `what` took effect. */
  as(what: string): SavedLater {
    const message = `${what} took effect but is not saved yet (${reasonOf(this.cause)}); it is saved as soon as there is room`;
    return new SavedLater(message, this.cause, this.saved);
  }
}

/** The refusal of what is not in force before the disk has taken it. */
export function nothingChanged(cause: unknown): SymphonyError {
  const message = `nothing was changed: it cannot be saved (${reasonOf(cause)})`;
  const details = cause instanceof SymphonyError ? cause.details : {};
  return new SymphonyError("storage_unavailable", message, {
    cause,
    details,
    hint: "make room on the disk of the data directory, and try again",
  });
}

/** True for what the disk refused, whatever was to be written. */
export function isStorageError(error: unknown): boolean {
  if (!(error instanceof SymphonyError)) return false;
  return error.code === "storage_unavailable" || error.code === "storage_corrupt";
}

/** Why the disk refused, in a few words: "no space left on device". */
export function reasonOf(error: unknown): string {
  const cause = error instanceof SymphonyError && error.cause !== undefined ? error.cause : error;
  if (!(cause instanceof Error)) return messageOf(cause);
  if ("errno" in cause && typeof cause.errno === "number")
    return getSystemErrorMessage(cause.errno);
  const isFull = "errcode" in cause && (Number(cause.errcode) & 0xff) === sqliteFull;
  return isFull ? "no space left on device" : messageOf(cause);
}

/** `storage_corrupt` for a file that a later release of symphony wrote. */
export function newerVersion(file: string, version: number): SymphonyError {
  return new SymphonyError(
    "storage_corrupt",
    `${file} was written by a later symphony (format ${version}); nothing was changed`,
    { details: { file, version }, hint: "Use the later symphony, or another --data-dir" },
  );
}
