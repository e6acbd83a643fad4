// The check of a workflow file at every door. "S" and a number name a row of the inputs to the scheduler and the configuration
// that went wrong.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDir } from "../support/makers/storage.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

async function project(t: TestContext, text: string) {
  const root = temporaryDir(t);
  const workflowPath = join(root, "WORKFLOW.md");
  await writeFile(workflowPath, text);
  return { cwd: root, env: { HOME: root }, dataDir: join(root, ".symphony"), workflowPath };
}

/** The agent's program is there on every machine; it is never started. */
const settings = "agent: { kind: command, max_turn: 3 }\ncommand: { line: cat }";
const file = (extra = "") => `---\ntracker: { kind: local }\n${settings}\n${extra}---\nhi\n`;
const misspelt =
  /agent\.max_turn is not a known key and is ignored; did you mean agent\.max_turns\?/;

test("S4: dry-run says on stderr, and in its document, what serve logs and shows in the state", async (t) => {
  const place = await project(t, file());
  const plan = await symphony(place, "serve", "--dry-run");
  assert.equal(plan.code, 0, plan.stderr);
  assert.match(plan.stderr, misspelt);
  assert.match(plan.stderr, /line 3, column 25/);
  const json = await symphony(place, "serve", "--dry-run", "--json");
  const { warnings } = JSON.parse(json.stdout);
  assert.match(warnings[0], misspelt);
  await using server = await Served.start(place);
  const state = await eventually("the warning is in the state", async () => {
    const found = await server.client.system.state({});
    return found.warnings.length > 0 ? found : null;
  });
  assert.match(state.warnings.join("\n"), misspelt);
  await eventually("the warning is in the log", async () => misspelt.test(server.log));
  const log = await eventually("the warning is in the log file", async () => {
    const text = await readFile(join(place.dataDir, "log", "symphony.log"), "utf8");
    return misspelt.test(text) ? text : null;
  });
  assert.match(log, misspelt);
  const page = await fetch(server.url);
  assert.match(await page.text(), /agent\.max_turn is not a known key/);
  const shown = await symphony(place, "state");
  assert.match(shown.stdout + shown.stderr, misspelt);
  await writeFile(place.workflowPath, file().replace("max_turn:", "max_turns:"));
  await eventually("the warning ends with its cause", async () => {
    const found = await server.client.system.state({});
    return found.warnings.some((one) => misspelt.test(one)) ? null : found;
  });
});

test("S5: a key that narrows what runs stops start, dry-run and check; --allow-unknown continues with a warning", async (t) => {
  const place = await project(t, file("runner: claude-code\n"));
  for (const args of [["serve"], ["serve", "--dry-run"], ["config", "check"]]) {
    const refused = await symphony(place, ...args);
    assert.equal(refused.code, 1, `${args.join(" ")}: ${refused.stdout}${refused.stderr}`);
    const said = refused.stdout + refused.stderr;
    assert.match(said, /runner is a key of another tool that chooses the agent/);
    assert.match(said, /agent\.kind/);
    assert.match(said, /config migrate/);
  }
  for (const args of [
    ["serve", "--dry-run"],
    ["config", "check"],
  ]) {
    const allowed = await symphony(place, ...args, "--allow-unknown");
    assert.equal(allowed.code, 0, allowed.stdout + allowed.stderr);
    assert.match(allowed.stdout + allowed.stderr, /warning: .*runner/);
  }
  await using server = await Served.start(place, "--allow-unknown");
  const { warnings } = await server.client.system.state({});
  assert.match(warnings.join("\n"), /runner/);
});

test("S5: a reload that brings such a key is refused, with its place, and the last file stays in force", async (t) => {
  const place = await project(t, file());
  await using server = await Served.start(place);
  await writeFile(place.workflowPath, file("budget: 5\nengine: codex\n"));
  const { problem } = await eventually("the file is refused", async () => {
    const found = await server.client.system.state({});
    return found.problem === null ? null : found;
  });
  assert.match(problem?.message ?? "", /budget is not a known key.*\(line 5, column 1\)/);
  assert.match(problem?.message ?? "", /engine is a key of another tool.*\(line 6, column 1\)/);
});

test("S21: check, start and dry-run name the same faults, all at once, with their places", async (t) => {
  const place = await project(
    t,
    "---\ntracker: { kind: jira }\nagent: { kind: claude-code, level: sfe }\nhooks:\n  after_run: |\n    if x\n---\n{{ issue.titel }}\n",
  );
  const json = await symphony(place, "config", "check", "--json");
  assert.equal(json.code, 1, json.stderr);
  const { findings, ok } = JSON.parse(json.stdout);
  assert.equal(ok, false);
  const paths = findings.map(({ path }: { path: string }) => path);
  assert.deepEqual(paths.slice(0, 5), [
    "tracker.kind",
    "agent.kind",
    "agent.level",
    "hooks.after_run",
    "prompt",
  ]);
  const level = findings[2];
  assert.deepEqual([level.line, level.column, level.read], [3, 36, "sfe"]);
  assert.deepEqual(level.allowed, ["safe", "networked", "danger"]);
  assert.match(level.message, /did you mean safe\?/);
  for (const args of [["config", "check"], ["serve"], ["serve", "--dry-run"]]) {
    const { code, stdout, stderr } = await symphony(place, ...args);
    assert.equal(code, 1);
    for (const one of findings.slice(0, 5)) {
      const said = stdout + stderr;
      assert.ok(said.includes(one.message), `${args.join(" ")}: ${one.message}\n${said}`);
      const place =
        args[0] === "config"
          ? `:${one.line}:${one.column}:`
          : `line ${one.line}, column ${one.column}`;
      assert.ok(said.includes(place), `${args.join(" ")}: ${place}\n${said}`);
    }
  }
});

test("config check: exit codes, a file that is not YAML, an agent that this machine has not got", async (t) => {
  const place = await project(t, file().replace("max_turn:", "max_turns:"));
  const good = await symphony(place, "config", "check");
  assert.deepEqual([good.code, good.stderr], [0, ""], good.stdout);
  assert.match(good.stdout, /nothing is wrong/);
  assert.equal((await symphony(place, "config", "check", "none.md")).code, 3);
  assert.equal((await symphony(place, "config", "check", "a", "b")).code, 2);
  await writeFile(place.workflowPath, "---\ntracker: { kind: local\na: [\n---\nhi");
  const broken = await symphony(place, "config", "check");
  assert.equal(broken.code, 1);
  assert.match(broken.stdout, /WORKFLOW\.md:\d+:\d+: /);
  await writeFile(place.workflowPath, file().replace("line: cat", "line: no-such-agent -p"));
  const missing = await symphony(place, "config", "check");
  assert.equal(missing.code, 1);
  assert.match(missing.stdout, /WORKFLOW\.md:4:18: command\.line starts no-such-agent/);
  assert.equal((await symphony(place, "config", "check", "--offline")).code, 0);
});

test("config check: an agent's program that is there and does not run is named with what it wrote", async (t) => {
  const place = await project(t, file().replace("max_turn:", "max_turns:"));
  const bin = join(place.cwd, "codex");
  const write = async (text: string) => {
    await writeFile(bin, text, { mode: 0o755 });
    const settings = `agent: { kind: codex }\ncodex: { command: "${bin} app-server", home: inherit }`;
    await writeFile(place.workflowPath, `---\ntracker: { kind: local }\n${settings}\n---\nhi\n`);
    const { stdout } = await symphony(place, "config", "check", "--json");
    const all: { path: string; message: string; line: number }[] = JSON.parse(stdout).findings;
    return all.filter(({ path }) => path === "codex.command");
  };
  const [broken] = await write("#!/bin/sh\necho 'libssl.so.3: not found' >&2\nexit 127\n");
  assert.equal(broken?.line, 4);
  assert.match(
    broken?.message ?? "",
    /codex\.command starts \/.*\/codex, which fails with exit code 127 when it is asked for its version: libssl\.so\.3: not found/,
  );
  const [lost] = await write("#!/nonexistent/interpreter\n");
  assert.match(
    lost?.message ?? "",
    /which runs in \/nonexistent\/interpreter, and there is no such program/,
  );
  const sound = await write(`#!/bin/sh\n[ "$*" = --version ] && echo codex-cli 1\n`);
  assert.deepEqual(
    sound.filter(({ message }) => /version/.test(message)),
    [],
  );
  const plan = await symphony(place, "serve", "--dry-run");
  assert.doesNotMatch(plan.stderr, /for its version/);
});

test("config migrate: prints by default, never overwrites, and needs a person for what it cannot translate", async (t) => {
  const text = "---\ntracker:\n  kind: local\n  # ours\n  handoff_state: Review # then\n---\nhi\n";
  const place = await project(t, text);
  const translated = text.replace("handoff_state", "on_success");
  const printed = await symphony(place, "config", "migrate", "WORKFLOW.md");
  assert.deepEqual([printed.code, printed.stdout], [0, translated]);
  assert.match(printed.stderr, /tracker\.handoff_state -> tracker\.on_success: Review/);
  const read = (name: string) => readFile(join(place.cwd, name), "utf8");
  assert.equal(await read("WORKFLOW.md"), text);
  const out = await symphony(place, "config", "migrate", "WORKFLOW.md", "--out", "NEW.md");
  assert.deepEqual([out.code, await read("NEW.md")], [0, translated]);
  const again = await symphony(place, "config", "migrate", "WORKFLOW.md", "--out", "NEW.md");
  assert.equal(again.code, 2, again.stderr);
  const both = await symphony(
    place,
    "config",
    "migrate",
    "WORKFLOW.md",
    "--out",
    "A",
    "--in-place",
  );
  assert.equal(both.code, 2);
  const inPlace = await symphony(place, "config", "migrate", "WORKFLOW.md", "--in-place");
  assert.deepEqual([inPlace.code, await read("WORKFLOW.md")], [0, translated]);
  await writeFile(place.workflowPath, "---\nstages: [a]\n---\nhi\n");
  const left = await symphony(place, "config", "migrate", "WORKFLOW.md", "--json");
  assert.equal(left.code, 6, left.stderr);
  assert.equal(JSON.parse(left.stdout).left[0].from, "stages");
});

test("check and dry-run say to which state offered work is moved, and when the tracker is not touched", async (t) => {
  const delivery =
    'delivery: { mode: branch }\ngit: { repositories: [{ name: a, url: "/srv/a.git" }] }\n';
  const local = (provider: string) =>
    file(delivery)
      .replace("max_turn:", "max_turns:")
      .replace("kind: local }", `kind: local, active_states: [Todo]${provider} }`);
  const cases = [
    [
      local(", provider: { states: [human review, Review] }"),
      /offered work is moved to human review, and waits in the status review/,
    ],
    [local(""), /the tracker is not touched: it has no state In Review or Human Review or Review/],
  ] as const;
  const place = await project(t, "");
  for (const [text, said] of cases) {
    await writeFile(place.workflowPath, text);
    const check = await symphony(place, "config", "check");
    assert.equal(check.code, 0, check.stdout + check.stderr);
    assert.match(check.stdout, said);
    const json = await symphony(place, "config", "check", "--json");
    assert.match(JSON.parse(json.stdout).review[0], said);
    const offline = await symphony(place, "config", "check", "--offline");
    assert.doesNotMatch(offline.stdout, said, "the tracker was not asked");
    const plan = await symphony(place, "serve", "--dry-run");
    assert.match(plan.stderr, said);
  }
  await writeFile(
    place.workflowPath,
    local("").replace("active_states", "on_success: hold, active_states"),
  );
  const own = await symphony(place, "config", "check");
  assert.doesNotMatch(own.stdout, /offered work/);
});
