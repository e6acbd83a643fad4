import { z } from "zod";
import { statuses } from "../core/model/status.ts";

/** RFC 3339 in UTC with milliseconds. */
export const Time = z.iso.datetime({ precision: 3 });

export const Status = z.enum(statuses).meta({ id: "IssueStatus" });

export const PhaseName = z
  .enum([
    "preparing_workspace",
    "building_prompt",
    "launching_agent",
    "initializing_session",
    "streaming_turn",
    "finishing",
  ])
  .meta({ id: "Phase" });

export const TokenCounts = z
  .object({
    input_tokens: z.number().int(),
    cached_input_tokens: z.number().int(),
    output_tokens: z.number().int(),
    reasoning_output_tokens: z.number().int(),
    total_tokens: z.number().int(),
  })
  .meta({ id: "Tokens" });

export const ErrorFact = z.object({ code: z.string(), message: z.string() }).meta({ id: "Fault" });

export const NeedsView = z
  .object({
    kind: z.enum(["approval", "question"]),
    prompt: z.string(),
    options: z.array(z.string()),
    since: Time,
    until: Time.nullable().describe("When a live agent gives up waiting; null: its run has ended"),
    attempt_id: z.string().nullable().describe("The attempt whose agent waits, if it lives"),
  })
  .meta({ id: "Needs" });

/** `limit` and `offset` of a list. */
export const page = {
  limit: z.coerce.number().int().min(1).max(500).default(50).describe("Rows at most"),
  offset: z.coerce.number().int().min(0).default(0).describe("Rows to pass over"),
};

/** What a list answers beside its rows. */
export const paged = {
  total: z.number().int(),
  limit: z.number().int(),
  offset: z.number().int(),
};

export const byIssue = z.object({
  id: z
    .string()
    .trim()
    .min(1)
    .max(200)
    .meta({ description: "Issue identifier, in any case", example: "ENG-123" }),
});
