import { randomUUID } from "node:crypto";
import { signatureOf as githubSignatureOf } from "../../../src/core/delivery/github/webhook.ts";
import { signatureOf } from "../../../src/core/tracker/linear/deliveries.ts";
import type { Ask } from "../worlds/server.ts";

export const webhookSecretValue = "lin_wh_canary_0123456789";

/** An Issue event as Linear writes it, reduced to the fields that the tests need. */
export function issueEvent(issueId: string, at: number, more: object = {}) {
  return {
    action: "update",
    type: "Issue",
    createdAt: new Date(at).toISOString(),
    data: { id: issueId, identifier: "ENG-7", title: "canary title", state: { name: "Done" } },
    updatedFrom: { stateId: randomUUID() },
    webhookTimestamp: at,
    ...more,
  };
}

interface Signing {
  readonly secret: string;
  readonly sign: (text: string, secret: string) => string;
  /** The header of the signature. */
  readonly header: string;
  /** Those of the service, and what a test adds. */
  readonly headers: object;
}

function signedPost(body: unknown, { secret, sign, header, headers }: Signing): Ask {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return { method: "POST", body: text, headers: { [header]: sign(text, secret), ...headers } };
}

/** The request that Linear sends with `body`, signed with `secret`. */
export function delivery(
  body: unknown,
  { secret = webhookSecretValue, headers = {} }: { secret?: string; headers?: object } = {},
): Ask {
  return signedPost(body, {
    ...{ secret, sign: signatureOf, header: "linear-signature" },
    headers: {
      "content-type": "application/json; charset=utf-8",
      "user-agent": "Linear-Webhook",
      "linear-delivery": randomUUID(),
      "linear-event": "Issue",
      ...headers,
    },
  });
}

export const githubSecretValue = "gh_hook_canary_0123456789";

/** The request that GitHub sends with `body`, signed with `secret`. */
export function githubDelivery(
  body: unknown,
  { secret = githubSecretValue, headers = {} }: { secret?: string; headers?: object } = {},
): Ask {
  return signedPost(body, {
    ...{ secret, sign: githubSignatureOf, header: "x-hub-signature-256" },
    headers: {
      "content-type": "application/json",
      "user-agent": "GitHub-Hookshot/044aadd",
      "x-github-delivery": randomUUID(),
      "x-github-event": "pull_request_review",
      ...headers,
    },
  });
}
