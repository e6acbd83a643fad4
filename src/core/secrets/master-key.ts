import { randomBytes, scrypt } from "node:crypto";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { SymphonyError } from "../model/errors.ts";
import { storageUnavailable } from "../store/storage-errors.ts";

/** Base64 of 32 bytes, or a passphrase. */
export const masterKeyVariable = "SYMPHONY_MASTER_KEY";

const keyBytes = 32;
const keyText = /^[A-Za-z0-9+/]{43}=$/;
const shortestPassphrase = 12;
/** About 0.3 s and 128 MiB for each guess. */
const scryptCost = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 1024 * 1024 };
const deriveKey = promisify<string, Buffer, number, typeof scryptCost, Buffer>(scrypt);

export interface KeyPlace {
  readonly dir: string;
  /** The value of `SYMPHONY_MASTER_KEY`; it wins over the key file. */
  readonly master: string | undefined;
  readonly salt: Buffer;
}

/** The root key there is; null without one. Rejects with `secrets_key_invalid` for one that must not be used. */
export async function findRootKey({ dir, master, salt }: KeyPlace): Promise<Buffer | null> {
  if (!master) return readKeyFile(keyFileIn(dir));
  if (keyText.test(master)) return Buffer.from(master, "base64");
  if (master.length < shortestPassphrase) {
    throw invalidKey(`${masterKeyVariable} is shorter than ${shortestPassphrase} characters`);
  }
  return deriveKey(master, salt, keyBytes, scryptCost);
}

/** The root key there is, or a new one in a key file that only its owner can read. */
export async function requireRootKey(place: KeyPlace): Promise<Buffer> {
  const found = await findRootKey(place);
  if (found !== null) return found;
  const key = randomBytes(keyBytes);
  await writeKeyFile(keyFileIn(place.dir), `${key.toString("base64")}\n`);
  return key;
}

/** A refusal of the key; nothing was changed. */
export function invalidKey(message: string, hint?: string): SymphonyError {
  return new SymphonyError("secrets_key_invalid", message, hint === undefined ? {} : { hint });
}

export function keyFileIn(dir: string): string {
  return join(dir, "secrets.key");
}

async function readKeyFile(file: string): Promise<Buffer | null> {
  let text: string;
  try {
    // Not through a link: whoever can place one would choose the key.
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const found = await handle.stat();
      if (!found.isFile()) throw invalidKey(`${file} is not a file`);
      if ((found.mode & 0o077) !== 0) {
        throw invalidKey(
          `${file} can be read by others`,
          `chmod 600 '${file}', and rotate what it kept`,
        );
      }
      text = await handle.readFile("utf8");
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof SymphonyError) throw error;
    const code = error instanceof Error && "code" in error ? error.code : null;
    if (code === "ENOENT") return null;
    throw code === "ELOOP" ? invalidKey(`${file} is a link`) : storageUnavailable(file, error);
  }
  if (keyText.test(text.trim())) return Buffer.from(text.trim(), "base64");
  throw invalidKey(`${file} holds no key`, "put it back from a backup");
}

async function writeKeyFile(file: string, text: string): Promise<void> {
  try {
    // Never over one that is there: what it had sealed could not be opened again.
    const handle = await open(file, "wx", 0o600);
    try {
      await handle.writeFile(text, "utf8");
      await handle.sync();
    } finally {
      await handle.close();
    }
    const folder = await open(dirname(file), "r");
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    throw storageUnavailable(file, error);
  }
}
