import assert from "node:assert/strict";
import { test } from "node:test";
import { ForgeError } from "../../src/core/model/forge-error.ts";
import { failure, githubBench, marker } from "../support/fakes/schema-github.ts";

const branch = "symphony/eng-1";

test("DELIVERY-3: a secondary limit is an error with a time, and nothing is sent before it", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  await forge.look();
  github.faults.add({ kind: "secondary", retryAfter: 40, match: { operation: "pulls/list" } });
  const before = Date.now();
  const refused = (error: unknown) => {
    assert.ok(error instanceof ForgeError);
    assert.equal(error.category, "rate_limited");
    assert.equal(error.final, false);
    const waitMs = (error.retryAt ?? 0) - before;
    assert.ok(waitMs >= 40_000 && waitMs < 50_000, `${waitMs} ms`);
    return true;
  };
  await assert.rejects(forge.find({ branch, marker }), refused);
  const sent = github.requests.length;
  await assert.rejects(forge.find({ branch, marker }), refused);
  await assert.rejects(forge.comment(1, { body: "x", marker }), refused);
  assert.equal(await forge.mayWrite("grace"), null);
  assert.equal(github.requests.length, sent);
});

test("a secondary limit without a time is waited for at least a minute", async () => {
  await using bench = await githubBench();
  bench.github.faults.add({
    kind: "secondary",
    retryAfter: null,
    match: { operation: "repos/get" },
  });
  await assert.rejects(bench.forge.look(), (error: unknown) => {
    assert.ok(error instanceof ForgeError);
    assert.equal(error.category, "rate_limited");
    assert.ok((error.retryAt ?? 0) - Date.now() > 59_000);
    return true;
  });
});

test("a spent budget is waited for until its reset", async () => {
  await using bench = await githubBench();
  bench.github.configure({ drain: true });
  await assert.rejects(bench.forge.look(), failure("rate_limited", { final: false }));
});

test("one bad answer to a read is asked again; a lasting one says nothing about the pull request", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  const opened = await bench.pull();
  for (const kind of ["half", "reset"]) {
    github.faults.add({ kind, match: { operation: "pulls/list" } });
    assert.equal((await forge.find({ branch, marker }))?.number, opened.number, kind);
  }
  github.faults.add({ kind: "status", status: 502, match: { operation: "pulls/list" } });
  assert.equal((await forge.find({ branch, marker }))?.number, opened.number);

  const lasting = { times: 9, match: { operation: "pulls/list" } };
  for (const [fault, category] of [
    [{ kind: "status", status: 502 }, "unavailable"],
    [{ kind: "half" }, "unavailable"],
    [{ kind: "malformed_json" }, "malformed"],
    [{ kind: "html" }, null],
    [{ kind: "empty" }, null],
  ] as const) {
    github.faults.add({ ...fault, ...lasting });
    // Another instance has no earlier answer that could be confirmed.
    const fresh = bench.another();
    await assert.rejects(fresh.find({ branch, marker }), (error: unknown) => {
      assert.ok(error instanceof ForgeError, fault.kind);
      assert.equal(error.final, false);
      assert.doesNotMatch(error.message, /</);
      return failure(category ?? error.category)(error);
    });
    github.configure({ clear: true });
    assert.equal((await fresh.find({ branch, marker }))?.number, opened.number, fault.kind);
  }
});

test("an observation without one of its parts is none", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  const { number } = await bench.pull();
  for (const operation of [
    "issues/list-comments",
    "pulls/list-reviews",
    "pulls/list-review-comments",
    "checks/list-for-ref",
    "repos/get-combined-status-for-ref",
    "repos/get-branch",
  ]) {
    github.faults.add({ kind: "status", status: 500, times: 9, match: { operation } });
    await assert.rejects(forge.observe(number), failure("unavailable"), operation);
    github.configure({ clear: true });
  }
  assert.notEqual(await forge.observe(number), "unchanged");
  assert.equal(await forge.observe(number), "unchanged");
});

test("unchanged answers are free", async () => {
  await using bench = await githubBench();
  const { number } = await bench.pull();
  await bench.forge.observe(number);
  await bench.forge.observe(number);
  const { length } = bench.github.requests;
  await bench.forge.observe(number);
  const again = bench.github.requests.slice(length);
  assert.deepEqual([...new Set(again.map(({ status }) => status))], [304]);
});

test("GitHub that does not answer is given up", async () => {
  await using bench = await githubBench({}, { timeoutMs: 200 });
  bench.github.faults.add({ kind: "hang", times: 9 });
  await assert.rejects(bench.forge.look(), (error: unknown) => {
    assert.match(String(error), /did not answer in 200 ms/);
    return failure("unavailable")(error);
  });
});

test("close ends a running request", async () => {
  await using bench = await githubBench();
  bench.github.faults.add({ kind: "hang", times: 9 });
  const looking = assert.rejects(bench.forge.look(), failure("unavailable"));
  bench.forge.close();
  await looking;
});

test("a revoked token is said", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  const { tokens } = github.describe();
  await github.act({ do: "revoke-token", token: tokens["symphony-bot"] });
  await assert.rejects(forge.look(), (error: unknown) => {
    assert.match(String(error), /GitHub: Bad credentials \(HTTP 401\)/);
    return failure("unauthorized", { final: false })(error);
  });
  assert.equal(await forge.mayWrite("grace"), null);
});

test("DELIVERY-39: locked, archived and too long are final", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  const { number } = await bench.pull();
  const final = (category: ForgeError["category"]) => failure(category, { final: true });
  const long = { body: "x".repeat(70_000), marker: "<!-- l -->" };
  await assert.rejects(forge.comment(number, long), final("refused"));
  const lock = `PUT /repos/acme/app/issues/${number}/lock`;
  await github.act({ as: "ada", rest: lock, body: {} });
  // Who may write may still comment, so another user meets the lock.
  const margaret = bench.another({ as: "margaret" });
  await assert.rejects(margaret.comment(number, { body: "x", marker: "m" }), final("forbidden"));
  await github.act({ do: "settings", settings: { archived: true } });
  assert.equal((await forge.look()).archived, true);
  await assert.rejects(forge.comment(number, { body: "x", marker: "m" }), final("forbidden"));
});

test("a branch that was not pushed is asked for again, one without commits is not", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  const order = { branch, base: "main", title: "T", body: marker, draft: false };
  await assert.rejects(forge.open(order), failure("refused", { final: false }));
  const sha = (await github.act({ as: "ada", rest: "GET /repos/acme/app/branches/main" })).body
    .commit.sha;
  const ref = { ref: `refs/heads/${branch}`, sha };
  await github.act({ as: "symphony-bot", rest: "POST /repos/acme/app/git/refs", body: ref });
  await assert.rejects(forge.open(order), failure("refused", { final: true }));
});

test("a renamed repository is found under its new name", async () => {
  await using bench = await githubBench();
  const { github, forge } = bench;
  const { number } = await bench.pull();
  await github.act({ do: "rename", name: "better" });
  const renamed = bench.another();
  // A write meets the old name too: it is answered with 307.
  const { id } = await renamed.comment(number, { body: "Hello", marker: "<!-- c -->" });
  assert.match(id, /^issue_comment:/);
  const { name, configured } = await forge.look();
  assert.deepEqual([name, configured], ["acme/better", "acme/app"]);
  assert.equal((await forge.find({ branch, marker }))?.number, number);
  const observation = await renamed.observe(number);
  assert.ok(observation !== "unchanged");
  assert.equal(observation.remarks[0]?.own, true);
});

test("GitHub Enterprise Server: addresses, and no rate limits", async () => {
  await using bench = await githubBench({ style: "ghes" });
  const { forge, github } = bench;
  assert.match(github.api, /\/api\/v3$/);
  const { number } = await bench.pull();
  const comments = [{ path: "a.txt", line: 1, body: "Why?" }];
  await github.act({ do: "review", as: "grace", event: "comment", comments });
  await github.act({ do: "ci", job: "test", conclusion: "failure", log: "not ok 1" });
  const observation = await forge.observe(number);
  assert.ok(observation !== "unchanged");
  assert.equal(observation.remarks[0]?.resolved, false);
  assert.match(observation.checks.find(({ name }) => name === "test")?.excerpt ?? "", /not ok 1$/);
  assert.equal((await forge.edit(number, { draft: true })).draft, true);
});

test("an app: its own login, tokens renewed, a fresh one for each push", async () => {
  await using bench = await githubBench({ appTokenMs: 3_000 }, { as: "app" });
  const { forge, github } = bench;
  const facts = await forge.look();
  assert.deepEqual([facts.login, facts.canPush], ["symphony[bot]", true]);
  const { number } = await bench.pull();
  await forge.comment(number, { body: "Mine", marker: "<!-- c -->" });
  const observation = await forge.observe(number);
  assert.ok(observation !== "unchanged");
  assert.deepEqual(
    observation.remarks.map(({ own, bot, author }) => [own, bot, author]),
    [[true, true, "symphony[bot]"]],
  );
  const [first, second] = [await forge.pushCredential(), await forge.pushCredential()];
  assert.equal(first?.user, "x-access-token");
  assert.match(first.password, /^ghs_/);
  assert.notEqual(first.password, second?.password);
  // Past the end of the first token the tags of its answers are worth nothing, but nothing has changed.
  const minted = () => github.totals.byOperation["apps/create-installation-access-token"] ?? 0;
  const before = minted();
  while (minted() === before) assert.equal(await forge.observe(number), "unchanged");
});

test("an app's revoked token is replaced", async () => {
  await using bench = await githubBench({}, { as: "app" });
  const { forge, github } = bench;
  await forge.look();
  const [token] =
    Object.entries(github.describe().tokens).find(([name]) => name.startsWith("app:")) ?? [];
  assert.ok(token);
  await github.act({ do: "revoke-token", token: github.describe().tokens[token] });
  assert.equal((await forge.look()).name, "acme/app");
});

test("a token's credential for a push is the token", async () => {
  await using bench = await githubBench();
  const credential = await bench.forge.pushCredential();
  assert.deepEqual(credential, {
    user: "x-access-token",
    password: bench.github.describe().tokens["symphony-bot"],
  });
});
