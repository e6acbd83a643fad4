import type { IncomingMessage } from "node:http";
import type { Route } from "../contract/route.ts";
import { Gathered } from "../core/answers.ts";
import { SymphonyError } from "../core/model/errors.ts";

const maxBodyBytes = 1024 * 1024;
const json = "application/json";
const form = "application/x-www-form-urlencoded";
const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * The parsed body of a request to `route`. Rejects with `body_too_large`, `unsupported_media_type`,
 * `invalid_json` or `invalid_request`. If the route's body is optional, a missing body is `{}` and a form gives its fields.
 */
export async function readBody(req: IncomingMessage, route: Route): Promise<unknown> {
  const bytes = await readRaw(req);
  if (bytes.length === 0 && route.bodyOptional) return {};
  if (bytes.length === 0) {
    throw new SymphonyError("invalid_request", "a JSON body is required", {
      details: { issues: [{ path: "", message: "a JSON body is required" }] },
    });
  }
  const type = mediaType(req);
  if (type === form && route.bodyOptional) return formFields(bytes);
  if (type !== json) throw unsupported("send the body as Content-Type: application/json");
  return parseJson(bytes);
}

/** False when a request certainly has no body; a chunked body may turn out to be empty. */
export function mayHaveBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/**
 * For a route without a body. Rejects with `unsupported_media_type` what a page of any site can send: a form, a text, or
 * bytes without a type (THREAT-5). JSON is accepted but not read, and an empty body is allowed.
 */
export async function refuseBody(req: IncomingMessage): Promise<void> {
  if (typeOf(req) === json || !(await hasBody(req))) return;
  req.resume();
  throw unsupported("this path takes no body: send none");
}

async function hasBody(req: IncomingMessage): Promise<boolean> {
  if (req.headers["transfer-encoding"] === undefined) return true;
  for await (const _ of req.iterator({ destroyOnReturn: false })) return true;
  return false;
}

/** The raw bytes of a body. Rejects with `body_too_large`. */
export async function readRaw(req: IncomingMessage): Promise<Buffer> {
  const declared = Number(req.headers["content-length"] ?? 0);
  if (declared > maxBodyBytes) throw tooLarge(req);
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const gathered = new Gathered(maxBodyBytes);
  let size = 0;
  const take = (chunk: Buffer) => {
    size += chunk.length;
    if (size <= maxBodyBytes) return gathered.add(chunk);
    req.off("data", take);
    reject(tooLarge(req));
  };
  req.on("data", take);
  req.once("end", () => resolve(gathered.bytes()));
  req.once("error", reject);
  req.once("close", () => {
    if (!req.readableEnded) reject(new Error("the caller closed the connection"));
  });
  return promise;
}

function mediaType(req: IncomingMessage): string {
  const [, ...parameters] = (req.headers["content-type"] ?? "").toLowerCase().split(";");
  const charset = parameters.map((one) => one.trim()).find((one) => one.startsWith("charset="));
  if (charset !== undefined && !/^charset="?utf-8"?$/.test(charset))
    throw unsupported("send the body in UTF-8");
  const encoding = req.headers["content-encoding"] ?? "identity";
  if (encoding !== "identity") throw unsupported("send the body without Content-Encoding");
  return typeOf(req);
}

/** Without its parameters. */
function typeOf(req: IncomingMessage): string {
  const [type = ""] = (req.headers["content-type"] ?? "").toLowerCase().split(";");
  return type.trim();
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch (cause) {
    throw new SymphonyError("invalid_json", "the body is not JSON in UTF-8", { cause });
  }
}

function formFields(bytes: Buffer): unknown {
  return Object.fromEntries(new URLSearchParams(bytes.toString("utf8")));
}

/** Reads and drops the rest, so that a caller that is still writing receives the response. */
function tooLarge(req: IncomingMessage): SymphonyError {
  req.resume();
  return new SymphonyError("body_too_large", `the body is over ${maxBodyBytes} bytes`);
}

function unsupported(message: string): SymphonyError {
  return new SymphonyError("unsupported_media_type", message);
}
