import { z } from "zod";
import type { Issue } from "../core/model/issue.ts";
import { writerOf } from "../core/model/names.ts";
import { attach, detach } from "./attach.ts";
import { AttemptView } from "./attempts.ts";
import { chooseModel, moveIssue } from "./choice.ts";
import { comment, comments } from "./comments.ts";
import { paths } from "./paths.ts";
import { route } from "./route.ts";
import {
  At,
  byIssue,
  DeliveryView,
  NeedsView,
  OverlapView,
  page,
  paged,
  RunningRow,
  Status,
  Time,
} from "./values.ts";
import { KeptView } from "./work.ts";

const answerText = z.string().trim().min(1).max(16_384);

/** `POST /api/v1/:id/respond`. */
const respond = route({
  ...paths.issues.respond,
  summary: "Answer the approval or question that the issue's agent waits for",
  params: byIssue,
  body: z
    .strictObject({
      decision: z.enum(["approve", "decline"]).optional().describe("For an approval"),
      answers: z
        .array(answerText)
        .min(1)
        .max(20)
        .optional()
        .describe("For a question: one answer to each of its parts, in order"),
      id: z
        .string()
        .max(100)
        .optional()
        .describe("`needs.id` of the request that is meant: another one is not answered"),
    })
    .refine(({ decision, answers }) => (decision === undefined) !== (answers === undefined), {
      path: ["decision"],
      message: "give either decision or answers",
    })
    .meta({
      oneOf: [{ required: ["decision"] }, { required: ["answers"] }],
      example: { decision: "approve" },
    }),
  audited: ["decision"],
  status: 200,
  reply: z.object({
    issue_identifier: z.string(),
    asked: z.string().nullable().describe("The request that was answered"),
    applies: z
      .enum(["now", "next_attempt"])
      .describe(
        "`now`: the live agent received it; `next_attempt`: its run has ended and the next one starts with it",
      ),
  }),
  errors: ["issue_not_found", "nothing_asked", "invalid_request", "tracker_request"],
});

const LinkView = z
  .object({
    id: z.string().nullable(),
    identifier: z.string().nullable(),
    title: z.string().nullable(),
    state: z.string().nullable(),
    url: z.string().nullable(),
  })
  .meta({ id: "IssueLink" });

/** The tracker's issue, normalized (requirement N-1). */
export const IssueView = z
  .object({
    id: z.string(),
    native_ref: z.record(z.string(), z.unknown()).nullable(),
    identifier: z.string(),
    title: z.string(),
    description: z.string().nullable(),
    priority: z.number().int().nullable(),
    state: z.string(),
    state_type: z
      .string()
      .nullable()
      .describe("The tracker's type of the state, such as `started`; null: its states have none"),
    branch_name: z.string().nullable(),
    url: z.string().nullable(),
    assignee_id: z.string().nullable(),
    assignee: z.object({ id: z.string(), name: z.string().nullable() }).nullable(),
    team: z
      .object({ id: z.string(), key: z.string().nullable(), name: z.string().nullable() })
      .nullable(),
    project: z
      .object({ id: z.string(), slug: z.string().nullable(), name: z.string().nullable() })
      .nullable(),
    parent: LinkView.nullable(),
    sub_issues: z.array(LinkView).describe("At most the first 10"),
    labels: z.array(z.string()),
    blocked_by: z.array(LinkView),
    dispatchable: z.boolean(),
    created_at: Time.nullable(),
    updated_at: Time.nullable(),
  })
  .meta({ id: "Issue" });

const title = z.string().trim().min(1).max(1_000);
const description = z.string().max(200_000).nullable();
const labels = z.array(z.string().trim().min(1).max(200)).max(50);
const priority = z.number().int().min(0).max(4).nullable();
const blockedBy = z.array(z.string().trim().min(1)).max(100).describe("Identifiers of blockers");
const state = z.string().trim().min(1).max(100);

/** A new issue of the local tracker. */
export const NewIssue = z
  .strictObject({
    title,
    description: description.optional(),
    labels: labels.optional(),
    priority: priority.optional(),
    blocked_by: blockedBy.optional(),
    state: state.optional().describe("Default: the first active state"),
  })
  .meta({
    id: "NewIssue",
    example: { title: "Add a health check", description: "GET /health", labels: ["backend"] },
  });

/** Changes to an issue of the local tracker: omitted fields stay as they are. */
export const IssueEdit = z
  .strictObject({
    title: title.optional(),
    description: description.optional(),
    labels: labels.optional(),
    priority: priority.optional(),
    blocked_by: blockedBy.optional(),
    state: state.optional(),
  })
  .meta({ id: "IssueEdit", example: { state: "In Progress", priority: 2 } });

export const IssueDetail = z
  .object({
    issue_identifier: z.string(),
    issue_id: z.string(),
    status: Status.nullable().describe("null: known, but neither queued nor running"),
    issue: IssueView,
    workspace: z.object({
      key: z.string().nullable(),
      path: z.string().nullable(),
      host: z.string().nullable(),
      branch: z.string().nullable(),
    }),
    kept: KeptView.nullable().describe("The issue has ended and `workspace` is kept"),
    kept_elsewhere: z
      .array(KeptView)
      .describe("Other workspaces that are kept: of an earlier root or identifier, or set aside"),
    attempts: z.object({
      count: z.number().int(),
      restart_count: z.number().int(),
      current_retry_attempt: z.number().int(),
      latest: z.array(AttemptView),
    }),
    running: RunningRow.nullable(),
    retry: z
      .object({ attempt: z.number().int(), due_at: Time, error: z.string().nullable() })
      .nullable(),
    needs: NeedsView.nullable(),
    delivery: DeliveryView.nullable().describe("null: no work was offered yet"),
    conflicts: z.array(OverlapView).describe("Live branches that change the same files"),
    feedback: z
      .object({
        rounds: z.number().int().describe("Times it went back to the agent since a person spoke"),
        max_rounds: z.number().int(),
        last: z
          .object({
            author: z.string().nullable().describe("Login; null: a check or a conflict"),
            text: z.string(),
            url: z.string().nullable(),
            by_person: z.boolean(),
            at: Time,
          })
          .nullable(),
      })
      .nullable()
      .describe("What came back on offered work; null: nothing is offered"),
    overrides: z.object({
      model: z.string().nullable(),
      reasoning_effort: z.string().nullable(),
      agent: z.string().nullable(),
      template_id: z.string().nullable(),
    }),
    template: z
      .object({
        id: z.string(),
        from: z
          .enum(["operator", "state", "workflow"])
          .describe("An operator's choice, its tracker state (`prompts`), or the file's body"),
      })
      .describe("The prompt template of its next attempt"),
    recent_events: z.array(
      z.object({
        at: Time,
        event: z.string(),
        message: z.string(),
        seq: z.number().int(),
        attempt_id: z.string().nullable(),
      }),
    ),
    last_error: z.string().nullable(),
    explain: z.array(
      z.object({
        gate: z.string(),
        pass: z.boolean(),
        detail: z.string().describe("What was found"),
        opens: z.string().nullable().describe("What would open it; null: it is open"),
      }),
    ),
    tracker_read: z
      .object({
        at: Time.nullable().describe("It was so then, or later; null: not known"),
        next_at: Time.nullable().describe("null: now, or never"),
        next: z.string().describe("What reads it then"),
      })
      .describe("When it was read from the tracker, and when it is read next"),
    logs: z.object({
      codex_session_logs: z.array(
        z.object({ label: z.string(), path: z.string(), url: z.string().nullable() }),
      ),
    }),
    tracked: z.record(z.string(), z.unknown()),
  })
  .meta({ id: "IssueDetail" });

export const issues = {
  list: route({
    ...paths.issues.list,
    summary:
      "Issues of the tracker. Without `state`: those in active states; the local tracker lists all issues",
    query: z.object({ ...page, state: z.string().min(1).optional() }),
    status: 200,
    reply: z.object({
      issues: z.array(IssueView.extend({ status: Status.nullable() })),
      ...paged,
    }),
    errors: ["not_found", "tracker_response"],
  }),
  create: route({
    ...paths.issues.create,
    summary: "Create an issue in the local tracker or on GitHub",
    body: NewIssue,
    audited: ["title", "state"],
    status: 201,
    reply: IssueView,
    errors: ["tracker_read_only"],
  }),
  edit: route({
    ...paths.issues.edit,
    summary:
      "Change an issue of the local tracker or of GitHub; with other trackers only its state",
    params: byIssue,
    body: IssueEdit,
    audited: ["title", "state"],
    status: 200,
    reply: IssueView,
    errors: ["issue_not_found", "tracker_read_only"],
  }),
  comment,
  comments,
  detail: route({
    ...paths.issues.detail,
    summary:
      "One issue of the tracker, in the scope or not: status, live attempt, history, and why it runs or does not run",
    params: byIssue,
    query: z.object({ at: At }),
    status: 200,
    reply: IssueDetail,
    errors: ["issue_not_found", "not_recorded", "tracker_request"],
  }),
  repro: route({
    ...paths.issues.repro,
    summary: "The recorded decisions about one issue, as a file that symphony replay decides again",
    params: byIssue,
    query: z.object({ since: Time.optional().describe("Only from then on; default: 24 h ago") }),
    status: 200,
    reply: z
      .object({
        format: z.string(),
        version: z.string(),
        issue: z.object({ id: z.string(), identifier: z.string() }),
        parts: z
          .array(z.record(z.string(), z.unknown()))
          .describe("One for each stretch that was recorded without a gap"),
      })
      .meta({ id: "Repro" }),
    errors: ["issue_not_found", "not_recorded"],
  }),
  abort: route({
    ...paths.issues.abort,
    summary: "Stop the running attempt and hold the issue",
    params: byIssue,
    body: z
      .strictObject({ reason: z.string().trim().min(1).max(1_000).optional() })
      .meta({ example: { reason: "the plan changed" } }),
    bodyOptional: true,
    audited: ["reason"],
    evenUnsaved: true,
    status: 202,
    reply: z.object({
      issue_identifier: z.string(),
      status: z.literal("stopping"),
      already_stopping: z.boolean(),
      requested_at: Time,
    }),
    errors: ["issue_not_found", "not_running", "tracker_request"],
  }),
  steer: route({
    ...paths.issues.steer,
    summary: "Send guidance to the agent during its turn",
    params: byIssue,
    headers: z.object({
      "idempotency-key": z
        .string()
        .min(1)
        .max(255)
        .optional()
        .describe("A repeat with the same key gets the first reply and sends nothing"),
    }),
    body: z
      .strictObject({ message: z.string().trim().min(1).max(16_384) })
      .meta({ example: { message: "Focus on the auth module first, skip the tests for now." } }),
    audited: ["message"],
    status: 202,
    reply: z.object({
      issue_identifier: z.string(),
      steer_id: z.string(),
      attempt_id: z.string(),
      turn_id: z.string(),
      status: z.enum(["accepted", "delivered"]),
    }),
    errors: ["issue_not_found", "no_active_turn", "tracker_request"],
  }),
  model: chooseModel,
  move: moveIssue,
  respond,
  transition: route({
    ...paths.issues.transition,
    summary:
      "Move the issue to a status (`queued`, `held`, `completed`) or to a state of the tracker",
    params: byIssue,
    body: z
      .strictObject({
        to: z.string().trim().min(1).max(100),
        reason: z.string().trim().min(1).max(1_000).optional(),
      })
      .meta({ example: { to: "queued", reason: "Retry after fix" } }),
    audited: ["to", "reason"],
    evenUnsaved: true,
    status: 200,
    reply: z.object({
      issue_identifier: z.string(),
      from: z.string(),
      to: z.string(),
      kind: z.enum(["status", "tracker"]),
    }),
    errors: ["issue_not_found", "transition_not_allowed", "tracker_request"],
  }),
  deliver: route({
    ...paths.issues.deliver,
    summary:
      "Deliver the issue's work now: refused steps are tried again, the pull request is read again",
    params: byIssue,
    status: 200,
    reply: z.object({ issue_identifier: z.string(), delivery: DeliveryView }),
    errors: ["issue_not_found", "nothing_to_deliver", "workspace_error"],
  }),
  attach,
  detach,
  attempts: route({
    ...paths.issues.attempts,
    summary: "Attempts of an issue, newest first",
    params: byIssue,
    query: z.object(page),
    status: 200,
    reply: z.object({ issue_identifier: z.string(), attempts: z.array(AttemptView), ...paged }),
    errors: ["issue_not_found", "tracker_request"],
  }),
};

/** An issue in wire form, for the server and for commands that use the local tracker without one. */
export const issueView: (issue: Issue) => z.output<typeof IssueView> = writerOf(IssueView);
