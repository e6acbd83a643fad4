/** The page's calls of the public API, from its own origin. */

const tokenKey = "symphony.token";

/** What the server answered instead of what was asked for. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  /** The next command, where the server names one. */
  readonly hint: string | null;

  constructor(status: number, error: { code?: unknown; message?: unknown; hint?: unknown }) {
    super(typeof error.message === "string" ? error.message : `the server answered ${status}`);
    this.status = status;
    this.code = typeof error.code === "string" ? error.code : "unknown";
    this.hint = typeof error.hint === "string" ? error.hint : null;
  }
}

/** Kept for this tab only: never in an address, and gone with the tab. */
export function rememberToken(token: string): void {
  sessionStorage.setItem(tokenKey, token);
}

export function authorization(): Record<string, string> {
  const token = sessionStorage.getItem(tokenKey);
  return token === null ? {} : { authorization: `Bearer ${token}` };
}

/** A call with the reply of its route. Rejects with a Refusal, or with the browser's error when nothing answered. */
export async function call<Reply>(
  method: string,
  path: string,
  body?: unknown,
  key?: string,
): Promise<Reply> {
  const response = await fetch(path, {
    method,
    headers: {
      accept: "application/json",
      ...(body !== undefined && { "content-type": "application/json" }),
      ...(key !== undefined && { "idempotency-key": key }),
      ...authorization(),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    cache: "no-store",
  });
  if (response.ok) return (await response.json()) as Reply;
  throw new Refusal(response.status, await faultOf(response));
}

/** What a path has now, with its tag; null when it still is what `tag` names. Rejects as `call` does. */
export async function readIfChanged<Reply>(
  path: string,
  tag: string | null,
): Promise<{ readonly reply: Reply; readonly tag: string | null } | null> {
  const known = tag === null ? {} : { "if-none-match": tag };
  const headers = { accept: "application/json", ...known, ...authorization() };
  const response = await fetch(path, { headers, cache: "no-store" });
  if (response.status === 304) return null;
  if (!response.ok) throw new Refusal(response.status, await faultOf(response));
  return { reply: (await response.json()) as Reply, tag: response.headers.get("etag") };
}

async function faultOf(response: Response): Promise<Record<string, unknown>> {
  const answer: unknown = await response.json().catch(() => null);
  const error =
    typeof answer === "object" && answer !== null && "error" in answer ? answer.error : null;
  return typeof error === "object" && error !== null ? { ...error } : {};
}

/** The path of an issue's route, such as `/api/v1/ENG-1/steer`. */
export function issuePath(identifier: string, action = ""): string {
  return `/api/v1/${encodeURIComponent(identifier)}${action === "" ? "" : `/${action}`}`;
}
