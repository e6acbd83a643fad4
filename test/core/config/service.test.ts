import assert from "node:assert/strict";
import { mkdir, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  type ConfigChange,
  type ConfigOptions,
  openConfig,
} from "../../../src/core/config/service.ts";
import { sections } from "../../../src/core/kinds.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const checkMs = 1_000;

function workflow(maxTurns: number | string, prompt = "Work"): string {
  return `---\ntracker:\n  kind: local\nagent:\n  max_turns: ${maxTurns}\n---\n${prompt}\n`;
}

interface Setup extends Partial<ConfigOptions> {
  readonly text?: string;
}

async function open(t: TestContext, { text = workflow(1), ...options }: Setup = {}) {
  const dir = temporaryDir(t);
  const path = join(dir, "WORKFLOW.md");
  await writeFile(path, text);
  const clock = new FakeClock();
  const all = {
    sections,
    workflowPath: path,
    env: {},
    flags: {},
    clock,
    home: "/home/ada",
    ...options,
  };
  const service = await openConfig(all);
  t.after(() => service.close());
  const changes: ConfigChange[] = [];
  service.watch((change) => changes.push(change));
  return { dir, path, clock, service, changes };
}

type Opened = Awaited<ReturnType<typeof open>>;

/** Advances the clock to the next regular check and waits for its result. */
async function nextChange({ clock, service }: Opened): Promise<ConfigChange> {
  const { promise, resolve } = Promise.withResolvers<ConfigChange>();
  const stop = service.watch(resolve);
  clock.advance(checkMs);
  const change = await promise;
  stop();
  await service.reload();
  return change;
}

const turns = ({ service }: Opened) => service.current.config.agent.maxTurns;

test("opens with configuration, prompt, origins and the configuration as written", async (t) => {
  const { service, dir } = await open(t, {
    text: workflow(3, "Hello"),
    env: { SYMPHONY_AGENT__MAX_RETRIES: "2" },
    flags: { port: 0 },
    overlay: { polling: { interval_ms: 50 } },
  });
  const { config, promptTemplate, origins, written } = service.current;
  assert.deepEqual([config.agent.maxTurns, config.agent.maxRetries], [3, 2]);
  assert.deepEqual([config.server.port, config.polling.intervalMs], [0, 50]);
  assert.equal(promptTemplate, "Hello");
  assert.deepEqual(
    ["agent.max_turns", "agent.max_retries", "polling.interval_ms", "server.port"].map(
      (key) => origins[key],
    ),
    ["workflow", "env", "overlay", "flag"],
  );
  assert.equal(origins["workspace.root"], "default");
  assert.equal(written.workspace.root, config.workspace.root);
  assert.ok(config.workspace.root.startsWith("/home/ada/.symphony/workspaces/"));
  assert.ok(!config.workspace.root.startsWith(dir));
  assert.equal(service.problem, null);
});

test("W-23: an invalid file or a refused configuration fails the start", async (t) => {
  await assert.rejects(open(t, { text: "---\n- a\n---\n" }), {
    code: "workflow_front_matter_not_a_map",
  });
  await assert.rejects(open(t, { text: workflow("many") }), { code: "invalid_config" });
  const validate = () => {
    throw new SymphonyError("unsupported_tracker_kind", "no such tracker");
  };
  await assert.rejects(open(t, { checks: [validate] }), { code: "unsupported_tracker_kind" });
  await assert.rejects(open(t, { workflowPath: join(temporaryDir(t), "WORKFLOW.md") }), {
    code: "missing_workflow_file",
  });
});

test("W-21: an edit in place is applied at the next check", async (t) => {
  const opened = await open(t);
  await writeFile(opened.path, workflow(2, "New"));
  const change = await nextChange(opened);
  assert.deepEqual(change, { type: "changed", keys: ["agent.max_turns", "prompt"], warnings: [] });
  assert.equal(turns(opened), 2);
  assert.equal(opened.service.current.promptTemplate, "New");
});

test("W-21: an edit that keeps size and mtime is detected", async (t) => {
  const opened = await open(t);
  const day = new Date("2026-01-01");
  await utimes(opened.path, day, day);
  const before = await stat(opened.path);
  await opened.service.reload();
  await writeFile(opened.path, workflow(2));
  await utimes(opened.path, day, day);
  const after = await stat(opened.path);
  assert.deepEqual([after.size, after.mtimeMs], [before.size, before.mtimeMs]);
  await nextChange(opened);
  assert.equal(turns(opened), 2);
});

test("W-21: an atomic rename is detected, each time", async (t) => {
  const opened = await open(t);
  for (const maxTurns of [2, 3, 4]) {
    await writeFile(`${opened.path}.new`, workflow(maxTurns));
    await rename(`${opened.path}.new`, opened.path);
    await nextChange(opened);
    assert.equal(turns(opened), maxTurns);
  }
});

test("W-21: deleting and rewriting the file reports a problem in between", async (t) => {
  const opened = await open(t);
  await rm(opened.path);
  const lost = await nextChange(opened);
  assert.equal(lost.type, "rejected");
  assert.equal(opened.service.problem?.code, "missing_workflow_file");
  assert.equal(turns(opened), 1);
  await writeFile(opened.path, workflow(2));
  await nextChange(opened);
  assert.equal(opened.service.problem, null);
  assert.equal(turns(opened), 2);
});

test("W-21: the file watcher works without the regular check", async (t) => {
  const opened = await open(t);
  const { promise, resolve } = Promise.withResolvers<ConfigChange>();
  opened.service.watch(resolve);
  // Only the regular check is pending; a further timer comes from the watcher. The file is written until the
  // watcher reacts, because no event says when the system's watcher is ready.
  while (opened.clock.pending < 2) {
    await writeFile(opened.path, workflow(7));
    await new Promise((done) => setTimeout(done, 20));
  }
  opened.clock.advance(50);
  assert.equal((await promise).type, "changed");
  assert.equal(turns(opened), 7);
});

test("W-21: reload checks at once, and says whether anything changed", async (t) => {
  const opened = await open(t);
  assert.equal(await opened.service.reload(), false);
  await writeFile(opened.path, workflow(2));
  assert.deepEqual(await Promise.all([opened.service.reload(), opened.service.reload()]), [
    true,
    false,
  ]);
  assert.equal(turns(opened), 2);
  assert.equal(opened.changes.length, 1);
});

test("a new layout of the same values is no change", async (t) => {
  const opened = await open(t);
  const { current } = opened.service;
  await writeFile(opened.path, workflow(1).replace("---\n", "---\n# a comment\n"));
  assert.equal(await opened.service.reload(), false);
  assert.equal(opened.service.current, current);
  assert.deepEqual(opened.changes, []);
});

test("W-22: an invalid reload changes neither config nor prompt and is reported once; a later fix is applied", async (t) => {
  const opened = await open(t, {
    text: workflow(1, "Good"),
    checks: [
      ({ config: { tracker } }) => {
        if (tracker.kind !== "local")
          throw new SymphonyError("unsupported_tracker_kind", tracker.kind);
      },
    ],
  });
  const good = opened.service.current;
  const bad: [string, string][] = [
    ["---\ntracker: [\n---\nBad", "workflow_parse_error"],
    [workflow("many", "Bad"), "invalid_config"],
    [workflow(5, "Bad").replace("local", "future-tracker"), "unsupported_tracker_kind"],
  ];
  for (const [text, code] of bad) {
    await writeFile(opened.path, text);
    assert.equal(await opened.service.reload(), false);
    assert.equal(await opened.service.reload(), false);
    assert.equal(opened.service.problem?.code, code);
    assert.equal(opened.service.current, good);
  }
  await rm(opened.path);
  await mkdir(opened.path);
  await opened.service.reload();
  assert.equal(opened.service.problem?.code, "missing_workflow_file");
  assert.equal(opened.changes.length, 4);
  await rm(opened.path, { recursive: true });
  await writeFile(opened.path, workflow(6, "Fixed"));
  assert.equal(await opened.service.reload(), true);
  assert.equal(opened.service.problem, null);
  assert.deepEqual([turns(opened), opened.service.current.promptTemplate], [6, "Fixed"]);
});

test("W-22: restoring the valid file clears the problem without a change", async (t) => {
  const opened = await open(t);
  await writeFile(opened.path, workflow("many"));
  await opened.service.reload();
  await writeFile(opened.path, workflow(1));
  assert.equal(await opened.service.reload(), false);
  assert.equal(opened.service.problem, null);
  assert.deepEqual(opened.changes.at(-1), { type: "changed", keys: [], warnings: [] });
});

test("W-22: a refused file is accepted once its missing secret is available", async (t) => {
  let secret = true;
  const validate = () => {
    if (!secret) throw new SymphonyError("missing_tracker_secret", "no key");
  };
  const opened = await open(t, { checks: [validate] });
  secret = false;
  await writeFile(opened.path, workflow(2));
  await opened.service.reload();
  assert.equal(opened.service.problem?.code, "missing_tracker_secret");
  secret = true;
  assert.equal(await opened.service.reload(), true);
  assert.equal(opened.service.problem, null);
});

test("W-25: the overlay stays applied over a reload of the file", async (t) => {
  const opened = await open(t, { overlay: { agent: { max_turns: 9 } } });
  await writeFile(opened.path, workflow(2, "New"));
  assert.equal(await opened.service.reload(), true);
  assert.equal(turns(opened), 9);
});

test("W-15: only a new warning is reported", async (t) => {
  const opened = await open(t, { text: workflow(1).replace("agent:", "agent:\n  max_turn: 1") });
  assert.equal(opened.service.warnings.length, 1);
  await writeFile(opened.path, workflow(2).replace("agent:", "agent:\n  max_turn: 1\n  stal: 2"));
  await opened.service.reload();
  const [change] = opened.changes;
  assert.ok(change?.type === "changed");
  assert.deepEqual(change.warnings, [
    "agent.stal is not a known key and is ignored (line 6, column 3)",
  ]);
});

test("a closed service checks no more", async (t) => {
  const opened = await open(t);
  await opened.service.close();
  await writeFile(opened.path, workflow(2));
  assert.equal(await opened.service.reload(), false);
  assert.equal(opened.clock.pending, 0);
  assert.deepEqual(opened.changes, []);
});
