import { z } from "zod";
import { eventTypes } from "../core/model/event.ts";
import { statuses } from "../core/model/issue.ts";
import { paths } from "./paths.ts";
import { route } from "./route.ts";

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
    id: z.string().describe("Names this request, for `respond`"),
    further: z
      .array(z.string())
      .describe("What the same agent asks besides; each is answered in its turn"),
    since: Time,
    until: Time.nullable().describe("When the live agent stops waiting; null: its run has ended"),
    attempt_id: z
      .string()
      .nullable()
      .describe("The attempt whose agent waits; null: no live attempt"),
  })
  .meta({ id: "Needs" });

/** `limit` and `offset` of a list. */
export const page = {
  limit: z.coerce.number().int().min(1).max(500).default(50).describe("Maximum number of rows"),
  offset: z.coerce.number().int().min(0).default(0).describe("Number of rows to skip"),
};

/** Fields of a list reply in addition to its rows. */
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
    .meta({ description: "Issue identifier, in upper or lower case", example: "ENG-123" }),
});

/** Fields that every row of the snapshot has. */
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
    stopping: z.string().nullable().describe("Why it is being stopped; null: it is not"),
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
    worker_host: z.string().nullable().describe("The worker of its last attempt"),
    workspace_path: z.string().nullable(),
  })
  .meta({ id: "RetryingRow" });

const next = z
  .string()
  .describe("The command that continues it, such as `symphony deliver ENG-123`");

export const BlockedRow = z.object({ ...row, needs: NeedsView, next }).meta({ id: "BlockedRow" });

/** Where the work on an issue is, and what it waits for. */
export const DeliveryView = z
  .object({
    mode: z.enum(["none", "branch", "pull_request"]),
    repository: z.string().nullable().describe("Name in git.repositories; null: none"),
    branch: z.string().nullable(),
    base: z.string().nullable().describe("The branch that it is offered to"),
    head: z.string().nullable().describe("The commit that is offered"),
    pushed: z
      .string()
      .nullable()
      .describe("The commit of the remote branch as last known; null: it was not pushed"),
    pull_request: z
      .object({
        number: z.number().int(),
        url: z.string(),
        state: z.enum(["open", "merged", "closed"]),
        draft: z.boolean(),
        head_sha: z.string(),
        checks: z.enum(["none", "running", "passed", "failed", "unknown"]),
        review: z.enum(["none", "approved", "changes_requested", "unknown"]),
      })
      .nullable(),
    summary: z.string().describe("One line: `place` and `progress`"),
    place: z.string().describe("Where the work is, such as `branch symphony/eng-123`"),
    progress: z.string().describe("What it waits for, why its last step failed, or how it ended"),
    waiting_for: z.string().nullable().describe("A sentence; null: for nothing"),
    needs_person: z
      .boolean()
      .describe("Only a person can lead it on; else a check, the site or symphony does"),
    problem: z
      .string()
      .nullable()
      .describe("Why the last step failed, and the next command; null: it did not"),
    offered_at: Time,
    seen_at: Time.nullable().describe("When the pull request or the base was last read"),
  })
  .meta({ id: "Delivery" });

const LiveBranch = z
  .object({ issue_id: z.string(), issue_identifier: z.string(), branch: z.string() })
  .meta({ id: "LiveBranch" });

const lines = z
  .array(z.object({ start: z.number().int(), count: z.number().int() }))
  .describe("As the base has them, from 1; empty where lines mean nothing");

/** Two live branches of one repository that change the same files. */
export const OverlapView = z
  .object({
    repository: z.string().describe("Name in git.repositories"),
    conflicts: z.boolean().describe("Git cannot merge the two"),
    first: LiveBranch.describe("The one whose work began earlier"),
    second: LiveBranch,
    files: z.array(
      z.object({
        path: z.string(),
        kind: z.enum(["conflict", "near"]).describe("near: git can merge it"),
        first: lines,
        second: lines,
      }),
    ),
  })
  .meta({ id: "Overlap" });

export const ReviewRow = z
  .object({
    ...row,
    delivery: DeliveryView.nullable(),
    since: Time,
    next: next.nullable().describe("As of a blocked row; null: no person is needed now"),
  })
  .meta({ id: "ReviewRow" });

export const StoppedRow = z
  .object({
    ...row,
    reason: z.string(),
    attached: z.boolean().describe("A person works in its workspace: `symphony attach`"),
    error: z.string().nullable(),
    delivery: DeliveryView.nullable().describe("Where its work is; null: no work was offered"),
    since: Time,
    next,
  })
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

const TypeName = z.enum(eventTypes).meta({ id: "EventType" });

/** The `data:` line of every event on the stream. */
export const EventView = z
  .object({
    seq: z.number().int(),
    type: TypeName,
    at: Time,
    issue_id: z.string().nullable(),
    issue_identifier: z.string().nullable(),
    attempt_id: z.string().nullable(),
    session_id: z.string().nullable(),
    message: z.string(),
    data: z.record(z.string(), z.unknown()),
  })
  .meta({ id: "Event" });

/** The `data:` line of the message `gap`: events before `oldest_seq` can no longer be replayed. */
export const GapView = z.object({ oldest_seq: z.number().int() }).meta({ id: "Gap" });

const oneOrMany = <T extends z.ZodType>(item: T) =>
  z.union([item, z.array(item)]).transform((value) => (Array.isArray(value) ? value : [value]));

export const events = route({
  ...paths.system.events,
  summary: "Live events (server-sent), replayed from `Last-Event-ID` or `since`",
  query: z.object({
    since: z.coerce.number().int().min(0).optional().describe("Replay events after this seq"),
    issue: oneOrMany(z.string().min(1)).optional().describe("Only this issue; repeatable"),
    type: oneOrMany(TypeName).optional().describe("Only this type; repeatable"),
  }),
  headers: z.object({
    "last-event-id": z.coerce
      .number()
      .int()
      .min(0)
      .optional()
      .describe("Like `since`, and takes precedence over it"),
  }),
  status: 200,
  media: "text/event-stream",
});

/** `?at=` of the routes that can answer as of an earlier moment. */
export const At = z
  .union([z.string().regex(/^[1-9]\d{0,14}$/), z.iso.datetime({ offset: true })])
  .optional()
  .describe("As of then: the number of an event, or a time (RFC 3339)");
