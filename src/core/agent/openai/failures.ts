import type OpenAI from "openai";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { outbound } from "../../outbound.ts";
import { isObject, type JsonObject, objectOf, textOf } from "../../text/text.ts";
import { timeIn, timeOf, waitOf } from "../reset-time.ts";
import type { OpenaiConfig } from "./settings.ts";

/** How a failed request is handled. */
export type Failure =
  /** The same request may succeed later; `waitMs` is the delay that the provider asks for. */
  | {
      readonly kind: "passing";
      readonly message: string;
      readonly waitMs: number | null;
      readonly limited: boolean;
    }
  /** No request is accepted until `untilWall`, or until the account is paid. */
  | { readonly kind: "limited"; readonly message: string; readonly untilWall: number | null }
  /** The provider does not have this API. */
  | { readonly kind: "other api"; readonly message: string }
  /** The model does not encrypt its reasoning. */
  | { readonly kind: "no sealing"; readonly message: string }
  | { readonly kind: "too long"; readonly message: string }
  | { readonly kind: "final"; readonly error: SymphonyError };

const maxMessageChars = 500;
const maxWaitMs = 60_000;
const quotaCodes = /insufficient_quota|usage_limit|billing|quota_exceeded|credit/i;
const passingStatus: ReadonlySet<number> = new Set([408, 409, 425, 429]);

/** Classifies an error of a request to the provider; `key` is never part of a message. */
export function judgeFailure(
  error: unknown,
  { wall, key, keyName }: { wall: number; key: string; keyName: string | null },
): Failure {
  const thrown = objectOf(error);
  const body = bodyOf(thrown);
  const message = messageWithoutKey(error, key);
  const code = textOf(body["code"]) ?? textOf(thrown["code"]) ?? textOf(body["type"]) ?? "";
  const status = thrown["status"];
  if (error instanceof SymphonyError) return { kind: "final", error };
  if (typeof status !== "number") return unnumbered(code, message);
  const wait = headerWait(thrown["headers"], wall);
  if (status === 429 && quotaCodes.test(`${code} ${textOf(body["type"]) ?? ""}`)) {
    const resetWall = resetOf(body, wall) ?? (wait === null ? null : wall + wait);
    return { kind: "limited", message, untilWall: resetWall ?? timeIn(message, wall) };
  }
  if (wait !== null && wait > maxWaitMs) {
    return { kind: "limited", message, untilWall: wall + wait };
  }
  if (passingStatus.has(status) || status >= 500) {
    if (status === 501) return { kind: "other api", message };
    return { kind: "passing", message, waitMs: wait, limited: status === 429 };
  }
  return refusal({ status, code, keyName }, message);
}

function refusal(
  { status, code, keyName }: { status: number; code: string; keyName: string | null },
  message: string,
): Failure {
  if (
    code === "context_length_exceeded" ||
    /context (length|window)|too many tokens/i.test(message)
  )
    return { kind: "too long", message };
  if (/encrypted content|encrypted_content/i.test(message)) return { kind: "no sealing", message };
  const noModel =
    /model_not_found/.test(code) || /\bmodel\b.*(not found|does not exist)/i.test(message);
  if ((status === 404 || status === 405) && !noModel) return { kind: "other api", message };
  if (
    status === 400 &&
    /unsupported_(api|endpoint)|not support.*responses/i.test(`${code} ${message}`)
  )
    return { kind: "other api", message };
  const hint =
    status === 401 || status === 403
      ? `symphony secrets add ${keyName ?? "OPENAI_API_KEY"}`
      : noModel
        ? "symphony config overlay set openai.model NAME"
        : "symphony config get openai";
  const error = new SymphonyError(
    "provider_error",
    `the provider refused (${status}): ${message}`,
    {
      details: { status, code },
      hint,
    },
  );
  return { kind: "final", error };
}

/** An error without a status: the connection broke, or the stream contained its own error. */
function unnumbered(code: string, message: string): Failure {
  if (quotaCodes.test(code)) return { kind: "limited", message, untilWall: null };
  if (code === "context_length_exceeded") return { kind: "too long", message };
  if (/redirect/i.test(message)) {
    return {
      kind: "final",
      error: new SymphonyError("provider_error", `the provider redirects requests: ${message}`, {
        hint: "set openai.base_url to the address it redirects to, if you trust that address",
      }),
    };
  }
  return { kind: "passing", message, waitMs: null, limited: code === "rate_limit_exceeded" };
}

/** The error object of the body, which the client has unwrapped. */
function bodyOf(thrown: JsonObject): JsonObject {
  const body = thrown["error"];
  return isObject(body) ? (isObject(body["error"]) ? body["error"] : body) : {};
}

function messageWithoutKey(error: unknown, key: string): string {
  const causes: string[] = [messageOf(error)];
  // `fetch failed` alone does not give the cause.
  for (let at = objectOf(error)["cause"]; at !== undefined && causes.length < 4; ) {
    causes.push(messageOf(at));
    at = objectOf(at)["cause"];
  }
  const words = [...new Set(causes.filter((cause) => cause !== ""))].join(": ");
  return (key.length < 4 ? words : words.replaceAll(key, "[redacted]")).slice(0, maxMessageChars);
}

function resetOf(body: JsonObject, wall: number): number | null {
  const after = waitOf(body["resets_in_seconds"]);
  return after === null ? timeOf(body["resets_at"]) : wall + after;
}

/** `Retry-After` in seconds or as a date, and its variant in milliseconds. */
function headerWait(headers: unknown, wall: number): number | null {
  if (!(headers instanceof Headers)) return null;
  const fine = Number(headers.get("retry-after-ms") ?? Number.NaN);
  if (Number.isFinite(fine) && fine >= 0) return fine;
  const written = headers.get("retry-after");
  const wait = waitOf(written);
  if (wait !== null) return wait;
  const at = timeOf(written);
  return at === null ? null : Math.max(at - wall, 0);
}

const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const;

/** A reasoning effort that the provider supports. Throws `provider_error` for any other value. */
export function effortOf(written: string | null): (typeof efforts)[number] | null {
  if (written === null) return null;
  const found = efforts.find((effort) => effort === written.trim().toLowerCase());
  if (found) return found;
  throw new SymphonyError(
    "provider_error",
    `there is no reasoning effort ${written.slice(0, 50)}`,
    {
      hint: `it must be one of ${efforts.join(", ")}`,
    },
  );
}

const prefix = "x-ratelimit-";
const maxWindows = 20;

/**
 * The values of the provider's `x-ratelimit-` headers, by the rest of their name; null without any.
 */
export function limitsOf(headers: Headers): JsonObject | null {
  const found = [...headers]
    .filter(([name]) => name.startsWith(prefix))
    .slice(0, maxWindows)
    .map(([name, value]): [string, string | number] => {
      const number = /^\d+$/.test(value) ? Number(value) : null;
      return [name.slice(prefix.length).replaceAll("-", "_"), number ?? value.slice(0, 100)];
    });
  return found.length === 0 ? null : Object.fromEntries(found);
}

type Settings = Pick<OpenaiConfig, "baseUrl" | "apiKey">;

const loopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/**
 * The base URL of the provider. Throws `invalid_config` for anything but https, or http on this
 * machine.
 */
export function baseUrlOf({ baseUrl }: Settings): string {
  const url = URL.parse(baseUrl);
  const safe =
    url?.protocol === "https:" || (url?.protocol === "http:" && loopback.test(url.hostname));
  if (!url || !safe || url.username !== "" || url.password !== "") {
    throw new SymphonyError(
      "invalid_config",
      "openai.base_url must be https, or http on this machine, without a password in it",
      { hint: "symphony config overlay set openai.base_url https://api.openai.com/v1" },
    );
  }
  return url.href.replace(/\/+$/, "");
}

/** The variable that a `$NAME` names; null for a literal key. */
export function keyNameOf({ apiKey }: Settings): string | null {
  return /^\$([A-Za-z_][A-Za-z0-9_]*)$/.exec(apiKey.trim())?.[1] ?? null;
}

/** The current key. Throws `agent_unavailable` when there is none. */
export function keyOf(settings: Settings, lookup: (name: string) => string | undefined): string {
  const name = keyNameOf(settings);
  const key = (name === null ? settings.apiKey : (lookup(name) ?? "")).trim();
  if (key !== "") return key;
  throw new SymphonyError(
    "agent_unavailable",
    `the built-in agent needs a key: ${name} is not set`,
    {
      hint: `symphony secrets add ${name}`,
    },
  );
}

/**
 * A client for one request: the key lives no longer than that. It never follows a redirect, which
 * could send the key to another address.
 */
export async function clientFor(settings: Settings, key: string): Promise<OpenAI> {
  const { default: Client } = await import("openai");
  return new Client({
    apiKey: key,
    adminAPIKey: null,
    baseURL: baseUrlOf(settings),
    organization: null,
    project: null,
    webhookSecret: null,
    maxRetries: 0,
    logLevel: "off",
    fetch: (url, init) => outbound(url, { ...init, redirect: "error" }),
  });
}
