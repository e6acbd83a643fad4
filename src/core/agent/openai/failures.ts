import type OpenAI from "openai";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { isObject, type JsonObject, objectOf, textOf } from "../../text/text.ts";
import { timeIn, timeOf, waitOf } from "../reset-time.ts";
import type { OpenaiConfig } from "./settings.ts";

/** What a failed request means. */
export type Failure =
  /** The same request may succeed later; `waitMs` is what the provider asked for. */
  | {
      readonly kind: "passing";
      readonly message: string;
      readonly waitMs: number | null;
      readonly limited: boolean;
    }
  /** Nothing goes until `untilWall`, or until somebody pays. */
  | { readonly kind: "limited"; readonly message: string; readonly untilWall: number | null }
  /** The provider does not have this API. */
  | { readonly kind: "other api"; readonly message: string }
  /** The model does not seal what it thought. */
  | { readonly kind: "no sealing"; readonly message: string }
  | { readonly kind: "too long"; readonly message: string }
  | { readonly kind: "final"; readonly error: SymphonyError };

const maxMessageChars = 500;
const longestWaitMs = 60_000;
const quotaCodes = /insufficient_quota|usage_limit|billing|quota_exceeded|credit/i;
const passingStatus: ReadonlySet<number> = new Set([408, 409, 425, 429]);

/** What was thrown while asking the provider; `key` never gets into a message. */
export function judgeFailure(
  error: unknown,
  { wall, key, keyName }: { wall: number; key: string; keyName: string | null },
): Failure {
  const thrown = objectOf(error);
  const body = bodyOf(thrown);
  const message = wordsOf(error, key);
  const code = textOf(body["code"]) ?? textOf(thrown["code"]) ?? textOf(body["type"]) ?? "";
  const status = thrown["status"];
  if (error instanceof SymphonyError) return { kind: "final", error };
  if (typeof status !== "number") return unnumbered(code, message);
  const wait = headerWait(thrown["headers"], wall);
  if (status === 429 && quotaCodes.test(`${code} ${textOf(body["type"]) ?? ""}`)) {
    const told = resetOf(body, wall) ?? (wait === null ? null : wall + wait);
    return { kind: "limited", message, untilWall: told ?? timeIn(message, wall) };
  }
  if (wait !== null && wait > longestWaitMs) {
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

/** Without a status: the connection broke, or the stream carried an error of its own. */
function unnumbered(code: string, message: string): Failure {
  if (quotaCodes.test(code)) return { kind: "limited", message, untilWall: null };
  if (code === "context_length_exceeded") return { kind: "too long", message };
  if (/redirect/i.test(message)) {
    return {
      kind: "final",
      error: new SymphonyError(
        "provider_error",
        `the provider sends requests elsewhere: ${message}`,
        {
          hint: "set openai.base_url to where it sends them, if you trust it",
        },
      ),
    };
  }
  return { kind: "passing", message, waitMs: null, limited: code === "rate_limit_exceeded" };
}

/** The error object of the body, which the client has unwrapped. */
function bodyOf(thrown: JsonObject): JsonObject {
  const body = thrown["error"];
  return isObject(body) ? (isObject(body["error"]) ? body["error"] : body) : {};
}

function wordsOf(error: unknown, key: string): string {
  const causes: string[] = [messageOf(error)];
  // `fetch failed` alone says nothing.
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

/** `Retry-After` in seconds or as a date, and its finer form in milliseconds. */
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

/** A reasoning effort the provider knows. Throws `provider_error` for another word. */
export function effortOf(written: string | null): (typeof efforts)[number] | null {
  if (written === null) return null;
  const found = efforts.find((effort) => effort === written.trim().toLowerCase());
  if (found) return found;
  throw new SymphonyError(
    "provider_error",
    `there is no reasoning effort ${written.slice(0, 50)}`,
    {
      hint: `it is one of ${efforts.join(", ")}`,
    },
  );
}

const prefix = "x-ratelimit-";
const maxWindows = 20;

/** What the provider's `x-ratelimit-` headers say, by the rest of their name; null without any. */
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

/** Where the models are. Throws `invalid_config` for anything but https, or http on this machine. */
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

/** The variable a `$NAME` names; null for a key that is written out. */
export function keyNameOf({ apiKey }: Settings): string | null {
  return /^\$([A-Za-z_][A-Za-z0-9_]*)$/.exec(apiKey.trim())?.[1] ?? null;
}

/** The key, as it is now. Throws `agent_unavailable` when there is none. */
export function keyOf(settings: Settings, lookup: (name: string) => string | undefined): string {
  const name = keyNameOf(settings);
  const key = (name === null ? settings.apiKey : (lookup(name) ?? "")).trim();
  if (key !== "") return key;
  throw new SymphonyError(
    "agent_unavailable",
    `the built-in agent needs a key: there is no ${name}`,
    {
      hint: `symphony secrets add ${name}`,
    },
  );
}

/** A client for one request: the key lives no longer than that. It never follows a redirect, which could lead the key elsewhere. */
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
    fetch: (url, init) => fetch(url, { ...init, redirect: "error" }),
  });
}
