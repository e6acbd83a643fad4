import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { toConfig } from "../../../src/core/config/resolve.ts";
import { parseWritten } from "../../../src/core/config/schema.ts";
import { sectionsOf } from "../../../src/core/config/sections.ts";
import { sections } from "../../../src/core/kinds.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { config } from "../../support/makers/issue.ts";

type Values = Record<string, unknown>;

function parse(values: Values = {}) {
  return toConfig(
    parseWritten({ tracker: { kind: "local" }, ...values }, sections),
    "/root",
    sections,
  );
}

/** `path message` of every problem. */
function problems(values: Values): string[] {
  try {
    parse(values);
  } catch (error) {
    assert.ok(error instanceof SymphonyError);
    assert.equal(error.code, "invalid_config");
    const list = error.details["problems"] as { path: string; message: string }[];
    for (const { path } of list) assert.ok(error.message.includes(path));
    return list.map(({ path, message }) => `${path} ${message}`);
  }
  return [];
}

function nested(path: string, value: unknown): Values {
  const [section = "", key = ""] = path.split(".");
  const kind = section === "tracker" ? { kind: "local" } : {};
  return { [section]: { ...kind, [key]: value } };
}

test("W-7: the documented defaults", () => {
  const expected = config({
    workspace: {
      root: "/root",
      keepMaxBytes: 2 * 1024 ** 3,
      retention: { maxAgeMs: null, maxTotalBytes: null },
    },
    agent: { approvalTimeoutMs: 1_800_000 },
    brakes: {
      tokensPerIssue: 20_000_000,
      tokensPerDay: 100_000_000,
      turnsWithoutProgress: 5,
      attemptTimeoutMs: 14_400_000,
    },
    server: { port: 4000 },
    worker: { root: "~/.symphony/workspaces/root" },
  });
  assert.deepEqual(parse(), expected);
});

test("W-8: an explicit null counts as a missing value, at any depth", () => {
  const nulls: Record<string, Values> = {};
  for (const path of sections.keys.keys()) {
    const [section = "", key = ""] = path.split(".");
    if (["tracker.kind", "agent.max_retries"].includes(path)) continue;
    if (["history.retention_days", "server.rate_limit"].includes(path)) continue;
    nulls[section] = { ...nulls[section], [key]: null };
  }
  assert.deepEqual(parse({ ...nulls, tracker: { ...nulls["tracker"], kind: "local" } }), parse());
  assert.deepEqual(parse({ agent: null, codex: null, hooks: null }), parse());
  const { provider } = parse({
    tracker: { kind: "local", provider: { a: { b: null, c: 1 } } },
  }).tracker;
  assert.deepEqual(provider, { a: { c: 1 } });
});

test("W-8: null has a meaning of its own for history.retention_days: never", () => {
  assert.equal(parse({ history: { retention_days: null } }).history.retentionDays, null);
  assert.equal(parse({ history: { retention_days: 7 } }).history.retentionDays, 7);
  assert.equal(parse().history.retentionDays, 90);
  assert.deepEqual(problems({ history: { retention_days: 0 } }), [
    "history.retention_days must be greater than 0",
  ]);
});

test("W-8: server.rate_limit is another exception: null means no limit", () => {
  assert.equal(parse({ server: { rate_limit: null } }).server.rateLimit, null);
  assert.equal(parse({ server: { rate_limit: 5 } }).server.rateLimit, 5);
  assert.deepEqual(problems({ server: { rate_limit: 0 } }), [
    "server.rate_limit must be greater than 0",
  ]);
});

test("W-8: agent.max_retries is the exception: null means unlimited", () => {
  assert.equal(parse({ agent: { max_retries: null } }).agent.maxRetries, null);
  assert.equal(parse({ agent: { max_retries: 0 } }).agent.maxRetries, 0);
  assert.deepEqual(problems({ agent: { max_retries: -1 } }), [
    "agent.max_retries must not be negative",
  ]);
});

test("W-9: numbers that are text, zero, negative or malformed are refused with their dotted key", () => {
  const keys = [
    "polling.interval_ms",
    "hooks.timeout_ms",
    "agent.max_concurrent_agents",
    "agent.max_turns",
    "agent.max_retry_backoff_ms",
    "codex.turn_timeout_ms",
    "codex.read_timeout_ms",
  ];
  for (const key of keys) {
    for (const bad of ["bad", "5", 1.5, Number.NaN, Number.POSITIVE_INFINITY, true, [1], {}]) {
      assert.deepEqual(problems(nested(key, bad)), [`${key} must be a whole number`]);
    }
    for (const bad of [0, -1]) {
      assert.deepEqual(problems(nested(key, bad)), [`${key} must be greater than 0`]);
    }
  }
});

test("W-9: all problems are named at once, and no value is repeated", () => {
  const secret = "lin_api_canary";
  const found = problems({
    agent: { max_turns: secret },
    codex: { approval_policy: 3, env_passthrough: [`${secret} x`] },
    hooks: 7,
    server: { auth: secret, port: 70_000 },
  });
  assert.deepEqual(found, [
    "hooks must be a map",
    "agent.max_turns must be a whole number",
    "codex.approval_policy must be text or a map",
    "codex.env_passthrough.0 must be the name of a variable",
    "server.port must be between 0 and 65535",
    "server.auth must be none or token",
  ]);
});

test("W-10: a stall timeout of zero or less is valid", () => {
  for (const off of [0, -1, -300_000]) {
    assert.equal(parse({ codex: { stall_timeout_ms: off } }).agent.stallTimeoutMs, off);
    const both = { agent: { silence_timeout_ms: off }, codex: { stall_timeout_ms: 7 } };
    assert.equal(parse(both).agent.stallTimeoutMs, off);
  }
});

test("W-11: per-state limits are normalised, and invalid ones dropped", () => {
  const written = {
    " In Progress ": 2,
    Todo: 0,
    Done: "bad",
    Review: -1,
    Half: 1.5,
    constructor: 3,
  };
  const { maxConcurrentAgentsByState } = parse({
    agent: { max_concurrent_agents_by_state: written },
  }).agent;
  assert.deepEqual(Object.entries(maxConcurrentAgentsByState), [
    ["in progress", 2],
    ["constructor", 3],
  ]);
  assert.deepEqual(problems({ agent: { max_concurrent_agents_by_state: [1] } }), [
    "agent.max_concurrent_agents_by_state must be a map",
  ]);
});

test("W-12: states and labels must be lists", () => {
  for (const key of ["active_states", "terminal_states", "required_labels"]) {
    for (const bad of ["Todo, Review,", { Todo: 1 }]) {
      assert.deepEqual(problems(nested(`tracker.${key}`, bad)), [`tracker.${key} must be a list`]);
    }
    assert.deepEqual(problems(nested(`tracker.${key}`, ["a", 1])), [
      `tracker.${key}.1 must be text`,
    ]);
  }
});

test("S28: a state that is active and terminal is refused; without a terminal one it is said that nothing is ever over", () => {
  assert.deepEqual(
    problems({
      tracker: { kind: "local", active_states: ["Todo", "Doing"], terminal_states: ["todo "] },
    }),
    [
      'tracker.active_states names "Todo", which tracker.terminal_states names too: an issue there would be over',
    ],
  );
  assert.deepEqual(problems({ tracker: { kind: "local", active_states: ["Done"] } }), [
    'tracker.active_states names "Done", which tracker.terminal_states names too: an issue there would be over',
  ]);
  assert.deepEqual(problems({ tracker: { kind: "local", terminal_states: [] } }), [
    "tracker.terminal_states names no state: no issue is ever over, and no workspace is released",
  ]);
});

test("W-13: labels are trimmed, lowercased and unique; a blank one stays", () => {
  const labels = (required_labels: string[]) =>
    parse({ tracker: { kind: "local", required_labels } }).tracker.requiredLabels;
  assert.deepEqual(labels([" Backend", "backend ", "API"]), ["backend", "api"]);
  assert.deepEqual(labels([" "]), [""]);
});

test("tracker.labels and required_labels are one list of required labels, whatever their case and spaces", () => {
  const { requiredLabels, anyLabels, excludedLabels } = parse({
    tracker: {
      kind: "local",
      required_labels: ["Agent"],
      labels: { all: [" agent ", "Ready"], any: ["Web", " API "], exclude: ["Needs Human"] },
    },
  }).tracker;
  assert.deepEqual(requiredLabels, ["agent", "ready"]);
  assert.deepEqual(anyLabels, ["web", "api"]);
  assert.deepEqual(excludedLabels, ["needs human"]);
});

test("a malformed tracker.labels is refused by name, and so are labels that no issue can have", () => {
  const labels = (value: unknown, required: readonly string[] = []) =>
    problems({ tracker: { kind: "local", required_labels: required, labels: value } });
  assert.deepEqual(labels(["agent"]), ["tracker.labels must be a map with any, all or exclude"]);
  assert.deepEqual(labels({ include: ["agent"] }), [
    "tracker.labels has no key include: its keys are any, all and exclude",
  ]);
  assert.deepEqual(labels({ any: "agent" }), ["tracker.labels.any must be a list"]);
  assert.deepEqual(labels({ all: ["a", 1] }), ["tracker.labels.all.1 must be text"]);
  assert.deepEqual(labels({ exclude: [" "] }), ["tracker.labels.exclude.0 must not be blank"]);
  assert.deepEqual(labels({ exclude: ["WIP", "Agent"] }, ["agent"]), [
    'tracker.labels.exclude excludes "agent", which tracker.labels.all or required_labels asks for: no issue could run',
  ]);
  assert.deepEqual(labels({ any: ["a"], exclude: ["a"] }), [
    'tracker.labels.exclude excludes "a", which tracker.labels.any asks for: no issue could run',
  ]);
});

test("W-14: tracker.kind is required, and an unknown kind gets no states of another tracker", () => {
  assert.deepEqual(problems({ tracker: {} }), ["tracker.kind is required"]);
  assert.throws(() => parseWritten({}, sections), /tracker\.kind is required/);
  assert.deepEqual(problems({ tracker: { kind: " " } }), ["tracker.kind must not be blank"]);
  assert.deepEqual(problems({ tracker: { kind: 123 } }), ["tracker.kind must be text"]);
  for (const kind of ["123", "future-tracker", "constructor"]) {
    const { activeStates, terminalStates } = parse({ tracker: { kind } }).tracker;
    assert.deepEqual([activeStates, terminalStates], [[], []]);
  }
});

test("W-15: the provider keeps unknown keys and wrong types for its adapter to validate", () => {
  const provider = { api_key: 7, endpoint: 1.5, assignee: [], future: { x: 1 } };
  assert.deepEqual(parse({ tracker: { kind: "linear", provider } }).tracker.provider, provider);
  assert.deepEqual(parse({ later: { x: [] }, agent: { later: 1 } }), parse());
});

test("W-19: codex.command stays the literal shell line", () => {
  const command = `X="a b" ~/codex 'app-server' $X && true`;
  assert.equal(parse({ codex: { command } }).codex.command, command);
  for (const blank of ["", "  \n"]) {
    assert.deepEqual(problems({ codex: { command: blank } }), ["codex.command must not be blank"]);
  }
});

test("W-20: policies pass through, and wrong types are refused", () => {
  const codex = {
    approval_policy: { reject: { rules: true, later: 1 } },
    thread_sandbox: "future-sandbox",
    turn_sandbox_policy: { type: "future", networkAccess: false },
  };
  const parsed = parse({ codex }).codex;
  assert.deepEqual(
    [parsed.approvalPolicy, parsed.threadSandbox, parsed.turnSandboxPolicy],
    [codex.approval_policy, codex.thread_sandbox, codex.turn_sandbox_policy],
  );
  const blank = parse({ codex: { approval_policy: "", thread_sandbox: "" } }).codex;
  assert.deepEqual([blank.approvalPolicy, blank.threadSandbox], ["", ""]);
  assert.deepEqual(
    problems({ codex: { approval_policy: 1, thread_sandbox: 2, turn_sandbox_policy: "x" } }),
    [
      "codex.approval_policy must be text or a map",
      "codex.thread_sandbox must be text",
      "codex.turn_sandbox_policy must be a map",
    ],
  );
});

test("L-2: local and linear have default states; a configured list takes precedence", () => {
  for (const kind of ["local", "linear"]) {
    const { activeStates, terminalStates } = parse({ tracker: { kind } }).tracker;
    assert.deepEqual(activeStates, ["Todo", "In Progress"]);
    assert.deepEqual(terminalStates, ["Closed", "Cancelled", "Canceled", "Duplicate", "Done"]);
  }
  const { activeStates } = parse({ tracker: { kind: "local", active_states: ["Ready"] } }).tracker;
  assert.deepEqual(activeStates, ["Ready"]);
});

test("a blank hook counts as no hook", () => {
  const { hooks } = parse({ hooks: { before_run: " \n", after_run: "true" } });
  assert.deepEqual([hooks.beforeRun, hooks.afterRun], [null, "true"]);
});

test("X-4: the reference names every key with its default", () => {
  const text = readFileSync(new URL("../../../docs/workflow.md", import.meta.url), "utf8");
  const rows = new Map(
    text.split("\n").map((line) => [/^\| `([a-z_.]+)` \|/.exec(line)?.[1] ?? "", line]),
  );
  const written = parseWritten({ tracker: { kind: "local" } }, sections) as unknown as Record<
    string,
    Values
  >;
  for (const path of sections.keys.keys()) {
    const row = rows.get(path);
    assert.ok(row, `${path} is missing`);
    const [section = "", key = ""] = path.split(".");
    const value = written[section]?.[key];
    if (typeof value === "number" || (typeof value === "string" && path !== "tracker.kind")) {
      assert.ok(row.includes(`| \`${value}\` |`), `${path} does not say ${value}`);
    }
  }
  for (const stated of ["in the way", "failed bootstrap", "cannot be used changes nothing"]) {
    assert.ok(text.includes(stated), stated);
  }
});

test("an agent kind cannot have the name of another section", () => {
  const { trackers, agents } = sections;
  const rows = agents.map((row) => ({ ...row, kind: "server" }));
  assert.throws(() => sectionsOf({ trackers, agents: rows }), /server is a section already/);
});

test("Z-1, Z-2, Z-7: hosts are trimmed, blanks and doubles dropped; the root is read by the host as it is written", () => {
  const worker = (values: Values, rest: Values = {}) => parse({ worker: values, ...rest }).worker;
  assert.deepEqual(parse().worker.sshHosts, []);
  assert.equal(parse().worker.maxPerHost, null);
  const hosts = [" a ", "", "me@b:22", "a", "  "];
  assert.deepEqual(worker({ ssh_hosts: hosts }).sshHosts, ["a", "me@b:22"]);
  assert.equal(worker({ max_concurrent_agents_per_host: 2 }).maxPerHost, 2);
  for (const root of ["~/work", "work", "/srv/work"])
    assert.equal(worker({}, { workspace: { root } }).root, root);
  const most = "worker.max_concurrent_agents_per_host";
  for (const value of [0, -1, 1.5, "2"])
    assert.match(problems(nested(most, value))[0] ?? "", new RegExp(most), String(value));
  for (const host of ["-oProxyCommand=x", "a b", "a\nb"])
    assert.match(problems({ worker: { ssh_hosts: [host] } })[0] ?? "", /worker\.ssh_hosts/, host);
  assert.match(problems({ worker: { ssh_hosts: "a" } })[0] ?? "", /worker\.ssh_hosts/);
});
