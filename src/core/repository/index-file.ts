import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { lstat, readFile, utimes, writeFile } from "node:fs/promises";
import { fileAt } from "../text/text.ts";

// The file of git's index, versions 2 and 3: https://git-scm.com/docs/index-format

const headBytes = 12;
/** Times, device, inode, mode, owner and size of a file, in front of the id of its content. */
const statBytes = 40;
const extended = 0x4000;

/**
 * Notes in an index of symphony's own that these files, by raw name, are as the index says: git takes a file for
 * unchanged whose times and size are noted, and would compare the content of git LFS with its pointer otherwise.
 * An index of another version stays as it is.
 */
export async function noteUnchanged(
  index: string,
  path: string,
  names: ReadonlySet<string>,
): Promise<void> {
  if (names.size === 0) return;
  const bytes = await readFile(index);
  const version = bytes.readUInt32BE(4);
  if (bytes.toString("latin1", 0, 4) !== "DIRC" || (version !== 2 && version !== 3)) return;
  const hash = hashIn(bytes);
  const idBytes = hash === "sha256" ? 32 : 20;
  let at = headBytes;
  for (let left = bytes.readUInt32BE(8); left > 0; left--) {
    const flagsAt = at + statBytes + idBytes;
    const nameAt = flagsAt + ((bytes.readUInt16BE(flagsAt) & extended) === 0 ? 2 : 4);
    const end = bytes.indexOf(0, nameAt);
    const name = bytes.toString("latin1", nameAt, end);
    if (names.has(name)) {
      const found = await lstat(fileAt(path, name), { bigint: true }).catch(() => null);
      if (found?.isFile()) writeStat(bytes, at, found);
    }
    // One to eight zeros make the length of an entry a multiple of eight.
    at += Math.floor((end - at) / 8) * 8 + 8;
  }
  const sum = createHash(hash).update(bytes.subarray(0, -idBytes)).digest();
  sum.copy(bytes, bytes.length - idBytes);
  await writeFile(index, bytes);
  // Git reads a file again that was written in the second of the index.
  const later = new Date(Date.now() + 1_000);
  await utimes(index, later, later);
}

/** The sum at the end tells which hash the repository has. */
function hashIn(bytes: Buffer): "sha1" | "sha256" {
  const sum = createHash("sha256").update(bytes.subarray(0, -32)).digest();
  return sum.equals(bytes.subarray(-32)) ? "sha256" : "sha1";
}

function writeStat(bytes: Buffer, at: number, found: BigIntStats): void {
  const { ctimeNs, mtimeNs, dev, ino, uid, gid, size } = found;
  const second = 1_000_000_000n;
  // The mode is what the index says of it.
  const fields: readonly (bigint | null)[] = [
    ...[ctimeNs / second, ctimeNs % second, mtimeNs / second, mtimeNs % second],
    ...[dev, ino, null, uid, gid, size],
  ];
  for (const [index, value] of fields.entries()) {
    if (value !== null) bytes.writeUInt32BE(Number(value & 0xffff_ffffn), at + index * 4);
  }
}
