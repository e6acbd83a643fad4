import { createHmac } from "node:crypto";
import { z } from "zod";
import { SymphonyError } from "../../model/errors.ts";
import { listOf, objectOf, parseJson, sameText } from "../../text/text.ts";

/** What a delivery says. It is a hint: what it is about has to be read again. */
export interface GithubDelivery {
  /** `X-GitHub-Delivery`; the same when GitHub delivers it again. */
  readonly id: string;
  /** `owner/name`; null: it is about no repository. */
  readonly repository: string | null;
  /** The repository's id, which stays through a rename. */
  readonly repositoryId: string | null;
  /** Of the pull request or issue; null: it does not name one, as a commit status does not. */
  readonly number: number | null;
  /** The event, such as `pull_request_review`. */
  readonly type: string;
  /** Such as `submitted`; null: the event has none. */
  readonly action: string | null;
}

/** A request as it came. */
export interface GithubPost {
  /** The value of a header by its name in lower case. */
  readonly header: (name: string) => string | undefined;
  /** The raw bytes: they are what is signed. */
  readonly body: Uint8Array;
}

const Head = z.object({
  id: z.string().regex(/^[A-Za-z0-9-]{1,100}$/),
  type: z.string().regex(/^[a-z_]{1,64}$/),
});
const Numbered = z.object({ number: z.int().positive() });
const Payload = z.object({
  action: z.string().max(64).nullish(),
  repository: z.object({ id: z.number(), full_name: z.string().max(256) }).nullish(),
  pull_request: Numbered.nullish(),
  issue: Numbered.nullish(),
});

/** The value of `X-Hub-Signature-256`: the hex HMAC-SHA256 of the raw body. */
export function signatureOf(body: Uint8Array | string, secret: string): string {
  return `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;
}

/** Whether the signature is that of the raw body. There is no time window: GitHub signs no time, and delivers again by request. */
export function isSigned({ header, body }: GithubPost, secret: string): boolean {
  const given = header("x-hub-signature-256");
  return given !== undefined && sameText(given, signatureOf(body, secret));
}

/**
 * Reads a signed delivery, as JSON or as a form with the field `payload`. Throws `invalid_request` for one that GitHub
 * does not send; an event of an unknown type is read like the others.
 */
export function readDelivery({ header, body }: GithubPost): GithubDelivery {
  const head = Head.safeParse({ id: header("x-github-delivery"), type: header("x-github-event") });
  const json = parseJson(payloadIn(new TextDecoder().decode(body), header("content-type") ?? ""));
  const payload = Payload.safeParse(json);
  if (!head.success || !payload.success) {
    throw new SymphonyError("invalid_request", "the body is not an event of GitHub");
  }
  const { action, repository, pull_request: pull, issue } = payload.data;
  return {
    ...head.data,
    repository: repository?.full_name ?? null,
    repositoryId: repository ? String(repository.id) : null,
    number: pull?.number ?? issue?.number ?? checkedNumber(json),
    action: action ?? null,
  };
}

/** The form content type signs and sends `payload=…`. */
function payloadIn(text: string, contentType: string): string {
  const isForm = /^application\/x-www-form-urlencoded\b/i.test(contentType.trim());
  return isForm ? (new URLSearchParams(text).get("payload") ?? "") : text;
}

/** Checks and workflow runs list their pull requests; more than one is none in particular. */
function checkedNumber(json: unknown): number | null {
  const event = objectOf(json);
  const about = ["check_run", "check_suite", "workflow_run"].flatMap((key) => {
    return listOf(objectOf(event[key])["pull_requests"]);
  });
  const [only] = about;
  const parsed = Numbered.safeParse(only);
  return about.length === 1 && parsed.success ? parsed.data.number : null;
}
