// The check of a whole workflow file: every fault at once, each with its place. "S" and a number name a row of the inputs
// to the scheduler and the configuration that went wrong (scheduler-and-config).

import assert from "node:assert/strict";
import { test } from "node:test";
import { type CheckDeps, checkConfig } from "../../../src/core/config/check.ts";
import { type Finding, findingText, refusal } from "../../../src/core/config/finding.ts";
import { fileChecks } from "../../../src/core/file-checks.ts";
import { kinds, sections } from "../../../src/core/kinds.ts";
import { loadTracker } from "../../../src/core/tracker/kinds.ts";

const env = { LINEAR_API_KEY: "lin_api_0123456789" };

async function check(text: string, options: Partial<CheckDeps> = {}): Promise<readonly Finding[]> {
  const given = { ...env, ...options.env };
  const lookup = (name: string) => given[name as keyof typeof given];
  const checks = fileChecks({
    env: { PATH: process.env["PATH"], ...given },
    lookup,
    redactor: { add() {} },
    checkTracker: async (next) => (await loadTracker(kinds.trackers, next)).check(next, lookup),
  });
  const deps = { sections, workflowPath: "/srv/WORKFLOW.md", flags: {}, checks };
  const { findings } = await checkConfig(Buffer.from(text), { ...deps, ...options, env: given });
  return findings;
}

/** `line:column path message`, with `!` before an error. */
async function told(text: string, options: Partial<CheckDeps> = {}): Promise<readonly string[]> {
  const findings = await check(text, options);
  return findings.map(({ severity, place, source, path, message }) => {
    const at = place === null ? (source ?? "-") : `${place.line}:${place.column}`;
    return `${severity === "error" ? "!" : "?"} ${at} ${path} | ${message}`;
  });
}

test("S21: every fault of a file is found at once, each with its place, what was read and what is allowed", async () => {
  const found = await check(
    [
      "---",
      "tracker:",
      "  kind: jira",
      "agent:",
      "  kind: claude-code",
      "  max_turns: many",
      "hooks:",
      "  before_run: |",
      "    echo one",
      "    if true; then",
      "codex: { model: [] }",
      "---",
      "",
      "Work on {{ issue.title | frobnicate }}",
    ].join("\n"),
  );
  const shown = found.map(({ place, path }) => `${place?.line}:${place?.column} ${path}`);
  assert.deepEqual(shown, [
    "3:9 tracker.kind",
    "5:9 agent.kind",
    "6:14 agent.max_turns",
    "11:1 hooks.before_run",
    "11:17 codex.model",
    "14:26 prompt",
  ]);
  const [tracker, agent, turns] = found;
  assert.match(tracker?.message ?? "", /"jira" is not supported/);
  assert.match(tracker?.next ?? "", /set tracker\.kind to linear, /);
  assert.match(agent?.message ?? "", /must be codex, .*, not claude-code/);
  assert.match(agent?.next ?? "", /agent\.kind: (?:claude|command)/);
  assert.equal(turns?.read, "many");
  assert.ok(agent?.allowed?.includes("codex"));
});

test("S6: a misspelt key is answered with the key that was meant, at every depth", async () => {
  const found = await told(
    [
      "---",
      "trakcer: { kind: local }",
      "tracker: { kind: local }",
      "agent: { max_turn: 3, by_state: { Rework: { modle: x } } }",
      "workspace: { retention: { max_agee: 1d } }",
      "max_retries: 3",
      "---",
      "hi",
    ].join("\n"),
  );
  assert.deepEqual(found, [
    "? 2:1 trakcer | trakcer is not a known key and is ignored; did you mean tracker?",
    "? 4:10 agent.max_turn | agent.max_turn is not a known key and is ignored; did you mean agent.max_turns?",
    "? 4:45 agent.by_state.Rework.modle | agent.by_state.Rework.modle is not a known key and is ignored; did you mean agent.by_state.Rework.model?",
    "? 5:27 workspace.retention.max_agee | workspace.retention.max_agee is not a known key and is ignored; did you mean workspace.retention.max_age?",
    "? 6:1 max_retries | max_retries is not a known key and is ignored; did you mean agent.max_retries?",
  ]);
});

test("S5, S6: a mistyped key or section that would narrow, cap, confine or choose stops the start; others are told with the fault", async () => {
  const front = (...lines: string[]) =>
    ["---", "tracker: { kind: local }", ...lines, "---", "hi"].join("\n");
  const says = async (...lines: string[]) => (await told(front(...lines))).join("\n");
  assert.match(
    await says("agnet: { kind: command }"),
    /^! 3:1 agnet \| .*did you mean agent, where kind chooses the agent\?$/,
  );
  assert.match(
    await says("braks: { tokens_per_issue: 5 }"),
    /^! .*did you mean brakes, where tokens_per_issue limits what may be spent\?$/,
  );
  assert.match(
    await says("agent: { lvel: safe }"),
    /^! .*did you mean agent\.level, which limits what agents may do\?$/,
  );
  assert.match(await says("agent: { knd: command }"), /^! .*agent\.kind, which chooses the agent/);
  assert.match(
    await says("agents: { r: { kind: codex, provider: { thread_sandbx: x } } }"),
    /^! .*provider\.thread_sandbox, which limits what agents may do\?/m,
  );
  for (const line of ["agent: { user: x, callback: y, find: z }", "code: { a: 1 }"])
    assert.doesNotMatch(await says(line), /^!/m, line);
  assert.match(await says("hoks: { after_create: ls }"), /^\? .*did you mean hooks\?$/);
  const found = await check("---\ntrakcer: { kind: local }\n---\nhi");
  const { details } = refusal(found, "WORKFLOW.md");
  assert.match(JSON.stringify(details["warnings"]), /did you mean tracker\?/);
});

test("S6: a tracker in capitals, a file without settings and a variable that is not there say what there is", async () => {
  const [kind] = await told("---\ntracker: { kind: Local }\n---\nhi");
  assert.match(kind ?? "", /"Local" is not supported; did you mean local\?/);
  const [settings] = await told("+++\nkind = 1\n+++\nhi");
  assert.match(settings ?? "", /tracker\.kind is required; the file has no settings/);
  const [name] = await told("---\ntracker: { kind: local }\n---\n{{ issue.blockers }}");
  assert.match(name ?? "", /undefined variable: issue\.blockers; issue has .*blocked_by/);
});

test("S5: config migrate is named only for a key that it translates", async () => {
  const next = async (line: string) => {
    const [found] = await check(`---\ntracker: { kind: local }\n${line}\n---\nhi`);
    return found?.next;
  };
  assert.match((await next("engine: claude")) ?? "", /config migrate .*; --allow-unknown/);
  for (const line of ["only_assigned: true", "label_filter: x", "engine: [x]"])
    assert.equal(await next(line), "--allow-unknown starts without the key", line);
});

test("S19: a number in the place of text is named as written and as YAML reads it, and is to be quoted", async () => {
  for (const [written, read] of [
    ["123e4", "1230000"],
    ["012345678901", "12345678901"],
    ["0x1f", "31"],
  ]) {
    const found = await told(
      `---\ntracker:\n  kind: linear\n  provider:\n    project_slug: ${written}\n---\nhi`,
    );
    const [one = ""] = found;
    assert.equal(found.length, 1, found.join("\n"));
    assert.match(one, /^! 5:19 tracker\.provider\.project_slug/);
    const flat = await told(`---\ntracker:\n  kind: linear\n  project_slug: ${written}\n---\nhi`);
    assert.deepEqual(flat, [one.replace("5:19", "4:17")], "where the specification has it");
    assert.ok(one.includes(`YAML reads ${written} as the number ${read}`), one);
    assert.ok(one.includes(`quote it: "${written}"`), one);
  }
  const [label = ""] = await told(
    "---\ntracker: { kind: local, required_labels: [1.0, a] }\n---\n",
  );
  assert.match(
    label,
    /^! 2:43 tracker\.required_labels\.0 .*must be text; YAML reads 1\.0 as the number 1,/,
  );
});

test("S28: no active state is refused in every layer, as is a blank one", async () => {
  const none = /tracker\.active_states must name at least one state/;
  const file = "---\ntracker: { kind: local }\n---\nhi";
  const [written = ""] = await told("---\ntracker: { kind: local, active_states: [] }\n---\nhi");
  assert.match(written, /^! 2:40 /);
  assert.match(written, none);
  const [overlay = ""] = await told(file, { overlay: { tracker: { active_states: [] } } });
  assert.match(overlay, /^! the overlay /);
  assert.match(overlay, none);
  const variable = { SYMPHONY_TRACKER__ACTIVE_STATES: "[]" };
  const [env = ""] = await told(file, { env: variable });
  assert.match(env, /^! SYMPHONY_TRACKER__ACTIVE_STATES /);
  assert.match(env, none);
  const [blank = ""] = await told("---\ntracker: { kind: local, active_states: [' '] }\n---\nhi");
  assert.match(blank, /tracker\.active_states\.0 must not be blank/);
});

test("a credential and a script at fault are not repeated", async () => {
  const found = await check(
    "---\ntracker: { kind: linear, provider: { project_slug: a, api_key: 123456789 } }\nhooks: { after_run: 987654321 }\n---\nhi",
    { env: { LINEAR_API_KEY: "" } },
  );
  assert.ok(found.length > 0);
  const all = JSON.stringify(found) + found.map(findingText).join("\n");
  assert.ok(!all.includes("123456789"), all);
  assert.ok(!all.includes("987654321"), all);
});

test("S5: what narrows, caps or chooses an agent stops the start; --allow-unknown makes it a warning", async () => {
  const text = "---\ntracker: { kind: local, label_filter: [x] }\nrunner: claude\n---\nhi";
  const found = await told(text);
  assert.ok(found.every((line) => line.startsWith("!")) && found.length === 2, found.join("\n"));
  const allowed = await told(text, { allowUnknown: true });
  assert.ok(allowed.every((line) => line.startsWith("?")) && allowed.length === 2);
  const paths = [
    ...["tracker.assignee_id", "tracker.active_state", "tracker.ignore_labels", "tracker.sprint"],
    ...["tracker.created_after", "filters", "brakes.token_per_issue", "agent.max_usd", "limits"],
  ];
  for (const path of paths) {
    const [section, key] = path.split(".");
    const front = key === undefined ? `${section}: 1` : `${section}: { ${key}: 1 }`;
    const rest = section === "tracker" ? front.replace("{", "{ kind: local,") : front;
    const tracker = section === "tracker" ? "" : "tracker: { kind: local }\n";
    const [line = ""] = await told(`---\n${tracker}${rest}\n---\nhi`);
    assert.match(line, /^!.* (?:narrows which issues run|limits what may be spent)/, path);
  }
});

test("S19: a variable that a setting names and that is not set is named", async () => {
  const [found = ""] = await told(
    "---\ntracker: { kind: linear, provider: { project_slug: $NOWHERE } }\n---\nhi",
  );
  assert.match(found, /tracker\.provider\.project_slug .*NOWHERE is not set/);
  const [key = ""] = await told(
    "---\ntracker: { kind: linear, provider: { project_slug: a, api_key: $NO_KEY } }\n---\nhi",
    { env: { LINEAR_API_KEY: "" } },
  );
  assert.match(key, /NO_KEY is not set/);
  const pasted = "https://linear.app/acme/project/agents-a79254768c8f/overview";
  assert.deepEqual(
    await told(`---\ntracker: { kind: linear, provider: { project_slug: "${pasted}" } }\n---\nhi`),
    [],
  );
});

test("fleet 30: a project whose workspaces cannot go to a worker is refused before an attempt is spent on it", async () => {
  const file = (...lines: string[]) =>
    ["---", "tracker: { kind: local }", "fleet: { url: $FLEET_URL }", ...lines, "---", "Go"].join(
      "\n",
    );
  const [none, ...others] = await check(file());
  assert.deepEqual(others, []);
  assert.equal(none?.severity, "error");
  assert.match(none?.message ?? "", /nothing here makes it a git repository/);
  assert.match(none?.next ?? "", /git\.repositories/);
  assert.deepEqual(await told(file("hooks: { after_create: git init }")), []);
  const repository = (more: string) =>
    told(file(`git: { repositories: [{ name: a, url: "https://example.com/a.git"${more} }] }`));
  assert.deepEqual(await repository(""), []);
  const [sparse = ""] = await repository(", sparse: [src]");
  assert.match(sparse, /^! .*sparse \| a workspace of a is checked out in part/);
  const [nested = ""] = await repository(", submodules: true");
  assert.match(nested, /^\? .*submodules \| a workspace of a may have a submodule/);
  const [shallow = ""] = await repository(", depth: 1");
  assert.match(shallow, /^\? .*depth \| a workspace of a may be a shallow clone/);
});

test("the path of a repository is relative to the workflow file or to the home, and may hold blanks", async () => {
  const urls = [".", "../shop", "~/my shop", "/srv/a b", "/srv/plain/", "git@example.com:x/y.git"];
  const rows = urls.map((url, at) => `    - { name: r${at}, url: "${url}" }`);
  const text = ["---", "tracker: { kind: local }", "git:", "  repositories:", ...rows, "---", "hi"];
  const place = { workflowPath: "/srv/main/WORKFLOW.md", home: "/home/ada" };
  const content = Buffer.from(text.join("\n"));
  const { effective } = await checkConfig(content, { sections, flags: {}, env, ...place });
  const addresses = effective.config.git.repositories.map(({ address }) => address.address);
  assert.deepEqual(addresses, [
    "/srv/main",
    "/srv/shop",
    "file:///home/ada/my%20shop",
    "file:///srv/a%20b",
    "/srv/plain/",
    "git@example.com:x/y.git",
  ]);
  assert.deepEqual(
    effective.written.git.repositories.map(({ url }) => url),
    addresses,
  );
});
