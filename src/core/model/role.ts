// What the holder of a named token may do. The server's own user, and its own token, may do everything.

/** Each may do what the roles before it may: look, then act on issues and the queue, then change who and what may act. */
export const roles = ["read", "operate", "admin"] as const;
export type Role = (typeof roles)[number];

/** Who sent a request with a named token. */
export interface Caller {
  readonly name: string;
  readonly role: Role;
}

export function mayAct(role: Role, needed: Role): boolean {
  return roles.indexOf(role) >= roles.indexOf(needed);
}

/** Names that stand for someone else in the audit log and in comments. */
export const takenNames: ReadonlySet<string> = new Set([
  ...["cli", "api", "webhook", "tracker", "orchestrator"],
  ...["operator", "symphony", "agent", "system", "server"],
]);
