import { createHmac } from "node:crypto";

/** What Linear writes into `Linear-Signature`: the hex HMAC-SHA256 of the raw body. */
export function signatureOf(body: Uint8Array | string, secret: string): string {
  return createHmac("sha256", secret).update(body).digest("hex");
}
