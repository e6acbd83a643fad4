import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../../src/core/clock.ts";
import { mayComment } from "../../../../src/core/comments.ts";
import { liveProcesses } from "../../../../src/core/process/table.ts";
import { learnTracker } from "../../../../src/core/secrets/learn.ts";
import { createRedactor } from "../../../../src/core/text/redact.ts";
import { commandAdapter } from "../../../../src/core/tracker/command/adapter.ts";
import { answerLine, failureOf } from "../../../../src/core/tracker/command/protocol.ts";
import { editorOf } from "../../../../src/core/tracker/editor.ts";
import type { Tracker, TrackerDeps } from "../../../../src/core/tracker/tracker.ts";
import { config } from "../../../support/makers/issue.ts";
import { temporaryDir } from "../../../support/makers/storage.ts";

const secret = "s3cret-of-the-board";

/** A program whose answer to a method is what the body of `answer` returns; it notes every request and every start. */
function program(answer: string): string {
  return `
import { appendFileSync } from "node:fs";
import { createInterface } from "node:readline";
const note = (entry) => appendFileSync("noted.jsonl", JSON.stringify(entry) + "\\n");
note({ started: process.pid, argv: process.argv.slice(2), secret: process.env.BOARD_TOKEN, other: process.env.OTHER_TOKEN ?? null, url: process.env.BOARD_URL });
const say = (value) => process.stdout.write(typeof value === "string" ? value : JSON.stringify(value) + "\\n");
const issue = (more) => ({ id: "10", identifier: "BRD-1", title: "Greet", state: "To Do", ...more });
let count = 0;
createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  count += 1;
  note({ method, params });
  const result = (value) => say({ id, result: value });
  const error = (value) => say({ id, error: value });
  ${answer}
});
`;
}

interface Place {
  readonly tracker: Tracker;
  readonly dir: string;
  readonly malformed: (readonly string[])[];
  /** What the program noted so far. */
  noted(): readonly Record<string, unknown>[];
  starts(): number;
}

function place(t: TestContext, answer: string, provider: object = {}): Place {
  const dir = temporaryDir(t);
  writeFileSync(join(dir, "board.mjs"), program(answer));
  const malformed: (readonly string[])[] = [];
  const env = { PATH: process.env["PATH"] ?? "", BOARD_TOKEN: secret, OTHER_TOKEN: "another" };
  const deps: TrackerDeps = {
    ...{ dataDir: dir, clock: systemClock, env, workflowPath: join(dir, "WORKFLOW.md") },
    lookup: (name) => (name === "BOARD_TOKEN" ? secret : undefined),
    onMalformed: (_count, names = []) => malformed.push(names),
  };
  const tracker = commandAdapter.create(settings(provider), deps);
  t.after(() => tracker.close());
  const noted = () => {
    const text = readFileSync(join(dir, "noted.jsonl"), "utf8").trim();
    return text.split("\n").map((line) => JSON.parse(line));
  };
  const starts = () => noted().filter(({ started }) => started !== undefined).length;
  return { tracker, dir, malformed, noted, starts };
}

function settings(provider: object) {
  const own = {
    command: [process.execPath, "board.mjs"],
    env: { BOARD_URL: "https://board.example" },
    secret_env: ["BOARD_TOKEN"],
    states: ["In Review"],
    ...provider,
  };
  const states = { activeStates: ["To Do"], terminalStates: ["Done"] };
  return config({ tracker: { kind: "command", provider: own, ...states } }).tracker;
}

test("one program answers all polls; it gets its secrets and no text of an issue in its argv", async (t) => {
  const { tracker, noted, starts, malformed } = place(
    t,
    `if (method === "list" && params.after === null) result({ issues: [issue({ labels: ["UI"], priority: 2, description: "x; rm -rf", created_at: "2026-01-02T03:04:05Z", assignee: { id: "u1", name: "Ada" } }), { id: 3 }], next: "p2" });
     else if (method === "list") result({ issues: [issue({ id: "11", identifier: "BRD-2", blocked_by: [{ identifier: "BRD-1", state: "To Do" }] }), issue({ id: "12", identifier: "BRD-3", state: "Elsewhere" })] });
     else result({ issues: [issue(), issue({ id: "99", identifier: "BRD-99" })] });`,
  );
  const [first, second, ...more] = await tracker.fetchIssuesByStates(["To Do"]);
  assert.deepEqual(more, [], "an issue in another state is left out");
  assert.deepEqual([first?.identifier, first?.labels, first?.priority], ["BRD-1", ["ui"], 2]);
  assert.deepEqual([first?.assigneeId, first?.createdAt], ["u1", Date.UTC(2026, 0, 2, 3, 4, 5)]);
  assert.deepEqual([second?.identifier, second?.dispatchable], ["BRD-2", false]);
  assert.deepEqual(malformed, [["one without a name"]]);
  const again = await tracker.fetchIssuesByStates(["To Do"]);
  assert.equal(again, await tracker.fetchIssuesByStates(["To Do"]), "unchanged: the same array");
  assert.deepEqual(
    (await tracker.fetchIssuesByIds(["99", "10", "10", "77"])).map(({ id }) => id),
    ["99", "10"],
  );
  assert.equal((await tracker.find?.("brd-99"))?.issue.id, "99");
  assert.equal(await tracker.find?.("BRD-7"), null);
  assert.equal(starts(), 1);
  const [start] = noted();
  assert.deepEqual(
    [start?.["argv"], start?.["secret"], start?.["other"], start?.["url"]],
    [[], secret, null, "https://board.example"],
  );
  assert.deepEqual(tracker.secretEnvNames, ["BOARD_TOKEN"], "agents and hooks do not get it");
});

test("move and comment reach it, also by the agent's tools; what it cannot do is said", async (t) => {
  const { tracker, noted } = place(
    t,
    `if (method === "move" || method === "comment") result({});
     else if (method === "get") result({ issues: [issue()] });
     else error({ code: "unsupported", message: "no such thing" });`,
  );
  const mark = "\n\n<!-- symphony -->";
  const [found] = await tracker.fetchIssuesByIds(["10"]);
  assert.ok(found);
  await tracker.workflow.move(found, "in review");
  await assert.rejects(tracker.workflow.move(found, "Nowhere"), {
    code: "transition_not_allowed",
    message: "BRD-1 cannot move to Nowhere; it can to To Do, In Review, Done",
  });
  await tracker.workflow.comment?.(found, { key: "k", body: "under way" });
  const editor = editorOf(tracker);
  await editor.comment(found, "a person's word for @ada");
  assert.match(JSON.stringify(noted().at(-1)), /"body":"a person's word for @ada\\n/);
  for (const refused of [
    async () => editor.create({ title: "x" }),
    async () => editor.edit(found, { title: "x" }),
    async () => editor.edit(found, { state: "Done", priority: 1 }),
  ]) {
    await assert.rejects(refused, { code: "tracker_read_only", hint: /the tracker/ });
  }
  const tools = tracker.bindTools(found);
  assert.equal((await tools.call("issue_move", { state: "Done" })).success, true);
  const said = await tools.call("issue_comment", { body: "thanks @mallory, closes #4" });
  assert.equal(said.success, true, said.output);
  const read = await tools.call("issue_get", {});
  assert.match(read.output, /tracker_read_only.*refused comments: no such thing/);
  const sent = noted().filter(({ method }) => method === "move" || method === "comment");
  const issue = { id: "10", identifier: "BRD-1" };
  assert.deepEqual(
    sent
      .filter((_, at) => at !== 2)
      .slice(0, 3)
      .map(({ params }) => params),
    [
      { issue, state: "In Review" },
      { issue, key: "k", body: `under way${mark}` },
      { issue, state: "Done" },
    ],
  );
  assert.doesNotMatch(JSON.stringify(sent[4]), /@mallory|#4/, "it names nobody and closes nothing");
  const byAgent = JSON.stringify(sent[4]?.["params"]);
  assert.match(byAgent, /<!-- symphony -->"\}$/, "an agent's comment is known as symphony's");
});

test("comments are orders only where the program says that their author may write", async (t) => {
  const { tracker } = place(
    t,
    `result({ comments: [{ id: "1", author: "a", body: "x" }, { id: "2", author: "b", body: "x", by: "person" }, { id: "3", author: "c", body: "x", may_write: true }, { id: "4", author: "d", body: "x", by: "own", may_write: true }] });`,
  );
  const read = (await tracker.newComments?.({ id: "10", identifier: "BRD-1" }, 0)) ?? [];
  const verdicts = read.map((one) =>
    mayComment(one, { commentSteering: "all", commentMention: "@symphony" }),
  );
  assert.deepEqual(verdicts, ["no right", "no right", "yes", "own"]);
});

test("an issue that get omits is gone only while list works: a credential that sees none any more stops no run", async (t) => {
  const { tracker, noted } = place(
    t,
    `if (method === "list" && count < 5) result({ issues: [] });
     else if (method === "list") error({ status: 400, message: "no such project" });
     else if (params.ids[0] === "7") result({ issues: [], unread: ["7"] });
     else result({ issues: params.ids.flatMap((id) => (id === "10" || id === "BRD-1" ? issue() : [])) });`,
  );
  const read = (...ids: string[]) => tracker.fetchIssuesByIds(ids);
  assert.equal((await read("10")).length, 1);
  assert.deepEqual(
    noted().flatMap(({ method }) => method ?? []),
    ["get"],
    "a whole answer costs no more",
  );
  assert.equal((await read("10", "77")).length, 1);
  assert.equal((await tracker.find?.("BRD-1"))?.issue.id, "10");
  const failed = { code: "tracker_request" };
  await assert.rejects(read("10", "77"), { ...failed, message: /no such project/ });
  await assert.rejects(read("7"), { ...failed, message: /could not read every issue/ });
});

test("T-9: a faulty program fails like an HTTP tracker, by category", async (t) => {
  const faults = [
    ["tracker_response", /more than 1048576 bytes/, `say("x".repeat(1100000));`],
    [
      "tracker_response",
      /a line that is not JSON: hello \[redacted\]/,
      `say("hello ${secret}\\n");`,
    ],
    ["tracker_response", /a line that is no answer/, `say({ result: [] });`],
    ["tracker_response", /answered request 7, which/, `say({ id: 7, result: {} });`],
    ["tracker_response", /list in a wrong shape: issues/, `result({ issues: 5 });`],
    ["tracker_pagination", /pages that do not end/, `result({ issues: [], next: "same" });`],
    [
      "tracker_request",
      /ended with status 3; its last words: oh \[redacted\]/,
      `console.error("oh ${secret}"); process.exit(3);`,
    ],
    ["tracker_request", /did not answer list in 0\.4 s/, ``],
    [
      "tracker_status",
      /refused list: HTTP 401/,
      `error({ code: "unauthorized", message: "HTTP 401" });`,
    ],
    ["tracker_response", /refused list: odd/, `error({ code: "what", message: "odd" });`],
  ] as const;
  for (const [code, message, fault] of faults) {
    // A loaded machine may start programs slowly: only the silent one gets a short time.
    const { tracker, starts } = place(t, fault, fault === "" ? { timeout_ms: 400 } : {});
    await assert.rejects(tracker.fetchIssuesByStates(["To Do"]), { code, message });
    if (fault !== "") assert.equal(starts(), 1);
    await tracker.close();
  }
});

test("T-6: a list leaves out what has not its form, and a read by ids fails for it: no run is stopped by it", async (t) => {
  const rows = [
    `issue({ id: 7 })`,
    `issue({ id: "1\\ud800" })`,
    `issue({ identifier: "B\\u0000" })`,
    `issue({ identifier: "B".repeat(300) })`,
    `issue({ blocked_by: "BRD-2" })`,
    `issue({ blocked_by: [null] })`,
    `null`,
    `issue({ dispatchable: "yes" })`,
    `issue({ title: " " })`,
  ];
  const fields = ["id", "id", "identifier", "identifier", "blocked_by", "blocked_by"];
  fields.push("id, identifier, title and state", "dispatchable", "id, identifier, title and state");
  const { tracker, malformed } = place(
    t,
    `const ok = issue({ blocked_by: ["BRD-2"] });
     if (method === "list") say("\ufeff" + JSON.stringify({ id, result: { issues: [ok, ${rows}, issue({ id: "11", identifier: "brd-1" })] } }) + "\\r\\n");
     else result({ issues: [ok, [${rows}][Number(params.ids[0])]] });`,
  );
  const [found, ...more] = await tracker.fetchIssuesByStates(["To Do"]);
  assert.deepEqual([found?.id, found?.dispatchable, more], ["10", false, []]);
  assert.equal(found?.blockedBy[0]?.identifier, "BRD-2", "its state is not known, so it is open");
  const [names = []] = malformed;
  assert.equal(names.length, rows.length + 1, "and a second issue of one name");
  assert.deepEqual([names[0], names[6], names.at(-1)], ["BRD-1", "one without a name", "brd-1"]);
  for (const at of rows.keys()) {
    await assert.rejects(tracker.fetchIssuesByIds([String(at)]), {
      code: "tracker_response",
      message: new RegExp(`answered get with an issue that has not its form: ${fields[at]}`),
    });
  }
});

test("after a failure it is started again by a later request, not in a loop", async (t) => {
  const { tracker, dir, starts } = place(
    t,
    `import("node:fs").then(({ existsSync }) => existsSync("mended") ? result({ issues: [issue()] }) : process.exit(1));`,
  );
  const read = () => tracker.fetchIssuesByStates(["To Do"]);
  await assert.rejects(read(), { code: "tracker_request", message: /ended with status 1/ });
  for (let at = 0; at < 20; at++) await assert.rejects(read(), { code: "tracker_request" });
  assert.equal(starts(), 1, "it rests for a second first");
  writeFileSync(join(dir, "mended"), "");
  for (;;) {
    const issues = await read().catch(() => null);
    if (issues !== null) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.equal(starts(), 2);
});

test("a rate limit is respected without a request, and a program that is missing is named", async (t) => {
  const { tracker, noted } = place(
    t,
    `error({ code: "rate_limited", message: "slow down", retry_after_ms: 60000 });`,
  );
  const limited = { code: "tracker_rate_limited", message: /slow down/ };
  await assert.rejects(tracker.fetchIssuesByStates(["To Do"]), limited);
  await assert.rejects(tracker.fetchIssuesByIds(["10"]), limited);
  assert.equal(noted().filter(({ method }) => method !== undefined).length, 1);
  const wall = Date.UTC(2026, 0, 2, 3, 4, 5);
  const read = (error: object) => {
    const said = answerLine.parse({ id: 1, error }).error ?? {};
    const { code, details } = failureOf("list", said, { wall, shown: (text) => text });
    return [code, details["retryAfterMs"] ?? null];
  };
  const rows: readonly (readonly [object, readonly unknown[]])[] = [
    [{ code: "rate_limited", retry_after_ms: 1e12 }, ["tracker_rate_limited", 3_600_000]],
    [{ status: 429, retry_after: "7" }, ["tracker_rate_limited", 7_000]],
    [{ status: 429, retry_after: 7 }, ["tracker_rate_limited", 7_000]],
    [
      { status: 429, retry_after: "Fri, 02 Jan 2026 03:05:05 GMT" },
      ["tracker_rate_limited", 60_000],
    ],
    [{ status: 429, retry_after: "soon" }, ["tracker_rate_limited", 60_000]],
    [{ status: 429, retry_after: null }, ["tracker_rate_limited", 60_000]],
    [{ status: 401 }, ["tracker_status", null]],
    [{ status: 404 }, ["issue_not_found", null]],
    [{ status: 503, retry_after: "7" }, ["tracker_request", null]],
    [{ code: "not_allowed", status: 429 }, ["transition_not_allowed", null]],
    [{ code: "strange" }, ["tracker_response", null]],
    [{}, ["tracker_request", null]],
  ];
  for (const [error, expected] of rows)
    assert.deepEqual(read(error), expected, JSON.stringify(error));
  const silent = failureOf("move", { code: "unsupported" }, { wall, shown: (text) => text });
  assert.match(silent.message, /refused move: it has no such method/);
  const missing = place(t, "", { command: ["no-such-program-of-a-tracker"] });
  await assert.rejects(missing.tracker.fetchIssuesByStates(["To Do"]), {
    code: "tracker_request",
    message: "the tracker's program was not found: no-such-program-of-a-tracker",
  });
  const plain = place(t, "", { command: ["./board.mjs"] });
  await assert.rejects(plain.tracker.fetchIssuesByStates(["To Do"]), {
    code: "tracker_request",
    message: "the tracker's program cannot be started (EACCES): ./board.mjs",
  });
});

test("what it started ends with it", async (t) => {
  const { tracker, noted } = place(
    t,
    `import("node:child_process").then(({ spawn }) => { const child = spawn("sleep", ["600"], { detached: true }); note({ child: child.pid }); result({ issues: [] }); });`,
  );
  await tracker.fetchIssuesByStates(["To Do"]);
  const pids = noted().flatMap(({ started, child }) => Number(started ?? child ?? 0) || []);
  assert.equal(pids.length, 2);
  await tracker.close();
  const left = (await liveProcesses()).filter(({ pid }) => pids.includes(pid));
  assert.deepEqual(left, []);
});

test("faulty settings name their key, and the values of secret_env are hidden", () => {
  const lookup = (name: string) => (name === "BOARD_TOKEN" ? secret : undefined);
  const check = (provider: object) => () => commandAdapter.check(settings(provider), lookup);
  const refused = (path: string, code = "invalid_tracker_config") => ({
    code,
    details: { path: `tracker.provider.${path}` },
  });
  assert.throws(check({ command: "node board.mjs" }), refused("command"));
  assert.throws(check({ command: [] }), refused("command"));
  assert.throws(check({ env: { SYMPHONY_DATA_DIR: "x" } }), refused("env.SYMPHONY_DATA_DIR"));
  assert.throws(check({ timeout_ms: 1 }), refused("timeout_ms"));
  const missing = refused("secret_env", "missing_tracker_secret");
  assert.throws(check({ secret_env: ["BOARD_TOKEN", "NOT_SET"] }), missing);
  const redactor = createRedactor();
  learnTracker(settings({}), lookup, redactor);
  assert.doesNotMatch(redactor.redact(`it said ${secret}`), /s3cret/);
});
