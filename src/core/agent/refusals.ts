import { SymphonyError } from "../model/errors.ts";
import { displayText } from "../text/text.ts";

/**
 * What a provider refuses until a person mends it: trying again would only repeat the refusal. The
 * names are those that Claude Code gives to its errors.
 */
export type Refusal =
  | "authentication_failed"
  | "billing_error"
  | "model_not_found"
  /** Not the provider, but a proxy on the way to it. */
  | "refused_by_a_proxy";

/** What mends the refusal of a proxy. */
export const proxyHint =
  "let the proxy pass requests to the provider, or give its login in HTTPS_PROXY; then: symphony refresh";

const hints: Readonly<Record<Refusal, string>> = {
  authentication_failed:
    "give it a valid credential: symphony secrets add ANTHROPIC_API_KEY, or log in with claude; then: symphony refresh",
  billing_error: "add credit to the account of the key; then: symphony refresh",
  model_not_found: "choose a model that exists: symphony models; then: symphony refresh",
  refused_by_a_proxy: proxyHint,
};
const byStatus: ReadonlyMap<number, Refusal> = new Map([
  [401, "authentication_failed"],
  [402, "billing_error"],
  [403, "authentication_failed"],
  [407, "refused_by_a_proxy"],
]);
/** An account without credit, also in the words of xAI, Moonshot, Alibaba, Zhipu and OpenRouter. */
export const noCredit = new RegExp(
  [
    "insufficient[_ ](?:balance|credit|fund)|payment[_ ]required|credit balance is too low|out of (?:your )?credits?|exceeded_current_quota",
    "used all available credits|doesn't have any credits|arrearage|account is in good standing|余额不足|key limit exceeded|billing[_ ]hard[_ ]limit",
  ].join("|"),
  "i",
);
const byWords: readonly (readonly [Refusal, RegExp])[] = [
  ["billing_error", noCredit],
  [
    "authentication_failed",
    /(?:invalid|incorrect|expired|missing) (?:x-)?api[- ]?key|api key (?:is )?(?:not valid|invalid|expired|missing)|run \/login|\b(?:token|login|credentials?)\b[^.\n]{0,40}\b(?:expired|revoked|invalid)\b|not (?:logged in|authenticated)|(?<!proxy )\bauth(?:entication)?[_ ]required\b|\b401\b.{0,10}unauthorized/i,
  ],
  [
    "model_not_found",
    /\bmodel\b[^.\n]{0,80}\b(?:is not supported|(?:is )?not found|does not exist|not available)|issue with the selected model/i,
  ],
];
const maxWordsChars = 4_000;
const maxReasonChars = 1_000;

/** Whether an answer is a web page: that of a proxy or a firewall on the way, which says nothing of the key. */
export function isPage(text: string): boolean {
  return /<(?:!doctype|html|head|title|body|center|h1)\b/i.test(text.slice(0, maxWordsChars));
}

const brokenWords =
  /\boverloaded\b|internal server error|service (?:is )?(?:temporarily )?unavailable|bad gateway|gateway time-?out|\bECONN(?:REFUSED|RESET|ABORTED)\b|\bE(?:NOTFOUND|AI_AGAIN|TIMEDOUT|PIPE)\b|fetch failed|connection (?:error|failed|reset|refused)|socket hang up|network error|stream (?:disconnected|closed) before/i;

/** Whether words of a failure say that the provider failed or was not reached: nothing is wrong with the conversation. */
export function isUnavailable(text: string): boolean {
  return brokenWords.test(text.slice(0, maxWordsChars));
}

/** The error of a turn whose provider failed or was not reached. */
export function unavailableError(words: string, details: Readonly<Record<string, unknown>> = {}) {
  const message = displayText(`the provider failed, or was not reached: ${words}`, maxReasonChars);
  return new SymphonyError("provider_unavailable", message, { details });
}

/** null for any other name of an error. */
export function refusalNamed(name: string | null): Refusal | null {
  return name !== null && isRefusal(name) ? name : null;
}

/** The refusal that a status of HTTP stands for, with the words that came with it; null for any other. */
export function refusalOfStatus(status: number | null, words = ""): Refusal | null {
  const refusal = byStatus.get(status ?? 0) ?? null;
  return refusal === "authentication_failed" && isPage(words) ? null : refusal;
}

/**
 * The refusal in the text of an error, for programs that give no name and no status; null for any other text. Never pass
 * what an agent says in its answers.
 */
export function refusalInWords(text: string): Refusal | null {
  const read = text.slice(0, maxWordsChars);
  if (/\b407\b.{0,80}proxy auth|proxy authentication required/i.test(read))
    return "refused_by_a_proxy";
  if (isPage(read)) return null;
  return byWords.find(([, words]) => words.test(read))?.[0] ?? null;
}

/** The error of a turn that a provider refused; `words` are the agent's about it, `logIn` how that agent gets a login. */
export function refusalError(refusal: Refusal, words: string, logIn?: string): SymphonyError {
  const message = `the provider refuses every request (${refusal.replaceAll("_", " ")}): ${words}`;
  return new SymphonyError("provider_refused", displayText(message, maxReasonChars), {
    details: { reason: refusal },
    hint: refusal === "authentication_failed" && logIn !== undefined ? logIn : hints[refusal],
  });
}

function isRefusal(name: string): name is Refusal {
  return Object.hasOwn(hints, name);
}
