import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, open, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { keptFiles } from "../model/gates.ts";
import { int, text } from "./database.ts";
import { storageUnavailable, syncDirectory, writeSynced } from "./durable.ts";
import { lockDataDir } from "./lock.ts";
import { notePresent, restoringIn } from "./manifest.ts";
import { translate } from "./sqlite-errors.ts";

/** The format: an SQLite file with every file in pieces, so that neither making nor reading one needs its size in memory. */
const formatVersion = 1;
const pieceBytes = 1024 * 1024;
/** The audit head is read before the log that it describes: one that is older than the log is a state that a crash leaves, too. */
const backedUp = ["audit.head", ...keptFiles] as const;
const allowed: ReadonlySet<string> = new Set(backedUp);

export interface BackedUp {
  readonly name: string;
  readonly bytes: number;
}

/**
 * Writes the files of the data directory that cannot be made again into `target`, which must not exist; a server may be
 * running. Each database is one consistent state; secrets stay sealed, and their key is not included. `target` (0600) is on
 * disk and was read back when it resolves, and does not exist when it rejects: `usage`, `storage_unavailable`.
 */
export async function backUp(dataDir: string, target: string): Promise<readonly BackedUp[]> {
  if (existsSync(target)) {
    throw new SymphonyError("usage", `${target} exists already`, { hint: "name a new file" });
  }
  if (!backedUp.some((name) => existsSync(join(dataDir, name)))) {
    const message = `there is nothing to back up in ${dataDir}: no server has written there`;
    throw new SymphonyError("usage", message, { hint: "symphony backup FILE --data-dir DIR" });
  }
  const draft = `${target}.${process.pid}.tmp`;
  const copy = `${draft}.copy`;
  try {
    await writeSynced(draft, "");
    await requireSpace(dataDir, dirname(draft));
    await fill(dataDir, draft, copy);
    const all = await readBack(draft, null);
    await sync(draft);
    await rename(draft, target);
    await syncDirectory(dirname(target));
    return all;
  } catch (error) {
    throw error instanceof SymphonyError ? error : storageUnavailable(target, error);
  } finally {
    for (const path of [draft, copy]) {
      for (const end of ["", "-journal", "-wal", "-shm"]) await rm(path + end, { force: true });
    }
  }
}

/** Twice the size: a database is copied before it is taken over in pieces. */
async function requireSpace(dataDir: string, dir: string): Promise<void> {
  let bytes = 0;
  for (const name of backedUp) {
    for (const end of ["", "-wal"]) {
      bytes += (await stat(join(dataDir, name + end)).catch(() => null))?.size ?? 0;
    }
  }
  const { bavail, bsize } = await statfs(dir);
  if (bavail * bsize > 2 * bytes) return;
  const message = `the disk of ${dir} has too little space for a backup: it takes up to ${2 * bytes} bytes while it is made`;
  throw new SymphonyError("storage_unavailable", message, {
    hint: "free space there, or name a file on another disk",
  });
}

async function fill(dataDir: string, draft: string, copy: string): Promise<void> {
  const db = new DatabaseSync(draft);
  try {
    db.exec(`PRAGMA journal_mode = OFF; PRAGMA user_version = ${formatVersion};
      CREATE TABLE files (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL) STRICT;
      CREATE TABLE pieces (name TEXT, at INTEGER, data BLOB NOT NULL, PRIMARY KEY (name, at)) STRICT;`);
    for (const name of backedUp) {
      const file = join(dataDir, name);
      if (!existsSync(file)) continue;
      if (name.endsWith(".db")) await copyOf(file, copy);
      await take(db, name, name.endsWith(".db") ? copy : file);
      await rm(copy, { force: true });
    }
  } finally {
    db.close();
  }
}

/** One consistent state of a database, whatever other processes write meanwhile. */
async function copyOf(file: string, copy: string): Promise<void> {
  await writeSynced(copy, "");
  translate(file, () => {
    const db = new DatabaseSync(file, { readOnly: true, timeout: 5_000 });
    try {
      db.prepare("VACUUM INTO ?").run(copy);
    } finally {
      db.close();
    }
  });
}

async function take(db: DatabaseSync, name: string, file: string): Promise<void> {
  const hash = createHash("sha256");
  const piece = db.prepare("INSERT INTO pieces (name, at, data) VALUES (?, ?, ?)");
  await using handle = await open(file, "r");
  let at = 0;
  for (;;) {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(pieceBytes), 0, pieceBytes, at);
    if (bytesRead === 0) break;
    const data = buffer.subarray(0, bytesRead);
    hash.update(data);
    piece.run(name, at, data);
    at += bytesRead;
  }
  db.prepare("INSERT INTO files (name, bytes, sha256) VALUES (?, ?, ?)").run(
    name,
    at,
    hash.digest("hex"),
  );
}

/**
 * Checks every file of a backup against its checksum, and writes it below `into` unless that is null. Rejects with
 * `storage_corrupt` for anything that is not exactly what `backUp` writes.
 */
async function readBack(backup: string, into: string | null): Promise<readonly BackedUp[]> {
  const db = translate(backup, () => new DatabaseSync(backup, { readOnly: true }));
  try {
    const version = translate(backup, () =>
      Number(db.prepare("PRAGMA user_version").get()?.["user_version"]),
    );
    if (version > formatVersion) throw damaged(backup, "a later symphony made it");
    if (version !== formatVersion) throw damaged(backup, "it is not a backup");
    const rows = translate(backup, () =>
      db.prepare("SELECT name, bytes, sha256 FROM files ORDER BY rowid").all(),
    );
    const all: BackedUp[] = [];
    for (const row of rows) {
      const [name, bytes] = [text(row, "name"), int(row, "bytes")];
      // The names are those of a file from outside.
      if (!allowed.has(name)) throw damaged(backup, "it names a file that no backup has");
      const sum = await put(db, {
        backup,
        name,
        bytes,
        target: into === null ? null : join(into, name),
      });
      if (sum !== text(row, "sha256"))
        throw damaged(backup, `the content of ${name} does not match its checksum`);
      all.push({ name, bytes });
    }
    if (all.length === 0) throw damaged(backup, "it holds no file");
    return all;
  } finally {
    db.close();
  }
}

interface Put {
  readonly backup: string;
  readonly name: string;
  readonly bytes: number;
  /** null: it is only read. */
  readonly target: string | null;
}

/** The checksum of the pieces, which must follow one another up to `bytes`. */
async function put(db: DatabaseSync, { backup, name, bytes, target }: Put): Promise<string> {
  const hash = createHash("sha256");
  const next = db.prepare("SELECT data FROM pieces WHERE name = ? AND at = ?");
  const handle = target === null ? null : await open(target, "wx", 0o600);
  try {
    for (let at = 0; at < bytes; ) {
      const from = at;
      const data = translate(backup, () => next.get(name, from)?.["data"]);
      if (!(data instanceof Uint8Array) || data.length === 0)
        throw damaged(backup, `a part of ${name} is missing`);
      hash.update(data);
      // Unlike `write`, it continues after a short write.
      await handle?.writeFile(data);
      at += data.length;
    }
    await handle?.sync();
  } finally {
    await handle?.close();
  }
  return hash.digest("hex");
}

/** Rejects for a directory with files that this release cannot read. */
type Inspect = (dir: string) => Promise<void>;

/** As `restore`, for callers without the lock: rejects with `data_dir_locked` while a server runs. */
export async function restoreUnlocked(dataDir: string, backup: string, inspect: Inspect) {
  const lock = await lockDataDir(dataDir);
  try {
    return await restore(dataDir, backup, { inspect, wall: Date.now() });
  } finally {
    await lock.release();
  }
}

/**
 * Puts the files of a backup into `dataDir`, whose lock the caller holds. Nothing is changed before all of them were read,
 * checked and inspected; what was there is moved to the directory that is returned, never deleted. A restore that is interrupted
 * refuses every start until it is made again. Rejects with `not_found`, `storage_corrupt`, `storage_unavailable`.
 */
export async function restore(
  dataDir: string,
  backup: string,
  { inspect, wall }: { readonly inspect: Inspect; readonly wall: number },
): Promise<{ readonly files: readonly BackedUp[]; readonly aside: string }> {
  if (!existsSync(backup)) {
    throw new SymphonyError("not_found", `${backup} does not exist`, {
      hint: "symphony restore FILE",
    });
  }
  const fresh = join(dataDir, "restored.tmp");
  const aside = join(
    dataDir,
    `before-restore-${new Date(wall).toISOString().replaceAll(/[:.]/g, "")}`,
  );
  try {
    await rm(fresh, { recursive: true, force: true });
    await mkdir(fresh, { mode: 0o700 });
    const files = await readBack(backup, fresh);
    await inspect(fresh).catch((error: unknown) => {
      throw damaged(backup, messageOf(error).replaceAll(`${fresh}/`, ""));
    });
    await syncDirectory(fresh);
    const marker = restoringIn(dataDir);
    if (!existsSync(marker)) await writeSynced(marker, "");
    await mkdir(aside, { mode: 0o700 });
    await syncDirectory(dataDir);
    for (const name of backedUp) {
      for (const end of ["", "-wal", "-shm", ".bak"])
        await moved(join(dataDir, name + end), join(aside, name + end));
    }
    for (const { name } of files) await rename(join(fresh, name), join(dataDir, name));
    await moved(join(dataDir, "manifest"), join(aside, "manifest"));
    notePresent(dataDir);
    await rm(fresh, { recursive: true, force: true });
    await syncDirectory(dataDir);
    await rm(marker);
    await syncDirectory(dataDir);
    return { files, aside };
  } catch (error) {
    await rm(fresh, { recursive: true, force: true }).catch(() => {});
    throw error instanceof SymphonyError ? error : storageUnavailable(dataDir, error);
  }
}

async function moved(from: string, to: string): Promise<void> {
  if (existsSync(from)) await rename(from, to);
}

async function sync(file: string): Promise<void> {
  await using handle = await open(file, "r");
  await handle.sync();
}

function damaged(file: string, why: string): SymphonyError {
  return new SymphonyError("storage_corrupt", `Cannot restore ${file}: ${why}`, {
    details: { file },
    hint: "use another backup, or the symphony that made it; nothing was changed",
  });
}
