import { z } from "zod";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { TokenCounts } from "./values.ts";

const day = z.iso.date();

const UsageRowView = z
  .object({
    key: z
      .string()
      .describe("The issue, attempt, model, agent or day; empty: the agent's own model"),
    tokens: TokenCounts,
    cost: z.number().nullable().describe("null: a model that took part has no price"),
    unpriced_models: z.array(z.string()).describe("Models of `usage.prices` that are missing"),
  })
  .meta({ id: "UsageRow" });

/** `GET /api/v1/usage`. */
export const usage = {
  list: route({
    ...paths.usage.list,
    summary: "Tokens and their cost by issue, attempt, model, agent or day (UTC)",
    query: z.object({
      by: z
        .enum(["issue", "attempt", "model", "agent", "day"])
        .default("issue")
        .describe("What each row is about"),
      since: day.optional().describe("From this day on"),
      until: day.optional().describe("Up to this day, included"),
      issue: z.string().trim().min(1).max(200).optional().describe("Only of this issue"),
      limit: z.coerce.number().int().min(1).max(500).default(50).describe("Rows at most"),
      offset: z.coerce.number().int().min(0).default(0).describe("Rows to pass over"),
    }),
    status: 200,
    reply: z
      .object({
        by: z.string(),
        currency: z.string(),
        rows: z
          .array(UsageRowView)
          .describe("Days newest first, everything else the most used first"),
        sum: UsageRowView.omit({ key: true }),
        total: z.number().int(),
        limit: z.number().int(),
        offset: z.number().int(),
      })
      .meta({ id: "Usage" }),
  }),
};
