import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";
import { z } from "zod";
import { SymphonyError } from "../model/errors.ts";
import {
  invalidKey,
  type KeyPlace,
  keyFileIn,
  masterKeyVariable,
  rootKeysAt,
} from "./master-key.ts";

const algorithm = "aes-256-gcm";
const keyBytes = 32;
const nonceBytes = 12;
/** Always passed: without it Node accepts a tag of four bytes. */
const authTagLength = 16;

/** One secret as it is on disk; bytes are base64. */
export const SealedSecret = z.strictObject({
  v: z.literal(1),
  kid: z.string(),
  name: z.string(),
  /** Never used twice in one store. */
  ver: z.int(),
  nonce: z.string(),
  ct: z.string(),
  tag: z.string(),
  /** Wall-clock ms. */
  updated_at: z.number(),
});

export type SealedSecret = z.output<typeof SealedSecret>;

/** The whole store; `manifest` covers the set of records and their versions. */
export const SecretsDocument = z.strictObject({
  kid: z.string(),
  /** For a passphrase, 16 bytes. */
  salt: z.string(),
  last_ver: z.int(),
  /** `last_ver` before the first value was encrypted with the current key; absent before any rotation. */
  rotated_ver: z.int().optional(),
  /** Which audit entries are sealed, and the keys from before a rotation. */
  audit: z.strictObject({ from: z.int(), retired: z.array(SealedSecret) }).optional(),
  records: z.array(SealedSecret),
  manifest: z.string(),
});

export type SecretsDocument = z.output<typeof SecretsDocument>;

/** The keys derived from the root key; `kid` identifies them and reveals nothing of them. */
export interface SecretKeys {
  readonly kid: string;
  readonly encryption: Buffer;
  readonly manifest: Buffer;
  readonly audit: Buffer;
}

export function keysFrom(root: Buffer): SecretKeys {
  const derive = (purpose: string, bytes: number) =>
    Buffer.from(hkdfSync("sha256", root, Buffer.alloc(0), purpose, bytes));
  return {
    kid: derive("symphony key-id/v1", 8).toString("hex"),
    encryption: derive("symphony secrets/v1", keyBytes),
    manifest: derive("symphony secrets-manifest/v1", keyBytes),
    audit: derive("symphony audit/v1", keyBytes),
  };
}

interface Plain {
  readonly name: string;
  readonly ver: number;
  readonly value: string;
  readonly updatedAt: number;
}

/** Encrypts one value with its own nonce; name, version and key are bound to it. */
export function seal({ name, ver, value, updatedAt }: Plain, keys: SecretKeys): SealedSecret {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv(algorithm, keys.encryption, nonce, { authTagLength });
  cipher.setAAD(boundTo(keys.kid, name, ver));
  const ct = Buffer.concat([cipher.update(value, "utf8"), cipher.final()]);
  return {
    v: 1,
    kid: keys.kid,
    name,
    ver,
    nonce: nonce.toString("base64"),
    ct: ct.toString("base64"),
    tag: cipher.getAuthTag().toString("base64"),
    updated_at: updatedAt,
  };
}

/** The value of a record. Throws for a record that was altered, moved to another name, or sealed with another key. */
export function unseal(record: SealedSecret, keys: SecretKeys): string {
  const { kid, name, ver, nonce, ct, tag } = record;
  const iv = Buffer.from(nonce, "base64");
  if (iv.length !== nonceBytes) throw new Error("the nonce has another length");
  const decipher = createDecipheriv(algorithm, keys.encryption, iv, { authTagLength });
  decipher.setAAD(boundTo(kid, name, ver));
  decipher.setAuthTag(Buffer.from(tag, "base64"));
  const plain = Buffer.concat([decipher.update(ct, "base64"), decipher.final()]);
  return plain.toString("utf8");
}

type Unsigned = Omit<SecretsDocument, "manifest">;

/** The document with its manifest, which detects a record that is removed, restored or set back to an older version. */
export function signed(document: Unsigned, keys: SecretKeys): SecretsDocument {
  return { ...document, manifest: manifestOf(document, keys).toString("base64") };
}

export function isGenuine(document: SecretsDocument, keys: SecretKeys): boolean {
  const given = Buffer.from(document.manifest, "base64");
  const wanted = manifestOf(document, keys);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

function manifestOf(document: Unsigned, keys: SecretKeys): Buffer {
  const { kid, salt, last_ver: lastVer, rotated_ver: rotatedVer, records, audit } = document;
  const rotation = rotatedVer === undefined ? [] : [rotatedVer];
  const log = audit === undefined ? [] : [["audit", audit.from, rowsOf(audit.retired)]];
  const covered = ["symphony", 1, kid, salt, lastVer, rowsOf(records), ...rotation, ...log];
  const text = JSON.stringify(covered);
  return createHmac("sha256", keys.manifest).update(text).digest();
}

function rowsOf(records: readonly SealedSecret[]): unknown[] {
  return records.map((record) => [
    record.kid,
    record.name,
    record.ver,
    record.nonce,
    record.tag,
    record.updated_at,
  ]);
}

function boundTo(kid: string, name: string, ver: number): Buffer {
  return Buffer.from(`symphony|v1|${kid}|${name}|${ver}`, "utf8");
}

/** The source of the keys of this document. */
export function placeOf(document: SecretsDocument, place: KeyPlace): KeyPlace {
  return { ...place, salt: Buffer.from(document.salt, "base64") };
}

/** The keys that sealed `document`, out of all available ones. Rejects with `secrets_key_invalid`. */
export async function keysOf(
  document: SecretsDocument,
  { file, place }: { readonly file: string; readonly place: KeyPlace },
): Promise<SecretKeys> {
  let tried = false;
  for await (const root of rootKeysAt(place)) {
    const keys = keysFrom(root);
    if (keys.kid === document.kid) return keys;
    tried = true;
  }
  throw tried ? wrongKey(file, place) : lostKey(file, place);
}

/** The error for a file whose seals do not match its content. */
export function altered(file: string, cause?: unknown): SymphonyError {
  return new SymphonyError("storage_corrupt", `${file} was altered outside of symphony`, {
    cause,
    details: { file },
    hint: "restore it from a backup",
  });
}

const lastResort = "symphony secrets reset --yes moves the secrets aside and starts a new store";

function lostKey(file: string, { dir }: KeyPlace): SymphonyError {
  return invalidKey(
    `the key of ${file} is gone: there is no ${keyFileIn(dir)}`,
    `restore it from a backup, or set ${masterKeyVariable}; ${lastResort}`,
  );
}

function wrongKey(file: string, { dir, master }: KeyPlace): SymphonyError {
  const source = master ? masterKeyVariable : keyFileIn(dir);
  return invalidKey(
    `${file} was sealed with another key than that of ${source}; nothing was changed`,
    `use the key it was sealed with; ${lastResort}`,
  );
}
