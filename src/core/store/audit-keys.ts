import { createHmac, timingSafeEqual } from "node:crypto";
import type { AuditHead } from "./audit-anchor.ts";

/** One key of the audit log, derived from a root key and named like it. */
export interface AuditKey {
  readonly kid: string;
  readonly key: Buffer;
}

/** The keys that audit entries are sealed with. */
export interface AuditKeys {
  /** From this seq on an entry without a seal is not ours; null before the first sealed one. */
  from(): number | null;
  /** null: entries are not sealed. */
  current(): AuditKey | null;
  /** Also one of before a rotation. */
  find(kid: string): Buffer | null;
}

export const noAuditKeys: AuditKeys = { from: () => null, current: () => null, find: () => null };

/** What nobody without the key can write beside the log. */
export function headSeal(seq: number, hash: string, key: Buffer): string {
  return createHmac("sha256", key).update(`symphony|head|v1|${seq}|${hash}`).digest("hex");
}

/** Why `head` cannot be trusted to name the end of the log; null when it can, or when no key can tell. */
export function headFault(head: AuditHead | null, keys: AuditKeys): string | null {
  const from = keys.from();
  if (from === null) return null;
  if (head === null) return "audit.head is missing or damaged";
  const key = head.seal && keys.find(head.seal.kid);
  const genuine = head.seal && key && isSame(headSeal(head.seq, head.hash, key), head.seal.mac);
  return genuine && head.seq >= from ? null : "audit.head was not written by this symphony";
}

function isSame(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
