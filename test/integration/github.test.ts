import assert from "node:assert/strict";
import { test } from "node:test";
import type { Observation } from "../../src/core/delivery/forge.ts";
import { failure, type GithubBench, githubBench, marker } from "../support/fakes/schema-github.ts";

const branch = "symphony/eng-1";
const order = { branch, base: "main", title: "ENG-1", body: `Words.\n\n${marker}`, draft: false };

async function observed({ forge }: GithubBench, number: number): Promise<Observation> {
  const observation = await forge.observe(number);
  assert.ok(observation !== "unchanged");
  return observation;
}

test("looks at the repository and at who we are there", async () => {
  await using bench = await githubBench();
  assert.deepEqual(await bench.forge.look(), {
    id: "724000001",
    name: "acme/app",
    configured: "acme/app",
    defaultBranch: "main",
    archived: false,
    canPush: true,
    login: "symphony-bot",
    drafts: null,
  });
  assert.equal((await bench.another({ as: "margaret" }).look()).canPush, false);
});

test("opens a pull request once although the answer is lost", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  await github.act({ do: "push", as: "symphony-bot", branch, files: { "a.txt": "x\n" } });
  github.faults.add({ kind: "lost", match: { operation: "pulls/create" } });
  await assert.rejects(forge.open(order), failure("unavailable", { final: false }));
  const found = await forge.find({ branch, marker });
  const opened = await forge.open(order);
  assert.equal(opened.number, found?.number);
  assert.equal(opened.title, "ENG-1");
  const closed = await forge.edit(opened.number, { state: "closed", title: "Given up" });
  assert.equal(closed.state, "closed");
  assert.equal(closed.closedBy, "symphony-bot");
  assert.equal((await forge.edit(opened.number, { state: "open" })).state, "open");
});

test("DELIVERY-2: a pull request of a fork, of a stranger or without the marker is never ours", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  const fork = await github.act({ as: "grace", rest: "POST /repos/acme/app/forks", body: {} });
  assert.equal(fork.status, 202);
  await github.act({
    do: "push",
    as: "grace",
    repo: "grace/app",
    branch,
    files: { "f.txt": "x\n" },
  });
  const body = { title: "Theirs", head: `grace:${branch}`, base: "main", body: marker };
  const theirs = await github.act({ as: "grace", rest: "POST /repos/acme/app/pulls", body });
  assert.equal(theirs.status, 201);
  assert.equal(await forge.find({ branch, marker }), null);
  assert.equal(await forge.find({ branch: "main", marker }), null);

  await github.act({ do: "push", as: "grace", branch, files: { "a.txt": "x\n" } });
  const plain = { title: "Hers", head: branch, base: "main", body: "No marker" };
  await github.act({ as: "grace", rest: "POST /repos/acme/app/pulls", body: plain });
  assert.equal(await forge.find({ branch, marker }), null);
  await assert.rejects(forge.open(order), failure("refused", { final: true }));
});

test("a draft is made ready and a draft again", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  await github.act({ do: "push", as: "symphony-bot", branch, files: { "a.txt": "x\n" } });
  const { number, draft } = await forge.open({ ...order, draft: true });
  assert.equal(draft, true);
  assert.equal((await forge.edit(number, { draft: false })).draft, false);
  assert.equal((await forge.edit(number, { draft: true, body: "New" })).body, "New");
  const again = await forge.edit(number, { draft: true });
  assert.equal(again.draft, true);
});

test("a comment and a reply are posted once although the answer is lost", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  const { number } = await bench.pull();
  // A person who quotes the marker does not stop ours.
  await github.act({ do: "comment", as: "grace", issue: number, body: "> <!-- c1 -->" });
  github.faults.add({ kind: "lost", match: { operation: "issues/create-comment" } });
  const comment = { body: "Done.", marker: "<!-- c1 -->" };
  await assert.rejects(forge.comment(number, comment), failure("unavailable"));
  const first = await forge.comment(number, comment);
  assert.deepEqual(await forge.comment(number, comment), first);

  const comments = [{ path: "a.txt", line: 1, body: "Why?" }];
  await github.act({ do: "review", as: "grace", event: "comment", comments });
  const theirs = await github.act({ do: "reply", as: "linus", body: "Yes, why?" });
  github.faults.add({
    kind: "lost",
    match: { operation: "pulls/create-reply-for-review-comment" },
  });
  const reply = { remark: `review_comment:${theirs.id}`, body: "Because.", marker: "<!-- r1 -->" };
  await assert.rejects(forge.reply(number, reply), failure("unavailable"));
  assert.match((await forge.reply(number, reply)).id, /^review_comment:\d+$/);
  const { remarks } = await observed(bench, number);
  const own = remarks.filter((remark) => remark.own);
  assert.deepEqual(
    own.map(({ kind, body }) => [kind, body]),
    [
      ["comment", "<!-- c1 -->\nDone."],
      ["line", "<!-- r1 -->\nBecause."],
    ],
  );
  assert.equal(
    new Set(remarks.filter(({ kind }) => kind === "line").map((one) => one.thread)).size,
    1,
  );
  // A thread that went between two calls, or takes no replies: the answer is still given. A locked one is said.
  const operation = "pulls/create-reply-for-review-comment";
  for (const status of [404, 410, 422]) {
    github.faults.add({ kind: "status", status, message: "No.", match: { operation } });
    const order = { ...reply, marker: `<!-- s${status} -->` };
    const { id } = await forge.reply(number, order);
    assert.match(id, /^issue_comment:\d+$/);
    assert.equal((await forge.reply(number, order)).id, id);
  }
  github.faults.add({ kind: "status", status: 403, message: "Locked.", match: { operation } });
  const locked = { ...reply, marker: "<!-- s403 -->" };
  await assert.rejects(forge.reply(number, locked), failure("forbidden", { final: true }));
  // Its author has deleted the comment: the answer is still given.
  await github.act({ as: "linus", rest: `DELETE /repos/acme/app/pulls/comments/${theirs.id}` });
  const late = { ...reply, body: "Gone?", marker: "<!-- r2 -->" };
  assert.match((await forge.reply(number, late)).id, /^issue_comment:\d+$/);
});

test("DELIVERY-11: reviews, resolved and outdated threads, and a dismissal", async () => {
  await using bench = await githubBench();
  const { github } = bench;
  const { number, head } = await bench.pull();
  const review = await github.act({
    do: "review",
    as: "grace",
    event: "request_changes",
    body: "See below",
    comments: [
      { path: "a.txt", line: 1, body: "First" },
      { path: "a.txt", line: 2, body: "Second" },
    ],
  });
  await github.act({ do: "review", as: "linus", event: "approve" });
  const before = await observed(bench, number);
  assert.deepEqual(
    before.reviews.map(({ author, verdict, own }) => [author, verdict, own]),
    [
      ["grace", "changes_requested", false],
      ["linus", "approved", false],
    ],
  );
  assert.equal(before.reviews[0]?.head, head);
  assert.deepEqual(before.remarks.find(({ kind }) => kind === "review")?.body, "See below");
  assert.equal(await bench.forge.observe(number), "unchanged");

  await github.act({ do: "resolve" });
  await github.act({ do: "push", as: "symphony-bot", branch, files: { "a.txt": "new\n" } });
  await github.act({
    as: "ada",
    rest: `PUT /repos/acme/app/pulls/${number}/reviews/${review.id}/dismissals`,
    body: { message: "Settled" },
  });
  const after = await observed(bench, number);
  const lines = after.remarks.filter(({ kind }) => kind === "line");
  assert.deepEqual(
    lines.map(({ resolved, outdated, line }) => [resolved, outdated, line]),
    [
      [true, true, null],
      [true, true, null],
    ],
  );
  assert.equal(after.reviews[0]?.verdict, "dismissed");
  assert.notEqual(after.pullRequest.head, head);
});

test("DELIVERY-12: everybody's rights are asked of the permission endpoint, and a comment without author arrives", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  const people = ["ada", "grace", "margaret", "mallory", "nobody-at-all"];
  const may = await Promise.all(people.map((login) => forge.mayWrite(login)));
  assert.deepEqual(may, [true, true, false, false, false]);
  github.faults.add({
    kind: "status",
    status: 502,
    times: 9,
    match: { path: "/linus/permission" },
  });
  assert.equal(await forge.mayWrite("linus"), null);
  github.configure({ clear: true });
  assert.equal(await forge.mayWrite("linus"), true);
  // Known for five minutes, whatever happens meanwhile.
  await github.act({ do: "access", user: "linus", level: "none" });
  assert.equal(await forge.mayWrite("Linus"), true);

  const { number } = await bench.pull();
  const made = await github.act({ do: "comment", as: "grace", issue: number, body: "Hello" });
  const body = [{ ...made, id: 7, user: null, body: "From the past" }, made];
  github.faults.add({
    kind: "status",
    status: 200,
    body,
    match: { operation: "issues/list-comments" },
  });
  const { remarks } = await observed(bench, number);
  assert.deepEqual(
    remarks.map(({ author, body: text }) => [author, text]),
    [
      [null, "From the past"],
      ["grace", "Hello"],
    ],
  );
});

test("more than a hundred comments are read", async () => {
  await using bench = await githubBench();
  const { number } = await bench.pull();
  for (let n = 0; n < 100; n++) {
    await bench.github.act({ do: "comment", as: "grace", issue: number, body: `No. ${n}` });
  }
  assert.equal((await observed(bench, number)).remarks.length, 100);
  // The first page stays as it is, and with it its answer's tag and links.
  await bench.github.act({ do: "comment", as: "grace", issue: number, body: "The last" });
  const { remarks } = await observed(bench, number);
  assert.equal(remarks.length, 101);
  assert.equal(remarks.at(-1)?.body, "The last");
});

test("checks: runs of Actions, an app's check and a commit status, with the end of the log of a failure", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  const { number, head } = await bench.pull();
  await github.act({ do: "ci", job: "test", conclusion: "failure", log: "not ok 1 - sum" });
  await github.act({ do: "ci", job: "build", conclusion: "success" });
  await github.act({ do: "check", name: "scan", conclusion: "neutral" });
  await github.act({ do: "commit-status", context: "ci/old", state: "pending" });
  const { checks, requiredChecks, baseRed } = await observed(bench, number);
  const states = Object.fromEntries(checks.map(({ name, state }) => [name, state]));
  assert.deepEqual(states, {
    build: "success",
    test: "failure",
    scan: "success",
    "ci/old": "running",
  });
  const failed = checks.find(({ name }) => name === "test");
  assert.ok(failed);
  assert.match(failed.excerpt ?? "", /not ok 1 - sum$/);
  assert.equal(failed.head, head);
  assert.equal(failed.attempt, 1);
  assert.deepEqual(requiredChecks, []);
  assert.deepEqual(baseRed, []);

  // Run again once, however often it is asked for.
  github.faults.add({ kind: "lost", match: { operation: "actions/re-run-workflow-failed-jobs" } });
  await assert.rejects(forge.rerun(number, failed), failure("unavailable"));
  await forge.rerun(number, failed);
  const again = (await observed(bench, number)).checks.find(({ name }) => name === "test");
  assert.equal(again?.attempt, 2);
  assert.equal(again.excerpt, null);
  const status = checks.find(({ name }) => name === "ci/old");
  assert.ok(status);
  await assert.rejects(forge.rerun(number, status), failure("refused", { final: true }));
});

test("DELIVERY-19: what is red on the base too is named", async () => {
  await using bench = await githubBench();
  const { github } = bench;
  const { number } = await bench.pull();
  const { baseHead } = await observed(bench, number);
  await github.act({ do: "commit-status", context: "lint", state: "failure" });
  await github.act({ do: "commit-status", context: "unit", state: "error" });
  await github.act({ do: "commit-status", context: "lint", state: "failure", sha: baseHead });
  assert.deepEqual((await observed(bench, number)).baseRed, ["lint"]);
});

test("DELIVERY-9: mergeable is unknown, then yes, then no after a conflict", async () => {
  await using bench = await githubBench({ mergeableMs: 300 });
  const { number } = await bench.pull();
  const seen = new Set<string>();
  const until = async (wanted: string) => {
    while (!seen.has(wanted)) {
      const observation = await bench.forge.observe(number);
      if (observation !== "unchanged") seen.add(observation.pullRequest.mergeable);
    }
  };
  await until("yes");
  assert.deepEqual([...seen], ["unknown", "yes"]);
  await bench.github.act({ do: "conflict" });
  await until("no");
});

test("a protected branch: required checks, a refusal, then exactly the judged head is merged", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  const { number, head } = await bench.pull();
  const protection = {
    required_status_checks: { strict: false, contexts: ["test", "build"] },
    required_pull_request_reviews: { required_approving_review_count: 1 },
    enforce_admins: true,
  };
  await github.act({ do: "protect", protection });
  assert.deepEqual((await observed(bench, number)).requiredChecks, ["test", "build"]);
  const early = await forge.merge(number, { head, method: "squash" });
  assert.equal(early.outcome, "refused");
  assert.equal(early.final, false);
  await github.act({ do: "ci", conclusion: "success" });
  await github.act({ do: "review", as: "grace", event: "approve" });
  const other = await forge.merge(number, { head: "0".repeat(40), method: "squash" });
  assert.deepEqual([other.outcome, other.outcome === "refused" && other.final], ["refused", true]);
  github.faults.add({ kind: "lost", match: { operation: "pulls/merge" } });
  const merge = { head, method: "squash", title: "ENG-1: all of it" } as const;
  await assert.rejects(forge.merge(number, merge), failure("unavailable"));
  const merged = await forge.merge(number, merge);
  assert.equal(merged.outcome, "merged");
  const { pullRequest } = await observed(bench, number);
  assert.equal(pullRequest.state, "merged");
  assert.equal(pullRequest.mergeSha, merged.sha);
  assert.equal(pullRequest.closedBy, "symphony-bot");
});

test("DELIVERY-4: who closed a pull request is named", async () => {
  await using bench = await githubBench();
  const { number } = await bench.pull();
  await bench.github.act({ do: "close", as: "linus", issue: number });
  const { pullRequest } = await observed(bench, number);
  assert.deepEqual([pullRequest.state, pullRequest.closedBy], ["closed", "linus"]);
});
