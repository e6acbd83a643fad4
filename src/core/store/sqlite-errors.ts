import { basename } from "node:path";
import { SymphonyError } from "../model/errors.ts";
import { storageUnavailable } from "./durable.ts";

/** Result codes of https://sqlite.org/rescode.html. */
const corruptCodes = new Set([11, 26]);
const unavailableCodes = new Set([3, 5, 6, 7, 8, 10, 13, 14]);

const ioCode = 10;
const fullCode = 13;

/** Whether the disk failed at a read, a write or a sync. */
export function isFaultOfDisk(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && (Number(error.errcode) & 0xff) === ioCode;
}

/** Whether the disk had no room. */
export function isFull(error: unknown): boolean {
  return (
    error instanceof Error && "errcode" in error && (Number(error.errcode) & 0xff) === fullCode
  );
}

/** `work`, with errors of SQLite and the file system as `storage_corrupt` or `storage_unavailable`; a bug stays a bug. */
export function translate<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof SymphonyError || !(error instanceof Error)) throw error;
    if (error instanceof SyntaxError) throw corrupt(file, "a row of it is not JSON", error);
    if ("syscall" in error) throw storageUnavailable(file, error);
    const code = "errcode" in error ? Number(error.errcode) & 0xff : -1;
    if (corruptCodes.has(code)) throw corrupt(file, error.message, error);
    if (unavailableCodes.has(code)) throw storageUnavailable(file, error);
    throw error;
  }
}

export function corrupt(file: string, why: string, cause?: unknown): SymphonyError {
  return new SymphonyError("storage_corrupt", `Cannot use ${file}: ${why}`, {
    cause,
    details: { file },
    hint: moveAside(file),
  });
}

/** A journal that is left there would be applied to the file that replaces this one. */
function moveAside(file: string): string {
  const name = basename(file);
  return `Move ${file} aside, and with it ${name}-wal and ${name}-shm where they exist; then restore a backup, or start without it: symphony serve --accept-loss ${name}`;
}
