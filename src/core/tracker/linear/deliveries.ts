import { createHmac } from "node:crypto";
import { z } from "zod";
import { SymphonyError } from "../../model/errors.ts";
import type { ConversationEvent, Lookup, TrackerWebhook, WebhookEvent } from "../tracker.ts";

/** The fields of a Linear webhook that symphony reads; all others are ignored. */
const LinearEvent = z
  .looseObject({
    action: z.string().min(1).max(64).describe("`create`, `update`, `remove` or another verb"),
    type: z.string().min(1).max(64).describe("What changed: `Issue`, `Comment` …"),
    webhookTimestamp: z.int().min(0).describe("When it was sent, ms since the epoch"),
    data: z
      .looseObject({
        id: z.string().min(1).max(128).optional(),
        identifier: z.string().max(128).optional(),
      })
      .optional()
      .describe("The record that changed; a hint only, its values are not used as state"),
  })
  .refine(({ type, data }) => type !== "Issue" || data?.id !== undefined, {
    path: ["data", "id"],
    message: "an Issue event must name its issue",
  })
  .meta({
    id: "LinearEvent",
    example: {
      action: "update",
      type: "Issue",
      createdAt: "2026-11-23T10:00:00.123Z",
      data: { id: "7d0e1a52-6f0b-4c39-9d5e-0a1f3c5b7e90", identifier: "ENG-12" },
      webhookTimestamp: 1795428000456,
    },
  });

type LinearEvent = z.output<typeof LinearEvent>;

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The form of Linear's ids. */
const uuid = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;

/** The value of `Linear-Signature`: the hex HMAC-SHA256 of the raw body. */
export function signatureOf(body: Uint8Array | string, secret: string): string {
  return createHmac("sha256", secret).update(body).digest("hex");
}

/** The variable that holds the signing secret unless `tracker.provider.webhook_secret` names another. */
export const webhookSecretVariable = "LINEAR_WEBHOOK_SECRET";

const secretReference = /^\$([A-Za-z_][A-Za-z0-9_]*)$/;

/** The variable or stored secret that holds it; null when the workflow file holds the secret itself. */
function namedSecret(written: unknown): string | null {
  if (typeof written !== "string") return webhookSecretVariable;
  return secretReference.exec(written.trim())?.[1] ?? null;
}

/**
 * The secret that deliveries are signed with, looked up at each call; null when there is none. A `$NAME` that is unset
 * falls back to the default variable, one that is set to an empty value does not.
 */
export function webhookSecret(written: unknown, lookup: Lookup): string | null {
  const name = typeof written === "string" ? secretReference.exec(written.trim())?.[1] : undefined;
  const own = name === undefined ? written : lookup(name);
  const value = typeof own === "string" ? own : lookup(webhookSecretVariable);
  return value?.trim() || null;
}

/** The deliveries that Linear signs. */
export const linearWebhook: TrackerWebhook = {
  service: "Linear",
  signature: {
    header: "linear-signature",
    description: "Hex HMAC-SHA256 of the raw body with the webhook's signing secret",
    form: /^[0-9a-f]{64}$/i,
  },
  headers: {},
  body: LinearEvent,
  secret: (provider, lookup) => webhookSecret(provider["webhook_secret"], lookup),
  secretName: (provider) => namedSecret(provider["webhook_secret"]),
  defaultSecretName: webhookSecretVariable,
  sign: signatureOf,
  read: (body) => eventOf(requireEvent(body)),
  sample: (issue, wall) => ({
    action: "update",
    type: "Issue",
    data: issue ?? { id: "00000000-0000-4000-8000-000000000000" },
    webhookTimestamp: wall,
  }),
  byHand:
    "webhooks need an administrator's API key; set this one up by hand in Linear: Settings, API, Webhooks",
};

function requireEvent(body: Uint8Array): LinearEvent {
  const result = LinearEvent.safeParse(jsonOf(body));
  if (result.success) return result.data;
  const issues = result.error.issues.map(({ path, message }) => ({
    path: path.join("."),
    message,
  }));
  const message = "the delivery is signed right, but its body is not an event of Linear";
  throw new SymphonyError("invalid_request", message, { details: { issues } });
}

function eventOf(event: LinearEvent): WebhookEvent {
  const { type, action, data, webhookTimestamp: sentAt } = event;
  const commented =
    type === "Comment" && (action === "create" || action === "update")
      ? data?.["issueId"]
      : undefined;
  return {
    type,
    action,
    sentAt,
    issueId: type === "Issue" ? (data?.id ?? null) : null,
    issueIdentifier: identifierIn(event),
    comment:
      data?.id !== undefined && typeof commented === "string"
        ? { id: data.id, issueId: commented }
        : null,
    conversation: type === "AgentSessionEvent" ? conversationOf(event) : null,
  };
}

const Session = z.object({
  id: z.string().regex(uuid),
  issueId: z.string().regex(uuid).nullish(),
  appUserId: z.string().nullish(),
  creatorId: z.string().nullish(),
});
const Prompt = z.object({ id: z.string().regex(uuid) });

/** null: not of a form that can be read, or opened by the app itself, which starts nothing. */
function conversationOf(event: LinearEvent): ConversationEvent | null {
  const session = Session.safeParse(event["agentSession"]).data;
  const prompt = Prompt.safeParse(event["agentActivity"]).data;
  if (session === undefined) return null;
  const { id, issueId = null, appUserId, creatorId } = session;
  const isOwn = creatorId != null && creatorId === appUserId;
  if (event.action === "created" && !isOwn) return { id, issueId, promptId: null };
  if (event.action !== "prompted" || prompt === undefined) return null;
  return { id, issueId, promptId: prompt.id };
}

/** The issue's identifier, if it looks like one; else nothing is shown. */
function identifierIn({ type, data }: LinearEvent): string | null {
  if (type !== "Issue" || data?.id === undefined) return null;
  const given = data.identifier;
  return given !== undefined && /^[A-Za-z0-9_]{1,32}-\d{1,10}$/.test(given) ? given : null;
}

function jsonOf(body: Uint8Array): unknown {
  try {
    return JSON.parse(utf8.decode(body));
  } catch {
    return undefined;
  }
}
