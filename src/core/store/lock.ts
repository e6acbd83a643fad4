import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { readdir, readlink, realpath, rm, stat, statfs, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { SymphonyError, systemCodeOf } from "../model/errors.ts";
import { readPlain, storageUnavailable } from "./durable.ts";

/** Long enough for a previous process that is about to exit, short enough to reply within a second. */
const waitMs = 200;
const busyCode = 5;
const notADatabase = 26;

/** A directory held exclusively by this process until `release` or until the process ends in any way. */
export interface DirectoryLock {
  release(): Promise<void>;
}

/** The error for a directory that another process holds. */
type Refusal = (cause: unknown) => Promise<SymphonyError>;

/**
 * Creates `dir` (0700, ignored by git) if it is missing and holds it for this process until `release` or the process
 * ends in any way. Rejects with `data_dir_locked`, naming the holder's pid and url if they are known.
 */
export async function lockDataDir(dir: string): Promise<DirectoryLock> {
  makeDataDir(dir);
  await requireOwnFiles(dir);
  return lockIn(dir, { pid: process.pid }, (cause) => lockedError(dir, cause));
}

/**
 * A repository of a stranger can bring a data directory: what is written to a link in it would replace any file of the user,
 * and a pipe or device would be read without end. Directories elsewhere are the user's own choice.
 */
async function requireOwnFiles(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    if (entry.isFile() || entry.isDirectory() || entry.isSocket()) continue;
    const file = join(dir, entry.name);
    const target = entry.isSymbolicLink() ? await stat(file).catch(() => null) : null;
    if (target?.isDirectory()) continue;
    const what = entry.isSymbolicLink() ? "a link" : "no file";
    throw new SymphonyError("storage_unavailable", `${file} is ${what}; no file of symphony's is`, {
      details: { file },
      hint: `symphony did not make it: look at it (ls -l ${file}), and move it away`,
    });
  }
}

/**
 * Locks a root of workspaces for the server of `dataDir`; `stateDir` is the root's own directory for state, which exists.
 * Rejects with `workspace_in_use`, naming the server that holds it.
 */
export function lockRoot(stateDir: string, dataDir: string): Promise<DirectoryLock> {
  const owner = { pid: process.pid, data_dir: dataDir };
  return lockIn(stateDir, owner, (cause) => rootError(stateDir, cause));
}

async function lockIn(dir: string, owner: object, refusal: Refusal): Promise<DirectoryLock> {
  const db = await acquire(dir, refusal);
  const file = join(dir, "lock.json");
  try {
    await writeFile(file, JSON.stringify(owner), { mode: 0o600 });
  } catch (error) {
    db.close();
    throw unusable(file, error);
  }
  // Also at an exit without a release, as after a second signal.
  const leave = () => {
    try {
      rmSync(file, { force: true });
    } catch {
      // The lock ends with the process, and an error here would replace its exit code.
    }
  };
  process.on("exit", leave);
  return {
    async release() {
      process.off("exit", leave);
      await release(db, file);
    },
  };
}

function unusable(file: string, cause: unknown): SymphonyError {
  const error = storageUnavailable(file, cause);
  const isDatabase = !(
    cause instanceof Error &&
    "errcode" in cause &&
    cause.errcode === notADatabase
  );
  if (isDatabase && isFileOrUnknown(file)) return error;
  return new SymphonyError("storage_unavailable", error.message, {
    ...{ cause, details: { file } },
    // Neither file holds anything that is needed later.
    hint: `it is damaged; while no symphony serves this directory: rm -r '${file}'`,
  });
}

function isFileOrUnknown(file: string): boolean {
  try {
    return statSync(file, { throwIfNoEntry: false })?.isFile() !== false;
  } catch {
    return true;
  }
}

/** An open exclusive transaction is a lock of the operating system: it ends with the process. */
async function acquire(dir: string, refusal: Refusal): Promise<DatabaseSync> {
  const file = join(dir, "lock");
  if (await isHeldWithoutFile(dir)) throw await refusal(null);
  // Owner-only before SQLite opens it; never opened in another way while it is locked, because closing it would unlock it.
  await writeFile(file, "", { flag: "wx", mode: 0o600 }).catch(() => undefined);
  let db: DatabaseSync | null = null;
  try {
    db = new DatabaseSync(file, { timeout: waitMs });
    db.exec("BEGIN EXCLUSIVE");
    return db;
  } catch (error) {
    db?.close();
    const busy = error instanceof Error && "errcode" in error && error.errcode === busyCode;
    throw busy ? await refusal(error) : unusable(file, error);
  }
}

/**
 * Whether a live process has locked `dir` by a lock file that was removed or renamed since: a new file would be another
 * lock. It is the process of lock.json or runtime.json; without these, all processes of this user. Without /proc it
 * counts when it lives, whatever it is.
 */
async function isHeldWithoutFile(dir: string): Promise<boolean> {
  const known = [await readJson(join(dir, "lock.json")), await readJson(join(dir, "runtime.json"))];
  const pid = known.map((one) => one["pid"]).find((one) => typeof one === "number");
  const isLost = !existsSync(join(dir, "lock"));
  if (
    pid === process.pid ||
    (pid === undefined && !(isLost && existsSync(join(dir, "history.db"))))
  )
    return false;
  if (process.platform !== "linux") return pid !== undefined && isLost && isAlive(pid);
  const path = join(await realpath(dir), "lock");
  const own = [path, `${path}.json`, `${path}-journal`];
  const isOther = (file: string) => file.startsWith(path) && !own.includes(file);
  const pids = pid === undefined ? await readdir("/proc").catch(() => []) : [String(pid)];
  for (const one of pids.filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)) {
    const open = await readdir(`/proc/${one}/fd`).catch(() => []);
    const files = open.map((fd) => readlink(`/proc/${one}/fd/${fd}`).catch(() => ""));
    if ((await Promise.all(files)).some(isOther)) return true;
  }
  return false;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return systemCodeOf(error) !== "ESRCH";
  }
}

async function release(db: DatabaseSync, owner: string): Promise<void> {
  if (!db.isOpen) return;
  await rm(owner, { force: true });
  db.close();
}

async function lockedError(dir: string, cause: unknown): Promise<SymphonyError> {
  const runtime = await readJson(join(dir, "runtime.json"));
  const owner = await readJson(join(dir, "lock.json"));
  const pid = owner["pid"] ?? runtime["pid"] ?? null;
  // After a crash runtime.json describes the previous server until the new one listens.
  const url = runtime["pid"] === pid ? (runtime["url"] ?? null) : null;
  const who = another(pid === null ? null : `pid ${pid}`, url === null ? null : String(url));
  return new SymphonyError("data_dir_locked", `${who} is using ${dir}`, {
    cause,
    details: { dir, pid, url },
    hint: "Stop it, or give this one its own --data-dir",
  });
}

async function rootError(stateDir: string, cause: unknown): Promise<SymphonyError> {
  const root = dirname(stateDir);
  const { pid = null, data_dir: dataDir = null } = await readJson(join(stateDir, "lock.json"));
  const who = another(
    pid === null ? null : `pid ${pid}`,
    dataDir === null ? null : `data in ${dataDir}`,
  );
  return new SymphonyError("workspace_in_use", `${who} has its workspaces in ${root}`, {
    cause,
    details: { root, pid, data_dir: dataDir },
    hint: "Stop it, or give this one its own workspace.root",
  });
}

/** The server that holds the lock, with its known details. */
function another(...facts: readonly (string | null)[]): string {
  const known = facts.filter((fact) => fact !== null);
  return known.length === 0 ? "Another symphony" : `Another symphony (${known.join(", ")})`;
}

async function readJson(file: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    const value: unknown = JSON.parse(await readPlain(file));
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

/** Creates `dir` (0700, ignored by git) unless it exists. Throws `storage_unavailable`. */
export function makeDataDir(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    // Only in a new directory: an existing folder must not disappear from its owner's version control.
    if (readdirSync(dir).length > 0) return;
    writeFileSync(join(dir, ".gitignore"), "*\n", { mode: 0o600 });
  } catch (error) {
    throw storageUnavailable(dir, error);
  }
}

/** True when the disk of `dir` is full: a server there starts no work, because it cannot save that it did. */
export async function isFull(dir: string): Promise<boolean> {
  const disk = await statfs(dir).catch(() => null);
  // Blocks reserved for root cannot be used by other users.
  return (process.getuid?.() === 0 ? disk?.bfree : disk?.bavail) === 0;
}
