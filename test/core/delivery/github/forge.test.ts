import assert from "node:assert/strict";
import { test } from "node:test";
import { type Clock, systemClock } from "../../../../src/core/clock.ts";
import {
  ada,
  headSha,
  pullAnswer,
  repository,
  seconds,
  startFakeGithub,
} from "../../../support/fakes/fake-github.ts";

const branch = "symphony/eng-1";
const marker = "<!-- symphony 1 -->";
const bot = { login: "symphony-bot", type: "User" };

const comment = (change: object) => ({
  id: 1,
  html_url: "https://github.test/c",
  user: ada,
  body: "Words",
  created_at: seconds,
  updated_at: seconds,
  ...change,
});

test("DELIVERY-2: ours has our repository, our branch and our marker, all three", async () => {
  await using github = await startFakeGithub();
  const forge = github.forge(systemClock);
  const head = { ref: branch, sha: headSha, repo: { id: 1 } };
  const ours = pullAnswer({ body: marker, head });
  for (const [change, number] of [
    [{}, 7],
    [{ body: "Another's" }, null],
    [{ body: null }, null],
    [{ head: { ...head, ref: "other" } }, null],
    [{ head: { ...head, repo: { id: 2 } } }, null],
    [{ head: { ...head, repo: null } }, null],
  ] as const) {
    github.on("GET /pulls", { body: [{ ...ours, ...change }] });
    const found = await forge.find({ branch, marker });
    assert.equal(found?.number ?? null, number, JSON.stringify(change));
  }
  const asked = github.requests.filter(({ path }) => path.endsWith("/pulls"));
  assert.equal(asked[0]?.query.get("head"), `acme:${branch}`);
  assert.equal(asked[0]?.query.get("state"), "all");
  assert.equal(await forge.find({ branch: "main", marker }), null);
  assert.equal(github.requests.filter(({ path }) => path.endsWith("/pulls")).length, asked.length);
});

test("DELIVERY-3: a look-up that fails is an error and not none", async () => {
  await using github = await startFakeGithub();
  const forge = github.forge(systemClock);
  for (const status of [403, 404, 410, 422]) {
    github.on("GET /pulls", { status, body: { message: "No" } });
    await assert.rejects(forge.find({ branch, marker }), { name: "ForgeError" });
  }
});

test("a pull request that exists is ours by its text or by its marks, else the order is refused", async () => {
  await using github = await startFakeGithub();
  const forge = github.forge(systemClock);
  const message = "A pull request already exists for acme:symphony/eng-1.";
  const errors = [{ resource: "PullRequest", code: "custom", message }];
  github.on("POST /pulls", { status: 422, body: { message: "Validation Failed", errors } });
  const open = async (body: string, there: string) => {
    github.on("GET /pulls", { body: [pullAnswer({ body: there })] });
    const { number } = await forge.open({ branch, base: "main", title: "T", body, draft: false });
    return number;
  };
  assert.equal(await open("One\nTwo", "One\r\nTwo"), 7);
  assert.equal(await open(`One ${marker}`, `Edited by a person ${marker}`), 7);
  for (const there of ["Edited", ""]) {
    await assert.rejects(
      open("One", there),
      /already exists .* it is not the one of this delivery/,
    );
    await assert.rejects(open(`One ${marker}`, there), { category: "refused", final: true });
  }
  github.on("GET /pulls", { body: [] });
  const order = { branch, base: "main", title: "T", body: marker, draft: false };
  await assert.rejects(forge.open(order), { category: "refused", final: false });
});

test("a comment is posted once; a marker that another person quotes does not count", async () => {
  await using github = await startFakeGithub();
  const forge = github.forge(systemClock);
  const quoted = comment({ body: `> ${marker}` });
  github.on("GET /issues/7/comments", { body: [quoted] });
  github.on("POST /issues/7/comments", ({ body }) => ({
    status: 201,
    body: comment({ id: 2, ...body }),
  }));
  const order = { body: "Done", marker };
  assert.equal((await forge.comment(7, order)).id, "issue_comment:2");
  const posted = github.requests.find(({ method }) => method === "POST");
  assert.deepEqual(posted?.body, { body: `${marker}\nDone` });
  const own = comment({ id: 3, user: { ...bot, login: "Symphony-Bot" }, body: `${marker}\nDone` });
  github.on("GET /issues/7/comments", { body: [quoted, own] });
  assert.equal((await forge.comment(7, order)).id, "issue_comment:3");
  assert.equal(github.requests.filter(({ method }) => method === "POST").length, 1);
});

test("a reply goes to the first comment of its thread, and to a review as a comment", async () => {
  await using github = await startFakeGithub();
  const forge = github.forge(systemClock);
  const line = { path: "a.txt", line: 1 };
  const lines = [comment({ id: 5, ...line }), comment({ id: 6, in_reply_to_id: 5, ...line })];
  github.on("GET /pulls/7/comments", { body: lines });
  github.on("POST /pulls/7/comments/5/replies", { status: 201, body: comment({ id: 8 }) });
  github.on("POST /issues/7/comments", { status: 201, body: comment({ id: 9 }) });
  const order = { body: "Because", marker };
  const reply = (remark: string) => forge.reply(7, { remark, ...order });
  assert.equal((await reply("review_comment:6")).id, "review_comment:8");
  assert.equal((await reply("review:4")).id, "issue_comment:9");
});

test("DELIVERY-12: rights are yes, no or unknown; only what is known is kept, for five minutes", async () => {
  await using github = await startFakeGithub();
  let elapsedMs = 0;
  const clock: Clock = { ...systemClock, now: () => systemClock.now() + elapsedMs };
  const forge = github.forge(clock);
  const path = "GET /collaborators/grace/permission";
  github.on(path, { status: 403, body: { message: "Must have push access" } });
  assert.equal(await forge.mayWrite("grace"), null);
  for (const [permission, may] of [
    ["write", true],
    ["read", false],
    ["admin", true],
    ["none", false],
    ["maintain", true],
  ] as const) {
    github.on(path, { body: { permission } });
    assert.equal(await forge.mayWrite("Grace".toLowerCase()), may, permission);
    github.on(path, { body: { permission: may ? "none" : "admin" } });
    assert.equal(await forge.mayWrite("GRACE"), may, "kept");
    elapsedMs += 5 * 60_000 + 1;
  }
  github.on(path, { status: 404, body: { message: "Not Found" } });
  assert.equal(await forge.mayWrite("grace"), false);
});

test("a draft is changed only when it is not as wanted", async () => {
  await using github = await startFakeGithub();
  const forge = github.forge(systemClock);
  github.on("POST /graphql", { body: { data: { x: { clientMutationId: null } } } });
  await forge.edit(7, { draft: false });
  assert.ok(!github.requests.some(({ method }) => method !== "GET"));
  await forge.edit(7, { draft: true });
  const [sent] = github.requests.filter(({ method }) => method !== "GET");
  assert.match(sent?.body.query, /convertPullRequestToDraft/);
  assert.deepEqual(sent?.body.variables, { id: "PR_7" });
});

test("who we are is asked again when another token has been set", async () => {
  await using github = await startFakeGithub();
  const values = { token: "ghp_secret" };
  const forge = github.forge(systemClock, () => values.token);
  assert.equal((await forge.look()).login, "symphony-bot");
  github.on("GET /user", { body: { login: "other-bot", type: "User" } });
  assert.equal((await forge.look()).login, "symphony-bot");
  values.token = "ghp_another";
  assert.equal((await forge.look()).login, "other-bot");
  github.on("GET /user", {
    status: 403,
    body: { message: "Resource not accessible by integration" },
  });
  values.token = "ghs_of_actions";
  assert.equal((await forge.look()).login, null);
});

test("whether we can push is unknown when GitHub does not say", async () => {
  await using github = await startFakeGithub();
  github.on("GET /repos/acme/app", {
    body: { ...repository, permissions: undefined, private: true },
  });
  const { canPush, drafts } = await github.forge(systemClock).look();
  assert.deepEqual([canPush, drafts], [null, null]);
});

test("a merge names the head, and only a refusal that cannot change is final", async () => {
  await using github = await startFakeGithub();
  const forge = github.forge(systemClock);
  const merge = async (status: number, message: string) => {
    github.on("PUT /pulls/7/merge", { status, body: { message } });
    const merged = await forge.merge(7, { head: headSha, method: "squash", title: "T" });
    return merged.outcome === "refused" && merged.final;
  };
  assert.equal(
    await merge(405, "Base branch was modified. Review and try the merge again."),
    false,
  );
  assert.equal(await merge(405, 'Required status check "test" is expected.'), false);
  assert.equal(await merge(405, "Squash merges are not allowed on this repository."), true);
  assert.equal(await merge(405, "Changes must be made through the merge queue"), true);
  assert.equal(await merge(409, "Head branch was modified. Review and try the merge again."), true);
  assert.equal(await merge(403, "Resource not accessible by integration"), true);
  const sent = github.requests.find(({ method }) => method === "PUT");
  assert.deepEqual(sent?.body, { sha: headSha, merge_method: "squash", commit_title: "T" });
  // Merged by a person meanwhile, at another head.
  const merged = { state: "closed", merged: true, merge_commit_sha: "d".repeat(40) };
  github.on("GET /pulls/7", { body: pullAnswer(merged) });
  const there = await forge.merge(7, { head: headSha, method: "squash" });
  assert.deepEqual(there, { outcome: "merged", sha: "d".repeat(40) });
  const other = await forge.merge(7, { head: "e".repeat(40), method: "squash" });
  assert.equal(other.outcome === "refused" && other.final, true);
});
