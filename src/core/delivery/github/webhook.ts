import { createHmac, randomUUID } from "node:crypto";
import { z } from "zod";
import { commentIdOf, githubOf, issueIdOf, repositoryOf } from "../../github/settings.ts";
import { SymphonyError } from "../../model/errors.ts";
import { listOf, objectOf, parseJson, sameText } from "../../text/text.ts";
import type { Lookup, SignedPost } from "../../tracker/tracker.ts";
import type { ForgeWebhook } from "../forge.ts";

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
  /** The issue that it is about, by its id for the tracker; null: none, or a pull request. */
  readonly issueId: string | null;
  /** A new comment on that issue. */
  readonly commentId: string | null;
  /** The node ids of the issue of a project's item, and of the project. */
  readonly itemOf: { readonly node: string; readonly project: string | null } | null;
}

const Head = z.object({
  id: z.string().regex(/^[A-Za-z0-9-]{1,100}$/),
  type: z.string().regex(/^[a-z0-9_]{1,64}$/),
});
const Numbered = z.object({ number: z.int().positive() });
const nodeId = z.string().regex(/^[A-Za-z0-9_=+/-]{1,200}$/);
const Payload = z
  .looseObject({
    action: z
      .string()
      .regex(/^[a-z_]{1,64}$/)
      .nullish()
      .describe("What happened, such as `submitted`"),
    repository: z
      .looseObject({
        id: z.number(),
        full_name: z.string().regex(/^[A-Za-z0-9._-]{1,128}\/[A-Za-z0-9._-]{1,128}$/),
      })
      .nullish(),
    pull_request: z.looseObject(Numbered.shape).nullish(),
    issue: z.looseObject({ ...Numbered.shape, pull_request: z.unknown().optional() }).nullish(),
    comment: z.looseObject({ id: z.int().positive() }).nullish(),
    projects_v2_item: z
      .looseObject({
        content_node_id: nodeId,
        project_node_id: nodeId.nullish(),
        content_type: z.string(),
      })
      .nullish(),
  })
  .meta({
    id: "GithubEvent",
    example: {
      action: "submitted",
      repository: { id: 724000001, full_name: "acme/shop" },
      pull_request: { number: 12 },
    },
  });

/** The value of `X-Hub-Signature-256`: the hex HMAC-SHA256 of the raw body. */
export function signatureOf(body: Uint8Array | string, secret: string): string {
  return `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;
}

/**
 * The signature of the raw body; null: the delivery has none, or another. There is no time window: GitHub signs no time,
 * and delivers again by request.
 */
export function verify({ header, body }: SignedPost, secret: string): string | null {
  const right = signatureOf(body, secret);
  const given = header("x-hub-signature-256");
  return given !== undefined && sameText(given, right) ? right : null;
}

/**
 * Reads a signed delivery, as JSON or as a form with the field `payload`. Throws `invalid_request` for one that GitHub
 * does not send; an event of an unknown type is read like the others.
 */
export function readDelivery({ header, body }: SignedPost): GithubDelivery {
  const head = Head.safeParse({ id: header("x-github-delivery"), type: header("x-github-event") });
  const json = parseJson(payloadIn(new TextDecoder().decode(body), header("content-type") ?? ""));
  const payload = Payload.safeParse(json);
  if (!head.success) {
    throw new SymphonyError("invalid_request", "the delivery is not an event of GitHub", {
      hint: "the headers X-GitHub-Event and X-GitHub-Delivery are missing or malformed: a proxy may remove them",
    });
  }
  if (!payload.success) {
    throw new SymphonyError("invalid_request", "the body is not an event of GitHub", {
      hint: "the signature is right, so it is not the secret: only webhooks of GitHub's own form are taken here",
    });
  }
  const { action, repository, pull_request: pull, issue, comment } = payload.data;
  const item = payload.data.projects_v2_item;
  const isIssue = repository && issue && !issue.pull_request;
  const isNewComment = isIssue && head.data.type === "issue_comment" && action === "created";
  return {
    ...head.data,
    repository: repository?.full_name ?? null,
    repositoryId: repository ? String(repository.id) : null,
    number: pull?.number ?? issue?.number ?? checkedNumber(json),
    action: action ?? null,
    issueId: isIssue ? issueIdOf(repository.id, issue.number) : null,
    commentId: isNewComment && comment ? commentIdOf(repository.id, comment.id) : null,
    itemOf:
      item?.content_type === "Issue"
        ? { node: item.content_node_id, project: item.project_node_id ?? null }
        : null,
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

/** The variable that holds the secret unless `delivery.github.webhook_secret` names another. */
const secretVariable = "GITHUB_WEBHOOK_SECRET";

/**
 * Looked up at each call; null when there is none. A `$NAME` that is not set falls back to the default variable, one
 * that is set to an empty value does not.
 */
function secretOf(written: unknown, lookup: Lookup): string | null {
  const named = typeof written === "string" ? written.trim() : "";
  const own = named.startsWith("$") ? lookup(named.slice(1)) : undefined;
  return (own ?? lookup(secretVariable))?.trim() || null;
}

/** Events that name no pull request although they may be about one. */
const unnumbered: ReadonlySet<string> = new Set([
  "check_run",
  "check_suite",
  "push",
  "status",
  "workflow_run",
]);

/** What GitHub posts about pull requests, and how it signs it. */
export const githubWebhook: ForgeWebhook = {
  service: "GitHub",
  signature: {
    header: "x-hub-signature-256",
    description: "`sha256=` and the hex HMAC-SHA256 of the raw body, which is JSON or a form",
    form: /^sha256=[0-9a-f]{64}$/,
  },
  headers: {
    "x-github-delivery": "Id of the delivery; the same when GitHub sends it again",
    "x-github-event": "The event, such as `pull_request_review`",
  },
  body: Payload,
  defaultSecretName: secretVariable,
  secret: ({ webhook_secret: written }, lookup) => secretOf(written, lookup),
  sign: signatureOf,
  verify,
  read(post) {
    const { repository, repositoryId, number, ...read } = readDelivery(post);
    const { issueId, commentId, itemOf, ...delivery } = read;
    const isAbout = repository !== null && (number !== null || unnumbered.has(delivery.type));
    const issue = issueId === null ? null : { id: issueId, commentId };
    return {
      ...delivery,
      issue,
      itemOf,
      about: isAbout ? { repository, repositoryId, number } : null,
    };
  },
  rulesOf(repository, { delivery, git }, lookup) {
    const settings = githubOf(delivery.github, lookup);
    return git.repositories.filter(({ address }) => {
      const place = repositoryOf(settings, address);
      return `${place?.owner}/${place?.name}`.toLowerCase() === repository.toLowerCase();
    });
  },
  sample(about) {
    const [type, body] = sampleOf(about);
    return { headers: { "x-github-delivery": randomUUID(), "x-github-event": type }, body };
  },
};

function sampleOf(about: Parameters<ForgeWebhook["sample"]>[0]): readonly [string, unknown] {
  if (about !== null && "issueId" in about) {
    const [id, number] = about.issueId.split("#").map(Number);
    // The id stays through a rename, and the name is not read.
    const repository = { id, full_name: "symphony/sample" };
    return ["issues", { action: "edited", issue: { number }, repository }];
  }
  const url = about?.pullRequest ?? "";
  const [, fullName, digits] = /\/([^/]+\/[^/]+)\/pull\/(\d+)$/.exec(url) ?? [];
  if (fullName === undefined) return ["ping", { zen: "Keep it logically awesome." }];
  const number = Number(digits);
  const repository = { id: 1, full_name: fullName };
  return ["pull_request", { action: "edited", number, pull_request: { number }, repository }];
}
