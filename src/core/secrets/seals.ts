import { SymphonyError } from "../model/errors.ts";
import { keysFrom, type SecretKeys, type SecretsDocument } from "./cipher.ts";
import {
  invalidKey,
  type KeyPlace,
  keyFileIn,
  masterKeyVariable,
  rootKeysAt,
} from "./master-key.ts";

/** Where the keys of this very document come from. */
export function placeOf(document: SecretsDocument, place: KeyPlace): KeyPlace {
  return { ...place, salt: Buffer.from(document.salt, "base64") };
}

/** The keys that sealed `document`, among all there are. Rejects with `secrets_key_invalid`. */
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

/** The refusal of a file whose seals do not fit what it says. */
export function altered(file: string, cause?: unknown): SymphonyError {
  return new SymphonyError("storage_corrupt", `${file} was altered outside of symphony`, {
    cause,
    details: { file },
    hint: "put it back from a backup",
  });
}

const lastResort = "symphony secrets reset --yes puts the secrets aside and begins anew";

function lostKey(file: string, { dir }: KeyPlace): SymphonyError {
  return invalidKey(
    `the key of ${file} is gone: there is no ${keyFileIn(dir)}`,
    `put it back from a backup, or set ${masterKeyVariable}; ${lastResort}`,
  );
}

function wrongKey(file: string, { dir, master }: KeyPlace): SymphonyError {
  const source = master ? masterKeyVariable : keyFileIn(dir);
  return invalidKey(
    `${file} was sealed with another key than that of ${source}; nothing was changed`,
    `use the key it was sealed with; ${lastResort}`,
  );
}
