import { createHash, createHmac, timingSafeEqual } from "node:crypto";

/** What Linear writes into `Linear-Signature`: the hex HMAC-SHA256 of the raw body. */
export function signatureOf(body: Uint8Array | string, secret: string): string {
  return createHmac("sha256", secret).update(body).digest("hex");
}

/** Both sides are hashed first, so that neither length nor content shows in the time taken (T21). */
export function sameSignature(given: string, expected: string): boolean {
  return timingSafeEqual(digest(given), digest(expected));
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
