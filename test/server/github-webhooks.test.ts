import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { openDeliveries } from "../../src/core/tracker/deliveries.ts";
import { config } from "../support/makers/issue.ts";
import { githubDelivery, githubSecretValue } from "../support/makers/webhook.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { type Answer, type Ask, serve, type TestServer } from "../support/worlds/server.ts";
import { eventually } from "../support/worlds/symphony.ts";

const path = "/webhooks/github";

function repository(name: string, address: string) {
  const match = { labels: [], states: [], prefixes: [], teams: [], projects: [] };
  return {
    ...{ name, match, baseBranch: null, branchTemplate: "{{ issue.identifier }}" },
    ...{ depth: null, sparse: [], lfs: false, submodules: false, prepare: null },
    address: { protocol: "https" as const, address, login: null },
  };
}

const defaults = config();
const settings = config({
  git: {
    ...defaults.git,
    repositories: [
      repository("shop", "https://github.com/Acme/Shop.git"),
      repository("shop-docs", "https://github.com/acme/shop"),
      repository("other", "https://github.com/acme/other.git"),
      repository("elsewhere", "https://git.example.com/acme/shop.git"),
    ],
  },
  delivery: { ...defaults.delivery, github: { webhook_secret: "$HOOK" } },
});

const review = {
  action: "submitted",
  repository: { id: 1, full_name: "acme/shop" },
  pull_request: { number: 12 },
};

interface Place extends AsyncDisposable {
  readonly world: World;
  readonly server: TestServer;
  /** Each pull request that was read. */
  readonly hints: [string, number | null][];
  post(ask: Ask): Promise<Answer>;
}

async function place(
  env: Record<string, string | undefined> = { HOOK: githubSecretValue },
  {
    dataDir,
    kind = settings.tracker.kind,
    read = async () => {},
  }: { dataDir?: string; kind?: string; read?: () => Promise<void> } = {},
): Promise<Place> {
  const own = dataDir === undefined ? {} : { dataDir };
  const chosen = { ...settings, tracker: { ...settings.tracker, kind } };
  const world = await createWorld({ config: chosen, env, ...own });
  const server = await serve(world);
  const hints: [string, number | null][] = [];
  world.core.deliveries.hint = async (...hint) => {
    hints.push(hint);
    await read();
  };
  return {
    ...{ world, server, hints },
    post: (ask) => server.ask(path, ask),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
}

const accepted = (duplicate: boolean) => ({ accepted: true, duplicate });
const ofShop = [
  ["shop", 12],
  ["shop-docs", 12],
];

describe("a delivery of GitHub", () => {
  test("leads to one read of its pull request, by each rule of its repository and no other", async () => {
    await using at = await place();
    const answer = await at.post(githubDelivery(review));
    assert.equal(answer.status, 200, answer.text);
    assert.deepEqual(answer.json(), accepted(false));
    assert.equal(answer.headers["ratelimit-remaining"], "599");
    assert.deepEqual(at.hints, ofShop);
  });

  test("about an issue leads to one read of it, where issues come from GitHub", async () => {
    const issueEvent = (name: string, more: object = {}) =>
      githubDelivery(
        { action: "edited", repository: review.repository, issue: { number: 3, ...more } },
        { headers: { "x-github-event": name } },
      );
    for (const [kind, wanted] of [
      ["linear", []],
      ["github", ["1#3"]],
    ] as const) {
      await using at = await place({ HOOK: githubSecretValue }, { kind });
      const hinted: string[] = [];
      const { orchestrator } = at.world.scheduler;
      const post = orchestrator.post.bind(orchestrator);
      orchestrator.post = (input) => {
        if (input.type === "issue.hinted") hinted.push(input.issueId);
        post(input);
      };
      const twice = issueEvent("issues");
      assert.deepEqual((await at.post(twice)).json(), accepted(false));
      assert.deepEqual((await at.post(twice)).json(), accepted(true));
      await at.post(issueEvent("issue_comment", { pull_request: {} }));
      assert.deepEqual(hinted, wanted, kind);
    }
  });

  test("about an item of a project leads to one read of its issue, which the tracker finds by its node", async () => {
    await using at = await place({ HOOK: githubSecretValue }, { kind: "github" });
    const hinted: string[] = [];
    const { orchestrator } = at.world.scheduler;
    orchestrator.post = (input) => {
      if (input.type === "issue.hinted") hinted.push(input.issueId);
    };
    const asked: string[] = [];
    Object.assign(at.world.tracker, {
      async idOfNode(node: string, project: string | null) {
        asked.push(`${node}/${project}`);
        if (node === "I_broken") throw new Error("GitHub cannot be reached");
        return node === "I_3" ? "1#3" : null;
      },
    });
    const moved = (node: string, type = "Issue", action = "edited") =>
      githubDelivery(
        {
          action,
          organization: { login: "acme" },
          projects_v2_item: {
            content_node_id: node,
            content_type: type,
            project_node_id: "PVT_1",
          },
        },
        { headers: { "x-github-event": "projects_v2_item" } },
      );
    const twice = moved("I_3");
    assert.deepEqual((await at.post(twice)).json(), accepted(false));
    assert.deepEqual((await at.post(twice)).json(), accepted(true));
    for (const other of [moved("I_4"), moved("I_broken"), moved("DI_1", "DraftIssue")]) {
      assert.equal((await at.post(other)).status, 200);
    }
    await at.post(moved("I_3", "Issue", "reordered"));
    await eventually("the issue is read", async () => hinted.length > 1);
    assert.deepEqual(hinted, ["1#3", "1#3"]);
    assert.deepEqual(asked, ["I_3/PVT_1", "I_4/PVT_1", "I_broken/PVT_1"], "each is asked for once");
  });

  test("is read as a form too", async () => {
    await using at = await place();
    const body = new URLSearchParams({ payload: JSON.stringify(review) }).toString();
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    assert.equal((await at.post(githubDelivery(body, { headers }))).status, 200);
    assert.deepEqual(at.hints, ofShop);
  });

  test("that names no pull request reads all of its repository, if it may be about one", async () => {
    await using at = await place();
    const { pull_request: _, action: __, ...bare } = review;
    const event = (name: string, more: object = {}) =>
      githubDelivery({ ...bare, ...more }, { headers: { "x-github-event": name } });
    await at.post(event("status", { sha: "a" }));
    assert.deepEqual(at.hints, [
      ["shop", null],
      ["shop-docs", null],
    ]);
    await at.post(event("star"));
    await at.post(event("status", { repository: { id: 2, full_name: "acme/unknown" } }));
    await at.post(githubDelivery({ zen: "x" }, { headers: { "x-github-event": "ping" } }));
    assert.equal(at.hints.length, 2);
  });

  test("is an event and an entry of the audit log, without anything of its text", async () => {
    await using at = await place();
    const entries: { target: string | null; detail: object }[] = [];
    at.world.core.history.auditSoon = (group) => entries.push(...group) > 0;
    await at.post(githubDelivery({ ...review, review: { body: "canary" } }));
    at.world.core.bus.flush();
    const [event] = at.world.core.history.events({
      ...{ afterSeq: 0, limit: 10, types: ["webhook.received"] },
    });
    assert.equal(event?.message, "GitHub reported pull_request_review submitted");
    assert.deepEqual(
      entries.map(({ target, detail }) => [target, detail]),
      [["acme/shop#12", { type: "pull_request_review", action: "submitted" }]],
    );
    assert.doesNotMatch(JSON.stringify([event, entries]), /canary/);
  });

  test("is accepted through a tunnel, like every webhook", async () => {
    await using at = await place();
    const headers = { host: "abc.tunnel.example", "x-forwarded-for": "140.82.112.3" };
    assert.equal((await at.post(githubDelivery(review, { headers }))).status, 200);
  });
});

describe("THREAT-20: attacks on the route of GitHub", () => {
  const text = JSON.stringify(review);
  const signedAs = (value: string) =>
    githubDelivery(text, { headers: { "x-hub-signature-256": value } });
  const right = String(githubDelivery(text).headers?.["x-hub-signature-256"]);
  const attacks: readonly [string, Ask, number][] = [
    ["no signature", { method: "POST", body: text }, 401],
    ["an empty signature", signedAs(""), 401],
    ["another secret", githubDelivery(text, { secret: "other" }), 401],
    ["no prefix", signedAs(right.slice("sha256=".length)), 401],
    ["the old signature", signedAs(right.replace("sha256", "sha1")), 401],
    ["a byte more", { ...githubDelivery(text), body: `${text} ` }, 401],
    ["signed, no JSON", githubDelivery("{"), 400],
    ["signed, no event", githubDelivery(text, { headers: { "x-github-event": "" } }), 400],
    ["signed, no id", githubDelivery(text, { headers: { "x-github-delivery": "" } }), 400],
    [
      "signed, a repository that is none",
      githubDelivery({ ...review, repository: { id: 1, full_name: "acme/../shop" } }),
      400,
    ],
    ["over 1 MiB", githubDelivery("x".repeat(1024 * 1024 + 1)), 413],
  ];
  for (const [name, ask, status] of attacks) {
    test(`${name}: ${status}, and nothing is read`, async () => {
      await using at = await place();
      const answer = await at.post(ask);
      assert.equal(answer.status, status, answer.text);
      assert.deepEqual(at.hints, []);
      assert.doesNotMatch(answer.text + at.world.logged.join(""), /canary/);
    });
  }

  test("without a secret the answer is 503, and no file is created", async () => {
    await using at = await place({});
    const answer = await at.post(githubDelivery(review));
    assert.equal(answer.status, 503);
    assert.equal(answer.json().error.code, "webhook_not_configured");
    assert.ok(!(await readdir(at.world.dataDir)).includes("webhooks.db"));
  });

  test("the default variable is used when the named one is not set", async () => {
    await using at = await place({ GITHUB_WEBHOOK_SECRET: "default" });
    assert.equal((await at.post(githubDelivery(review))).status, 401);
    assert.equal((await at.post(githubDelivery(review, { secret: "default" }))).status, 200);
  });

  test("junk has a limit of its own and does not use up that of genuine deliveries", async () => {
    await using at = await place();
    const forged = githubDelivery(review, { secret: "other" });
    const statuses = new Set<number>();
    for (let index = 0; index < 301; index++) statuses.add((await at.post(forged)).status);
    assert.deepEqual([...statuses], [401, 429]);
    assert.equal((await at.post(githubDelivery(review))).status, 200);
  });
});

describe("a delivery that GitHub sends again", () => {
  const again = (first: Ask, headers: object): Ask => ({
    ...first,
    headers: { ...first.headers, ...headers },
  });

  test("is recognised by its body under another id, and by its id with another body", async () => {
    await using at = await place();
    const first = githubDelivery(review);
    assert.deepEqual((await at.post(first)).json(), accepted(false));
    const id = String(first.headers?.["x-github-delivery"]);
    const other = githubDelivery(
      { ...review, action: "edited" },
      { headers: { "x-github-delivery": id } },
    );
    for (const ask of [first, again(first, { "x-github-delivery": "another-id" }), other]) {
      assert.deepEqual((await at.post(ask)).json(), accepted(true));
    }
    assert.deepEqual(at.hints, ofShop);
  });

  test("is known for 30 days, however late it is sent", async () => {
    await using at = await place();
    const first = githubDelivery(review);
    await at.post(first);
    const dayMs = 24 * 3_600_000;
    at.world.scheduler.clock.advance(29 * dayMs);
    await at.post(githubDelivery({ ...review, action: "edited" }));
    assert.deepEqual((await at.post(first)).json(), accepted(true));
    at.world.scheduler.clock.advance(2 * dayMs);
    await at.post(githubDelivery({ ...review, action: "dismissed" }));
    assert.deepEqual((await at.post(first)).json(), accepted(false));
  });

  test("after a crash between store and work is a duplicate, and the start reads what was not read", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "symphony-github-hooks-"));
    const env = { HOOK: githubSecretValue };
    const first = githubDelivery(review);
    {
      // The read does not end before the server does.
      await using at = await place(env, { dataDir, read: () => new Promise(() => {}) });
      assert.deepEqual((await at.post(first)).json(), accepted(false));
    }
    {
      await using at = await place(env, { dataDir });
      assert.deepEqual((await at.post(first)).json(), accepted(true));
      assert.deepEqual(at.hints, []);
      at.world.core.webhooks.resume();
      assert.deepEqual(at.hints, ofShop);
      await new Promise(setImmediate);
    }
    const stored = openDeliveries(dataDir);
    assert.deepEqual(stored.waiting("github"), []);
    stored.close();
    await rm(dataDir, { recursive: true });
  });

  test("that cannot be stored is not accepted: GitHub shows it as failed", async () => {
    await using at = await place();
    at.world.core.webhooks.close();
    assert.notEqual((await at.post(githubDelivery(review))).status, 200);
    assert.deepEqual(at.hints, []);
  });
});
