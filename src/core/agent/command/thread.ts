import { randomUUID } from "node:crypto";

const ownPrefix = "unnamed-";
const usable = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$/;

/** A name for a conversation whose program told none; nothing can be resumed by it. */
export function newThread(): string {
  return `${ownPrefix}${randomUUID()}`;
}

export function isOwnThread(threadId: string): boolean {
  return threadId.startsWith(ownPrefix);
}

/** A session id of a program, if it is fit to be handed back; it never looks like an option. */
export function threadNamed(id: string | null): string | null {
  return id !== null && usable.test(id) && !isOwnThread(id) ? id : null;
}
