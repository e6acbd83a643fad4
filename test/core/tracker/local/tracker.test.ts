import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { TrackerConfig } from "../../../../src/core/config/config.ts";
import { type Issue, withoutRelations } from "../../../../src/core/model/issue.ts";
import { issueFromMarkdown } from "../../../../src/core/tracker/local/input.ts";
import { issuesFile, openLocalIssues } from "../../../../src/core/tracker/local/issues.ts";
import { localOptions } from "../../../../src/core/tracker/local/settings.ts";
import { createLocalTracker } from "../../../../src/core/tracker/local/tracker.ts";
import { FakeClock } from "../../../support/fakes/fake-clock.ts";
import { config as defaults, linkTo } from "../../../support/makers/issue.ts";
import { coded, temporaryDir } from "../../../support/makers/storage.ts";

const active = ["Todo", "In Progress"];

function setUp(t: TestContext, settings: Partial<TrackerConfig> = {}) {
  const dataDir = temporaryDir(t);
  const config = defaults({ tracker: settings }).tracker;
  const clock = new FakeClock();
  const open = () => {
    const opened = openLocalIssues(dataDir, localOptions(config), clock);
    t.after(() => opened.close());
    return opened;
  };
  const tracker = createLocalTracker({ config, dataDir, clock });
  t.after(() => tracker.close());
  return { dataDir, config, clock, issues: open(), open, tracker };
}

const identifiers = (issues: readonly Issue[]) => issues.map(({ identifier }) => identifier);

test("N-1, N-3: a created issue is complete and normalised, and is read back unchanged", async (t) => {
  const { issues, tracker } = setUp(t);
  const created = issues.create({
    title: "  Fix login ",
    description: "Steps\n1. …",
    labels: ["Backend", " backend ", " ", "API"],
    priority: 2,
  });
  assert.deepEqual(created, {
    ...withoutRelations,
    id: created.id,
    nativeRef: null,
    identifier: "LOCAL-1",
    title: "Fix login",
    description: "Steps\n1. …",
    priority: 2,
    state: "Todo",
    branchName: null,
    url: null,
    assigneeId: null,
    labels: ["backend", "api"],
    blockedBy: [],
    dispatchable: true,
    createdAt: Date.parse("2026-11-23T10:00:00.000Z"),
    updatedAt: Date.parse("2026-11-23T10:00:00.000Z"),
  });
  assert.deepEqual(issues.get(" local-1 "), created);
  assert.deepEqual(await tracker.fetchIssuesByIds([created.id]), [created]);
  assert.deepEqual(await tracker.fetchIssuesByStates(active), [created]);
  assert.equal(issues.get("LOCAL-2"), null);
});

test("an edit changes the fields it names and nothing else", (t) => {
  const { issues, clock } = setUp(t);
  const blocker = issues.create({ title: "first" });
  const before = issues.create({ title: "second", labels: ["x"], description: "d", priority: 1 });
  clock.advance(5);
  const after = issues.edit("local-2", { state: " in PROGRESS ", blockedBy: ["local-1"] });
  assert.deepEqual(after, {
    ...before,
    state: "In Progress",
    blockedBy: [linkTo(blocker)],
    updatedAt: (before.updatedAt ?? 0) + 5,
  });
  const cleared = issues.edit("LOCAL-2", {
    description: null,
    priority: null,
    labels: [],
    blockedBy: [],
  });
  assert.deepEqual(
    [cleared.description, cleared.priority, cleared.labels, cleared.blockedBy],
    [null, null, [], []],
  );
});

test("an invalid change is refused with its reason, and leaves nothing behind", (t) => {
  const { issues } = setUp(t);
  issues.create({ title: "one" });
  issues.create({ title: "two", blockedBy: ["LOCAL-1"] });
  const version = issues.version();
  assert.throws(() => issues.edit("LOCAL-1", { state: "in progess" }), {
    hint: "did you mean In Progress?",
  });
  const refused: [() => unknown, RegExp][] = [
    [() => issues.create({ title: " " }), /title/],
    [() => issues.create({ title: "x", priority: 7 }), /priority/],
    [
      () => issues.create({ title: "x", state: "Someday" }),
      /state: must be one of Todo, In Progress/,
    ],
    [() => issues.create({ title: "x", blockedBy: ["LOCAL-99"] }), /no issue LOCAL-99/],
    [() => issues.edit("LOCAL-1", { blockedBy: ["LOCAL-2"] }), /block itself/],
    [() => issues.edit("LOCAL-1", { title: "" }), /title/],
    [() => issues.comment("LOCAL-1", { author: "me", body: " \n" }), /body/],
  ];
  for (const [call, message] of refused) assert.throws(call, coded("invalid_request", message));
  assert.throws(() => issues.edit("LOCAL-1", { blockedBy: ["LOCAL-1"] }), coded("invalid_request"));
  assert.throws(() => issues.edit("LOCAL-9", { title: "x" }), coded("issue_not_found", /LOCAL-9/));
  assert.equal(issues.version(), version);
  assert.equal(issues.list().length, 2);
  assert.equal(issues.create({ title: "three" }).identifier, "LOCAL-3", "no number was used up");
});

test("prefix and states come from the configuration", (t) => {
  const { issues, config } = setUp(t, {
    provider: { prefix: "ENG", states: ["In Review", " todo ", "Backlog"] },
    activeStates: ["Todo"],
    terminalStates: ["Done"],
  });
  assert.deepEqual(localOptions(config).states, [
    { name: "Todo", terminal: false },
    { name: "In Review", terminal: false },
    { name: "Backlog", terminal: false },
    { name: "Done", terminal: true },
  ]);
  assert.equal(issues.create({ title: "x", state: "in review" }).identifier, "ENG-1");
});

test("T-9, W-15: a provider setting of the wrong type is invalid_tracker_config, naming its key", () => {
  const settings = (provider: Record<string, unknown>) => () =>
    localOptions(defaults({ tracker: { provider } }).tracker);
  assert.throws(
    settings({ prefix: 7 }),
    coded("invalid_tracker_config", /tracker\.provider\.prefix/),
  );
  assert.throws(settings({ prefix: "a b" }), coded("invalid_tracker_config", /prefix/));
  assert.throws(settings({ states: "Todo" }), coded("invalid_tracker_config", /provider\.states/));
  assert.throws(settings({ states: [" "] }), coded("invalid_tracker_config", /states\.0/));
  assert.doesNotThrow(settings({ prefix: null, states: null, future: { x: 1 } }));
  const none = defaults({ tracker: { activeStates: [], terminalStates: [] } }).tracker;
  assert.throws(() => localOptions(none), coded("invalid_tracker_config"));
});

test("T-2, L-3: states match in any case and spacing; an empty list reads nothing", async (t) => {
  const { issues, tracker, dataDir } = setUp(t);
  issues.create({ title: "a" });
  issues.create({ title: "b", state: "In Progress" });
  issues.create({ title: "c", state: "Done" });
  const asked = [" in progress ", 42] as readonly string[];
  assert.deepEqual(identifiers(await tracker.fetchIssuesByStates(asked)), ["LOCAL-2"]);
  assert.deepEqual(identifiers(await tracker.fetchIssuesByStates(active)), ["LOCAL-1", "LOCAL-2"]);
  writeFileSync(issuesFile(dataDir), "garbage");
  assert.deepEqual(await tracker.fetchIssuesByStates([]), []);
  assert.deepEqual(await tracker.fetchIssuesByIds([]), []);
});

test("T-4, T-5: ids are returned in the requested order, once each, without unknown ones", async (t) => {
  const { issues, tracker } = setUp(t);
  const [a, b] = [issues.create({ title: "a" }), issues.create({ title: "b" })];
  const found = await tracker.fetchIssuesByIds([b.id, "nobody", a.id, b.id]);
  assert.deepEqual(identifiers(found), ["LOCAL-2", "LOCAL-1"]);
});

test("L-9: only a Todo issue with an unfinished blocker must wait", async (t) => {
  const { issues, tracker } = setUp(t);
  issues.create({ title: "blocker" });
  issues.create({ title: "waits", blockedBy: ["LOCAL-1"] });
  issues.create({ title: "goes on", blockedBy: ["LOCAL-1"], state: "In Progress" });
  const dispatchable = async () =>
    (await tracker.fetchIssuesByStates(active)).map((one) => [one.identifier, one.dispatchable]);
  assert.deepEqual(await dispatchable(), [
    ["LOCAL-1", true],
    ["LOCAL-2", false],
    ["LOCAL-3", true],
  ]);
  issues.edit("LOCAL-1", { state: "Canceled" });
  assert.deepEqual(await dispatchable(), [
    ["LOCAL-2", true],
    ["LOCAL-3", true],
  ]);
});

test("an unchanged poll returns the same array; a write by any process returns a new one", async (t) => {
  const { issues, open, tracker } = setUp(t);
  issues.create({ title: "a" });
  const first = await tracker.fetchIssuesByStates(active);
  const terminal = await tracker.fetchIssuesByStates(["Done"]);
  assert.equal(await tracker.fetchIssuesByStates(["in progress ", "TODO"]), first);
  assert.equal(await tracker.fetchIssuesByStates(["Done"]), terminal);
  open().edit("LOCAL-1", { title: "b" });
  const second = await tracker.fetchIssuesByStates(active);
  assert.notEqual(second, first);
  assert.equal(second[0]?.title, "b");
  assert.equal(first[0]?.title, "a", "what was handed out stays as it was");
});

test("before the first issue there is no store, and reading creates none", async (t) => {
  const dataDir = join(temporaryDir(t), "none");
  const clock = new FakeClock();
  const { tracker: config } = defaults();
  const tracker = createLocalTracker({ config, dataDir, clock });
  t.after(() => tracker.close());
  let changes = 0;
  tracker.watch(() => changes++);
  assert.deepEqual(await tracker.fetchIssuesByStates(active), []);
  assert.deepEqual(await tracker.fetchIssuesByIds(["x"]), []);
  clock.advance(500);
  assert.ok(!existsSync(dataDir));
  const issues = openLocalIssues(dataDir, localOptions(config), clock);
  t.after(() => issues.close());
  issues.create({ title: "a" });
  assert.equal(statSync(dataDir).mode & 0o777, 0o700);
  clock.advance(500);
  assert.equal(changes, 1);
  assert.equal((await tracker.fetchIssuesByStates(active)).length, 1);
});

test("watch reports changes that no poll has seen, until it is stopped", async (t) => {
  const { issues, tracker, clock } = setUp(t);
  issues.create({ title: "a" });
  let changes = 0;
  const stop = tracker.watch(() => changes++);
  clock.advance(5_000);
  assert.equal(changes, 0, "what was there before is no change");
  issues.edit("LOCAL-1", { title: "b" });
  clock.advance(499);
  assert.equal(changes, 0);
  clock.advance(1);
  assert.equal(changes, 1);
  clock.advance(5_000);
  assert.equal(changes, 1);
  issues.edit("LOCAL-1", { title: "c" });
  await tracker.fetchIssuesByStates(active);
  clock.advance(500);
  assert.equal(changes, 1, "the poll was faster");
  stop();
  issues.edit("LOCAL-1", { title: "d" });
  clock.advance(5_000);
  assert.equal(changes, 1);
  assert.equal(clock.pending, 0);
});

test("close ends every watch", (t) => {
  const { tracker, clock } = setUp(t);
  tracker.watch(() => assert.fail("closed"));
  tracker.close();
  assert.equal(clock.pending, 0);
});

test("an operator moves an issue to a state of the tracker and to no other", async (t) => {
  const { issues, tracker } = setUp(t);
  const one = issues.create({ title: "a" });
  const states = await tracker.workflow.states(one);
  assert.deepEqual(states.slice(0, 3), [
    { name: "Todo", terminal: false },
    { name: "In Progress", terminal: false },
    { name: "Closed", terminal: true },
  ]);
  await tracker.workflow.move(one, "done");
  assert.equal(issues.get("LOCAL-1")?.state, "Done");
  const refused = coded("transition_not_allowed", /Nowhere.*Todo/);
  await assert.rejects(tracker.workflow.move(one, "Nowhere"), refused);
  const gone = { ...one, identifier: "LOCAL-9" };
  await assert.rejects(tracker.workflow.move(gone, "Done"), coded("issue_not_found"));
});

test("L-4: a store that is removed, replaced or emptied while it is used is an error every time", async (t) => {
  const { issues, tracker, dataDir } = setUp(t);
  issues.create({ title: "a" });
  issues.close();
  const file = issuesFile(dataDir);
  const reads = async () => {
    for (let round = 0; round < 2; round++) {
      await assert.rejects(
        tracker.fetchIssuesByStates(active),
        coded("tracker_response", /issues\.db/),
      );
      await assert.rejects(tracker.fetchIssuesByIds(["x"]), coded("tracker_response"));
    }
  };
  const [kept] = await tracker.fetchIssuesByStates(active);
  renameSync(file, `${file}.kept`);
  await reads();
  assert.ok(!existsSync(file), "no new store took its place");
  copyFileSync(`${file}.kept`, file);
  await reads();
  rmSync(file);
  renameSync(`${file}.kept`, file);
  assert.deepEqual(await tracker.fetchIssuesByStates(active), [kept]);
  writeFileSync(file, "garbage".repeat(2_000), { flag: "r+" });
  // Data that SQLite still holds in memory may be returned; an empty list must not.
  const answer = await tracker.fetchIssuesByStates(active).catch((error) => {
    assert.ok(coded("tracker_response")(error));
    return null;
  });
  assert.notEqual(answer?.length, 0);
  truncateSync(file, 0);
  await reads();
});

test("L-4: a damaged store is an error at the first read, never an empty answer", async (t) => {
  const { issues, dataDir, config, clock } = setUp(t);
  for (let n = 0; n < 50; n++) issues.create({ title: `issue ${n}`, description: "x".repeat(500) });
  issues.close();
  const file = issuesFile(dataDir);
  copyFileSync(file, `${file}.kept`);
  const spoil: (() => void)[] = [
    () => writeFileSync(file, "garbage".repeat(1_000)),
    () => truncateSync(file, 0),
    () => truncateSync(file, 4_096),
    () => truncateSync(file, statSync(file).size - 100),
    () => {
      rmSync(file);
      mkdirSync(file);
    },
  ];
  for (const damage of spoil) {
    copyFileSync(`${file}.kept`, file);
    damage();
    const tracker = createLocalTracker({ config, dataDir, clock });
    await assert.rejects(
      tracker.fetchIssuesByStates(active),
      coded("tracker_response", /issues\.db/),
    );
    tracker.close();
  }
});

test("two processes write at once: every issue exists, every number is given once", async (t) => {
  const { issues, dataDir } = setUp(t);
  issues.close();
  // A new data directory: nothing was written there yet.
  rmSync(issuesFile(dataDir));
  rmSync(join(dataDir, "manifest"));
  const from = (path: string) =>
    JSON.stringify(join(import.meta.dirname, "../../../../src/core", path));
  const program = `
    const { openLocalIssues } = await import(${from("tracker/local/issues.ts")});
    const { localOptions } = await import(${from("tracker/local/settings.ts")});
    const { systemClock } = await import(${from("clock.ts")});
    const config = { kind: "local", provider: {}, requiredLabels: [], activeStates: ["Todo"], terminalStates: [], blockerStates: null };
    const issues = openLocalIssues(${JSON.stringify(dataDir)}, localOptions(config), systemClock);
    for (let n = 0; n < 40; n++) issues.create({ title: "by " + process.pid });
    issues.close();`;
  const exits = await Promise.all(
    [1, 2].map(() => {
      const args = ["--input-type=module", "-e", program];
      const writer = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
      t.after(() => writer.kill("SIGKILL"));
      return once(writer, "exit");
    }),
  );
  assert.deepEqual(exits, [
    [0, null],
    [0, null],
  ]);
  const { config, clock } = setUp(t);
  const again = openLocalIssues(dataDir, localOptions(config), clock);
  t.after(() => again.close());
  const all = again.list();
  assert.deepEqual(
    identifiers(all),
    Array.from({ length: 80 }, (_, n) => `LOCAL-${n + 1}`),
  );
  assert.equal(new Set(all.map(({ id }) => id)).size, 80);
});

test("a Markdown file becomes an issue", (t) => {
  const { issues, dataDir } = setUp(t);
  issues.create({ title: "first" });
  const path = join(dataDir, "issue.md");
  writeFileSync(
    path,
    "\uFEFF---\r\ntitle: Fix: login\nlabels: [UI, api]\npriority: 1\nstate: In Progress\nblocked_by: LOCAL-1\ndate: 2026-01-01\n---\n\n# Not the title\n\n---\n\ntext\n".replace(
      "Fix: login",
      '"Fix: login"',
    ),
  );
  const made = issues.importFile(path);
  assert.equal(made.title, "Fix: login");
  assert.equal(made.description, "# Not the title\n\n---\n\ntext");
  assert.deepEqual([made.labels, made.priority, made.state], [["ui", "api"], 1, "In Progress"]);
  assert.deepEqual(
    made.blockedBy.map(({ identifier }) => identifier),
    ["LOCAL-1"],
  );
  assert.throws(
    () => issues.importFile(join(dataDir, "none.md")),
    coded("invalid_request", /none\.md/),
  );
});

test("without a title in front matter the first heading is the title", () => {
  assert.deepEqual(issueFromMarkdown("intro\n\n## Fix it ##\n\nbody\n\n# Later\n"), {
    title: "Fix it",
    description: "intro\n\n\n\nbody\n\n# Later",
  });
  assert.deepEqual(issueFromMarkdown("---\n---\n# Only a title"), {
    title: "Only a title",
    description: null,
  });
  assert.throws(() => issueFromMarkdown("just text"), coded("invalid_request", /heading/));
  assert.throws(
    () => issueFromMarkdown("---\n- a\n---\n# T"),
    coded("invalid_request", /front matter/),
  );
  assert.throws(() => issueFromMarkdown("---\na: [\n---\n# T"), coded("invalid_request", /YAML/));
  assert.throws(
    () => issueFromMarkdown("---\nlabels: x\n---\n# T"),
    coded("invalid_request", /labels/),
  );
});

test("L-1: no secrets; three tools, all bound to the session's own issue", async (t) => {
  const { issues, tracker } = setUp(t);
  const own = issues.create({ title: "own", description: "what to do" });
  issues.create({ title: "other" });
  issues.comment("local-1", { author: "alice", body: "please" });
  const tools = tracker.bindTools(own);
  assert.deepEqual(tracker.secretEnvNames, []);
  assert.deepEqual(
    tools.specs.map(({ name }) => name),
    ["issue_get", "issue_comment", "issue_move"],
  );

  const commented = await tools.call("issue_comment", { body: "done, see tests" });
  assert.equal(commented.success, true, commented.output);
  const read = await tools.call("issue_get", {});
  const shown = JSON.parse(read.output);
  assert.equal(shown.identifier, "LOCAL-1");
  assert.equal(shown.description, "what to do");
  assert.deepEqual(
    shown.comments.map(({ author, body }: { author: string; body: string }) => [author, body]),
    [
      ["alice", "please"],
      ["agent", "done, see tests"],
    ],
  );
  assert.equal((await tools.call("issue_get", undefined)).success, true);
  const moved = await tools.call("issue_move", { state: "done" });
  assert.deepEqual(JSON.parse(moved.output), { identifier: "LOCAL-1", state: "Done" });
  assert.deepEqual(
    issues.list().map(({ state }) => state),
    ["Done", "Todo"],
  );
});

test("T-13: bad calls are structured failures and do not reach a store", async (t) => {
  const { issues, tracker } = setUp(t);
  const tools = tracker.bindTools(issues.create({ title: "own" }));
  const version = issues.version();
  const bad: [string, unknown, string][] = [
    ["issue_delete", {}, "invalid_request"],
    ["constructor", {}, "invalid_request"],
    ["issue_get", { identifier: "LOCAL-2" }, "invalid_request"],
    ["issue_comment", {}, "invalid_request"],
    ["issue_comment", { body: " " }, "invalid_request"],
    ["issue_comment", "text", "invalid_request"],
    ["issue_move", { state: "Nowhere" }, "transition_not_allowed"],
    ["issue_move", { state: "Done", identifier: "LOCAL-2" }, "invalid_request"],
    ["issue_move", null, "invalid_request"],
  ];
  for (const [name, args, code] of bad) {
    const result = await tools.call(name, args);
    assert.equal(result.success, false, name);
    assert.equal(JSON.parse(result.output).error.code, code);
  }
  const unknown = JSON.parse((await tools.call("nothing", {})).output);
  assert.deepEqual(unknown.error.supportedTools, ["issue_get", "issue_comment", "issue_move"]);
  assert.equal(issues.version(), version);
});

test("T-14: a session's tools outlive the tracker that made them; a lost store is a failure", async (t) => {
  const { issues, tracker, dataDir } = setUp(t);
  const own = issues.create({ title: "own" });
  const tools = tracker.bindTools(own);
  tracker.close();
  assert.equal((await tools.call("issue_move", { state: "Done" })).success, true);
  issues.close();
  writeFileSync(issuesFile(dataDir), "garbage");
  const failed = await tools.call("issue_comment", { body: "x" });
  assert.equal(JSON.parse(failed.output).error.code, "storage_corrupt");
});

test("S10: the first active state waits for blockers, or those of tracker.blocker_states", async (t) => {
  for (const [blockerStates, ready, doing] of [
    [null, false, true],
    [["Doing"], true, false],
    [["Todo"], true, true],
  ] as const) {
    const { issues } = setUp(t, { activeStates: ["Ready", "Doing"], blockerStates });
    issues.create({ title: "first" });
    issues.create({ title: "second", blockedBy: ["LOCAL-1"] });
    const judge = () => issues.get("LOCAL-2")?.dispatchable;
    assert.equal(judge(), ready);
    issues.edit("LOCAL-2", { state: "Doing" });
    assert.equal(judge(), doing);
    issues.edit("LOCAL-1", { state: "Done" });
    assert.equal(judge(), true);
  }
});
