// Secrets that are stored encrypted, and the keys that seal them.

import { createSecretKey, type KeyObject, randomBytes } from "node:crypto";
import { join } from "node:path";
import { Low } from "lowdb";
import type { Clock } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { secretFault } from "../model/secret.ts";
import type { AuditKey, AuditKeys } from "../store/audit.ts";
import { durableJson, removeLeftovers } from "../store/durable.ts";
import type { Redactor } from "../text/redact.ts";
import {
  altered,
  isGenuine,
  keysFrom,
  keysOf,
  placeOf,
  type SecretKeys,
  SecretsDocument,
  seal,
  signed,
  unseal,
} from "./cipher.ts";
import {
  forgetKeys,
  invalidKey,
  type KeyPlace,
  masterKeyVariable,
  nextKeyVariable,
  nextRootKey,
  requireRootKey,
  rootKeysAt,
} from "./master-key.ts";
import { sealedAnew } from "./rotation.ts";

const formatVersion = 1;
const saltBytes = 16;
/** Half of the 2^32 values that GCM may seal with one key and random nonces. */
const sealsPerKey = 2 ** 31;

interface StoredSecret {
  readonly key: string;
  /** Wall-clock ms. */
  readonly updatedAt: number;
  /** False when it replaced another value. */
  readonly created: boolean;
  /** The rotation that took place before, because the key had reached its limit of use. */
  readonly rotated: Rotation | null;
}

/** A change of the key. Key ids identify keys and reveal nothing of them. */
export interface Rotation {
  readonly kid: string;
  readonly previousKid: string;
  /** The number of secrets that were encrypted again. */
  readonly secrets: number;
  /** Wall-clock ms. */
  readonly at: number;
}

/** Named values, encrypted on disk. Only `lookup` returns a value, which must never be shown. */
export interface Secrets {
  names(): readonly string[];
  lookup(name: string): string | undefined;
  /** On disk (fsynced) when it resolves. Rejects with `storage_unavailable` or `secrets_key_invalid`. */
  put(name: string, value: string): Promise<StoredSecret>;
  /** Rejects with `secret_not_found`. */
  remove(name: string): Promise<void>;
  /**
   * Seals everything with another key, in one write: after a crash everything has the old key or the new one. The old key
   * is deleted when it resolves. Rejects like `put`, with `secret_not_found` before the first secret, with `needs_person`
   * when the key has to come from the environment and is not there.
   */
  rotate(): Promise<Rotation>;
  /** The key that seals audit entries; follows a rotation. */
  readonly auditKeys: AuditKeys;
  /**
   * Does nothing if entries are sealed already. Otherwise creates a key if there is none, lets `begin` write the first
   * sealed entry, and records its seq. Rejects like `put`.
   */
  sealAudit(begin: () => number): Promise<void>;
  /** Removes the remains of a crash during a rotation. The caller holds the directory's lock. */
  settle(): Promise<void>;
}

export interface SecretsOptions {
  /** A caller that changes something holds the lock of this directory. */
  readonly dir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  /** Called with every value, so that no log, event or response shows it. */
  readonly redactor: Redactor;
  /** Number of values after which a key is replaced automatically; default 2^31. */
  readonly sealsPerKey?: number;
}

/**
 * Loads `secrets.json` in `dir` and decrypts every record. Without the file it is empty, and the first secret creates a key.
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

/** Refuses a key that must not be used, before anything depends on it. */
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

const vaultSaltBytes = 16;

interface VaultDeps {
  readonly low: Low<SecretsDocument | null>;
  readonly file: string;
  /** With the salt of a document that does not exist yet. */
  readonly place: KeyPlace;
  readonly values: Map<string, string>;
  readonly ring: AuditRing;
  readonly clock: Clock;
  readonly redactor: Redactor;
  readonly sealsPerKey: number;
}

/** The opened store: every change is written as a whole, one after the other. */
class Vault implements Secrets {
  readonly #deps: VaultDeps;
  readonly #values: Map<string, string>;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(deps: VaultDeps) {
    this.#deps = deps;
    this.#values = deps.values;
  }

  names(): readonly string[] {
    return [...this.#values.keys()].sort();
  }

  lookup(name: string): string | undefined {
    return this.#values.get(name);
  }

  put(name: string, value: string): Promise<StoredSecret> {
    // Before any step that can fail, so that no error shows the value.
    this.#deps.redactor.add(value);
    return this.#inTurn(async () => {
      const fault = secretFault(value);
      if (fault !== null) throw new SymphonyError("invalid_request", `the value ${fault}`);
      const rotated = this.#isUsedUp() ? await this.#rotate() : null;
      const created = !this.#values.has(name);
      const updatedAt = this.#deps.clock.wall();
      await this.#change((document, keys) => {
        const ver = document.last_ver + 1;
        const others = document.records.filter((record) => record.name !== name);
        const sealed = seal({ name, ver, value, updatedAt }, keys);
        return { ...document, last_ver: ver, records: [...others, sealed] };
      });
      this.#values.set(name, value);
      return { key: name, updatedAt, created, rotated };
    });
  }

  remove(name: string): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#values.has(name)) {
        throw new SymphonyError("secret_not_found", `there is no secret ${name}`, {
          hint: "symphony secrets list",
        });
      }
      await this.#change((document) => ({
        ...document,
        records: document.records.filter((record) => record.name !== name),
      }));
      this.#values.delete(name);
    });
  }

  rotate(): Promise<Rotation> {
    return this.#inTurn(() => this.#rotate());
  }

  get auditKeys(): AuditKeys {
    return this.#deps.ring;
  }

  sealAudit(begin: () => number): Promise<void> {
    const { ring } = this.#deps;
    return this.#inTurn(async () => {
      if (ring.current() !== null) return;
      await this.#change((document, keys) => {
        ring.begin(keys);
        return { ...document, audit: { from: begin(), retired: [] } };
      });
    });
  }

  settle(): Promise<void> {
    return this.#inTurn(async () => {
      const { low, place } = this.#deps;
      if (low.data !== null && (await hasOtherKeys(place, low.data))) await this.#forget(low.data);
    });
  }

  async #rotate(): Promise<Rotation> {
    const { low, file, place, clock } = this.#deps;
    const before = low.data;
    if (before === null) {
      throw new SymphonyError("secret_not_found", "there are no secrets, so there is no key yet", {
        hint: "symphony secrets add NAME",
      });
    }
    const old = await keysOf(before, { file, place: placeOf(before, place) });
    await refuseSameKey(placeOf(before, place), old);
    const salt = randomBytes(vaultSaltBytes);
    const keys = keysFrom(await nextRootKey({ ...place, salt }));
    const at = clock.wall();
    const document = sealedAnew(before, { old, keys, salt, at });
    await this.#write(document);
    this.#deps.ring.follow(document, keys);
    await this.#forget(document);
    const secrets = document.records.length;
    return { kid: keys.kid, previousKid: old.kid, secrets, at };
  }

  /** Removes what is older than the key of `document`, which is in use already. May be repeated. */
  async #forget(document: SecretsDocument): Promise<void> {
    try {
      // The same document again: the previous copy (`.bak`) is sealed with the key that is removed.
      await this.#write(document);
      await forgetKeys(this.#deps.place, (root) => keysFrom(root).kid === document.kid);
    } catch (cause) {
      const message = "everything is sealed with the new key, but the old one could not be removed";
      throw new SymphonyError("storage_unavailable", `${message}: ${messageOf(cause)}`, {
        cause,
        hint: "free disk space and restart symphony, which then completes the rotation",
      });
    }
  }

  #isUsedUp(): boolean {
    const { low, sealsPerKey } = this.#deps;
    if (low.data === null) return false;
    return low.data.last_ver - (low.data.rotated_ver ?? 0) >= sealsPerKey;
  }

  /** The key is read at each change and not kept. */
  async #change(
    change: (document: SecretsDocument, keys: SecretKeys) => SecretsDocument,
  ): Promise<void> {
    const { low, file, place } = this.#deps;
    const before = low.data;
    const keys =
      before === null
        ? keysFrom(await requireRootKey(place))
        : await keysOf(before, { file, place: placeOf(before, place) });
    const salt = place.salt.toString("base64");
    const document = before ?? { kid: keys.kid, salt, last_ver: 0, records: [], manifest: "" };
    const after = signed(change(document, keys), keys);
    await this.#write(after);
    this.#deps.ring.follow(after, keys);
  }

  async #write(document: SecretsDocument): Promise<void> {
    const { low, file } = this.#deps;
    const before = low.data;
    await removeLeftovers(file);
    low.data = document;
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

/** Whether the key file holds a key that `document` is not sealed with. */
async function hasOtherKeys(place: KeyPlace, document: SecretsDocument): Promise<boolean> {
  if (place.master) return false;
  for await (const root of rootKeysAt({ ...place, next: undefined })) {
    if (keysFrom(root).kid !== document.kid) return true;
  }
  return false;
}

/** The next key must be a different one: a passphrase is the same with any salt. */
async function refuseSameKey(place: KeyPlace, old: SecretKeys): Promise<void> {
  if (!place.next) return;
  const next = keysFrom(await nextRootKey(place));
  if (next.kid !== old.kid) return;
  throw invalidKey(
    `${nextKeyVariable} is the key in use already: there is nothing to rotate to`,
    "a new one: openssl rand -base64 32",
  );
}

/** The audit keys in memory, as in the document that was opened or written last. */
class AuditRing implements AuditKeys {
  #from: number | null = null;
  #current: AuditKey | null = null;
  #known = new Map<string, KeyObject>();

  from(): number | null {
    return this.#from;
  }

  current(): AuditKey | null {
    return this.#current;
  }

  find(kid: string): KeyObject | null {
    return this.#known.get(kid) ?? null;
  }

  /** The first sealed entry is about to be written; after that `follow` supplies the seq. */
  begin(keys: SecretKeys): void {
    this.#current = { kid: keys.kid, key: createSecretKey(keys.audit) };
  }

  /** Throws for a key that cannot be decrypted with `keys`. */
  follow({ audit }: SecretsDocument, keys: SecretKeys): void {
    if (audit === undefined) return;
    const retired = audit.retired.map((record): [string, KeyObject] => [
      record.name.replace("audit:", ""),
      createSecretKey(unseal(record, keys), "base64"),
    ]);
    const { kid } = keys;
    const key = createSecretKey(keys.audit);
    this.#known = new Map([...retired, [kid, key]]);
    this.#current = { kid, key };
    this.#from = audit.from;
  }
}
