import { randomBytes } from "node:crypto";
import { z } from "zod";
import { SymphonyError } from "../../model/errors.ts";
import type { WebhookOrder, WebhookRegistration } from "../tracker.ts";
import type { LinearClient } from "./client.ts";
import { mutate, query } from "./queries.ts";
import type { Scope } from "./scope.ts";

const Webhook = z.object({
  id: z.string(),
  url: z.string().nullish(),
  enabled: z.boolean(),
  resourceTypes: z.array(z.string()),
  /** Linear does not show it to every user. */
  secret: z.string().nullish(),
});
type Webhook = z.output<typeof Webhook>;

const listAnswer = z.object({
  webhooks: z.object({
    nodes: z.array(Webhook),
    pageInfo: z.object({ hasNextPage: z.boolean(), endCursor: z.string().nullish() }),
  }),
});
const changed = z.object({ success: z.boolean(), webhook: Webhook });
const createAnswer = z.object({ webhookCreate: changed });
const updateAnswer = z.object({ webhookUpdate: changed });

const resourceTypes = ["Issue", "Comment"];
const maxPages = 20;

/**
 * Makes sure that exactly one enabled webhook exists for the order's address: an existing one is adopted. Rejects with
 * `tracker_status` 403 when the key lacks permission, and never includes any part of a response in the error.
 */
export async function registerWebhook(
  client: LinearClient,
  scope: Scope,
  order: WebhookOrder,
): Promise<WebhookRegistration> {
  const requests = new WebhookRequests(client);
  try {
    const known = await requests.find(order.url);
    if (known === null) return await create(requests, scope, order);
    return await adopt(requests, known, order);
  } catch (error) {
    throw withoutAnswer(error);
  }
}

async function create(
  requests: WebhookRequests,
  scope: Scope,
  { url, secret }: WebhookOrder,
): Promise<WebhookRegistration> {
  const own = secret ?? newSecret();
  const { teamIds } = await scope.view();
  const [teamId] = teamIds;
  const where =
    teamId !== undefined && teamIds.length === 1 ? { teamId } : { allPublicTeams: true };
  const input = { url, label: "symphony", resourceTypes, secret: own, ...where };
  const made = await requests.create(input);
  return { outcome: "created", secret: made.secret || own };
}

/** Keeps resource types that were set before; the secret that Linear shows is the one it signs with. */
async function adopt(
  requests: WebhookRequests,
  known: Webhook,
  { secret, secretIsFixed }: WebhookOrder,
): Promise<WebhookRegistration> {
  const types = [...new Set([...known.resourceTypes, ...resourceTypes])];
  const shown = known.secret || null;
  const own = secretIsFixed && secret !== null ? secret : (shown ?? secret ?? newSecret());
  const input = {
    ...(known.enabled ? {} : { enabled: true }),
    ...(types.length > known.resourceTypes.length ? { resourceTypes: types } : {}),
    ...(own === shown ? {} : { secret: own }),
  };
  if (Object.keys(input).length > 0) await requests.update(known.id, input);
  return { outcome: known.enabled ? "adopted" : "enabled", secret: own };
}

/** The requests; their responses hold secrets. */
class WebhookRequests {
  readonly #client: LinearClient;

  constructor(client: LinearClient) {
    this.#client = client;
  }

  async find(url: string): Promise<Webhook | null> {
    let after: string | null = null;
    for (let page = 0; page < maxPages; page++) {
      const answer: z.output<typeof listAnswer> = await query(this.#client, {
        operation: "SymphonyWebhooks",
        variables: { after },
        shape: listAnswer,
      });
      const { nodes, pageInfo } = answer.webhooks;
      const found = nodes.find((one) => one.url && isSame(one.url, url));
      if (found) return found;
      if (!pageInfo.hasNextPage || !pageInfo.endCursor) return null;
      after = pageInfo.endCursor;
    }
    throw new SymphonyError("tracker_pagination", "Linear lists webhooks without end");
  }

  async create(input: object): Promise<Webhook> {
    const { webhookCreate } = await mutate(this.#client, {
      operation: "SymphonyCreateWebhook",
      variables: { input },
      shape: createAnswer,
    });
    return done(webhookCreate);
  }

  async update(id: string, input: object): Promise<void> {
    const { webhookUpdate } = await mutate(this.#client, {
      operation: "SymphonyUpdateWebhook",
      variables: { id, input },
      shape: updateAnswer,
    });
    done(webhookUpdate);
  }
}

function done({ success, webhook }: z.output<typeof changed>): Webhook {
  if (success) return webhook;
  throw new SymphonyError("tracker_response", "Linear did not set up the webhook");
}

function newSecret(): string {
  return `lin_wh_${randomBytes(24).toString("base64url")}`;
}

function isSame(one: string, other: string): boolean {
  return URL.canParse(one) && new URL(one).href === new URL(other).href;
}

/** Details of a refusal quote the response, and this one may hold secrets. */
function withoutAnswer(error: unknown): unknown {
  if (!(error instanceof SymphonyError)) return error;
  const { status } = error.details;
  return new SymphonyError(error.code, error.message, {
    details: typeof status === "number" ? { status } : {},
    ...(error.hint ? { hint: error.hint } : {}),
  });
}
