// S12 is a row of the cases of scheduler and configuration: late deliveries, and what a refusal says.

import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { causedBy, causeOf } from "../../src/core/events/causes.ts";
import { openDeliveries } from "../../src/core/tracker/deliveries.ts";
import { config, issue } from "../support/makers/issue.ts";
import { delivery, issueEvent, webhookSecretValue } from "../support/makers/webhook.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { type Answer, type Ask, serve, type TestServer } from "../support/worlds/server.ts";

const settings = config({ tracker: { provider: { webhook_secret: "$HOOK_SECRET" } } });
const path = "/webhooks/linear";
const hourMs = 3_600_000;
const issueId = "id-ENG-7";

interface Place extends AsyncDisposable {
  readonly world: World;
  readonly server: TestServer;
  /** The current time of the server's clock. */
  now(): number;
  post(ask: Ask): Promise<Answer>;
}

async function place(
  env: Record<string, string | undefined> = { HOOK_SECRET: webhookSecretValue },
  dataDir?: string,
): Promise<Place> {
  const own = dataDir === undefined ? {} : { dataDir };
  const world = await createWorld({ config: settings, env, ...own });
  const server = await serve(world);
  world.scheduler.calls.length = 0;
  return {
    world,
    server,
    now: () => world.scheduler.clock.wall(),
    post: (ask) => server.ask(path, ask),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
}

const postOf = (ask: Ask | undefined) => ({
  body: Buffer.from(String(ask?.body)),
  header: (name: string) => ask?.headers?.[name],
});
const accepted = (duplicate: boolean) => ({ accepted: true, duplicate });
const received = ({ world }: Place) => {
  world.core.bus.flush();
  return world.core.history.events({ afterSeq: 0, limit: 500, types: ["webhook.received"] });
};

function assertRefused(answer: Answer, status: number, code: string): void {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.json().error.code, code);
  assert.doesNotMatch(answer.text, /canary/);
}

describe("a genuine delivery", () => {
  test("starts a new issue after one read of it, never from the delivery's content or by a poll", async () => {
    await using at = await place();
    at.world.scheduler.set(issue("ENG-7", { title: "The tracker's title" }));
    const answer = await at.post(delivery(issueEvent(issueId, at.now())));
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.json(), accepted(false));
    assert.equal(answer.headers["ratelimit-limit"], "600");
    assert.equal(answer.headers["ratelimit-remaining"], "599");
    await at.world.scheduler.advance(0);
    assert.deepEqual(at.world.scheduler.live, ["ENG-7"]);
    const run = at.world.scheduler.run("ENG-7");
    assert.equal(run.order.issue.title, "The tracker's title");
    assert.equal(run.order.issue.state, "Todo");
    assert.ok(!at.world.scheduler.calls.includes("candidates"));
    const [event] = received(at);
    assert.equal(event?.issueIdentifier, "ENG-7");
    assert.deepEqual(event.data, { type: "Issue", action: "update" });
  });

  test("needs no token, and may come through a tunnel under a foreign name", async () => {
    await using world = await createWorld({
      config: config({
        server: { auth: "token" },
        tracker: { provider: { webhook_secret: "$HOOK_SECRET" } },
      }),
      env: { HOOK_SECRET: webhookSecretValue },
    });
    await using server = await serve(world, { token: "t0ken" });
    const headers = { host: "abc.tunnel.example", "x-forwarded-for": "35.231.147.226" };
    const event = issueEvent(issueId, world.scheduler.clock.wall());
    assert.equal((await server.ask(path, delivery(event, { headers }))).status, 200);
  });

  test("is in the audit log with the issue's name", async () => {
    await using at = await place();
    const entries: unknown[] = [];
    at.world.core.history.auditSoon = (group) => entries.push(...group) > 0;
    assert.equal((await at.post(delivery(issueEvent(issueId, at.now())))).status, 200);
    assert.deepEqual(entries, [
      {
        at: at.now(),
        actor: "webhook",
        action: "webhooks.linear",
        target: "ENG-7",
        outcome: "ok",
        detail: { type: "Issue", action: "update" },
      },
    ]);
  });

  test("of another type is accepted and published as an event, and causes no read", async () => {
    await using at = await place();
    const comment = { ...issueEvent("c-1", at.now()), type: "Comment" };
    assert.deepEqual((await at.post(delivery(comment))).json(), accepted(false));
    const { data: _, ...session } = { ...comment, type: "AgentSessionEvent" };
    assert.deepEqual((await at.post(delivery(session))).json(), accepted(false));
    await at.world.scheduler.advance(0);
    assert.deepEqual(at.world.scheduler.calls, []);
    assert.deepEqual(
      received(at).map(({ issueId: id }) => id),
      [null, null],
    );
  });

  test("of a new or edited comment is passed on with its ids only; other records are not passed on", async () => {
    await using at = await place();
    const passedOn: unknown[] = [];
    at.world.core.comments.received = async (...ids) => void passedOn.push(ids);
    const data = { id: "c-1", issueId, body: "canary", userId: "u-1" };
    const comment = issueEvent("", at.now(), { type: "Comment", action: "create", data });
    const { issueId: _, ...elsewhere } = data;
    for (const event of [
      comment,
      { ...comment, action: "update" },
      { ...comment, action: "remove" },
      { ...comment, type: "Reaction" },
      { ...comment, data: elsewhere },
      { ...comment, data: { ...data, issueId: 7 } },
      { ...comment, data: undefined },
    ]) {
      assert.equal((await at.post(delivery(event))).status, 200);
    }
    await at.post(delivery(comment));
    // Once for the comment, once for its edit.
    assert.deepEqual(passedOn, [
      ["c-1", issueId],
      ["c-1", issueId],
    ]);
    assert.ok(!at.world.logged.some((line) => line.includes("canary")));
  });

  test("is accepted with any headers in addition to the signature", async () => {
    await using at = await place();
    const headers = {
      "content-type": "text/plain",
      "linear-delivery": "",
      "linear-timestamp": "0",
      "linear-event": "Comment",
    };
    const answer = await at.post(delivery(issueEvent(issueId, at.now()), { headers }));
    assert.equal(answer.status, 200, answer.text);
  });
});

describe("THREAT-20: attacks", () => {
  const body = (at: Place) => JSON.stringify(issueEvent(issueId, at.now()));
  const signed = (at: Place, text = body(at)) => delivery(text).headers?.["linear-signature"] ?? "";
  const withSignature = (at: Place, value: string, text = body(at)): Ask =>
    delivery(text, { headers: { "linear-signature": value } });
  const unsigned = (at: Place): Ask => {
    const { "linear-signature": _, ...headers } = { ...delivery(body(at)).headers };
    return { method: "POST", body: body(at), headers };
  };

  const attacks: readonly [string, (at: Place) => Ask, number, string][] = [
    ["no signature", unsigned, 401, "unauthorized"],
    ["an empty one", (at) => withSignature(at, ""), 401, "unauthorized"],
    ["zeros", (at) => withSignature(at, "0".repeat(64)), 401, "unauthorized"],
    ["no hex", (at) => withSignature(at, "z".repeat(64)), 401, "unauthorized"],
    ["one digit short", (at) => withSignature(at, signed(at).slice(1)), 401, "unauthorized"],
    ["one digit long", (at) => withSignature(at, `${signed(at)}0`), 401, "unauthorized"],
    ["two signatures", (at) => withSignature(at, `${signed(at)}, 0`), 401, "unauthorized"],
    ["a prefix", (at) => withSignature(at, `sha256=${signed(at)}`), 401, "unauthorized"],
    ["another secret", (at) => delivery(body(at), { secret: "other" }), 401, "unauthorized"],
    ["an empty secret", (at) => delivery(body(at), { secret: "" }), 401, "unauthorized"],
    [
      "the body re-encoded",
      (at) => withSignature(at, signed(at), JSON.stringify(JSON.parse(body(at)), null, 1)),
      401,
      "unauthorized",
    ],
    ["a byte more", (at) => withSignature(at, signed(at), `${body(at)} `), 401, "unauthorized"],
    ["no body", (at) => withSignature(at, signed(at), ""), 401, "unauthorized"],
    [
      "25 h old",
      (at) => delivery(issueEvent(issueId, at.now() - 25 * hourMs)),
      401,
      "unauthorized",
    ],
    ["61 s ahead", (at) => delivery(issueEvent(issueId, at.now() + 61_000)), 401, "unauthorized"],
    [
      "25 h old under a fresh header",
      (at) =>
        delivery(issueEvent(issueId, at.now() - 25 * hourMs), {
          headers: { "linear-timestamp": String(at.now()) },
        }),
      401,
      "unauthorized",
    ],
    ["signed, no JSON", () => delivery("{"), 400, "invalid_request"],
    ["signed, no object", () => delivery("[]"), 400, "invalid_request"],
    [
      "signed, no time",
      () => delivery({ action: "update", type: "Issue" }),
      400,
      "invalid_request",
    ],
    [
      "signed, no issue",
      (at) => delivery({ ...issueEvent(issueId, at.now()), data: {} }),
      400,
      "invalid_request",
    ],
    [
      "signed, a number for an issue",
      (at) => delivery({ ...issueEvent(issueId, at.now()), data: { id: 7 } }),
      400,
      "invalid_request",
    ],
    ["over 1 MiB", () => delivery("x".repeat(1024 * 1024 + 1)), 413, "body_too_large"],
  ];

  for (const [name, ask, status, code] of attacks) {
    test(`${name}: ${status}, and nothing happens`, async () => {
      await using at = await place();
      assertRefused(await at.post(ask(at)), status, code);
      await at.world.scheduler.advance(0);
      assert.deepEqual(at.world.scheduler.calls, []);
      assert.deepEqual(received(at), []);
      assert.doesNotMatch(at.world.logged.join(""), /canary/);
    });
  }

  test("a delivery 59 s old or 59 s ahead is still accepted", async () => {
    await using at = await place();
    for (const skew of [-59_000, 59_000]) {
      assert.equal((await at.post(delivery(issueEvent(issueId, at.now() + skew)))).status, 200);
    }
  });

  test("a wrong clock is reported in the log, once a minute", async () => {
    await using at = await place();
    for (let time = 0; time < 3; time++) {
      await at.post(delivery(issueEvent(issueId, at.now() + 90_000 + time)));
    }
    const said = () => at.world.logged.filter((line) => line.includes("webhook refused"));
    assert.equal(said().length, 1);
    assert.match(said()[0] ?? "", /"skew_ms":-90000/);
    at.world.scheduler.clock.advance(60_000);
    await at.post(delivery(issueEvent(issueId, at.now() + 90_000)));
    assert.match(said()[1] ?? "", /"untold":2/);
  });

  const wrongs: readonly [string, (at: Place) => Ask, RegExp][] = [
    [
      "the clock",
      (at) => delivery(issueEvent(issueId, at.now() + 61_000)),
      /clock is behind.*date -u/,
    ],
    ["its age", (at) => delivery(issueEvent(issueId, at.now() - 25 * hourMs)), /old delivery/],
    ["no signature", unsigned, /a proxy removed the header/],
    ["no form of a signature", (at) => withSignature(at, "yes"), /send the header as Linear does/],
    ["the secret", (at) => delivery(body(at), { secret: "other" }), /compare the signing secret/],
    ["an empty body", (at) => withSignature(at, signed(at), ""), /byte for byte/],
    ["a signed body", () => delivery("[]"), /signed right, but its body/],
  ];
  for (const [name, ask, hint] of wrongs) {
    test(`S12: the hint of a refusal names what was wrong: ${name}`, async () => {
      await using at = await place();
      const answer = await at.post(ask(at));
      assert.match(answer.text, hint);
      if (name !== "the secret") assert.doesNotMatch(answer.text, /compare the signing/);
    });
  }

  test("hostile names are not shown anywhere", async () => {
    await using at = await place();
    const data = { id: issueId, identifier: "ENG-7\u001b[2J<script>" };
    await at.post(delivery({ ...issueEvent(issueId, at.now()), data }));
    const [event] = received(at);
    assert.equal(event?.issueIdentifier, null);
    assert.doesNotMatch(JSON.stringify(event), /script/);
  });
});

describe("a repeated delivery", () => {
  test("is recognised by the signed body, with any headers", async () => {
    await using at = await place();
    const first = delivery(issueEvent(issueId, at.now()));
    const upper = (first.headers?.["linear-signature"] ?? "").toUpperCase();
    assert.deepEqual((await at.post(first)).json(), accepted(false));
    const again: Record<string, string>[] = [
      {},
      { "linear-delivery": "00000000-0000-4000-8000-000000000000" },
      { "linear-delivery": "" },
      { "linear-signature": upper },
    ];
    for (const headers of again) {
      const answer = await at.post({ ...first, headers: { ...first.headers, ...headers } });
      assert.deepEqual(answer.json(), accepted(true));
    }
    assert.equal(received(at).length, 1);
    await at.world.scheduler.advance(0);
    assert.equal(at.world.scheduler.calls.length, 1);
  });

  test("is recognised before the commit that it shares with others is done", async () => {
    await using at = await place();
    const inbox = at.world.core.webhooks.of("linear");
    const groups: number[] = [];
    at.world.core.history.auditSoon = (group) => groups.push(group.length) > 0;
    const [one, other] = [0, 1].map((age) => delivery(issueEvent(issueId, at.now() - age)));
    const received = [one, other, one].map((ask) => inbox.receive(postOf(ask)));
    const receipts = await Promise.all(received);
    assert.deepEqual(
      receipts.map(({ duplicate }) => duplicate),
      [false, false, true],
    );
    assert.deepEqual(groups, [2]);
    assert.equal(receipts[2]?.rate.remaining, 598);
  });

  test("is of its own request in the log, also when it shares its commit with others", async () => {
    await using at = await place();
    const { bus, webhooks } = at.world.core;
    const causes: unknown[] = [];
    bus.subscribe({ filter: { types: ["webhook.received"] } }, (event) => {
      causes.push(causeOf(event).request_id);
    });
    const received = ["req_one", "req_two"].map((id, age) => {
      const post = postOf(delivery(issueEvent(issueId, at.now() - age)));
      return causedBy(id, () => webhooks.of("linear").receive(post));
    });
    await Promise.all(received);
    bus.flush();
    assert.deepEqual(causes, ["req_one", "req_two"]);
  });

  test("is also recognised after a restart", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "symphony-hooks-"));
    const env = { HOOK_SECRET: webhookSecretValue };
    let ask: Ask = {};
    {
      await using at = await place(env, dataDir);
      ask = delivery(issueEvent(issueId, at.now()));
      assert.deepEqual((await at.post(ask)).json(), accepted(false));
    }
    {
      await using at = await place(env, dataDir);
      assert.deepEqual((await at.post(ask)).json(), accepted(true));
      await at.world.scheduler.advance(0);
      assert.deepEqual(at.world.scheduler.calls, []);
    }
    await rm(dataDir, { recursive: true });
  });
});

describe("H-19: the limits", () => {
  test("the 601st genuine delivery in a minute is 429 with the headers; a minute later one is accepted", async () => {
    await using at = await place();
    const inbox = at.world.core.webhooks.of("linear");
    const one = (index: number) => {
      const ask = delivery(issueEvent(issueId, at.now() + index));
      return inbox.receive(postOf(ask));
    };
    for (let index = 0; index < 600; index++) one(index);
    const answer = await at.post(delivery(issueEvent(issueId, at.now() + 600)));
    assertRefused(answer, 429, "rate_limited");
    assert.equal(answer.headers["retry-after"], "60");
    assert.equal(answer.headers["ratelimit-limit"], "600");
    assert.equal(answer.headers["ratelimit-remaining"], "0");
    assert.equal(answer.headers["ratelimit-reset"], "60");
    at.world.scheduler.clock.advance(60_000);
    assert.equal((await at.post(delivery(issueEvent(issueId, at.now())))).status, 200);
  });

  test("unsigned, stale and repeated deliveries have a separate limit and do not use up the other one", async () => {
    await using at = await place();
    const known = delivery(issueEvent(issueId, at.now()));
    await at.post(known);
    const stale = delivery(issueEvent(issueId, at.now() - 25 * hourMs));
    const forged = delivery(issueEvent(issueId, at.now()), { secret: "other" });
    const statuses = new Map<number, number>();
    for (let index = 0; index < 330; index++) {
      const ask = [known, stale, forged][index % 3] ?? known;
      const { status } = await at.post(ask);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    assert.deepEqual(Object.fromEntries(statuses), { 200: 100, 401: 200, 429: 30 });
    const refused = await at.post(forged);
    assert.equal(refused.headers["retry-after"], "60");
    const genuine = await at.post(delivery(issueEvent(issueId, at.now() + 1)));
    assert.equal(genuine.headers["ratelimit-remaining"], "598");
    assert.ok(at.world.logged.filter((line) => line.includes("webhook refused")).length <= 3);
  });
});

describe("S12: a late delivery, signed right", () => {
  test("S12: 61 s old, an hour or a day old, it is accepted once as a hint, and known for 24 h", async () => {
    await using at = await place();
    at.world.scheduler.set(issue("ENG-7"));
    for (const ageMs of [61_000, hourMs, 24 * hourMs - 1]) {
      const late = delivery(issueEvent(issueId, at.now() - ageMs));
      assert.deepEqual((await at.post(late)).json(), accepted(false));
      assert.deepEqual((await at.post(late)).json(), accepted(true));
    }
    await at.world.scheduler.advance(0);
    assert.deepEqual(at.world.scheduler.live, ["ENG-7"]);
    assert.equal(received(at).length, 3);
    const said = at.world.logged.filter((line) => line.includes("webhook came late"));
    assert.equal(said.length, 1);
  });

  test("S12: replayed whenever, also after a restart, it has no second effect", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "symphony-late-"));
    try {
      let ask: Ask;
      let sentAt = 0;
      {
        await using at = await place(undefined, dataDir);
        sentAt = at.now() - 10 * 60_000;
        ask = delivery(issueEvent(issueId, sentAt));
        assert.deepEqual((await at.post(ask)).json(), accepted(false));
      }
      await using at = await place(undefined, dataDir);
      assert.deepEqual((await at.post(ask)).json(), accepted(true));
      // Each hour, another delivery makes the list forget what it may forget.
      for (let hour = 1; hour <= 30; hour++) {
        at.world.scheduler.clock.advance(hourMs);
        await at.post(delivery(issueEvent(issueId, at.now())));
        const answer = await at.post(ask);
        const isKnown = answer.status === 200 && answer.json().duplicate === true;
        assert.ok(isKnown || answer.status === 401, `${hour} h later: ${answer.text}`);
      }
      assert.equal(received(at).length, 31);
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  });

  test("S12: the list of known deliveries has a limit, and keeps the newest", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "symphony-late-"));
    const known = openDeliveries(dataDir, 10);
    try {
      const one = (at: number) => ({
        ...{ signature: `s${at}`, kind: "linear", id: null, type: "Issue", action: "update" },
        ...{ issueId: null, work: null, at, until: 1_000_000 },
      });
      for (let at = 0; at < 100; at++) known.add([one(at)]);
      const kept = Array.from({ length: 100 }, (_, at) => known.has(one(at)));
      assert.ok(kept.slice(90).every((is) => is));
      assert.ok(kept.filter((is) => is).length <= 20);
    } finally {
      known.close();
      await rm(dataDir, { recursive: true, force: true });
    }
  });
});

describe("the secret", () => {
  test("is required: without it the answer is 503, and no file is created", async () => {
    await using at = await place({});
    assertRefused(
      await at.post(delivery(issueEvent(issueId, at.now()))),
      503,
      "webhook_not_configured",
    );
    assert.ok(!(await readdir(at.world.dataDir)).includes("webhooks.db"));
    const { features } = (await at.server.ask("/api/v1/runtime")).json();
    assert.equal(features.webhooks, false);
  });

  test("is looked up for each delivery, in the default variable when the named one is not set", async () => {
    const env: Record<string, string | undefined> = {};
    await using at = await place(env);
    const status = async (secret: string) => {
      at.world.scheduler.clock.advance(1);
      return (await at.post(delivery(issueEvent(issueId, at.now()), { secret }))).status;
    };
    assert.equal(await status("one"), 503);
    env["LINEAR_WEBHOOK_SECRET"] = "one";
    assert.equal(await status("one"), 200);
    env["HOOK_SECRET"] = "two";
    assert.equal(await status("one"), 401);
    assert.equal(await status("two"), 200);
    const { features } = (await at.server.ask("/api/v1/runtime")).json();
    assert.equal(features.webhooks, true);
  });
});

describe("durability", () => {
  test("a delivery that cannot be stored is not accepted: Linear will send it again", async () => {
    await using at = await place();
    at.world.core.webhooks.close();
    const answer = await at.post(delivery(issueEvent(issueId, at.now())));
    assert.notEqual(answer.status, 200);
    await at.world.scheduler.advance(0);
    assert.deepEqual(at.world.scheduler.calls, []);
  });
});
