import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../../../src/core/clock.ts";
import type { Observation } from "../../../../src/core/delivery/forge.ts";
import {
  ada,
  type FakeGithub,
  headSha,
  pullAnswer,
  runAnswer,
  seconds,
  startFakeGithub,
  workflowAnswer,
} from "../../../support/fakes/fake-github.ts";

async function observed(github: FakeGithub): Promise<Observation> {
  const observation = await github.forge(systemClock).observe(7);
  assert.ok(observation !== "unchanged");
  return observation;
}

/** Sets the check runs and workflow runs of the head, and returns what is observed of them. */
async function checksOf(
  github: FakeGithub,
  runs: readonly unknown[],
  workflows: readonly unknown[] = [],
) {
  github.on(`GET /commits/${headSha}/check-runs`, { body: { check_runs: runs } });
  github.on("GET /actions/runs", { body: { workflow_runs: workflows } });
  return (await observed(github)).checks;
}

test("DELIVERY-16: a cancelled check with a newer run is omitted, one without is not", async () => {
  await using github = await startFakeGithub();
  const old = runAnswer({ id: 1, conclusion: "cancelled", check_suite: { id: 100 } });
  const later = { started_at: "2026-11-26T09:00:00Z", check_suite: { id: 101 } };
  const newer = runAnswer({ id: 2, status: "in_progress", conclusion: null, ...later });
  const workflows = [
    workflowAnswer({ id: 200, check_suite_id: 100, event: "push" }),
    workflowAnswer({ id: 201, check_suite_id: 101, event: "pull_request" }),
  ];
  const replaced = await checksOf(github, [newer, old], workflows);
  assert.deepEqual(
    replaced.map(({ state, runId }) => [state, runId]),
    [["running", "run:201"]],
  );
  const alone = await checksOf(github, [old], workflows);
  assert.deepEqual(
    alone.map(({ state }) => state),
    ["cancelled"],
  );
});

test("a failure of one event is not hidden by a success of another; within one event the newest counts", async () => {
  await using github = await startFakeGithub();
  const at = (hour: number) => ({ started_at: `2026-11-26T1${hour}:00:00Z` });
  const runs = [
    runAnswer({ id: 1, conclusion: "failure", check_suite: { id: 100 }, ...at(1) }),
    runAnswer({ id: 2, conclusion: "success", check_suite: { id: 101 }, ...at(2) }),
    runAnswer({ id: 3, conclusion: "failure", check_suite: { id: 102 }, ...at(0) }),
  ];
  const workflows = [
    workflowAnswer({ id: 200, check_suite_id: 100, event: "push" }),
    workflowAnswer({ id: 201, check_suite_id: 101, event: "pull_request" }),
    workflowAnswer({ id: 202, check_suite_id: 102, event: "pull_request" }),
  ];
  const checks = await checksOf(github, runs, workflows);
  assert.deepEqual(checks.map(({ runId, state }) => [runId, state]).sort(), [
    ["run:200", "failure"],
    ["run:201", "success"],
  ]);
});

test("DELIVERY-18: none, expected, waiting for a person and unknown words are never a success", async () => {
  await using github = await startFakeGithub();
  const states = async (...runs: readonly unknown[]) => {
    return (await checksOf(github, runs)).map(({ state }) => state);
  };
  assert.deepEqual(await states(), []);
  assert.deepEqual(await states(runAnswer({ status: "queued", conclusion: null })), ["waiting"]);
  assert.deepEqual(await states(runAnswer({ conclusion: "invented" })), ["waiting"]);
  assert.deepEqual(await states(runAnswer({ conclusion: null })), ["waiting"]);
  assert.deepEqual(await states(runAnswer({ conclusion: "action_required" })), ["action_required"]);
  const held = workflowAnswer({ status: "completed", conclusion: "action_required" });
  const checks = await checksOf(github, [], [held, workflowAnswer({ id: 5, check_suite_id: 7 })]);
  assert.deepEqual(
    checks.map(({ name, state }) => [name, state]),
    [["CI", "action_required"]],
  );
});

test("DELIVERY-16, DELIVERY-18: a workflow that ended before its first job is seen; one that was replaced is not", async () => {
  await using github = await startFakeGithub();
  const run = (id: number, conclusion: string, change = {}) =>
    workflowAnswer({ id, conclusion, check_suite_id: id, workflow_id: id, ...change });
  const checks = await checksOf(
    github,
    [],
    [
      run(1, "startup_failure", { name: "broken" }),
      run(2, "cancelled", { name: "replaced", workflow_id: 7 }),
      run(3, "success", { event: "pull_request", workflow_id: 7 }),
      run(4, "cancelled", { name: "alone" }),
      run(5, "skipped"),
      run(6, "neutral"),
      run(8, "failure", { workflow_id: 9 }),
      run(9, "success", { workflow_id: 9 }),
    ],
  );
  assert.deepEqual(
    checks.map(({ name, state, runId }) => [name, state, runId]),
    [
      ["broken", "failure", "run:1"],
      ["alone", "cancelled", "run:4"],
    ],
  );
  assert.match(checks[0]?.excerpt ?? "", /^No job of this workflow began \(startup_failure\)/);
});

test("DELIVERY-18: required checks come from protection and from rulesets; what may not be read is unknown", async () => {
  await using github = await startFakeGithub();
  const branch = (more: object) => ({ body: { commit: { sha: "c".repeat(40) }, ...more } });
  const contexts = { required_status_checks: { contexts: ["test"] } };
  const rules = [
    { type: "deletion" },
    {
      type: "required_status_checks",
      parameters: { required_status_checks: [{ context: "scan" }, { context: "test" }] },
    },
  ];
  github.on("GET /branches/main", branch({ protected: true, protection: contexts }));
  github.on("GET /rules/branches/main", { body: rules });
  assert.deepEqual((await observed(github)).requiredChecks, ["test", "scan"]);
  github.on("GET /branches/main", branch({ protected: true }));
  assert.equal((await observed(github)).requiredChecks, null);
  github.on("GET /branches/main", branch({ protected: false }));
  github.on("GET /rules/branches/main", { status: 403, body: { message: "Forbidden" } });
  assert.equal((await observed(github)).requiredChecks, null);
  // A server without rulesets.
  github.on("GET /rules/branches/main", { status: 404, body: { message: "Not Found" } });
  assert.deepEqual((await observed(github)).requiredChecks, []);
});

test("checks that may not be read are an error, not none", async () => {
  await using github = await startFakeGithub();
  github.on(`GET /commits/${headSha}/check-runs`, {
    status: 403,
    headers: { "x-accepted-github-permissions": "checks=read" },
    body: { message: "Resource not accessible by personal access token" },
  });
  await assert.rejects(github.forge(systemClock).observe(7), (error: Error) => {
    assert.match(error.message, /personal access token \(HTTP 403; needs checks=read\)/);
    return true;
  });
});

test("the log of a failed job is fetched once, from its store, without the token", async () => {
  await using github = await startFakeGithub();
  await using store = await startFakeGithub();
  const job = `${github.url}/acme/app/actions/runs/200/job/55`;
  const failed = runAnswer({ conclusion: "failure", html_url: job });
  const log = Array.from({ length: 900 }, (_, n) => `2026-11-26T08:00:00.1234567Z line ${n} é`);
  log.push("2026-11-26T08:00:00.1234567Z \u001b[31mnot ok\u001b[0m 1 - sum\u0007");
  github.on("GET /actions/jobs/55/logs", {
    status: 302,
    headers: { location: "/elsewhere/1?sig=x" },
  });
  github.on("GET /elsewhere/1", { body: log.join("\n") });
  github.on(`GET /commits/${headSha}/check-runs`, { body: { check_runs: [failed] } });
  const forge = github.forge(systemClock);
  const first = await forge.observe(7);
  assert.ok(first !== "unchanged");
  const excerpt = first.checks[0]?.excerpt ?? "";
  assert.match(excerpt, /line 899 é\nnot ok 1 - sum$/);
  assert.ok(Buffer.byteLength(excerpt) <= 4_096);
  assert.doesNotMatch(excerpt, /\ufffd/);
  assert.equal(await forge.observe(7), "unchanged");
  const fetched = github.requests.filter(({ path }) => path === "/elsewhere/1");
  assert.deepEqual(
    fetched.map(({ headers }) => headers.authorization),
    [undefined],
  );

  // A store that would be reached without TLS is not asked at all.
  const plain = { status: 302, headers: { location: `${store.url}/elsewhere/2` } };
  github.on("GET /actions/jobs/55/logs", plain);
  const other = await github.forge(systemClock).observe(7);
  assert.ok(other !== "unchanged");
  assert.equal(other.checks[0]?.excerpt, null);
  assert.equal(store.requests.length, 0);
});

test("a pending review and a silent one are no remarks; ids beyond 2^53 keep their digits", async () => {
  await using github = await startFakeGithub();
  const review = (change: object) => ({
    id: 1,
    html_url: "https://github.test/r",
    user: ada,
    body: "",
    state: "COMMENTED",
    commit_id: headSha,
    submitted_at: seconds,
    ...change,
  });
  const pending = {
    ...review({ id: 2, state: "PENDING", body: "Not yet" }),
    submitted_at: undefined,
  };
  const gone = review({ id: 3, user: null, state: "APPROVED" });
  const huge = JSON.stringify(review({ id: 0, state: "CHANGES_REQUESTED", commit_id: null }));
  const body = `[${JSON.stringify(review({}))},${JSON.stringify(pending)},${JSON.stringify(gone)},${huge.replace('"id":0', '"id":9007199254740993')}]`;
  const json = { "content-type": "application/json; charset=utf-8" };
  github.on("GET /pulls/7/reviews", { body, headers: json });
  const { remarks, reviews } = await observed(github);
  assert.deepEqual(
    remarks.map(({ id, author, verdict }) => [id, author, verdict]),
    [
      ["review:3", null, "approved"],
      ["review:9007199254740993", "ada", "changes_requested"],
    ],
  );
  assert.deepEqual(
    reviews.map(({ author, verdict, head }) => [author, verdict, head]),
    [
      ["ada", "commented", headSha],
      ["ada", "changes_requested", ""],
    ],
  );
});

test("threads that may not be read are unknown; the comments arrive", async () => {
  await using github = await startFakeGithub();
  const line = {
    id: 5,
    html_url: "https://github.test/c",
    user: ada,
    body: "Why?",
    created_at: seconds,
    updated_at: seconds,
    path: "a.txt",
    line: null,
    original_line: 3,
    in_reply_to_id: null,
  };
  github.on("GET /pulls/7/comments", { body: [line, { ...line, id: 6, subject_type: "file" }] });
  const errors = [{ type: "FORBIDDEN", message: "Resource not accessible" }];
  github.on("POST /graphql", { body: { data: { repository: null }, errors } });
  const { remarks } = await observed(github);
  assert.deepEqual(
    remarks.map(({ resolved, outdated, thread }) => [resolved, outdated, thread]),
    [
      [null, true, "5"],
      [null, false, "6"],
    ],
  );
});

test("DELIVERY-25: a draft, a base or a title that changes under the same head is seen", async () => {
  await using github = await startFakeGithub();
  const forge = github.forge(systemClock);
  assert.notEqual(await forge.observe(7), "unchanged");
  assert.equal(await forge.observe(7), "unchanged");
  for (const change of [{ draft: true }, { title: "Other" }, { mergeable: null }]) {
    github.on("GET /pulls/7", { body: pullAnswer(change) });
    assert.notEqual(await forge.observe(7), "unchanged", JSON.stringify(change));
  }
});

test("a pull request that was just opened may be unknown for a second", async () => {
  await using github = await startFakeGithub();
  let asked = 0;
  github.on("GET /pulls/7", () => {
    return asked++ === 0 ? { status: 404, body: { message: "Not Found" } } : { body: pullAnswer() };
  });
  assert.equal((await observed(github)).pullRequest.number, 7);
});

test("a run with jobs that have not ended is run again later, not never", async () => {
  await using github = await startFakeGithub();
  const forge = github.forge(systemClock);
  const [failed] = await checksOf(
    github,
    [runAnswer({ conclusion: "failure" })],
    [workflowAnswer({})],
  );
  assert.ok(failed);
  const path = "/actions/runs/200";
  github.on(`GET ${path}`, { body: workflowAnswer({ status: "in_progress", conclusion: null }) });
  await assert.rejects(forge.rerun(7, failed), { category: "refused", final: false });
  github.on(`GET ${path}`, { body: workflowAnswer({ conclusion: "failure" }) });
  github.on(`POST ${path}/rerun-failed-jobs`, { status: 201, body: {} });
  await forge.rerun(7, failed);
  github.on(`GET ${path}`, { body: workflowAnswer({ run_attempt: 2, status: "queued" }) });
  await forge.rerun(7, failed);
  // Of a cancelled run no job may have failed.
  github.on(`GET ${path}`, { body: workflowAnswer({ conclusion: "cancelled" }) });
  github.on(`POST ${path}/rerun`, { status: 201, body: {} });
  await forge.rerun(7, { ...failed, state: "cancelled" });
  assert.deepEqual(
    github.requests
      .filter(({ method }) => method === "POST")
      .map((one) => one.path.split("/").at(-1)),
    ["rerun-failed-jobs", "rerun"],
  );
});

test("a check of another app is asked for by its own number", async () => {
  await using github = await startFakeGithub();
  const forge = github.forge(systemClock);
  const app = { id: 9, slug: "scanner" };
  const [check] = await checksOf(github, [runAnswer({ id: 44, app, conclusion: "failure" })]);
  assert.equal(check?.runId, "check_run:44");
  github.on("POST /check-runs/44/rerequest", { status: 201, body: {} });
  await forge.rerun(7, check);
  assert.equal(github.requests.at(-1)?.path, "/repos/acme/app/check-runs/44/rerequest");
});
