import { z } from "zod";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import { ErrorFact, EventView, PhaseName, Time, TokenCounts } from "./values.ts";
import { KeptView } from "./work.ts";

export const AttemptView = z
  .object({
    id: z.string(),
    issue_id: z.string(),
    issue_identifier: z.string(),
    number: z.number().int(),
    status: z.enum([
      "preparing",
      "running",
      "succeeded",
      "no_changes",
      "failed",
      "timed_out",
      "stalled",
      "canceled",
      "interrupted",
    ]),
    phase: PhaseName,
    agent: z.string(),
    model: z.string().nullable(),
    template_id: z.string().nullable(),
    worker_host: z.string().nullable(),
    thread_id: z.string().nullable(),
    session_id: z.string().nullable(),
    turn_count: z.number().int(),
    started_at: Time,
    ended_at: Time.nullable(),
    duration_ms: z.number().int().nullable(),
    tokens: TokenCounts,
    error: ErrorFact.nullable(),
    workspace: z.object({ key: z.string(), path: z.string() }).nullable(),
    git: z
      .object({
        branch: z.string().nullable(),
        head_before: z.string().nullable(),
        head_after: z.string().nullable(),
        commits: z.number().int(),
        changed_files: z.number().int(),
      })
      .nullable(),
  })
  .meta({ id: "Attempt" });

export const attempts = {
  detail: route({
    ...paths.attempts.detail,
    summary: "One attempt with its timeline",
    params: z.object({
      aid: z.string().min(1).max(64).describe("Attempt id, as in a list of attempts"),
    }),
    query: z.object({
      after_seq: z.coerce.number().int().min(0).default(0).describe("Only events after this `seq`"),
      limit: z.coerce
        .number()
        .int()
        .min(1)
        .max(1000)
        .default(200)
        .describe("Maximum number of events"),
    }),
    status: 200,
    reply: AttemptView.extend({
      events: z.array(EventView),
      next_after_seq: z.number().int().nullable(),
      kept: KeptView.nullable().describe("Its workspace is kept because it holds work"),
    }).meta({ id: "AttemptDetail" }),
    errors: ["attempt_not_found"],
  }),
};
