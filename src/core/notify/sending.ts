import { headOf } from "../answers.ts";
import type { Clock } from "../clock.ts";
import type { FailureCategory } from "../model/notice.ts";
import { connectionAdvice, isThisMachine, outbound } from "../outbound.ts";
import { isObject, oneLine, parseJson, retryAfterMs } from "../text/text.ts";

/** What came back from one try. */
export type Sent =
  | { readonly outcome: "sent"; readonly reason: string }
  | {
      readonly outcome: "failed";
      readonly category: FailureCategory;
      readonly reason: string;
      /** No retry mends it. */
      readonly isFinal: boolean;
      /** It may have arrived all the same. */
      readonly mayHaveArrived: boolean;
      /** The receiver says when to come again, ms from now; null: it does not. */
      readonly retryAfterMs: number | null;
    };

/** A failure without anything special about it: it did not arrive, and may succeed later. */
export function failedBy(
  category: FailureCategory,
  reason: string,
  more: Partial<Extract<Sent, { outcome: "failed" }>> = {},
): Sent {
  return {
    ...{ outcome: "failed", category, reason: oneLine(reason, maxReasonChars) },
    ...{ isFinal: false, mayHaveArrived: false, retryAfterMs: null },
    ...more,
  };
}

const maxReasonChars = 300;
const maxAnswerBytes = 4_096;
/** A receiver that says more is asked again then. */
const longestRetryAfterMs = 3_600_000;

/** null: an address that may be posted to. Its value is a secret, so the fault does not quote it. */
export function addressFault(value: string): string | null {
  const url = URL.parse(value.trim());
  if (url === null || !/^https?:$/.test(url.protocol)) return "is not an http or https address";
  const isSafe = url.protocol === "https:" || isThisMachine(url.hostname);
  return isSafe ? null : "must be an https address: http is for receivers on this machine alone";
}

/** The parts of an address that are as secret as the whole: an error may name them alone. */
export function secretParts(value: string): readonly string[] {
  const url = URL.parse(value.trim());
  if (url === null) return [value];
  const segments = url.pathname.split("/").filter((part) => part.length >= 12);
  const values = [...url.searchParams.values()].filter((part) => part.length >= 8);
  const path = `${url.pathname}${url.search}`;
  return [value.trim(), url.href, ...(path.length >= 12 ? [path] : []), ...segments, ...values];
}

interface Post {
  /** Checked by `addressFault`. */
  readonly url: string;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
  /** A chat may refuse with HTTP 200 and `{"ok": false, "error": …}`, as Slack's API does. */
  readonly isChat: boolean;
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Posts JSON. Redirects are not followed: they could carry it to a host that was not configured. Never rejects. */
export async function post(given: Post): Promise<Sent> {
  const { url, body, headers, isChat, clock, timeoutMs, signal } = given;
  let arrived: Sent | null = null;
  const late = new AbortController();
  const cancel = clock.after(timeoutMs, () => late.abort());
  try {
    const response = await outbound(url.trim(), {
      method: "POST",
      headers: {
        "content-type": "application/json; charset=utf-8",
        "user-agent": "symphony",
        ...headers,
      },
      body,
      redirect: "manual",
      signal: AbortSignal.any([late.signal, signal]),
    });
    if (response.ok) arrived = { outcome: "sent", reason: `HTTP ${response.status}` };
    const said = (await headOf(response.body, maxAnswerBytes)).toString("utf8").trim();
    const refusal = response.ok && isChat ? refusalIn(said) : null;
    if (refusal !== null) return failedBy("refused", refusal, { isFinal: true });
    return arrived ?? answerOf(response, said, clock.wall());
  } catch (error) {
    // Only the rest of its answer is missing.
    if (arrived !== null) return arrived;
    if (late.signal.aborted) {
      const reason = `no answer in ${timeoutMs / 1_000} s`;
      return failedBy("timeout", reason, { mayHaveArrived: true });
    }
    return failedBy("unreachable", reasonOf(error), { mayHaveArrived: !isBeforeSending(error) });
  } finally {
    cancel();
  }
}

function refusalIn(said: string): string | null {
  const answer = parseJson(said);
  if (!isObject(answer) || (answer["ok"] !== false && answer["success"] !== false)) return null;
  const { error } = answer;
  return `refused with HTTP 200: ${oneLine(typeof error === "string" ? error : said, 200)}`;
}

function answerOf({ status, headers }: Response, said: string, wall: number): Sent {
  if (status >= 300 && status < 400) {
    const why = `HTTP ${status}: it names another address, and a notice is not carried there; store that address`;
    return failedBy("refused", why, { isFinal: true });
  }
  const words = said === "" ? "" : `: ${oneLine(said, 200)}`;
  const reason = `HTTP ${status}${words}`;
  const asked = retryAfterMs(headers.get("retry-after"), wall);
  const wait = { retryAfterMs: asked === null ? null : Math.min(asked, longestRetryAfterMs) };
  if (status === 429) return failedBy("rate_limited", reason, wait);
  if (status === 408 || status >= 500) return failedBy("receiver_error", reason, wait);
  return failedBy("refused", reason, { isFinal: true });
}

const beforeSending: ReadonlySet<unknown> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
]);

function isBeforeSending(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : null;
  return cause instanceof Error && beforeSending.has(Reflect.get(cause, "code"));
}

/** fetch reports "fetch failed" and keeps the reason in its cause. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : null;
  const code: unknown = cause instanceof Error ? Reflect.get(cause, "code") : null;
  const words =
    cause instanceof Error ? cause.message || String(code ?? "no reason") : String(error);
  return connectionAdvice(error) === null || words.includes("NODE_EXTRA_CA_CERTS")
    ? words
    : `${words}; ${connectionAdvice(error)}`;
}
