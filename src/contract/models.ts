import { z } from "zod";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { Time } from "./values.ts";

export const models = {
  list: route({
    ...paths.models.list,
    summary: "The models of the configured provider, asked at most once a minute",
    query: z.object({
      cached: z
        .enum(["true", "false"])
        .default("false")
        .describe("true: only what is remembered, at once; nobody is asked"),
    }),
    status: 200,
    reply: z
      .object({
        provider: z.object({
          kind: z.string().describe("The kind of the agent"),
          base_url: z.string().nullable().describe("null: the agent has a list of its own"),
        }),
        models: z.array(
          z.object({
            id: z.string(),
            owned_by: z.string().nullable(),
            created_at: Time.nullable().describe("null where the provider does not say"),
          }),
        ),
        fetched_at: Time.nullable().describe("null: nothing is remembered, with cached alone"),
      })
      .meta({ id: "ModelList" }),
    errors: ["provider_error"],
  }),
};
