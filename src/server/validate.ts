import type { IncomingHttpHeaders } from "node:http";
import type { ParsedUrlQuery } from "node:querystring";
import type { z } from "zod";
import type { Route } from "../contract/route.ts";
import { SymphonyError } from "../core/model/errors.ts";

/** A request as it came in, its path parameters decoded. */
export interface RawRequest {
  readonly params: Readonly<Record<string, string>>;
  readonly query: ParsedUrlQuery;
  readonly headers: IncomingHttpHeaders;
  readonly body: unknown;
}

/** Each part that the route has a schema for, as the schema gives it. */
export type ParsedRequest = Readonly<Record<string, unknown>>;

const parts = ["params", "query", "headers", "body"] as const;

/** The parts of a request as the route's schemas see them. Rejects with `invalid_request`, naming every fault at once. */
export function parseRequest(route: Route, raw: RawRequest): ParsedRequest {
  const request: Record<string, unknown> = {};
  const issues: { path: string; message: string }[] = [];
  for (const part of parts) {
    const schema: z.ZodType | undefined = route[part];
    if (schema === undefined) continue;
    const result = schema.safeParse(raw[part]);
    if (result.success) request[part] = result.data;
    else issues.push(...result.error.issues.flatMap(faultsOf));
  }
  if (issues.length === 0) return request;
  const summary = issues.map(({ path, message }) => (path ? `${path}: ${message}` : message));
  throw new SymphonyError("invalid_request", summary.join("; ").slice(0, 1_000), {
    details: { issues },
  });
}

function faultsOf(issue: z.core.$ZodIssue): { path: string; message: string }[] {
  const path = issue.path.map(String);
  if (issue.code !== "unrecognized_keys") return [{ path: path.join("."), message: issue.message }];
  return issue.keys.map((key) => ({ path: [...path, key].join("."), message: "unknown key" }));
}
