import { z } from "zod";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import {
  At,
  BlockedRow,
  CompletedRow,
  ErrorFact,
  events,
  OverlapView,
  QueuedRow,
  RetryingRow,
  ReviewRow,
  RunningRow,
  Status,
  StoppedRow,
  Time,
  TokenCounts,
} from "./values.ts";
import { KeptRow } from "./work.ts";
import { WorkerView } from "./workers.ts";

const count = z.number().int();

const TrackerView = z
  .object({
    kind: z.string(),
    status: z
      .enum(["starting", "healthy", "failing"])
      .describe("`starting`: no read of the tracker has ended yet"),
    healthy: z.boolean().nullable().describe("null while `starting`"),
    last_error: ErrorFact.nullable(),
  })
  .meta({ id: "Tracker" });

const Paused = z
  .object({
    gate: z
      .enum(["paused", "active_hours", "host", "day_budget", "provider", "agent"])
      .describe(
        "What is closed: `paused`: an operator paused all dispatch; `agent`: it cannot be started",
      ),
    agent: z.string().nullable().describe("null: every agent"),
    until: Time.nullable().describe("null: not known, or until `symphony resume`"),
    reason: z.string(),
  })
  .meta({ id: "Paused" });

const DispatchView = z
  .object({
    paused: z.literal(true),
    reason: z.string().nullable(),
    by: z.string().describe("How it was requested: `cli` or `api`"),
    since: Time,
  })
  .meta({ id: "DispatchPause" });

export const Snapshot = z
  .object({
    generated_at: Time,
    seq: z.number().int().describe("The last event included: follow the stream from here"),
    counts: z.object({
      queued: count,
      running: count,
      retrying: count,
      blocked: count,
      review: count,
      held: count,
      failed: count,
      completed: count,
    }),
    queued: z.array(QueuedRow),
    running: z.array(RunningRow),
    retrying: z.array(RetryingRow),
    workers: z.array(WorkerView).optional().describe("What runs attempts; absent: this machine"),
    blocked: z.array(BlockedRow),
    review: z.array(ReviewRow).describe("Their work is offered and waits for people or checks"),
    held: z.array(StoppedRow),
    failed: z.array(StoppedRow),
    completed: z.array(CompletedRow),
    kept: z
      .array(KeptRow)
      .describe("Workspaces kept after their issue has ended, because they hold work"),
    kept_total: count,
    codex_totals: TokenCounts.extend({ seconds_running: z.number() }),
    rate_limits: z.record(z.string(), z.unknown()).nullable(),
    conflicts: z
      .array(OverlapView)
      .describe("Live branches that git cannot merge with each other, with those files"),
    paused: z
      .array(Paused)
      .describe("Gates that keep work of more than one issue from starting now"),
    polling: z.object({
      interval_ms: count,
      last_poll_at: Time.nullable(),
      next_poll_at: Time.nullable(),
      slowed: z
        .object({ interval_ms: count, reason: z.string() })
        .nullable()
        .describe("Polls are slower than configured while the tracker's budget runs out"),
      last_error: ErrorFact.nullable(),
    }),
    tracker: TrackerView,
    storage: z
      .object({
        reason: z.string(),
        waiting: count.describe("Writes that are retried until the disk accepts them"),
        since: Time,
      })
      .nullable()
      .describe("Writes the disk refused; no new work starts until they are saved"),
    unrecorded: z
      .object({ reason: z.string(), since: Time, decisions: count })
      .nullable()
      .describe("Why decisions are not recorded now; the scheduler continues without its record"),
    problem: ErrorFact.nullable().describe("Why no new work is started, such as an invalid file"),
    warnings: z
      .array(z.string())
      .describe(
        "What is wrong with the configuration and does not stop the start, such as a key that nothing reads or a state that no team has",
      ),
  })
  .meta({ id: "Snapshot" });

export const Transitions = z
  .object({
    states: z.array(
      z.object({ name: z.string(), kind: z.enum(["status", "tracker"]), terminal: z.boolean() }),
    ),
    issues: z.record(
      z.string(),
      z.object({
        status: Status.nullable(),
        state: z.string(),
        transitions: z.array(z.object({ to: z.string(), kind: z.enum(["status", "tracker"]) })),
      }),
    ),
  })
  .meta({ id: "Transitions" });

const PolledAttempt = z.object({ issue_identifier: z.string(), attempt_id: z.string() });

export const system = {
  state: route({
    ...paths.system.state,
    summary: "Snapshot of the orchestrator",
    query: z.object({
      limit: z.coerce.number().int().min(1).max(1000).default(200).describe("Rows of each list"),
      at: At,
    }),
    status: 200,
    reply: Snapshot,
    etag: true,
    errors: ["not_recorded"],
  }),
  runtime: route({
    ...paths.system.runtime,
    summary: "The running server: version, directories, tracker, agent",
    status: 200,
    reply: z
      .object({
        version: z.string(),
        node_version: z.string(),
        platform: z.string(),
        pid: z.number().int(),
        started_at: Time,
        uptime_seconds: z.number(),
        data_dir: z.string(),
        workflow_path: z.string(),
        server: z.object({ host: z.string(), port: z.number().int(), auth: z.string() }),
        tracker: TrackerView,
        agent: z.object({
          name: z.string().describe("The agent that runs by default: agent.use"),
          kind: z.string(),
          model: z.string().nullable(),
          command: z.string(),
          level: z
            .enum(["safe", "networked", "danger"])
            .describe("What the agent's commands may access"),
        }),
        features: z.record(z.string(), z.boolean()),
      })
      .meta({ id: "Runtime" }),
  }),
  refresh: route({
    ...paths.system.refresh,
    ofServer: true,
    summary: "Poll and reconcile now; the work runs after the reply, or with `wait=true` before it",
    query: z.object({
      wait: z
        .enum(["true", "false"])
        .default("false")
        .describe(
          "Whether the reply is sent when a poll that begins after the request has ended and what it decided is done",
        ),
      timeout_ms: z.coerce
        .number()
        .int()
        .min(1)
        .max(600_000)
        .default(60_000)
        .describe("With `wait=true`: after this time the reply is the error `timed_out`"),
    }),
    body: z.looseObject({}).meta({ example: {} }),
    bodyOptional: true,
    status: 202,
    replacedStatus: 200,
    reply: z.object({
      queued: z.literal(true),
      coalesced: z.boolean(),
      requested_at: Time,
      operations: z.array(z.enum(["poll", "reconcile"])),
      done: z
        .object({
          finished_at: Time,
          started: z.array(PolledAttempt).describe("Attempts that the poll started"),
          stopped: z
            .array(PolledAttempt)
            .describe("Attempts that it stopped; their agents are gone"),
        })
        .nullable()
        .describe("null without `wait=true`"),
    }),
    errors: ["tracker_response", "timed_out", "invalid_config", "unavailable"],
  }),
  pause: route({
    ...paths.system.pause,
    summary:
      "Start no new work until it is resumed, also after a restart; running attempts continue",
    body: z
      .strictObject({ reason: z.string().trim().min(1).max(1_000).optional() })
      .meta({ example: { reason: "release day" } }),
    bodyOptional: true,
    audited: ["reason"],
    status: 200,
    reply: DispatchView,
  }),
  resume: route({
    ...paths.system.resume,
    summary: "Start new work again; queued issues and waiting retries start at once",
    body: z.strictObject({}).meta({ example: {} }),
    bodyOptional: true,
    status: 200,
    reply: z.object({
      paused: z.literal(false),
      was_paused: z.boolean(),
      since: Time.nullable().describe("When the pause that ended began; null: there was none"),
    }),
  }),
  transitions: route({
    ...paths.system.transitions,
    summary: "The statuses and states each issue may move to",
    query: z.object({ issue: z.string().min(1).optional().describe("Only this issue") }),
    status: 200,
    reply: Transitions,
    errors: ["issue_not_found"],
  }),
  events,
  openapi: route({
    ...paths.system.openapi,
    summary: "This API as an OpenAPI 3.0 document",
    status: 200,
    reply: z.record(z.string(), z.unknown()),
    etag: true,
  }),
  metrics: route({
    ...paths.system.metrics,
    summary: "Metrics in the Prometheus text format 0.0.4",
    status: 200,
    media: "text/plain",
  }),
  docs: route({
    ...paths.system.docs,
    summary: "This API as web pages, with a bundled copy of Swagger UI",
    status: 200,
    media: "text/html",
  }),
};

export const models = {
  list: route({
    ...paths.models.list,
    summary: "The models of the configured provider, requested at most once a minute",
    query: z.object({
      cached: z
        .enum(["true", "false"])
        .default("false")
        .describe("true: only the cached list, at once; no request is made"),
    }),
    status: 200,
    reply: z
      .object({
        provider: z.object({
          kind: z.string().describe("The kind of the agent"),
          base_url: z.string().nullable().describe("null: the agent has its own list"),
          list: z
            .enum(["provider", "agent"])
            .describe("provider: what it offers; agent: what the agent's program knows of"),
        }),
        model: z.string().nullable().describe("The model in use; null: the agent decides"),
        models: z.array(
          z.object({
            id: z.string(),
            owned_by: z.string().nullable(),
            created_at: Time.nullable().describe("null: the provider gives none"),
            in_use: z.boolean(),
          }),
        ),
        fetched_at: Time.nullable().describe("null: nothing is cached; only with `cached`"),
        learned: z
          .array(
            z.object({
              base_url: z.string(),
              model: z.string(),
              learned_at: Time.describe("It is forgotten after 7 days, and by a refresh"),
              chat_only: z.boolean().describe("It has no Responses API"),
              unsealed: z.boolean().describe("It does not encrypt its reasoning"),
              omit: z.array(z.string()).describe("Parts of a request that it refused"),
              new_max_tokens: z.boolean().describe("It wants max_completion_tokens"),
              context_tokens: z.number().int().nullable(),
            }),
          )
          .describe("What answers showed about providers of the built-in agent"),
      })
      .meta({ id: "ModelList" }),
    errors: ["provider_error"],
  }),
};

const day = z.iso.date();

/** What became of the issues that used tokens. */
export const outcomes = [
  "merged",
  "closed",
  "in_review",
  "held",
  "failed",
  "no_changes",
  "completed",
  "open",
  "unknown",
] as const;

const UsageRowView = z
  .object({
    key: z
      .string()
      .describe(
        "The issue, attempt, model, agent, template, label, outcome or day; empty: the agent's own model, or no label; an issue with several labels counts in the row of each, and `unknown label` has those that are not known any more",
      ),
    outcome: z
      .enum(outcomes)
      .nullable()
      .describe(
        "Of the row's issues up to now, with `outcome=true`; unknown: the issue is not known any more",
      ),
    tokens: TokenCounts,
    cost: z.number().nullable().describe("null: a model in this row has no price"),
    unpriced_models: z.array(z.string()).describe("Models without an entry in `usage.prices`"),
  })
  .meta({ id: "UsageRow" });

/** `GET /api/v1/usage`. */
export const usage = {
  list: route({
    ...paths.usage.list,
    summary:
      "Tokens and their cost by issue, attempt, model, agent, template, label, outcome or day (UTC)",
    query: z.object({
      by: z
        .enum(["issue", "attempt", "model", "agent", "day", "template", "label", "outcome"])
        .default("issue")
        .describe("What the rows are grouped by"),
      since: day.optional().describe("First day, inclusive"),
      until: day.optional().describe("Last day, inclusive"),
      issue: z.string().trim().min(1).max(200).optional().describe("Only this issue"),
      outcome: z
        .enum(["true", "false"])
        .default("false")
        .describe("Whether each row is split by the outcome of its issues"),
      limit: z.coerce.number().int().min(1).max(500).default(50).describe("Maximum number of rows"),
      offset: z.coerce.number().int().min(0).default(0).describe("Number of rows to skip"),
    }),
    status: 200,
    reply: z
      .object({
        by: z.string(),
        currency: z.string(),
        rows: z.array(UsageRowView).describe("Days: newest first; all else: most tokens first"),
        sum: UsageRowView.omit({ key: true, outcome: true }),
        total: z.number().int(),
        limit: z.number().int(),
        offset: z.number().int(),
      })
      .meta({ id: "Usage" }),
    errors: ["issue_not_found"],
  }),
};
