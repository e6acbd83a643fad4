import { z } from "zod";
import { githubWebhook } from "../core/delivery/github/webhook.ts";
import { trackerKinds } from "../core/tracker/kinds.ts";
import type { SignedWebhook } from "../core/tracker/tracker.ts";
import { paths } from "./paths.ts";
import { mapped, type RoutePath, route } from "./route.ts";

/** Sites with pull requests, by the name of their path; their kinds themselves load far more than this. */
const forges: Readonly<Record<string, SignedWebhook>> = { github: githubWebhook };

/** A route for each service that delivers webhooks: trackers by their row in `trackerKinds`, and sites. */
export const webhooks = mapped(paths.webhooks, deliveries);

function deliveries(kind: string, place: RoutePath<"POST">) {
  const tracker = trackerKinds.find((row) => row.kind === kind)?.webhook ?? null;
  const webhook = tracker ?? forges[kind];
  if (!webhook) throw new Error(`${kind} has a path but no webhook`);
  const { signature, headers, service, body } = webhook;
  const what = tracker === null ? "pull request" : "issue";
  const described = { [signature.header]: signature.description, ...headers };
  return route({
    ...place,
    summary: `A delivery of ${service}: the ${what} it names is read again immediately`,
    headers: z.object(
      mapped(described, (_, description) => z.string().optional().describe(description)),
    ),
    body,
    signed: true,
    status: 200,
    reply: z.object({
      accepted: z.literal(true),
      duplicate: z.boolean().describe("True when the same delivery was received before"),
    }),
    errors: ["rate_limited", "webhook_not_configured", "storage_unavailable"],
  });
}
