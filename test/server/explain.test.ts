// Which gate stops an issue, wherever it is in the tracker: row S3 of the cases of the scheduler.

import assert from "node:assert/strict";
import { test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { type FakeLinear, startFakeLinear } from "../support/fakes/fake-linear.ts";
import { freshProject, openReal, type RealServer } from "../support/worlds/real-server.ts";
import { symphony } from "../support/worlds/run-symphony.ts";
import { eventually } from "../support/worlds/symphony.ts";

interface World extends AsyncDisposable {
  readonly fake: FakeLinear;
  readonly server: RealServer;
  readonly dir: string;
}

/** Nothing is started: the only issue of the scope misses a label. The agent's program is there on every machine. */
async function world(): Promise<World> {
  const fake = await startFakeLinear({
    issues: [
      { identifier: "ENG-1", assigneeId: "user-ada" },
      { identifier: "ENG-2", assigneeId: "user-ada", state: "Backlog", labels: ["agent"] },
      { identifier: "ENG-3", assigneeId: "user-ada", project: "b00000000001", labels: ["agent"] },
      { identifier: "ENG-4", assigneeId: "user-grace", state: "Done", labels: ["agent"] },
      { identifier: "ENG-5", archived: true, labels: ["agent"] },
      { identifier: "ENG-6", assigneeId: "user-grace", labels: ["agent"] },
      { identifier: "OPS-7", assigneeId: "user-ada", state: "Backlog", labels: ["agent"] },
    ],
  });
  const workflow = `---
tracker:
  kind: linear
  labels: { all: [agent] }
  provider: { endpoint: "${fake.url}", project_slug: "${fake.project}", assignee: ada }
workspace: { root: workspaces }
agent: { kind: command }
command: { line: cat }
---
Work on {{ issue.title }}
`;
  const project = await freshProject({ workflow });
  const server = await openReal(project.dir, { env: { LINEAR_API_KEY: fake.apiKey } });
  await eventually("the first poll has ended", async () => {
    const { polling } = (await server.ask("/api/v1/state")).json();
    return polling.last_poll_at;
  });
  return {
    fake,
    server,
    dir: project.dir,
    async [Symbol.asyncDispose]() {
      await server.stop();
      await fake.close();
      await project[Symbol.asyncDispose]();
    },
  };
}

const finds = ({ fake }: World) =>
  fake.requests.filter(({ operation }) => operation === "SymphonyFind").length;

async function shut({ server }: World, identifier: string) {
  const answer = await server.ask(`/api/v1/${identifier}`);
  assert.equal(answer.status, 200, answer.text);
  const detail = api.issues.detail.reply.parse(answer.json());
  for (const { pass, opens } of detail.explain) assert.equal(opens === null, pass);
  const closed = detail.explain.filter(({ pass }) => !pass);
  return { detail, gates: closed.map(({ gate, detail: found }) => `${gate}: ${found}`) };
}

const grace = "assigned to user-grace, not to ada (tracker.provider.assignee)";
const nobody = "assigned to nobody, not to ada (tracker.provider.assignee)";

test("S3: for any issue of the tracker explain says which gates stop it, and when it is read next", async () => {
  await using it = await world();
  const before = (await it.server.ask("/api/v1/state")).json();
  const cases = {
    "ENG-1": ['required_labels: misses "agent"'],
    "ENG-2": ["active_state: state is Backlog"],
    "ENG-3": [
      "project: its project is Project b00000000001, not Project a79254768c8f (tracker.provider.project_slug)",
    ],
    "ENG-4": ["active_state: state is Done", `dispatchable: ${grace}`],
    "ENG-5": ["not_archived: it is archived", `dispatchable: ${nobody}`],
    "ENG-6": [`dispatchable: ${grace}`],
  };
  for (const [identifier, gates] of Object.entries(cases)) {
    const found = await shut(it, identifier);
    assert.deepEqual(found.gates, gates, identifier);
    assert.equal(found.detail.status, identifier === "ENG-6" ? "queued" : null);
    assert.equal(found.detail.tracker_read.next, "the next poll");
    assert.equal(found.detail.tracker_read.next_at, before.polling.next_poll_at);
    assert.ok(found.detail.tracker_read.at);
  }
  assert.equal(finds(it), 4, "those of the list are known");
  await shut(it, "eng-2");
  assert.equal(finds(it), 4, "an answer is used again for 10 s");
  const after = (await it.server.ask("/api/v1/state")).json();
  assert.deepEqual(after.counts, before.counts);
  assert.deepEqual(after.queued, before.queued);
  assert.equal(after.running.length, 0);
});

test("S3: explain on the command line prints the gate, what was found and what opens it", async () => {
  await using it = await world();
  const env = { SYMPHONY_URL: it.server.url };
  const explained = await symphony(["explain", "ENG-2"], { cwd: it.dir, env });
  assert.equal(explained.code, 0, explained.stderr);
  assert.match(explained.stdout, /^state +Backlog$/m);
  assert.match(
    explained.stdout,
    /^no {2}active_state: state is Backlog; opens by: move it to Todo or In Progress$/m,
  );
  assert.match(explained.stdout, /^read .*; next: the next poll, in \d+s$/m);
  const json = await symphony(["explain", "ENG-3", "--json"], { cwd: it.dir, env });
  const project = JSON.parse(json.stdout).explain.find(
    ({ gate }: { gate: string }) => gate === "project",
  );
  assert.equal(project.opens, "move it to the project Project a79254768c8f");
});

test("S3: every command about an issue that is not worked on tells the same, and names no other issue", async () => {
  await using it = await world();
  const env = { SYMPHONY_URL: it.server.url };
  for (const [args, code] of [
    [["steer", "ENG-2", "do it"], 7],
    [["abort", "ENG-2"], 7],
    [["respond", "ENG-2", "approve"], 7],
    [["transition", "ENG-2", "queued"], 7],
    [["transition", "ENG-2", "held"], 7],
    [["transition", "OPS-7", "held"], 7],
  ] as const) {
    const done = await symphony(args, { cwd: it.dir, env });
    const what = `${args.join(" ")}: ${done.stderr}`;
    assert.match(done.stderr, /(ENG-2|OPS-7) is in Backlog/, what);
    assert.match(done.stderr, /move it to Todo or In Progress/, what);
    assert.doesNotMatch(done.stderr, /did you mean|ENG-1|ENG-3/, what);
    assert.ok(done.code === code || args[0] === "respond", `${what} ended with ${done.code}`);
  }
});

test("S3: an issue that the tracker does not have is 404 with the tracker's name", async () => {
  await using it = await world();
  for (const path of ["ENG-99", "ENG-99/attempts"]) {
    const answer = await it.server.ask(`/api/v1/${path}`);
    assert.equal(answer.status, 404);
    const { error } = answer.json();
    assert.deepEqual([error.code, error.details.tracker], ["issue_not_found", "linear"]);
    assert.equal(error.message, "the linear tracker has no issue ENG-99");
  }
  assert.equal(finds(it), 1, "also that answer is used again");
});

test("S3: a held issue that left the scope stays held, and explain says where it went", async () => {
  await using it = await world();
  const { stderr, code } = await symphony(["transition", "ENG-6", "held"], { cwd: it.dir });
  assert.equal(code, 0, stderr);
  it.fake.change("ENG-6", { project: "b00000000001" });
  assert.equal((await it.server.ask("/api/v1/refresh", { method: "POST" })).status, 202);
  const gates = await eventually("it is read", async () => {
    const found = await shut(it, "ENG-6");
    return found.gates[0]?.startsWith("in_scope") ? found.gates : null;
  });
  assert.equal(gates[0], "in_scope: moved to the project Project b00000000001");
  assert.ok(gates.some((one) => one.startsWith("not_held")));
});

test("S3: when the tracker cannot be asked, the answer is 502 with what is last known and its age", async () => {
  await using it = await world();
  await shut(it, "ENG-2");
  it.fake.fail({ kind: "reset", times: 99 });
  const known = await it.server.ask("/api/v1/ENG-2");
  assert.equal(known.status, 200, "within 10 s the last answer is used again");
  const answer = await it.server.ask("/api/v1/ENG-3");
  assert.equal(answer.status, 502, answer.text);
  const { error } = answer.json();
  assert.equal(error.code, "tracker_request");
  assert.match(error.message, /^ENG-3 is not in memory, and the linear tracker cannot be asked/);
  assert.match(error.message, /nothing is known of it here$/);
  assert.equal(error.details.last_known, null);
});

test("S3: when the tracker refuses its key, the answer for an issue says what mends it", async () => {
  await using it = await world();
  await shut(it, "ENG-2");
  it.fake.fail({ kind: "status", status: 401, times: 99 });
  const { error } = (await it.server.ask("/api/v1/ENG-3")).json();
  assert.equal(error.code, "tracker_status");
  assert.match(error.details.hint, /symphony secrets/);
});

test("S3: an issue that is done is read again when a person asks, since no poll does; its age is that of the answer", async () => {
  await using it = await world();
  const post = { method: "POST", body: { to: "completed" } };
  assert.equal((await shut(it, "ENG-6")).detail.status, "queued");
  const moved = await it.server.ask("/api/v1/ENG-6/transition", post);
  assert.equal(moved.status, 200, moved.text);
  const tracker = it.server.core.tracker();
  const find = tracker.find?.bind(tracker);
  const broken = new SymphonyError("tracker_request", "the connection was reset");
  Object.assign(tracker, { find: () => Promise.reject(broken) });
  assert.equal((await shut(it, "ENG-6")).detail.tracker_read.at, null);
  // What was known without the tracker is not given to the next reader.
  Object.assign(tracker, { find });
  it.fake.change("ENG-6", { title: "A newer title", state: "In Progress" });
  const { detail, gates } = await shut(it, "ENG-6");
  assert.equal(detail.status, "completed");
  assert.deepEqual([detail.issue.title, detail.issue.state], ["A newer title", "In Progress"]);
  assert.ok(detail.tracker_read.at);
  assert.ok(gates.includes("not_completed: an operator completed it"), gates.join());
  assert.equal(finds(it), 1);
  it.fake.fail({ kind: "reset", times: 99 });
  // Whatever the tracker does, what is known is shown.
  assert.equal((await shut(it, "ENG-6")).detail.status, "completed");
});
