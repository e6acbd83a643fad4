import { paths } from "./paths.ts";

// The examples of the document describe one issue, its attempt and a template.

const at = "2026-11-23T17:07:00.123Z";
const later = "2026-11-23T17:09:30.456Z";
const issueId = "7d0e1a52-6f0b-4c39-9d5e-0a1f3c5b7e90";
const identifier = "ENG-123";
const attemptId = "att_01kaqz5g3b8x0v9n2m4p6r8t0w";
const page = { total: 1, limit: 50, offset: 0 };

const tokens = {
  input_tokens: 5_200,
  cached_input_tokens: 4_096,
  output_tokens: 640,
  reasoning_output_tokens: 128,
  total_tokens: 5_840,
};

const issue = {
  id: issueId,
  native_ref: null,
  identifier,
  title: "Add a health check",
  description: "GET /health",
  priority: 2,
  state: "In Progress",
  branch_name: "eng-123-add-a-health-check",
  url: "https://tracker.example/acme/issue/ENG-123",
  assignee_id: null,
  labels: ["backend"],
  blocked_by: [],
  dispatchable: true,
  created_at: at,
  updated_at: later,
};

const runningRow = {
  issue_id: issueId,
  issue_identifier: identifier,
  issue_url: issue.url,
  title: issue.title,
  state: issue.state,
  status: "running",
  priority: 2,
  labels: ["backend"],
  updated_at: later,
  attempt_id: attemptId,
  attempt: 0,
  phase: "streaming_turn",
  stopping: null,
  session_id: "thread-1-turn-1",
  thread_id: "thread-1",
  turn_count: 1,
  agent: "codex",
  model: null,
  worker_host: null,
  workspace_path: "/srv/symphony/workspaces/ENG-123",
  started_at: at,
  last_event: "agent.message",
  last_message: "The route is there; now its test.",
  last_event_at: later,
  tokens,
};

const attempt = {
  id: attemptId,
  issue_id: issueId,
  issue_identifier: identifier,
  number: 1,
  status: "running",
  phase: "streaming_turn",
  agent: "codex",
  model: null,
  template_id: null,
  worker_host: null,
  thread_id: "thread-1",
  session_id: "thread-1-turn-1",
  turn_count: 1,
  started_at: at,
  ended_at: null,
  duration_ms: null,
  tokens,
  error: null,
  workspace: { key: identifier, path: "/srv/symphony/workspaces/ENG-123" },
  git: null,
};

const event = {
  seq: 41,
  type: "turn.started",
  at,
  issue_id: issueId,
  issue_identifier: identifier,
  attempt_id: attemptId,
  session_id: "thread-1-turn-1",
  message: "turn 1 started",
  data: {},
};

/** A workspace that is kept because it holds the work of a finished issue. */
const kept = {
  key: "ENG-120",
  path: "/srv/symphony/workspaces/ENG-120",
  since: at,
  holds: [
    { kind: "new_files", count: 1, examples: ["src/health.ts"] },
    { kind: "commits", count: 2, more: false, refs: ["eng-120"] },
  ],
  summary: "1 new file (src/health.ts) and 2 commits not pushed (eng-120)",
  next: ["symphony diff ENG-120", "symphony workspaces remove ENG-120 --force"],
};

/** Work that waits for a review. */
const delivery = {
  mode: "pull_request",
  repository: "shop",
  branch: "symphony/ENG-123-add-a-health-check",
  base: "main",
  head: "3f2a9c1d5e7b8a6c4d2e1f0a9b8c7d6e5f4a3b2c",
  pushed: "3f2a9c1d5e7b8a6c4d2e1f0a9b8c7d6e5f4a3b2c",
  pull_request: {
    number: 12,
    url: "https://github.com/acme/shop/pull/12",
    state: "open",
    draft: false,
    head_sha: "3f2a9c1d5e7b8a6c4d2e1f0a9b8c7d6e5f4a3b2c",
    checks: "passed",
    review: "none",
  },
  summary: "pull request #12 https://github.com/acme/shop/pull/12; waits for a review",
  waiting_for: "a review",
  needs_person: true,
  problem: null,
  offered_at: at,
  seen_at: later,
};

/** One example for each service that delivers webhooks. */
const deliveries = Object.fromEntries(
  Object.keys(paths.webhooks).map((kind) => [
    `webhooks.${kind}`,
    { accepted: true, duplicate: false },
  ]),
);

const tracker = { kind: "local", healthy: true, last_error: null };

const template = {
  id: "tpl_01kaqz5g3b8x0v9n2m4p6r8t0w",
  name: "review",
  body: "Review {{ issue.title }}.",
  read_only: false,
  variables: ["issue.title"],
  created_at: at,
  updated_at: later,
};

const overlay = { agent: { max_turns: 5 }, polling: { interval_ms: 10_000 } };

const stream = [
  `id: ${event.seq}`,
  `event: ${event.type}`,
  `data: ${JSON.stringify(event)}`,
  "",
  "",
].join("\n");

/** The work of a workspace that was removed. */
const copy = {
  key: "ENG-118-20261102T101500Z",
  path: "/srv/symphony/.symphony/kept/ENG-118-20261102T101500Z",
  issue_identifier: "ENG-118",
  workspace: "/srv/symphony/workspaces/ENG-118",
  form: "bundle",
  bytes: 48_213,
  at,
  summary: "1 commit not pushed (eng-118-fix-login)",
  next: [
    "symphony diff ENG-118-20261102T101500Z",
    "symphony workspaces restore ENG-118-20261102T101500Z",
    "symphony workspaces remove ENG-118-20261102T101500Z --force",
  ],
};

/** Replies of the routes for configuration, templates, workspaces and records. */
const otherExamples: Readonly<Record<string, unknown>> = {
  "config.show": {
    config: { polling: { interval_ms: 10_000 } },
    origins: { "polling.interval_ms": "overlay" },
  },
  "config.schema": { title: "Configuration", type: "object", properties: {} },
  "config.overlay": overlay,
  "config.replaceOverlay": overlay,
  "secrets.list": { keys: ["OPENAI_API_KEY", "TRACKER_API_KEY"] },
  "secrets.put": { key: "TRACKER_API_KEY", updated_at: at },
  "templates.list": { templates: [template], ...page },
  "templates.create": template,
  "templates.detail": template,
  "templates.edit": template,
  "templates.preview": { rendered: "Review Add a health check." },
  "templates.choose": {
    issue_identifier: identifier,
    template_id: template.id,
    applies: "next_attempt",
  },
  "workspaces.list": {
    root: "/srv/symphony/workspaces",
    workspaces: [
      {
        key: identifier,
        path: "/srv/symphony/workspaces/ENG-123",
        host: null,
        issue_identifier: identifier,
        status: "running",
        in_use: true,
        disk_bytes: 1_048_576,
        branch: "eng-123-add-a-health-check",
        dirty: null,
        holds: null,
        kept: null,
        created_at: at,
        last_used_at: later,
      },
    ],
    total_bytes: 1_048_576,
    copies: [copy],
    ...page,
  },
  "workspaces.restore": { key: copy.key, path: copy.workspace },
  "audit.list": {
    entries: [
      {
        seq: 7,
        id: "aud_01kaqz5g3b8x0v9n2m4p6r8t0w",
        at,
        actor: "cli",
        action: "issues.abort",
        target: identifier,
        outcome: "ok",
        detail: { reason: "the plan changed" },
        hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        prev_hash: null,
      },
    ],
    ...page,
  },
  ...deliveries,
  "key.rotate": {
    key_id: "k_5f2a9c1b",
    previous_key_id: "k_0d7e31aa",
    secrets: 2,
    rotated_at: at,
  },
  "models.list": {
    provider: { kind: "openai", base_url: "https://api.openai.com/v1" },
    models: [{ id: "gpt-5.5", owned_by: "openai", created_at: at }],
    fetched_at: later,
  },
  "git.context": {
    repositories: [
      {
        name: "acme/shop",
        url: "https://github.com/acme/shop.git",
        default_branch: "main",
        path: null,
        remotes: [{ name: "origin", url: "https://github.com/acme/shop.git" }],
        branches: [
          {
            name: "eng-123-add-a-health-check",
            head: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
            issue_identifier: identifier,
            ahead: 1,
            behind: 0,
            path: "/srv/symphony/workspaces/ENG-123",
            dirty: true,
          },
        ],
      },
    ],
    routing: [],
    complete: true,
  },
  "git.diff": {
    issue_identifier: identifier,
    path: "/srv/symphony/workspaces/ENG-123",
    branch: "eng-123-add-a-health-check",
    base: "9c2e1f0a7d54b6c3e8f1a2b3c4d5e6f708192a3b",
    base_note: null,
    head: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    ahead: 1,
    behind: 0,
    files: [{ path: "src/health.ts", additions: 12, deletions: 0 }],
    patch: "diff --git a/src/health.ts b/src/health.ts\n…\n",
    truncated: false,
    not_shown: [{ kind: "stashes", count: 1 }],
    not_shown_summary: "1 stash",
  },
  "issues.deliver": { issue_identifier: identifier, delivery },
  "usage.list": {
    by: "issue",
    currency: "USD",
    rows: [{ key: identifier, outcome: null, tokens, cost: 0.0142, unpriced_models: [] }],
    sum: { tokens, cost: 0.0142, unpriced_models: [] },
    ...page,
  },
};

/** A successful reply of each route, by the route's name; a test validates each against its schema. */
export const replyExamples: Readonly<Record<string, unknown>> = {
  "system.state": {
    generated_at: later,
    seq: 41,
    counts: {
      queued: 0,
      running: 1,
      retrying: 0,
      blocked: 0,
      review: 0,
      held: 0,
      failed: 0,
      completed: 0,
    },
    queued: [],
    running: [runningRow],
    retrying: [],
    blocked: [],
    review: [],
    held: [],
    failed: [],
    completed: [],
    kept: [
      { ...kept, issue_id: "9a4c7b10-2f6d-4e83-8b1a-5c3d7e9f0a12", issue_identifier: "ENG-120" },
    ],
    kept_total: 1,
    codex_totals: { ...tokens, seconds_running: 150.3 },
    rate_limits: null,
    polling: { interval_ms: 30_000, last_poll_at: at, next_poll_at: later, last_error: null },
    tracker,
    paused: [],
    storage: null,
    problem: null,
  },
  "system.runtime": {
    version: "0.1.0",
    node_version: "v24.21.0",
    platform: "linux",
    pid: 4_711,
    started_at: at,
    uptime_seconds: 150.333,
    data_dir: "/srv/symphony/.symphony",
    workflow_path: "/srv/symphony/WORKFLOW.md",
    server: { host: "127.0.0.1", port: 4000, auth: "none" },
    tracker,
    agent: { kind: "codex", model: null, command: "codex app-server", level: "safe" },
    features: { events: true, local_issues: false, webhooks: true },
  },
  "system.refresh": {
    queued: true,
    coalesced: false,
    requested_at: at,
    operations: ["poll", "reconcile"],
  },
  "system.transitions": {
    states: [
      { name: "queued", kind: "status", terminal: false },
      { name: "Done", kind: "tracker", terminal: true },
    ],
    issues: {
      [identifier]: {
        status: "running",
        state: issue.state,
        transitions: [
          { to: "held", kind: "status" },
          { to: "Done", kind: "tracker" },
        ],
      },
    },
  },
  "system.events": stream,
  "system.openapi": { openapi: "3.0.3", info: { title: "symphony", version: "0.1.0" }, paths: {} },
  "system.metrics": 'symphony_issues{status="running"} 1\n',
  "system.docs": "<!doctype html>",
  "issues.list": { issues: [{ ...issue, status: "running" }], ...page },
  "issues.create": issue,
  "issues.edit": issue,
  "issues.comment": {
    issue_identifier: identifier,
    body: "The flag is called --verbose now.",
    at,
  },
  "issues.detail": {
    issue_identifier: identifier,
    issue_id: issueId,
    status: "running",
    issue,
    workspace: {
      key: identifier,
      path: "/srv/symphony/workspaces/ENG-123",
      host: null,
      branch: null,
    },
    kept: null,
    kept_elsewhere: [],
    attempts: { count: 1, restart_count: 0, current_retry_attempt: 0, latest: [attempt] },
    running: runningRow,
    retry: null,
    needs: null,
    overrides: { model: null, reasoning_effort: null, agent: null, template_id: null },
    recent_events: [
      { at, event: event.type, message: event.message, seq: event.seq, attempt_id: attemptId },
    ],
    last_error: null,
    delivery: null,
    feedback: null,
    explain: [{ gate: "state", pass: true, detail: "In Progress is an active state" }],
    logs: { codex_session_logs: [] },
    tracked: {},
  },
  "issues.abort": {
    issue_identifier: identifier,
    status: "stopping",
    already_stopping: false,
    requested_at: at,
  },
  "issues.steer": {
    issue_identifier: identifier,
    steer_id: "steer_01kaqz5g3b8x0v9n2m4p6r8t0w",
    attempt_id: attemptId,
    turn_id: "turn-1",
    status: "accepted",
  },
  "issues.model": {
    issue_identifier: identifier,
    model: "o4-mini",
    reasoning_effort: null,
    agent: null,
    applies: "next_turn",
  },
  "issues.respond": {
    issue_identifier: identifier,
    asked: "Run this command?\nnpm publish --dry-run",
    applies: "now",
  },
  "issues.transition": {
    issue_identifier: identifier,
    from: "held",
    to: "queued",
    kind: "status",
  },
  "issues.attempts": { issue_identifier: identifier, attempts: [attempt], ...page },
  "attempts.detail": { ...attempt, events: [event], next_after_seq: null, kept: null },
  ...otherExamples,
};
