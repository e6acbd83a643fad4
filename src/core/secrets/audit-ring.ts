import type { AuditKey, AuditKeys } from "../store/audit-keys.ts";
import { type SecretKeys, type SecretsDocument, unseal } from "./cipher.ts";

/** The audit keys in memory, as the document that was opened or written last has them. */
export class AuditRing implements AuditKeys {
  #from: number | null = null;
  #current: AuditKey | null = null;
  #known = new Map<string, Buffer>();

  from(): number | null {
    return this.#from;
  }

  current(): AuditKey | null {
    return this.#current;
  }

  find(kid: string): Buffer | null {
    return this.#known.get(kid) ?? null;
  }

  /** The first sealed entry is to be written; from there on `follow` says what counts. */
  begin(keys: SecretKeys): void {
    this.#current = { kid: keys.kid, key: keys.audit };
  }

  /** Throws for a key that does not open with `keys`. */
  follow({ audit }: SecretsDocument, keys: SecretKeys): void {
    if (audit === undefined) return;
    const retired = audit.retired.map((record): [string, Buffer] => [
      record.name.replace("audit:", ""),
      Buffer.from(unseal(record, keys), "base64"),
    ]);
    this.#known = new Map([...retired, [keys.kid, keys.audit]]);
    this.#current = { kid: keys.kid, key: keys.audit };
    this.#from = audit.from;
  }
}
