import type { IncomingMessage } from "node:http";
import type { Route } from "../contract/route.ts";
import type { ParsedRequest } from "./validate.ts";

/** One mutation as the audit log keeps it. */
export interface Mutation extends Attempted {
  /** `ok` or the error code. */
  readonly outcome: string;
}

/** The same before it is known how it ends. */
export interface Attempted {
  /** The route's name, such as `issues.abort`. */
  readonly action: string;
  readonly target: string | null;
  readonly actor: "cli" | "api";
  readonly detail: Readonly<Record<string, unknown>>;
}

/** What a mutation was about: the issue, the key or the path in its address. */
export function targetOf({ params }: ParsedRequest): string | null {
  const { id, path, key } = (params ?? {}) as Readonly<Record<string, string | undefined>>;
  return id ?? path ?? key ?? null;
}

/** The command line says who it is. */
export function actorOf(req: IncomingMessage): "cli" | "api" {
  return req.headers["user-agent"]?.startsWith("symphony-cli") ? "cli" : "api";
}

/** The fields of a body that its route says the audit log may show. */
export function shown(route: Route, body: unknown): Record<string, unknown> {
  const fields = new Map(Object.entries(body !== null && typeof body === "object" ? body : {}));
  const named = (route.audited ?? []).filter((name) => typeof fields.get(name) === "string");
  return Object.fromEntries(named.map((name) => [name, String(fields.get(name))]));
}
