import { z } from "zod";
import { LinearEvent } from "../core/tracker/linear/event.ts";
import { paths } from "./paths.ts";
import { route } from "./route.ts";

export const webhooks = {
  linear: route({
    ...paths.webhooks.linear,
    summary: "A delivery of Linear: the issue that it names is read again, at once",
    headers: z.object({
      "linear-signature": z
        .string()
        .optional()
        .describe("Hex HMAC-SHA256 of the raw body with the webhook's signing secret"),
    }),
    body: LinearEvent,
    signed: true,
    status: 200,
    reply: z.object({
      accepted: z.literal(true),
      duplicate: z.boolean().describe("True when the same delivery came in before"),
    }),
    errors: ["rate_limited", "webhook_not_configured", "storage_unavailable"],
  }),
};
