import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { lstat, open, readdir, readlink } from "node:fs/promises";
import { partsOf } from "../repository/checkout.ts";
import { fileAt, plainName } from "../text/text.ts";

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
const maxEntries = 1_500_000;

/** What decides whether two trees are the same. */
export interface TreeDigest {
  /** Over names, kinds, modes, targets of links and content; in hex. */
  readonly sha256: string;
  /** Sum of the sizes of the files. */
  readonly bytes: number;
}

interface DigestOptions {
  /** The files to read, raw and relative to the top; if omitted, everything below the top. */
  readonly names?: readonly string[];
  /** Names that do not count. */
  readonly without?: readonly string[];
  /** Rejects as soon as the files are larger than this. */
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
}

/** The files are larger than allowed. */
export class TooLarge extends Error {}

/**
 * Reads the tree at `top`; links are not followed. Of given names only the executable bit of the
 * mode counts, as in git; else all permissions, and directories too. Rejects when a file cannot be
 * read, and for entries that are neither a file, a link nor a directory.
 */
export async function digestOf(top: string, options: DigestOptions = {}): Promise<TreeDigest> {
  const { maxBytes = Number.POSITIVE_INFINITY, signal } = options;
  const hash = createHash("sha256");
  const without = new Set(options.without);
  const all = options.names ?? (await namesIn(top, signal));
  const names = all.filter((name) => !without.has(name));
  let bytes = 0;
  for (const name of names) {
    signal?.throwIfAborted();
    const path = fileAt(top, name);
    const found = await lstat(path);
    const permissions = found.mode & (options.names ? 0o100 : 0o777);
    if (found.isSymbolicLink()) {
      hash.update(`link\0${name}\0${await readlink(path, "latin1")}\0`, "latin1");
    } else if (found.isDirectory()) {
      hash.update(`directory\0${name}\0${permissions}\0`, "latin1");
    } else if (found.isFile()) {
      bytes += found.size;
      if (bytes > maxBytes) throw new TooLarge(`it is larger than ${maxBytes} bytes`);
      hash.update(`file\0${name}\0${permissions}\0${found.size}\0`, "latin1");
      hash.update(await contentOf(path));
    } else {
      throw new Error(`${plainName(name)} is neither a file, a link nor a directory`);
    }
  }
  return { sha256: hash.digest("hex"), bytes };
}

/** The SHA-256 of one regular file, in hex. */
export async function fileDigest(path: string): Promise<string> {
  return (await contentOf(fileAt(path, ""))).toString("hex");
}

async function contentOf(path: Buffer): Promise<Buffer> {
  const hash = createHash("sha256");
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    for await (const part of partsOf(file)) hash.update(part);
    return hash.digest();
  } finally {
    await file.close();
  }
}

/** Every entry below `top`, sorted, so that the order on the disk does not matter. */
async function namesIn(top: string, signal?: AbortSignal): Promise<readonly string[]> {
  const names: string[] = [];
  const open = [""];
  for (let dir = open.pop(); dir !== undefined; dir = open.pop()) {
    signal?.throwIfAborted();
    const how = { withFileTypes: true, encoding: "latin1" } as const;
    for (const entry of await readdir(fileAt(top, dir), how)) {
      const name = dir === "" ? entry.name : `${dir}/${entry.name}`;
      if (names.push(name) > maxEntries) throw new Error(`it has more than ${maxEntries} entries`);
      if (entry.isDirectory()) open.push(name);
    }
  }
  return names.sort();
}
