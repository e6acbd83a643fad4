import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { Low } from "lowdb";
import type { Clock } from "../clock.ts";
import type { Redactor } from "../redact.ts";
import type { AuditKeys } from "../store/audit-keys.ts";
import { durableJson } from "../store/durable-json.ts";
import { AuditRing } from "./audit-ring.ts";
import { isGenuine, SecretsDocument, unseal } from "./cipher.ts";
import { type KeyPlace, masterKeyVariable, nextKeyVariable, rootKeysAt } from "./master-key.ts";
import { altered, keysOf, placeOf } from "./seals.ts";
import { Vault } from "./vault.ts";

const formatVersion = 1;
const saltBytes = 16;
/** Half of the 2^32 values that GCM may seal with one key and random nonces. */
const sealsPerKey = 2 ** 31;

export interface StoredSecret {
  readonly key: string;
  /** Wall-clock ms. */
  readonly updatedAt: number;
  /** False when it took the place of another value. */
  readonly created: boolean;
  /** The key was used up, and another one took its place before. */
  readonly rotated: Rotation | null;
}

/** A change of the key. Key ids tell keys apart and give nothing of them away. */
export interface Rotation {
  readonly kid: string;
  readonly previousKid: string;
  /** How many secrets were sealed anew. */
  readonly secrets: number;
  /** Wall-clock ms. */
  readonly at: number;
}

/** Named values, encrypted on disk. Only `lookup` gives one out, and nothing of it may be shown. */
export interface Secrets {
  names(): readonly string[];
  lookup(name: string): string | undefined;
  /** On disk (fsynced) when it resolves. Rejects with `storage_unavailable` or `secrets_key_invalid`. */
  put(name: string, value: string): Promise<StoredSecret>;
  /** Rejects with `secret_not_found`. */
  remove(name: string): Promise<void>;
  /**
   * Seals everything with another key, in one write: a crash leaves all of the old or all of the new. The old key is
   * gone when it resolves. Rejects like `put`, with `secret_not_found` before the first secret, with `needs_person`
   * when the key is to come from the environment and is not there.
   */
  rotate(): Promise<Rotation>;
  /** What audit entries are sealed with; follows a rotation. */
  readonly auditKeys: AuditKeys;
  /**
   * Unless entries are sealed already: makes a key where there is none, lets `begin` write the first sealed entry, and
   * remembers its seq. Rejects like `put`.
   */
  sealAudit(begin: () => number): Promise<void>;
  /** Puts away what a crash in mid-rotation left. For who holds the directory's lock. */
  settle(): Promise<void>;
}

export interface SecretsOptions {
  /** Who changes something here holds its lock. */
  readonly dir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  /** Told of every value, so that no log, event or answer shows it. */
  readonly redactor: Redactor;
  /** After so many values a key is replaced by itself; default 2^31. */
  readonly sealsPerKey?: number;
}

/**
 * Loads `secrets.json` in `dir` and opens every record. Without one it is empty, and a key is made with the first secret.
 * Rejects with `secrets_key_invalid` (wrong, lost or readable key) or `storage_corrupt`; nothing on disk is then changed.
 */
export async function openSecrets(options: SecretsOptions): Promise<Secrets> {
  const { dir, env, clock, redactor } = options;
  const file = join(dir, "secrets.json");
  const low = new Low<SecretsDocument | null>(
    durableJson(file, formatVersion, SecretsDocument.nullable()),
    null,
  );
  await low.read();
  const [master, next] = [env[masterKeyVariable], env[nextKeyVariable]];
  for (const key of [master, next]) if (key) redactor.add(key);
  const place = { dir, master, next, salt: randomBytes(saltBytes) };
  const ring = new AuditRing();
  const values =
    low.data === null ? await noValues(place) : await openAll(low.data, { file, place, ring });
  for (const value of values.values()) redactor.add(value);
  const most = options.sealsPerKey ?? sealsPerKey;
  return new Vault({ low, file, place, values, ring, clock, redactor, sealsPerKey: most });
}

/** A key that must not be used is refused before anything depends on it. */
async function noValues(place: KeyPlace): Promise<Map<string, string>> {
  if (!place.master) for await (const _ of rootKeysAt({ ...place, next: undefined }));
  return new Map();
}

async function openAll(
  document: SecretsDocument,
  where: { file: string; place: KeyPlace; ring: AuditRing },
) {
  const keys = await keysOf(document, { ...where, place: placeOf(document, where.place) });
  if (!isGenuine(document, keys)) throw altered(where.file);
  try {
    where.ring.follow(document, keys);
    return new Map(document.records.map((record) => [record.name, unseal(record, keys)]));
  } catch (cause) {
    throw altered(where.file, cause);
  }
}
