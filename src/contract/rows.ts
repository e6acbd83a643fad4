import { z } from "zod";
import { NeedsView, PhaseName, Status, Time, TokenCounts } from "./values.ts";

/** What every row of the snapshot has. */
const row = {
  issue_id: z.string(),
  issue_identifier: z.string(),
  issue_url: z.string().nullable(),
  title: z.string(),
  state: z.string(),
  status: Status,
  priority: z.number().int().nullable(),
  labels: z.array(z.string()),
  updated_at: Time.nullable(),
};

export const QueuedRow = z.object({ ...row, waiting_for: z.string() }).meta({ id: "QueuedRow" });

export const RunningRow = z
  .object({
    ...row,
    attempt_id: z.string(),
    attempt: z.number().int().describe("0 for a first run, then the retry number"),
    phase: PhaseName,
    stopping: z.string().nullable().describe("Why it is being stopped, if it is"),
    session_id: z.string().nullable(),
    thread_id: z.string().nullable(),
    turn_count: z.number().int(),
    agent: z.string(),
    model: z.string().nullable(),
    worker_host: z.string().nullable(),
    workspace_path: z.string().nullable(),
    started_at: Time,
    last_event: z.string().nullable(),
    last_message: z.string().nullable(),
    last_event_at: Time.nullable(),
    tokens: TokenCounts,
  })
  .meta({ id: "RunningRow" });

export const RetryingRow = z
  .object({
    ...row,
    attempt: z.number().int(),
    due_at: Time,
    error: z.string().nullable(),
    worker_host: z.string().nullable(),
    workspace_path: z.string().nullable(),
  })
  .meta({ id: "RetryingRow" });

export const BlockedRow = z.object({ ...row, needs: NeedsView }).meta({ id: "BlockedRow" });

export const StoppedRow = z
  .object({ ...row, reason: z.string(), error: z.string().nullable(), since: Time })
  .meta({ id: "StoppedRow" });

export const CompletedRow = z
  .object({
    ...row,
    attempt_id: z.string().nullable(),
    ended_at: Time,
    outcome: z.string(),
    tokens: TokenCounts,
  })
  .meta({ id: "CompletedRow" });
