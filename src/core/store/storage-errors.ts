import { messageOf, SymphonyError } from "../model/errors.ts";

/** `storage_unavailable`: the file system refused; what is on disk is as it was. */
export function storageUnavailable(file: string, cause: unknown): SymphonyError {
  return new SymphonyError("storage_unavailable", `Cannot use ${file}: ${messageOf(cause)}`, {
    cause,
    details: { file },
    hint: "Check free space, permissions and that the disk is writable",
  });
}

/** `storage_corrupt` for a file that a later release of symphony wrote. */
export function newerVersion(file: string, version: number): SymphonyError {
  return new SymphonyError(
    "storage_corrupt",
    `${file} was written by a later symphony (format ${version}); nothing was changed`,
    { details: { file, version }, hint: "Use the later symphony, or another --data-dir" },
  );
}
