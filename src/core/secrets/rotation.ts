import { rename } from "node:fs/promises";
import { basename, join } from "node:path";
import { systemCodeOf } from "../model/errors.ts";
import { backupOf, storageUnavailable } from "../store/durable.ts";
import { acceptLoss } from "../store/manifest.ts";
import {
  type SealedSecret,
  type SecretKeys,
  type SecretsDocument,
  seal,
  signed,
  unseal,
} from "./cipher.ts";
import { keyFileIn } from "./master-key.ts";

interface Change {
  readonly old: SecretKeys;
  readonly keys: SecretKeys;
  readonly salt: Buffer;
  /** Wall-clock ms. */
  readonly at: number;
}

/** `before` with every record sealed with the new keys; the previous audit key is kept, to verify older entries. */
export function sealedAnew(
  before: SecretsDocument,
  { old, keys, salt, at }: Change,
): SecretsDocument {
  let ver = before.last_ver;
  const again = (name: string, value: string, updatedAt: number) => {
    ver += 1;
    return seal({ name, ver, value, updatedAt }, keys);
  };
  const anew = (record: SealedSecret) => again(record.name, unseal(record, old), record.updated_at);
  const records = before.records.map(anew);
  const audit = before.audit && {
    from: before.audit.from,
    retired: [
      ...before.audit.retired.map(anew),
      again(`audit:${old.kid}`, old.audit.toString("base64"), at),
    ],
  };
  const document = {
    kid: keys.kid,
    salt: salt.toString("base64"),
    last_ver: ver,
    rotated_ver: before.last_ver,
    records,
    ...(audit && { audit }),
  };
  return signed(document, keys);
}

/**
 * Moves the secrets and their key file aside when the key is lost; a key that is found later decrypts them there. Returns
 * the new names, none if there was nothing to move. The caller holds the directory's lock.
 */
export async function resetSecrets(dir: string, wall: number): Promise<readonly string[]> {
  const file = join(dir, "secrets.json");
  const suffix = `reset-${new Date(wall).toISOString().replaceAll(/[:.]/g, "")}`;
  const moved: string[] = [];
  // The copy first: if it stayed, it would indicate that the secrets are missing.
  for (const path of [backupOf(file), file, keyFileIn(dir)]) {
    const aside = `${path}.${suffix}`;
    if (await moveAside(path, aside)) moved.push(basename(aside));
  }
  acceptLoss(dir, ["secrets.json"]);
  return moved;
}

async function moveAside(path: string, aside: string): Promise<boolean> {
  try {
    await rename(path, aside);
    return true;
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return false;
    throw storageUnavailable(path, error);
  }
}
