import { messageOf, SymphonyError } from "../../model/errors.ts";
import { isObject, type JsonObject, objectOf, textOf } from "../json-value.ts";
import { timeIn, timeOf, waitOf } from "../reset-time.ts";

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
