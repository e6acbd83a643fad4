import { z } from "zod";
import { trackerKinds } from "../core/tracker/kinds.ts";
import { paths } from "./paths.ts";
import { mapped, type RoutePath, route } from "./route.ts";

/** A route for each tracker that delivers webhooks; its row in `trackerKinds` describes signature and body. */
export const webhooks = mapped(paths.webhooks, deliveries);

function deliveries(kind: string, place: RoutePath<"POST">) {
  const webhook = trackerKinds.find((row) => row.kind === kind)?.webhook;
  if (!webhook) throw new Error(`the tracker ${kind} has a path but no webhook`);
  const { header, description } = webhook.signature;
  return route({
    ...place,
    summary: `A delivery of ${webhook.service}: the issue it names is read again immediately`,
    headers: z.object({ [header]: z.string().optional().describe(description) }),
    body: webhook.body,
    signed: true,
    status: 200,
    reply: z.object({
      accepted: z.literal(true),
      duplicate: z.boolean().describe("True when the same delivery was received before"),
    }),
    errors: ["rate_limited", "webhook_not_configured", "storage_unavailable"],
  });
}
