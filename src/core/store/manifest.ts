import {
  appendFileSync,
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { messageOf, SymphonyError, systemCodeOf } from "../model/errors.ts";
import { keptFiles } from "../model/gates.ts";

const names: ReadonlySet<string> = new Set(keptFiles);
/** What belongs to a file, and must not be applied to another one in its place. */
const companions = ["", "-wal", "-shm", ".bak"];

/** One name a line, added when the file was first written. Several processes add to it. */
function manifestIn(dir: string): string {
  return join(dir, "manifest");
}

/** While it exists, some files may be those of a backup and others not. */
export function restoringIn(dir: string): string {
  return join(dir, "restoring");
}

function namedIn(dir: string): ReadonlySet<string> {
  const file = manifestIn(dir);
  try {
    if (!statSync(file).isFile()) throw new Error("it is not a file");
    return new Set(readFileSync(file, "utf8").split("\n"));
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return new Set();
    throw unusable(file, error);
  }
}

/** Notes that `file` exists: from now on its absence is a loss. On disk when it returns; any file that is not kept is ignored. */
export function noteKept(file: string): void {
  const [dir, name] = [dirname(file), basename(file)];
  if (!names.has(name) || namedIn(dir).has(name)) return;
  try {
    appendFileSync(manifestIn(dir), `${name}\n`, { mode: 0o600, flush: true });
  } catch (error) {
    throw unusable(manifestIn(dir), error);
  }
}

/** Notes every kept file that is there: a start does, for those that an earlier release wrote. */
export function notePresent(dir: string): void {
  for (const name of keptFiles) if (existsSync(join(dir, name))) noteKept(join(dir, name));
}

/** Kept files that were written once and are not there. */
export function missingIn(dir: string): readonly string[] {
  return [...namedIn(dir)].filter((name) => names.has(name) && !existsSync(join(dir, name)));
}

/** Throws `storage_corrupt` if `file` was written once and is not there; another process may make it at this moment. */
export function requireNeverMade(file: string): void {
  const [dir, name] = [dirname(file), basename(file)];
  // It is noted after it was made, so the file is looked for last.
  if (names.has(name) && namedIn(dir).has(name) && !existsSync(file)) throw lost(dir, [name]);
}

/** Throws `storage_corrupt` when a kept file is missing, or a restore was interrupted. Changes nothing. */
export function requireKept(dir: string): void {
  if (existsSync(restoringIn(dir))) {
    const message = `${dir} was being restored from a backup, and that was interrupted: its files may not belong together`;
    throw new SymphonyError("storage_corrupt", message, {
      details: { dir },
      hint: "symphony restore FILE, with the same backup",
    });
  }
  const missing = missingIn(dir);
  if (missing.length > 0) throw lost(dir, missing);
}

function lost(dir: string, missing: readonly string[]): SymphonyError {
  const many = missing.length === 1 ? "is missing" : "are missing";
  const message = `${missing.map((name) => join(dir, name)).join(", ")} ${many}, but symphony has written there before`;
  const copies = missing.filter((name) => existsSync(join(dir, `${name}.bak`)));
  const copy =
    copies.length === 0
      ? ""
      : ` (${copies.map((name) => `${name}.bak`).join(", ")} is the copy before the last change)`;
  const accept = missing.map((name) => `--accept-loss ${name}`).join(" ");
  return new SymphonyError("storage_corrupt", message, {
    details: { dir, missing },
    hint: `put it back${copy}, or symphony restore FILE; to continue without what it held: symphony serve ${accept}`,
  });
}

/**
 * An operator accepts that these files are lost: the next start makes them anew. What is left of them is renamed
 * (`.lost`), never deleted; a file that is there stays. Returns those that were missing.
 */
export function acceptLoss(dir: string, accepted: readonly string[]): readonly string[] {
  const named = namedIn(dir);
  const isLeft = (name: string) => companions.some((end) => existsSync(join(dir, name + end)));
  const gone = accepted
    .filter((name) => names.has(name) && !existsSync(join(dir, name)))
    .filter((name) => named.has(name) || isLeft(name));
  if (gone.length === 0) return [];
  const file = manifestIn(dir);
  try {
    for (const path of gone.flatMap((name) => companions.map((end) => join(dir, name + end)))) {
      if (existsSync(path)) renameSync(path, `${path}.lost`);
    }
    const kept = [...named].filter((name) => name !== "" && !gone.includes(name));
    writeFileSync(`${file}.tmp`, kept.map((name) => `${name}\n`).join(""), {
      mode: 0o600,
      flush: true,
    });
    renameSync(`${file}.tmp`, file);
    syncNow(dir);
  } catch (error) {
    throw unusable(file, error);
  }
  return gone;
}

/** Makes the content of a file, or the names in a directory, durable. */
export function syncNow(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** As `syncNow` after one that failed: what the kernel gave up is written once more, from what it still has in memory. */
export function syncAgain(file: string): void {
  const fd = openSync(file, "r+");
  try {
    const chunk = Buffer.allocUnsafe(1024 * 1024);
    let at = 0;
    for (;;) {
      const length = readSync(fd, chunk, 0, chunk.length, at);
      if (length === 0) break;
      at += writeSync(fd, chunk, 0, length, at);
    }
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function unusable(file: string, cause: unknown): SymphonyError {
  return new SymphonyError("storage_unavailable", `Cannot use ${file}: ${messageOf(cause)}`, {
    cause,
    details: { file },
    hint: "Check free space, permissions and that the disk is writable",
  });
}
