import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { type Contents, LfsFailure } from "./lfs.ts";
import type { Pointer } from "./lfs-store.ts";

// The contents of git LFS that would be offered with commits.

interface Rules {
  readonly lfs: Contents | null;
  /** As `OfferRules`. */
  readonly allowLfs: boolean;
  holdsSecret(content: Buffer): string | null;
}

interface Examining {
  readonly objections: { add(path: string, kind: "lfs" | "secret", detail: string): void };
  readonly signal: AbortSignal;
}

/** The content of each new pointer is pushed too, so it must be here or on the server, and hold no secret. */
export async function examineOffered(
  pointers: ReadonlyMap<string, Pointer>,
  { lfs, holdsSecret, allowLfs }: Rules,
  { objections, signal }: Examining,
): Promise<void> {
  if (lfs === null) return;
  const { store } = lfs;
  for (const [name, pointer] of pointers) {
    // An older version, or that of another branch, is on the server.
    const file =
      (await store.find(pointer, signal)) ??
      ((await isFetched(lfs, pointer, signal)) ? store.pathOf(pointer) : null);
    if (file === null) {
      if (!allowLfs) objections.add(name, "lfs", "its content is not here, and not on the server");
      continue;
    }
    const secret = await secretIn(file, pointer, { holdsSecret, signal });
    if (secret !== null) objections.add(name, "secret", secret);
  }
}

async function isFetched(lfs: Contents, pointer: Pointer, signal: AbortSignal): Promise<boolean> {
  try {
    await lfs.ensure([pointer]);
    return true;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof LfsFailure) return false;
    throw error;
  }
}

/** A longer secret at the edge of two parts is not found. */
const overlapBytes = 16 * 1024;
const windowBytes = 1024 * 1024;

/** An agent could write the file meanwhile: what was examined is what the pointer names. */
async function secretIn(
  file: string,
  { oid }: Pointer,
  { holdsSecret, signal }: Pick<Rules, "holdsSecret"> & Pick<Examining, "signal">,
): Promise<string | null> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  await using content = await open(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(windowBytes);
  let kept = 0;
  for (;;) {
    signal.throwIfAborted();
    const { bytesRead } = await content.read(buffer, kept, windowBytes - kept, null);
    if (bytesRead === 0) break;
    const end = kept + bytesRead;
    hash.update(buffer.subarray(kept, end));
    const secret = holdsSecret(buffer.subarray(0, end));
    if (secret !== null) return secret;
    kept = Math.min(end, overlapBytes);
    buffer.copyWithin(0, end - kept, end);
    // Others get their turn.
    await setImmediate();
  }
  if (hash.digest("hex") !== oid) throw new Error("a content of git LFS has changed meanwhile");
  return null;
}
