// Every key of the table of other tools' keys. "S5" is the row of the inputs to the configuration that went wrong.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { checkConfig } from "../../../src/core/config/check.ts";
import { foreignKeys } from "../../../src/core/config/foreign-keys.ts";
import { migrated } from "../../../src/core/config/migrate.ts";
import { isKnownKey } from "../../../src/core/config/unknown-keys.ts";
import { sections } from "../../../src/core/kinds.ts";

/** The keys that workflow files of other tools were seen with, and whether one that is ignored lets more run than its author meant. */
const seen: Readonly<Record<string, boolean>> = {
  "tracker.pickup_labels": true,
  "tracker.routing_label": true,
  "tracker.team_key": true,
  "tracker.query_filter": true,
  "tracker.filter.labels.include": true,
  "tracker.blocker_check_states": true,
  "agent.max_total_tokens": true,
  "agent.max_attempts": true,
  runner: true,
  engine: true,
  runtime: true,
  agent_runtime: true,
  agents: true,
  "agent.command": true,
  opencode: true,
  claude: true,
  on_pickup_state: false,
  on_complete_state: false,
  handoff_state: false,
  in_progress_state: false,
  success_state: false,
  stages: false,
  prompts: false,
  trackers: false,
  base_config: false,
  "agent.turn_timeout_ms": false,
  "agent.stall_timeout_ms": false,
  "agent.read_timeout_ms": false,
  "codex.reasoning_effort": false,
  qa: false,
  observability: false,
};

/** A value that such a key has in other tools' files. */
const values: Readonly<Record<string, unknown>> = {
  "tracker.pickup_labels": ["agent"],
  "tracker.filter.labels.include": ["agent"],
  "tracker.query_filter": { estimate: { lt: 3 } },
  "tracker.blocker_check_states": ["Todo"],
  "agent.max_total_tokens": 5000,
  "agent.max_attempts": 3,
  runner: "claude-code",
  engine: "opencode",
  runtime: { kind: "codex" },
  agent_runtime: "gemini",
  agents: "claude",
  "agent.command": "claude -p",
  opencode: { model: "m" },
  stages: [{ name: "plan" }],
  trackers: [{ kind: "local" }],
  "agent.turn_timeout_ms": 7,
  "agent.stall_timeout_ms": 8,
  "agent.read_timeout_ms": 9,
  qa: { command: "npm test" },
  observability: { enabled: true },
};

function nested(path: string, value: unknown): Record<string, unknown> {
  const [key = "", ...rest] = path.split(".");
  return { [key]: rest.length === 0 ? value : nested(rest.join("."), value) };
}

/** A file on the local tracker with one foreign key in it. */
function fileWith(path: string): Buffer {
  const { tracker, ...others } = nested(path, values[path] ?? "Review");
  const settings = { tracker: { kind: "local", ...Object(tracker) }, ...others };
  return Buffer.from(`---\n${JSON.stringify(settings)}\n---\nWork on {{ issue.title }}\n`);
}

const deps = { sections, workflowPath: "/srv/WORKFLOW.md", env: {}, flags: {} };
const target = { known: sections, agents: sections.agents.map(({ kind }) => kind) };

/** Keys that this version has itself are no longer foreign. */
const foreign = Object.keys(seen).filter((path) => !isKnownKey(path, sections));

test("S5: every key that was seen is in the table, or a key of this version", () => {
  const paths = new Set(foreignKeys.flatMap((row) => row.paths));
  assert.deepEqual(
    foreign.filter((path) => !paths.has(path)),
    [],
  );
  assert.ok(foreign.length > 20);
});

describe("S5: a key of another tool is recognised, and the message says what replaces it", () => {
  for (const path of foreign) {
    test(path, async () => {
      const { findings } = await checkConfig(fileWith(path), deps);
      const [found, ...others] = findings.filter((one) => one.path === path);
      assert.ok(found, `nothing was found of ${path}`);
      assert.deepEqual(others, []);
      assert.equal(found.severity, seen[path] ? "error" : "warning");
      assert.ok(found.message.startsWith(`${path} is a key of another tool`), found.message);
      assert.match(found.message, /; \S+/);
      assert.equal(found.place?.line, 2);
      if (seen[path]) assert.match(found.next ?? "", /symphony config migrate \/srv\/WORKFLOW\.md/);
      const allowed = await checkConfig(fileWith(path), { ...deps, allowUnknown: true });
      assert.ok(allowed.findings.every(({ severity }) => severity === "warning"));
      const variables = { SYMPHONY_OTHER: "1" };
      assert.ok(
        (await checkConfig(fileWith(path), { ...deps, env: variables })).findings.length > 0,
      );
    });
  }
});

describe("what config migrate writes has no key of another tool, except what it says it left", () => {
  for (const path of foreign) {
    test(path, async () => {
      const { text, moved, left } = migrated(fileWith(path), "WORKFLOW.md", target);
      const { findings } = await checkConfig(Buffer.from(text), deps);
      const still = findings.filter(({ message }) => message.includes("another tool"));
      assert.deepEqual(
        still.map((one) => one.path),
        left.map(({ from }) => from),
      );
      for (const { to } of moved) {
        for (const one of to) assert.ok(isKnownKey(one.split(":")[0] ?? "", sections), one);
      }
      for (const { note } of left) assert.ok(note !== null && note !== "");
      assert.ok(text.endsWith("---\nWork on {{ issue.title }}\n"));
      const errors = findings.filter(
        ({ severity, path: at }) => severity === "error" && at !== path,
      );
      assert.deepEqual(errors, []);
    });
  }
});

/** What the translation of one key is. */
const translations: readonly (readonly [string, string | null])[] = [
  ["tracker.pickup_labels", 'tracker.labels.any: ["agent"]'],
  ["tracker.filter.labels.include", 'tracker.labels.any: ["agent"]'],
  ["tracker.routing_label", 'tracker.labels.any: ["Review"]'],
  ["agent.max_total_tokens", "brakes.tokens_per_issue: 5000"],
  ["agent.max_attempts", "agent.max_retries: 2"],
  ["engine", "agent.kind: acp, acp.command: opencode acp"],
  ["runtime", "agent.kind: codex"],
  ["opencode", "agent.kind: acp, acp.command: opencode acp, acp.model: m"],
  ["on_pickup_state", "tracker.in_progress: Review"],
  ["handoff_state", "tracker.on_success: Review"],
  ["agent.stall_timeout_ms", "codex.stall_timeout_ms: 8"],
  ["codex.reasoning_effort", "agent.reasoning_effort: Review"],
  ["stages", null],
  ["observability", null],
];

test("keys are translated with their values", () => {
  for (const [path, expected] of translations) {
    const { moved } = migrated(fileWith(path), "WORKFLOW.md", target);
    assert.equal(moved[0]?.to.join(", ") ?? null, expected, path);
  }
});

test("config migrate keeps comments, the prompt and the line ends, and sets no key twice", () => {
  const text = [
    "---",
    "# ours",
    "tracker:",
    "  kind: local",
    "",
    "  # only these",
    "  pickup_labels: [agent, 'bot'] # two",
    "  on_success: Done # set",
    "  handoff_state: Review # not twice",
    "agent:",
    "  # expensive",
    "  max_total_tokens: 5000 # each",
    "--- ",
    "Work on {{ issue.title }}",
    "---",
    "{{ issue.description }}",
    "",
  ].join("\r\n");
  const result = migrated(Buffer.from(text), "WORKFLOW.md", target);
  assert.deepEqual(result.text.split("\r\n"), [
    "---",
    "# ours",
    "tracker:",
    "  kind: local",
    "  on_success: Done # set",
    "  handoff_state: Review # not twice",
    "  labels:",
    "    # only these",
    "    any: [agent, 'bot'] # two",
    "brakes:",
    "  # expensive",
    "  tokens_per_issue: 5000 # each",
    "--- ",
    "Work on {{ issue.title }}",
    "---",
    "{{ issue.description }}",
    "",
  ]);
  assert.deepEqual(result.left, [
    { from: "tracker.handoff_state", to: [], note: "tracker.on_success is set already" },
  ]);
});

test("config migrate leaves a file without such keys as it is, byte for byte", () => {
  for (const text of [
    "---\ntracker:   {kind: local}\n---\nhi",
    "only a prompt\n",
    "---\nx-mine: 1\n",
  ]) {
    const { text: after, moved, left } = migrated(Buffer.from(text), "WORKFLOW.md", target);
    assert.equal(after, text);
    assert.deepEqual([...moved, ...left], []);
  }
});

test("S5: names that no tool of the table has are judged by what they say: a bound on what runs, or another agent, stops the start", async () => {
  const stops: Readonly<Record<string, string>> = {
    concurrency: "agent.max_concurrent_agents",
    max_agents: "agent.max_concurrent_agents",
    max_parallel_issues: "agent.max_concurrent_agents",
    "agent.parallelism": "agent.max_concurrent_agents",
    "agent.max_workers": "agent.max_concurrent_agents",
    "tracker.max_concurrent_issues": "agent.max_concurrent_agents",
    "agent.type": "agent.kind",
    backend: "agent.kind",
    "agent.by_label.special.agent": "write use:",
    allowed_labels: "tracker.labels",
    team: "tracker.labels",
    project: "tracker.labels",
    only: "tracker.labels",
    only_assigned: "tracker.provider.assignee",
    "tracker.assignees": "tracker.provider.assignee",
    "tracker.only": "tracker.labels",
    "tracker.pickup": "tracker.labels",
    "tracker.states": "tracker.active_states",
    runners: "agent.kind",
    executor: "agent.kind",
    provider: "agent.kind",
    llm: "agent.kind",
    worker_kind: "agent.kind",
    budget_usd: "brakes.tokens_per_issue",
    monthly_budget: "brakes.tokens_per_issue",
    quota: "brakes.tokens_per_issue",
    max_attempts: "brakes.tokens_per_issue",
  };
  const warns: Readonly<Record<string, string | null>> = {
    repo: "git.repositories",
    "git.repository": "git.repositories",
    theme: null,
    "workspace.colour": null,
  };
  for (const [path, to] of Object.entries({ ...stops, ...warns })) {
    const { findings } = await checkConfig(fileWith(path), deps);
    const found = findings.find((one) => one.path === path);
    assert.equal(found?.severity, path in stops ? "error" : "warning", path);
    if (to !== null) assert.ok(found?.message.includes(to), found?.message);
  }
});
