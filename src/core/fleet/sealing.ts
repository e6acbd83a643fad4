import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { SymphonyError } from "../model/errors.ts";

// What travels through the engine is sealed: whoever reads or writes there neither sees an issue nor starts a program.

const nonceBytes = 12;
const tagBytes = 16;
export const keyBytes = 32;

/** A new random secret of 256 bits. */
export function newSecret(): Buffer {
  return randomBytes(keyBytes);
}

/** The key that a secret gives for one purpose. */
export function keyFor(secret: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, "symphony fleet v1", purpose, keyBytes));
}

/** `plain`, encrypted and bound to `place`: it opens nowhere else. */
export function seal(key: Buffer, place: string, plain: Buffer): Buffer {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: tagBytes });
  cipher.setAAD(Buffer.from(place));
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** null: it was not sealed with this key for this place, or has been changed. */
export function unseal(key: Buffer, place: string, sealed: Buffer): Buffer | null {
  if (sealed.length < nonceBytes + tagBytes) return null;
  const nonce = sealed.subarray(0, nonceBytes);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: tagBytes });
  decipher.setAAD(Buffer.from(place));
  decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes));
  try {
    const text = decipher.update(sealed.subarray(nonceBytes, sealed.length - tagBytes));
    return Buffer.concat([text, decipher.final()]);
  } catch {
    return null;
  }
}

/** What a worker joins with: the fleet, the invitation, and its secret. */
export interface JoinToken {
  readonly fleet: string;
  readonly invitation: string;
  readonly secret: Buffer;
}

const tokenForm = /^swt_([0-9a-f]{16})_([0-9a-f]{8})_([\w-]{43})$/;

export function writeToken({ fleet, invitation, secret }: JoinToken): string {
  return `swt_${fleet}_${invitation}_${secret.toString("base64url")}`;
}

/** Throws `usage` for anything else than a token; never repeats it. */
export function readToken(text: string): JoinToken {
  const [, fleet = "", invitation = "", secret = ""] = tokenForm.exec(text.trim()) ?? [];
  if (fleet === "") {
    throw new SymphonyError("usage", "the join token is not one that symphony wrote", {
      hint: "symphony workers invite",
    });
  }
  return { fleet, invitation, secret: Buffer.from(secret, "base64url") };
}
