import { randomBytes, randomUUID, scrypt } from "node:crypto";
import { constants } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { SymphonyError, systemCodeOf } from "../model/errors.ts";
import {
  removeLeftovers,
  storageUnavailable,
  syncDirectory,
  writeSynced,
} from "../store/durable.ts";

/** Base64 of 32 bytes, or a passphrase. */
export const masterKeyVariable = "SYMPHONY_MASTER_KEY";
/** The same, for the target key of a rotation. */
export const nextKeyVariable = "SYMPHONY_MASTER_KEY_NEXT";

const keyBytes = 32;
const keyText = /^[A-Za-z0-9+/]{43}=$/;
const shortestPassphrase = 12;
/** About 0.3 s and 128 MiB for each guess. */
const scryptCost = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 1024 * 1024 };
const deriveKey = promisify<string, Buffer, number, typeof scryptCost, Buffer>(scrypt);

export interface KeyPlace {
  readonly dir: string;
  /** The value of `SYMPHONY_MASTER_KEY`; it takes precedence over the key file. */
  readonly master: string | undefined;
  /** The value of `SYMPHONY_MASTER_KEY_NEXT`: the target key of a rotation, and after one the key in use. */
  readonly next: string | undefined;
  readonly salt: Buffer;
}

/**
 * All root keys, in the order of use: more than one only during a rotation. Throws `secrets_key_invalid` for
 * a key that must not be used.
 */
export async function* rootKeysAt({ dir, master, next, salt }: KeyPlace): AsyncGenerator<Buffer> {
  if (master) yield await rootFrom(master, masterKeyVariable, salt);
  else yield* await readKeyFile(keyFileIn(dir));
  if (next) yield await rootFrom(next, nextKeyVariable, salt);
}

/** The first root key, or a new one in a key file that only its owner can read. */
export async function requireRootKey(place: KeyPlace): Promise<Buffer> {
  for await (const found of rootKeysAt(place)) return found;
  const key = randomBytes(keyBytes);
  await writeKeyFile(keyFileIn(place.dir), textOf([key]));
  return key;
}

/**
 * The target root key of a rotation: that of `SYMPHONY_MASTER_KEY_NEXT`, or a new one that is on disk next to the one
 * in use when this resolves. Rejects with `needs_person` when the environment has the key in use but no next key.
 */
export async function nextRootKey(place: KeyPlace): Promise<Buffer> {
  const { dir, master, next, salt } = place;
  if (next) return rootFrom(next, nextKeyVariable, salt);
  if (master) {
    const why = `the key in use is that of ${masterKeyVariable}, and no next key is set`;
    throw new SymphonyError("needs_person", why, {
      hint: `start symphony with the new key in ${nextKeyVariable} as well, and rotate again`,
    });
  }
  const file = keyFileIn(dir);
  const key = randomBytes(keyBytes);
  await replaceKeyFile(file, textOf([...(await readKeyFile(file)), key]));
  return key;
}

/**
 * Removes every key that `isInUse` does not accept from the key file, and the file with the last one. True when that
 * changed something. Does nothing without a key file in use.
 */
export async function forgetKeys(
  { dir, master }: KeyPlace,
  isInUse: (root: Buffer) => boolean,
): Promise<boolean> {
  if (master) return false;
  const file = keyFileIn(dir);
  const roots = await readKeyFile(file);
  const kept = roots.filter(isInUse);
  if (kept.length === roots.length) return false;
  if (kept.length > 0) await replaceKeyFile(file, textOf(kept));
  else await removeKeyFile(file);
  return true;
}

function rootFrom(text: string, variable: string, salt: Buffer): Promise<Buffer> | Buffer {
  if (keyText.test(text)) return Buffer.from(text, "base64");
  if (text.length < shortestPassphrase) {
    throw invalidKey(`${variable} is shorter than ${shortestPassphrase} characters`);
  }
  return deriveKey(text, salt, keyBytes, scryptCost);
}

/** An error about the key; nothing was changed. */
export function invalidKey(message: string, hint?: string): SymphonyError {
  return new SymphonyError("secrets_key_invalid", message, hint === undefined ? {} : { hint });
}

export function keyFileIn(dir: string): string {
  return join(dir, "secrets.key");
}

/** One key per line; two only during a rotation. */
async function readKeyFile(file: string): Promise<readonly Buffer[]> {
  let text: string;
  try {
    // Symbolic links are not followed: a user who can create one would choose the key.
    const handle = await open(
      file,
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
    try {
      const found = await handle.stat();
      if (!found.isFile())
        throw invalidKey(`${file} is not a file`, "restore the key from a backup");
      if ((found.mode & 0o077) !== 0) {
        throw invalidKey(
          `${file} can be read by other users`,
          `chmod 600 '${file}', and rotate the secrets it protected`,
        );
      }
      text = await handle.readFile("utf8");
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof SymphonyError) throw error;
    const code = systemCodeOf(error);
    if (code === "ENOENT") return [];
    throw code === "ELOOP" ? invalidKey(`${file} is a link`) : storageUnavailable(file, error);
  }
  const lines = text.trim().split("\n");
  if (lines.every((line) => keyText.test(line))) {
    return lines.map((line) => Buffer.from(line, "base64"));
  }
  throw invalidKey(`${file} holds no key`, "restore it from a backup");
}

function textOf(roots: readonly Buffer[]): string {
  return roots.map((root) => `${root.toString("base64")}\n`).join("");
}

async function writeKeyFile(file: string, text: string): Promise<void> {
  try {
    // Never overwrites a key: values sealed with it could not be decrypted any more.
    await writeSynced(file, text);
    await syncDirectory(dirname(file));
  } catch (error) {
    throw storageUnavailable(file, error);
  }
}

/** Atomic, and without a copy of the previous content: an unused key must not remain on disk. */
async function replaceKeyFile(file: string, text: string): Promise<void> {
  await removeLeftovers(file);
  const draft = join(dirname(file), `.${basename(file)}.${randomUUID()}.tmp`);
  try {
    await writeSynced(draft, text);
    await rename(draft, file);
    await syncDirectory(dirname(file));
  } catch (error) {
    await rm(draft, { force: true }).catch(() => undefined);
    throw storageUnavailable(file, error);
  }
}

async function removeKeyFile(file: string): Promise<void> {
  try {
    await rm(file, { force: true });
    await syncDirectory(dirname(file));
  } catch (error) {
    throw storageUnavailable(file, error);
  }
}
