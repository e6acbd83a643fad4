import {
  type SealedSecret,
  type SecretKeys,
  type SecretsDocument,
  seal,
  signed,
  unseal,
} from "./cipher.ts";

interface Change {
  readonly old: SecretKeys;
  readonly keys: SecretKeys;
  readonly salt: Buffer;
  /** Wall-clock ms. */
  readonly at: number;
}

/** `before` with every record sealed with the new keys; the audit key of before is kept, to verify what it sealed. */
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
