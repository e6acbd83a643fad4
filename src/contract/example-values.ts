import { paths } from "./paths.ts";

// The examples of the document describe one issue, its attempt and a template.

export const at = "2026-11-23T17:07:00.123Z";
export const later = "2026-11-23T17:09:30.456Z";
export const issueId = "7d0e1a52-6f0b-4c39-9d5e-0a1f3c5b7e90";
export const identifier = "ENG-123";
export const attemptId = "att_01kaqz5g3b8x0v9n2m4p6r8t0w";
export const page = { total: 1, limit: 50, offset: 0 };

export const tokens = {
  input_tokens: 5_200,
  cached_input_tokens: 4_096,
  output_tokens: 640,
  reasoning_output_tokens: 128,
  total_tokens: 5_840,
};

export const issue = {
  id: issueId,
  native_ref: null,
  identifier,
  title: "Add a health check",
  description: "GET /health",
  priority: 2,
  state: "In Progress",
  state_type: "started",
  branch_name: "eng-123-add-a-health-check",
  url: "https://tracker.example/acme/issue/ENG-123",
  assignee_id: null,
  assignee: null,
  team: { id: "3f1c", key: "ENG", name: "Engineering" },
  project: { id: "5b2e", slug: "a79254768c8f", name: "Operations" },
  parent: null,
  sub_issues: [],
  labels: ["backend"],
  blocked_by: [],
  dispatchable: true,
  created_at: at,
  updated_at: later,
};

export const runningRow = {
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

export const attempt = {
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

export const event = {
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
export const kept = {
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
export const delivery = {
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
  place: "pull request #12 https://github.com/acme/shop/pull/12",
  progress: "waits for a review",
  waiting_for: "a review",
  needs_person: true,
  problem: null,
  offered_at: at,
  seen_at: later,
};

/** One example for each service that delivers webhooks. */
export const deliveries = Object.fromEntries(
  Object.keys(paths.webhooks).map((kind) => [
    `webhooks.${kind}`,
    { accepted: true, duplicate: false },
  ]),
);

export const tracker = { kind: "local", status: "healthy", healthy: true, last_error: null };

export const template = {
  id: "tpl_01kaqz5g3b8x0v9n2m4p6r8t0w",
  name: "review",
  body: "Review {{ issue.title }}.",
  read_only: false,
  variables: ["issue.title"],
  created_at: at,
  updated_at: later,
};

export const worker = {
  name: "build-1",
  host: "build-1.example.com",
  labels: ["gpu"],
  capacity: 4,
  running: 1,
  ready: true,
  why: null,
  agents: [{ agent: "codex", trouble: null }],
  version: "0.1.0",
  since: at,
};

export const namedToken = {
  name: "ada",
  role: "operate",
  created_at: at,
  expires_at: null,
  expired: false,
};

export const noticeId = "ntc_5f0c1f0e-7a38-4b0d-9c55-2a6b8f1d0e77";

export const noticeRule = {
  name: "team",
  to: "slack",
  when: ["needs", "failed"],
  detail: "brief",
  waiting: 0,
  quiet_until: null,
  fault: null,
  last: {
    outcome: "sent",
    at,
    id: noticeId,
    total: 3,
    tries: 1,
    category: null,
    reason: "HTTP 200",
  },
};

export const overlay = { agent: { max_turns: 5 }, polling: { interval_ms: 10_000 } };

export const stream = [
  `id: ${event.seq}`,
  `event: ${event.type}`,
  `data: ${JSON.stringify(event)}`,
  "",
  "",
].join("\n");

/** The work of a workspace that was removed. */
export const copy = {
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
