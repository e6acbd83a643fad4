import assert from "node:assert/strict";
import { test } from "node:test";
import { type Clock, systemClock } from "../../../src/core/clock.ts";
import { ForgeError } from "../../../src/core/model/forge-error.ts";
import { pullAnswer, repository, startFakeGithub } from "../../support/fakes/fake-github.ts";

async function failureOf(promise: Promise<unknown>): Promise<ForgeError> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof ForgeError, String(error));
  assert.doesNotMatch(error.message, /ghp_secret|\n/);
  return error;
}

/** A clock that is wrong by `ms`. */
function skewed(ms: number): Clock {
  return { ...systemClock, wall: () => systemClock.wall() + ms };
}

const inSeconds = (ms: number) => Math.floor(ms / 1_000);

test("each request says who we are, which version it speaks, and carries the token", async () => {
  await using github = await startFakeGithub();
  await github.forge(systemClock).look();
  const headers = github.requests[0]?.headers;
  assert.match(headers?.["user-agent"] ?? "", /^symphony /);
  assert.equal(headers?.["x-github-api-version"], "2022-11-28");
  assert.equal(headers?.accept, "application/vnd.github+json");
  assert.equal(headers?.authorization, "Bearer ghp_secret");
  const user = github.requests.find(({ path }) => path === "/user");
  assert.equal(user?.query.toString(), "");
});

test("a wait is counted by GitHub's clock, whatever ours says", async () => {
  for (const skewMs of [-3_600_000, 3_600_000]) {
    await using github = await startFakeGithub();
    const theirs = Date.now();
    github.on("GET /repos/acme/app", {
      status: 403,
      headers: {
        date: new Date(theirs).toUTCString(),
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": String(inSeconds(theirs) + 600),
      },
      body: { message: "API rate limit exceeded for user ID 1." },
    });
    const clock = skewed(skewMs);
    const error = await failureOf(github.forge(clock).look());
    assert.equal(error.category, "rate_limited");
    const waitMs = (error.retryAt ?? 0) - clock.wall();
    assert.ok(waitMs > 590_000 && waitMs < 605_000, `${waitMs} ms`);
  }
});

test("a reset that is over is waited for a second, a very far one an hour at most", async () => {
  await using github = await startFakeGithub();
  const limit = (headers: Readonly<Record<string, string>>) => {
    github.on("GET /repos/acme/app", { status: 429, headers, body: { message: "Slow down" } });
    return failureOf(github.forge(systemClock).look());
  };
  const wait = ({ retryAt }: ForgeError) => (retryAt ?? 0) - systemClock.wall();
  const past = String(inSeconds(Date.now()) - 100);
  const over = wait(await limit({ "x-ratelimit-remaining": "0", "x-ratelimit-reset": past }));
  assert.ok(over > 0 && over <= 1_000, `${over} ms`);
  const far = wait(await limit({ "retry-after": "99999999" }));
  assert.ok(far > 3_590_000 && far <= 3_601_000, `${far} ms`);
});

test("the budget of GraphQL does not stop REST, a secondary limit stops both", async () => {
  await using github = await startFakeGithub();
  const forge = github.forge(systemClock);
  github.on("POST /graphql", {
    headers: {
      "x-ratelimit-remaining": "0",
      "x-ratelimit-reset": String(inSeconds(Date.now()) + 600),
    },
    body: { errors: [{ type: "RATE_LIMITED", message: "API rate limit exceeded" }] },
  });
  assert.equal((await failureOf(forge.edit(7, { draft: true }))).category, "rate_limited");
  assert.equal((await forge.look()).name, "acme/app");
  github.on("POST /issues/7/comments", {
    status: 403,
    headers: { "retry-after": "60" },
    body: { message: "You have exceeded a secondary rate limit." },
  });
  const comment = { body: "x", marker: "<!-- x -->" };
  assert.equal((await failureOf(forge.comment(7, comment))).category, "rate_limited");
  assert.equal((await failureOf(forge.look())).category, "rate_limited");
});

test("opening too fast is a limit, also when GitHub answers 200 or 422", async () => {
  await using github = await startFakeGithub();
  const message = "was submitted too quickly (createPullRequest)";
  github.on("POST /pulls", {
    status: 422,
    body: { message: "Validation Failed", errors: [{ message }] },
  });
  const order = { branch: "b", base: "main", title: "T", body: "B", draft: false };
  const error = await failureOf(github.forge(systemClock).open(order));
  assert.equal(error.category, "rate_limited");
  assert.ok((error.retryAt ?? 0) - Date.now() > 59_000);
});

test("a redirect to another host gets neither credential nor body", async () => {
  await using github = await startFakeGithub();
  await using elsewhere = await startFakeGithub();
  const location = `${elsewhere.url}/repos/acme/app`;
  github.on("GET /repos/acme/app", { status: 301, headers: { location }, body: {} });
  github.on("POST /issues/7/comments", { status: 307, headers: { location }, body: {} });
  const forge = github.forge(systemClock);
  assert.equal((await failureOf(forge.look())).category, "refused");
  const comment = { body: "x", marker: "<!-- x -->" };
  assert.equal((await failureOf(forge.comment(7, comment))).category, "refused");
  assert.equal(elsewhere.requests.length, 0);
});

test("a renamed repository is followed, and a circle of redirects is not", async () => {
  await using github = await startFakeGithub();
  github.on("GET /repos/acme/app", { status: 301, headers: { location: "/repositories/1" } });
  github.on("GET /repositories/1", { body: { ...repository, full_name: "acme/better" } });
  const forge = github.forge(systemClock);
  assert.equal((await forge.look()).name, "acme/better");
  github.on("GET /repositories/1", { status: 301, headers: { location: "/repositories/1" } });
  const other = github.forge(systemClock);
  assert.match((await failureOf(other.look())).message, /redirects without end/);
});

test("an answer above 8 MiB is refused", async () => {
  await using github = await startFakeGithub();
  github.on("GET /repos/acme/app", { body: { name: "x".repeat(8 * 1024 * 1024) } });
  const error = await failureOf(github.forge(systemClock).look());
  assert.equal(error.category, "malformed");
  assert.match(error.message, /larger than 8 MiB/);
});

test("the token is removed from what GitHub says", async () => {
  await using github = await startFakeGithub();
  const message = "Bad\r\ncredentials \u001b[31mghp_secret";
  github.on("GET /repos/acme/app", { status: 401, body: { message } });
  const error = await failureOf(github.forge(systemClock).look());
  assert.equal(error.message, "GitHub: Bad credentials [redacted] (HTTP 401)");
});

test("a full page is followed by the next although its old links name none", async () => {
  await using github = await startFakeGithub();
  const comment = (id: number) => ({
    id,
    html_url: `https://github.test/${id}`,
    user: null,
    body: `No. ${id}`,
    created_at: "2026-11-26T08:00:00Z",
    updated_at: "2026-11-26T08:00:00Z",
  });
  const all = Array.from({ length: 100 }, (_, id) => comment(id));
  github.on("GET /issues/7/comments", ({ query, headers }) => {
    if (query.get("page") !== "1") return { body: all.slice(100) };
    if (headers["if-none-match"] === '"1"') return { status: 304 };
    return { headers: { etag: '"1"' }, body: all.slice(0, 100) };
  });
  const forge = github.forge(systemClock);
  assert.notEqual(await forge.observe(7), "unchanged");
  all.push(comment(100));
  const observation = await forge.observe(7);
  assert.ok(observation !== "unchanged");
  assert.equal(observation.remarks.length, 101);
});

test("writes go one after the other", async () => {
  await using github = await startFakeGithub();
  github.on("PATCH /pulls/7", ({ body }) => ({ body: pullAnswer(body) }));
  const forge = github.forge(systemClock);
  const titles = ["1", "2", "3", "4"];
  await Promise.all(titles.map((title) => forge.edit(7, { title })));
  const sent = github.requests.filter(({ method }) => method === "PATCH");
  assert.deepEqual(
    sent.map(({ body }) => body.title),
    titles,
  );
});

test("an answer that a cache on the way confirms for ever is read once more after half an hour", async () => {
  await using github = await startFakeGithub();
  let passedMs = 0;
  let whole = 0;
  github.on("GET /repos/acme/app", ({ headers }) => {
    if (headers["if-none-match"] !== undefined) return { status: 304 };
    whole += 1;
    return { headers: { etag: '"1"' }, body: repository };
  });
  const forge = github.forge({ ...systemClock, now: () => systemClock.now() + passedMs });
  const readsOf = async () => {
    await forge.look();
    return whole;
  };
  const first = await readsOf();
  assert.equal(await readsOf(), first, "it is unchanged");
  passedMs = 31 * 60_000;
  assert.equal(await readsOf(), first + 1);
  assert.equal(await readsOf(), first + 1);
});
