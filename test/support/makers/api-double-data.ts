import type { z } from "zod";
import type { AttemptView } from "../../../src/contract/attempts.ts";
import type { IssueDetail } from "../../../src/contract/issues.ts";

type Attempt = z.output<typeof AttemptView>;
export type IssueStatus = z.output<typeof IssueDetail>["status"];

/** What a test may vary in the one issue that the double knows. */
export interface Facts {
  readonly status: IssueStatus;
  readonly title: string;
}

export const at = "2026-11-23T10:00:00.000Z";
const noTokens = {
  input_tokens: 900,
  cached_input_tokens: 0,
  output_tokens: 100,
  reasoning_output_tokens: 0,
  total_tokens: 1_000,
};

export function issueOf({ title }: Facts) {
  return {
    id: "iss_1",
    native_ref: null,
    identifier: "ENG-1",
    title,
    description: "Nobody can log in.",
    priority: 2,
    state: "Todo",
    state_type: null,
    branch_name: null,
    url: null,
    assignee_id: null,
    assignee: null,
    team: null,
    project: null,
    parent: null,
    sub_issues: [],
    labels: ["bug"],
    blocked_by: [],
    dispatchable: true,
    created_at: at,
    updated_at: at,
  };
}

function rowOf(facts: Facts) {
  const { id, identifier, url, title, state, priority, labels, updated_at } = issueOf(facts);
  return {
    ...{ issue_id: id, issue_identifier: identifier, issue_url: url, title, state, priority },
    ...{ labels, updated_at, status: "running" },
    ...{ attempt_id: "att_1", attempt: 0, phase: "streaming_turn", stopping: null },
    ...{ session_id: null, thread_id: null, turn_count: 1, agent: "codex", model: null },
    ...{ worker_host: null, workspace_path: "/w/ENG-1", started_at: at, last_event: null },
    ...{ last_message: "reading the code", last_event_at: at, tokens: noTokens },
  };
}

export function snapshotOf(facts: Facts, seq: number) {
  const none = { queued: 0, retrying: 0, blocked: 0, review: 0, held: 0, failed: 0, completed: 0 };
  return {
    generated_at: at,
    seq,
    counts: { ...none, running: 1 },
    ...{ queued: [], running: [rowOf(facts)], retrying: [], blocked: [], review: [] },
    ...{
      held: [],
      failed: [],
      completed: [],
      rate_limits: null,
      problem: null,
      warnings: [],
      paused: [],
      storage: null,
      unrecorded: null,
      kept: [],
      kept_total: 0,
      conflicts: [],
    },
    codex_totals: { ...noTokens, seconds_running: 12.5 },
    polling: {
      interval_ms: 30_000,
      last_poll_at: at,
      next_poll_at: null,
      slowed: null,
      last_error: null,
    },
    tracker: { kind: "local", status: "healthy", healthy: true, last_error: null },
  };
}

export function detailOf(facts: Facts) {
  const idle = { running: null, retry: null, needs: null, last_error: null };
  return {
    issue_identifier: "ENG-1",
    issue_id: "iss_1",
    status: facts.status,
    issue: issueOf(facts),
    workspace: { key: null, path: null, host: null, branch: null },
    kept: null,
    kept_elsewhere: [],
    attempts: { count: 1, restart_count: 0, current_retry_attempt: 0, latest: [attemptOf(facts)] },
    ...idle,
    overrides: { model: null, reasoning_effort: null, agent: null, template_id: null },
    template: { id: "workflow", from: "workflow" },
    recent_events: [],
    delivery: null,
    feedback: null,
    conflicts: [],
    explain: [{ gate: "free_slot", pass: true, detail: "1 of 10 slots in use", opens: null }],
    tracker_read: { at, next_at: at, next: "the next poll" },
    logs: { codex_session_logs: [] },
    tracked: {},
  };
}

export function attemptOf({ status }: Facts): Attempt {
  const over = status !== "running";
  return {
    ...{ id: "att_1", issue_id: "iss_1", issue_identifier: "ENG-1", number: 1 },
    ...{ status: over ? ("succeeded" as const) : ("running" as const), phase: "streaming_turn" },
    ...{ agent: "codex", model: null, template_id: null, worker_host: null, thread_id: null },
    ...{ session_id: null, turn_count: 1, started_at: at, ended_at: over ? at : null },
    ...{ duration_ms: over ? 5_000 : null, tokens: noTokens, error: null, git: null },
    workspace: { key: "ENG-1", path: "/w/ENG-1" },
  };
}

export const transitions = {
  states: [
    { name: "queued", kind: "status", terminal: false },
    { name: "Todo", kind: "tracker", terminal: false },
    { name: "Closed", kind: "tracker", terminal: true },
    { name: "Done", kind: "tracker", terminal: true },
  ],
  issues: {
    "ENG-1": {
      status: "running",
      state: "Todo",
      transitions: [
        { to: "queued", kind: "status" },
        { to: "Human Review", kind: "tracker" },
      ],
    },
  },
};

export function runtimeOf(pid: number) {
  return {
    ...{ version: "0.1.0", node_version: "v24.21.0", platform: "linux", pid, started_at: at },
    ...{ uptime_seconds: 61, data_dir: "/d", workflow_path: "/d/WORKFLOW.md" },
    server: { host: "127.0.0.1", port: 4000, auth: "none" },
    tracker: { kind: "local", status: "healthy", healthy: true, last_error: null },
    agent: {
      name: "codex",
      kind: "codex",
      model: null,
      command: "codex app-server",
      level: "safe",
    },
    features: { events: true },
  };
}
