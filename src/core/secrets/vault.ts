import { randomBytes } from "node:crypto";
import type { Low } from "lowdb";
import type { Clock } from "../clock.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import type { Redactor } from "../redact.ts";
import type { AuditKeys } from "../store/audit-keys.ts";
import { removeLeftovers } from "../store/durable-json.ts";
import type { AuditRing } from "./audit-ring.ts";
import { keysFrom, type SecretKeys, type SecretsDocument, seal, signed } from "./cipher.ts";
import {
  forgetKeys,
  invalidKey,
  type KeyPlace,
  nextKeyVariable,
  nextRootKey,
  requireRootKey,
  rootKeysAt,
} from "./master-key.ts";
import { sealedAnew } from "./sealed-anew.ts";
import { keysOf, placeOf } from "./seals.ts";
import type { Rotation, Secrets, StoredSecret } from "./secrets.ts";

const saltBytes = 16;

interface VaultParts {
  readonly low: Low<SecretsDocument | null>;
  readonly file: string;
  /** With the salt of a document that is not there yet. */
  readonly place: KeyPlace;
  readonly values: Map<string, string>;
  readonly ring: AuditRing;
  readonly clock: Clock;
  readonly redactor: Redactor;
  readonly sealsPerKey: number;
}

/** The opened store: every change is written as a whole, one after the other. */
export class Vault implements Secrets {
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
    this.#parts.redactor.add(value);
    return this.#inTurn(async () => {
      const rotated = this.#isUsedUp() ? await this.#rotate() : null;
      const created = !this.#values.has(name);
      const updatedAt = this.#parts.clock.wall();
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
    return this.#parts.ring;
  }

  sealAudit(begin: () => number): Promise<void> {
    const { ring } = this.#parts;
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
      const { low, place } = this.#parts;
      if (low.data !== null && (await hasOtherKeys(place, low.data))) await this.#forget(low.data);
    });
  }

  async #rotate(): Promise<Rotation> {
    const { low, file, place, clock } = this.#parts;
    const before = low.data;
    if (before === null) {
      throw new SymphonyError("secret_not_found", "there are no secrets, so there is no key yet", {
        hint: "symphony secrets add NAME",
      });
    }
    const old = await keysOf(before, { file, place: placeOf(before, place) });
    await refuseSameKey(placeOf(before, place), old);
    const salt = randomBytes(saltBytes);
    const keys = keysFrom(await nextRootKey({ ...place, salt }));
    const at = clock.wall();
    const document = sealedAnew(before, { old, keys, salt, at });
    await this.#write(document);
    this.#parts.ring.follow(document, keys);
    await this.#forget(document);
    const secrets = document.records.length;
    return { kid: keys.kid, previousKid: old.kid, secrets, at };
  }

  /** Puts away what was before the key of `document`, which is in use already. May be done again. */
  async #forget(document: SecretsDocument): Promise<void> {
    try {
      // Once more the same: the copy before the last change is sealed with the key that goes.
      await this.#write(document);
      await forgetKeys(this.#parts.place, (root) => keysFrom(root).kid === document.kid);
    } catch (cause) {
      const message =
        "everything is sealed with the new key, but the old one could not be put away";
      throw new SymphonyError("storage_unavailable", `${message}: ${messageOf(cause)}`, {
        cause,
        hint: "make room, and start symphony again: it then finishes this by itself",
      });
    }
  }

  #isUsedUp(): boolean {
    const { low, sealsPerKey } = this.#parts;
    if (low.data === null) return false;
    return low.data.last_ver - (low.data.rotated_ver ?? 0) >= sealsPerKey;
  }

  /** The key is asked for at each change and not kept. */
  async #change(
    change: (document: SecretsDocument, keys: SecretKeys) => SecretsDocument,
  ): Promise<void> {
    const { low, file, place } = this.#parts;
    const before = low.data;
    const keys =
      before === null
        ? keysFrom(await requireRootKey(place))
        : await keysOf(before, { file, place: placeOf(before, place) });
    const salt = place.salt.toString("base64");
    const document = before ?? { kid: keys.kid, salt, last_ver: 0, records: [], manifest: "" };
    const after = signed(change(document, keys), keys);
    await this.#write(after);
    this.#parts.ring.follow(after, keys);
  }

  async #write(document: SecretsDocument): Promise<void> {
    const { low, file } = this.#parts;
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

/** The next key must be another one: a passphrase is the same with any salt. */
async function refuseSameKey(place: KeyPlace, old: SecretKeys): Promise<void> {
  if (!place.next) return;
  const next = keysFrom(await nextRootKey(place));
  if (next.kid !== old.kid) return;
  throw invalidKey(
    `${nextKeyVariable} is the key in use already: there is nothing to rotate to`,
    "a new one: openssl rand -base64 32",
  );
}
