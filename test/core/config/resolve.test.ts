import assert from "node:assert/strict";
import { test } from "node:test";
import { type ConfigSources, resolveConfig } from "../../../src/core/config/resolve.ts";
import { workspaceRoot } from "../../../src/core/config/root.ts";
import { mapOf } from "../../../src/core/config/schema.ts";

import { sections } from "../../../src/core/kinds.ts";

const workflow = { tracker: { kind: "local" } };

function resolve(sources: Partial<ConfigSources> = {}) {
  return resolveConfig({ workflow, env: {}, flags: {}, ...sources }, sections);
}

test("W-16, W-25: defaults, file, environment, overlay, flags; later layers win", () => {
  const { written, origins } = resolve({
    workflow: {
      ...workflow,
      agent: { max_turns: 2, max_concurrent_agents: 2 },
      server: { port: 1 },
    },
    env: {
      SYMPHONY_AGENT__MAX_TURNS: "3",
      SYMPHONY_AGENT__MAX_RETRIES: "3",
      SYMPHONY_SERVER__PORT: "2",
    },
    overlay: { agent: { max_retries: 4 }, server: { port: 3, host: "::1" } },
    flags: { port: 0 },
  });
  assert.equal(written.agent.max_turns, 3);
  assert.equal(written.agent.max_concurrent_agents, 2);
  assert.equal(written.agent.max_retries, 4);
  assert.deepEqual([written.server.host, written.server.port], ["::1", 0]);
  const of = (path: string) => origins[path];
  assert.equal(of("polling.interval_ms"), "default");
  assert.equal(of("agent.max_concurrent_agents"), "workflow");
  assert.equal(of("agent.max_turns"), "env");
  assert.equal(of("agent.max_retries"), "overlay");
  assert.equal(of("server.host"), "overlay");
  assert.equal(of("server.port"), "flag");
});

test("W-25: a null of one layer exposes the layer below, except for max_retries", () => {
  const { written, origins } = resolve({
    workflow: { ...workflow, agent: { max_turns: 2, max_retries: 1 } },
    overlay: { agent: { max_turns: null, max_retries: null } },
  });
  assert.deepEqual([written.agent.max_turns, written.agent.max_retries], [2, null]);
  assert.equal(origins["agent.max_turns"], "workflow");
  assert.equal(origins["agent.max_retries"], "overlay");
});

test("maps are merged by key; lists and policies are replaced as a whole", () => {
  const { written, origins } = resolve({
    workflow: {
      tracker: { kind: "x", provider: { a: { b: 1, c: 2 } }, required_labels: ["a", "b"] },
      agent: { max_concurrent_agents_by_state: { Todo: 1, Review: 2 } },
      codex: { turn_sandbox_policy: { type: "workspaceWrite", networkAccess: false } },
    },
    overlay: {
      tracker: { provider: { a: { b: 9 } }, required_labels: ["c"] },
      agent: { max_concurrent_agents_by_state: { todo: 5 } },
      codex: { turn_sandbox_policy: { type: "readOnly" } },
    },
  });
  assert.deepEqual(written.tracker.provider, { a: { b: 9, c: 2 } });
  assert.deepEqual(written.tracker.required_labels, ["c"]);
  assert.deepEqual(written.agent.max_concurrent_agents_by_state, { todo: 5, review: 2 });
  assert.deepEqual(mapOf(written["codex"])["turn_sandbox_policy"], { type: "readOnly" });
  assert.equal(origins["tracker.provider.a.b"], "overlay");
  assert.equal(origins["tracker.provider.a.c"], "workflow");
  assert.equal(origins["codex.turn_sandbox_policy"], "overlay");
  assert.equal(origins["agent.max_concurrent_agents_by_state.review"], "workflow");
});

test("environment values are numbers, booleans and JSON where the key accepts them, otherwise text", () => {
  const { written, warnings } = resolve({
    env: {
      SYMPHONY_TRACKER__KIND: "123",
      SYMPHONY_TRACKER__ACTIVE_STATES: '["A","B"]',
      SYMPHONY_TRACKER__PROVIDER__DEEP__FLAG: "true",
      SYMPHONY_TRACKER__PROVIDER__API_KEY: "$OTHER",
      SYMPHONY_AGENT__MAX_RETRIES: "null",
      SYMPHONY_AGENT__MAX_CONCURRENT_AGENTS_BY_STATE: '{"In Progress": 2}',
      SYMPHONY_CODEX__APPROVAL_POLICY: "on-request",
      SYMPHONY_CODEX__MODEL: "5",
      SYMPHONY_CODEX__COMMAND: "",
      SYMPHONY_URL: "http://127.0.0.1:1",
    },
  });
  assert.equal(written.tracker.kind, "123");
  assert.deepEqual(written.tracker.active_states, ["A", "B"]);
  assert.deepEqual(written.tracker.provider, { api_key: "$OTHER", deep: { flag: true } });
  assert.equal(written.agent.max_retries, null);
  assert.deepEqual(written.agent.max_concurrent_agents_by_state, { "in progress": 2 });
  assert.equal(mapOf(written["codex"])["approval_policy"], "on-request");
  assert.equal(mapOf(written["codex"])["model"], "5");
  assert.equal(mapOf(written["codex"])["command"], "codex app-server");
  assert.deepEqual(warnings, []);
});

test("W-15: unknown keys are kept and named once with a suggestion; x- keys belong to the user", () => {
  const { written, warnings, origins } = resolve({
    workflow: {
      ...workflow,
      agent: { max_turn: 5, "x-note": "ours" },
      pooling: { interval_ms: 1 },
      max_turns: 3,
      "x-team": 1,
    },
    env: { SYMPHONY_AGENT__MAX_TURNZ: "5", SYMPHONY_NOPE__X: "secret" },
  });
  assert.deepEqual(warnings.toSorted(), [
    "SYMPHONY_AGENT__MAX_TURNZ is not a known key and is ignored; did you mean SYMPHONY_AGENT__MAX_TURNS?",
    "SYMPHONY_NOPE__X is not a known key and is ignored",
    "agent.max_turn is not a known key and is ignored; did you mean agent.max_turns?",
    "max_turns is not a known key and is ignored; did you mean agent.max_turns?",
    "pooling is not a known key and is ignored; did you mean polling?",
  ]);
  assert.equal(written.agent["max_turn"], 5);
  assert.equal(origins["agent.max_turn"], "workflow");
  assert.equal(JSON.stringify(written).includes("secret"), false);
});

test("W-11: a per-state limit that is dropped is reported", () => {
  const { warnings } = resolve({
    workflow: { ...workflow, agent: { max_concurrent_agents_by_state: { Todo: 0, Review: 1 } } },
  });
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? "", /"todo"/);
});

test("L-5: linear's old flat keys are copied into the provider, which wins", () => {
  const { written, warnings, origins } = resolve({
    workflow: {
      tracker: {
        kind: "linear",
        api_key: "$A",
        project_slug: "flat",
        provider: { project_slug: "p" },
      },
    },
    env: { SYMPHONY_TRACKER__ASSIGNEE: "me" },
  });
  assert.deepEqual(written.tracker.provider, { api_key: "$A", project_slug: "p", assignee: "me" });
  assert.equal(written.tracker["api_key"], undefined);
  assert.equal(origins["tracker.provider.api_key"], "workflow");
  assert.equal(origins["tracker.provider.assignee"], "env");
  assert.deepEqual(warnings, []);
});

test("L-5: an upper layer's flat key wins over a lower layer's provider, and only linear has them", () => {
  const layered = resolve({
    workflow: { tracker: { kind: "linear", provider: { project_slug: "low" } } },
    overlay: { tracker: { project_slug: "high" } },
  });
  assert.deepEqual(layered.written.tracker.provider, { project_slug: "high" });
  const local = resolve({ workflow: { tracker: { kind: "local", api_key: "x" } } });
  assert.deepEqual(local.written.tracker.provider, {});
  assert.equal(local.warnings.length, 1);
});

test("THREAT-11: keys that reach the prototype of an object are refused in every layer, at any depth", () => {
  for (const key of ["__proto__", "constructor", "prototype"]) {
    const evil = JSON.parse(
      `{"tracker":{"kind":"local","provider":{"a":[{"${key}":{"polluted":true}}]}}}`,
    );
    const path = `tracker.provider.a.0.${key}`;
    for (const sources of [{ workflow: evil }, { overlay: evil }]) {
      assert.throws(() => resolve(sources), {
        code: "invalid_config",
        details: { problems: [{ path, message: "is not allowed as a key" }] },
      });
    }
  }
  const top = JSON.parse('{"__proto__":{"polluted":true}}');
  assert.throws(() => resolve({ overlay: top }), { code: "invalid_config" });
  const json = '{"__proto__":{"polluted":true}}';
  assert.throws(() => resolve({ env: { SYMPHONY_TRACKER__PROVIDER: json } }), {
    code: "invalid_config",
  });
  assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
});

test("W-9: an invalid value of any layer is refused with its key", () => {
  for (const sources of [
    { env: { SYMPHONY_AGENT__MAX_TURNS: "many" } },
    { overlay: { agent: { max_turns: "many" } } },
  ]) {
    assert.throws(() => resolve(sources), /agent\.max_turns must be a whole number/);
  }
  assert.throws(() => resolve({ flags: { port: -1 } }), /server\.port must be between 0 and 65535/);
});

const place = { workflowPath: "/srv/shop/WORKFLOW.md", home: "/home/ada", env: {} };

test("W-18: the root expands ~ and $VAR and is relative to the workflow file", () => {
  const env = { ROOT: "/data/ws", HOMEWARD: "~/w", SUB: "sub", EMPTY: "" };
  const cases: [string, string][] = [
    ["~", "/home/ada"],
    ["~/ws/", "/home/ada/ws"],
    ["ws/../other", "/srv/shop/other"],
    ["/abs//x", "/abs/x"],
    ["$ROOT", "/data/ws"],
    ["$ROOT/a", "/data/ws/a"],
    ["$HOMEWARD", "/home/ada/w"],
    ["$SUB", "/srv/shop/sub"],
    ["a$ROOT", "/srv/shop/a$ROOT"],
    ["env:ROOT", "/srv/shop/env:ROOT"],
  ];
  for (const [written, expected] of cases) {
    assert.equal(workspaceRoot(written, { ...place, env }), expected, written);
  }
});

test("W-7, W-18: a root that is missing, blank or unset is the project's own directory under ~/.symphony", () => {
  const root = workspaceRoot(undefined, place);
  assert.match(root, /^\/home\/ada\/\.symphony\/workspaces\/shop-[0-9a-f]{8}$/);
  for (const written of ["", " ", "$UNSET", "$EMPTY", "$UNSET/x"]) {
    assert.equal(workspaceRoot(written, { ...place, env: { EMPTY: "" } }), root);
  }
  const other = workspaceRoot(undefined, { ...place, workflowPath: "/elsewhere/shop/WORKFLOW.md" });
  assert.notEqual(other, root);
});

test("W-18: a root that would be unsafe or ambiguous is refused", () => {
  for (const written of ["/", "../../..", "~bob/x", "a\0b"]) {
    assert.throws(() => workspaceRoot(written, place), /workspace\.root /, written);
  }
});

// S8 is a row of the cases of scheduler and configuration: polls that use up the hour's budget.
const floors = [
  ["linear", 999, 1_000],
  ["linear", 30, 1_000],
  ["local", 49, 50],
] as const;
for (const [kind, below, floor] of floors) {
  test(`S8: ${kind} is polled every ${floor} ms at most: ${below} is refused by name, from any layer`, () => {
    const tracker = { kind };
    const layers = (ms: number): Partial<ConfigSources>[] => [
      { workflow: { tracker, polling: { interval_ms: ms } } },
      { workflow: { tracker }, overlay: { polling: { interval_ms: ms } } },
      { workflow: { tracker }, env: { SYMPHONY_POLLING__INTERVAL_MS: String(ms) } },
    ];
    for (const sources of layers(below)) {
      assert.throws(() => resolve(sources), {
        code: "invalid_config",
        message: new RegExp(
          `polling.interval_ms must be at least ${floor} with tracker.kind ${kind}`,
        ),
      });
    }
    for (const sources of layers(floor)) {
      assert.equal(resolve(sources).written.polling.interval_ms, floor);
    }
  });
}

test("S8: an overlay that chooses the other tracker is checked with its floor", () => {
  const workflow = { tracker: { kind: "local" }, polling: { interval_ms: 100 } };
  assert.equal(resolve({ workflow }).written.polling.interval_ms, 100);
  const overlay = { tracker: { kind: "linear" } };
  assert.throws(() => resolve({ workflow, overlay }), { code: "invalid_config" });
});
