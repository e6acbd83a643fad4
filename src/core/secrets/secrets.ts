import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { Low } from "lowdb";
import type { Clock } from "../clock.ts";
import { SymphonyError } from "../model/errors.ts";
import type { Redactor } from "../redact.ts";
import { durableJson, removeLeftovers } from "../store/durable-json.ts";
import {
  isGenuine,
  keysFrom,
  type SecretKeys,
  SecretsDocument,
  seal,
  signed,
  unseal,
} from "./cipher.ts";
import {
  findRootKey,
  invalidKey,
  type KeyPlace,
  keyFileIn,
  masterKeyVariable,
  requireRootKey,
} from "./master-key.ts";

const formatVersion = 1;
const saltBytes = 16;

export interface StoredSecret {
  readonly key: string;
  /** Wall-clock ms. */
  readonly updatedAt: number;
  /** False when it took the place of another value. */
  readonly created: boolean;
}

/** Named values, encrypted on disk. Only `lookup` gives one out, and nothing of it may be shown. */
export interface Secrets {
  names(): readonly string[];
  lookup(name: string): string | undefined;
  /** On disk (fsynced) when it resolves. Rejects with `storage_unavailable` or `secrets_key_invalid`. */
  put(name: string, value: string): Promise<StoredSecret>;
  /** Rejects with `secret_not_found`. */
  remove(name: string): Promise<void>;
}

export interface SecretsOptions {
  /** Who changes something here holds its lock. */
  readonly dir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  /** Told of every value, so that no log, event or answer shows it. */
  readonly redactor: Redactor;
}

/**
 * Loads `secrets.json` in `dir` and opens every record. Without one it is empty, and a key is made with the first secret.
 * Rejects with `secrets_key_invalid` (wrong, lost or readable key) or `storage_corrupt`; nothing on disk is then changed.
 */
export async function openSecrets(options: SecretsOptions): Promise<Secrets> {
  const file = join(options.dir, "secrets.json");
  const low = new Low<SecretsDocument | null>(
    durableJson(file, formatVersion, SecretsDocument.nullable()),
    null,
  );
  await low.read();
  const master = options.env[masterKeyVariable];
  if (master) options.redactor.add(master);
  const { data } = low;
  const salt = data === null ? randomBytes(saltBytes) : Buffer.from(data.salt, "base64");
  const place = { dir: options.dir, master, salt };
  const values = data === null ? await noValues(place) : await openAll(data, place, file);
  for (const value of values.values()) options.redactor.add(value);
  return new Vault({ options, low, file, place, values });
}

/** A key that must not be used is refused before anything depends on it. */
async function noValues(place: KeyPlace): Promise<Map<string, string>> {
  if (!place.master) await findRootKey(place);
  return new Map();
}

async function openAll(document: SecretsDocument, place: KeyPlace, file: string) {
  const root = await findRootKey(place);
  if (root === null) {
    const hint = `put it back from a backup, or set ${masterKeyVariable}`;
    throw invalidKey(`the key of ${file} is gone: there is no ${keyFileIn(place.dir)}`, hint);
  }
  const keys = keysFrom(root);
  if (keys.kid !== document.kid) throw wrongKey(file, place);
  if (!isGenuine(document, keys)) throw altered(file);
  try {
    return new Map(document.records.map((record) => [record.name, unseal(record, keys)]));
  } catch (cause) {
    throw altered(file, cause);
  }
}

interface VaultParts {
  readonly options: SecretsOptions;
  readonly low: Low<SecretsDocument | null>;
  readonly file: string;
  readonly place: KeyPlace;
  readonly values: Map<string, string>;
}

class Vault implements Secrets {
  readonly #parts: VaultParts;
  readonly #values: Map<string, string>;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(parts: VaultParts) {
    this.#parts = parts;
    this.#values = parts.values;
  }

  names(): readonly string[] {
    return [...this.#values.keys()].sort();
  }

  lookup(name: string): string | undefined {
    return this.#values.get(name);
  }

  put(name: string, value: string): Promise<StoredSecret> {
    // Before anything can go wrong with it.
    this.#parts.options.redactor.add(value);
    return this.#inTurn(async () => {
      const created = !this.#values.has(name);
      const updatedAt = this.#parts.options.clock.wall();
      await this.#write((document, keys) => {
        const ver = document.last_ver + 1;
        const others = document.records.filter((record) => record.name !== name);
        const sealed = seal({ name, ver, value, updatedAt }, keys);
        return { ...document, last_ver: ver, records: [...others, sealed] };
      });
      this.#values.set(name, value);
      return { key: name, updatedAt, created };
    });
  }

  remove(name: string): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#values.has(name)) {
        throw new SymphonyError("secret_not_found", `there is no secret ${name}`, {
          hint: "symphony secrets list",
        });
      }
      await this.#write((document) => ({
        ...document,
        records: document.records.filter((record) => record.name !== name),
      }));
      this.#values.delete(name);
    });
  }

  /** The key is asked for at each change and not kept. */
  async #write(
    change: (document: SecretsDocument, keys: SecretKeys) => SecretsDocument,
  ): Promise<void> {
    const { low, file, place } = this.#parts;
    const root = await (low.data === null ? requireRootKey(place) : findRootKey(place));
    const keys = root && keysFrom(root);
    const salt = place.salt.toString("base64");
    const before = low.data;
    if (keys === null || (before !== null && before.kid !== keys.kid)) throw wrongKey(file, place);
    const document = before ?? { kid: keys.kid, salt, last_ver: 0, records: [], manifest: "" };
    await removeLeftovers(file);
    low.data = signed(change(document, keys), keys);
    try {
      await low.write();
    } catch (error) {
      low.data = before;
      throw error;
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#queue.then(work);
    this.#queue = next.catch(() => {});
    return next;
  }
}

function wrongKey(file: string, { dir, master }: KeyPlace): SymphonyError {
  const source = master ? masterKeyVariable : keyFileIn(dir);
  return invalidKey(
    `${file} was sealed with another key than that of ${source}; nothing was changed`,
    "use the key it was sealed with",
  );
}

function altered(file: string, cause?: unknown): SymphonyError {
  return new SymphonyError("storage_corrupt", `${file} was altered outside of symphony`, {
    cause,
    details: { file },
    hint: "put it back from a backup",
  });
}
