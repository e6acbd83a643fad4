// Notices over a real series of events, with a clock of the test and receivers on this machine. "D" and a number name a row
// of the situations of an operator's desk that went wrong elsewhere.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { FakeReceiver, slackAnswer, slackMarks } from "../../support/fakes/receiver.ts";
import { snippets } from "../../support/makers/snippets.ts";
import { failedEvent, NoticeWorld } from "../../support/worlds/notices.ts";
import { eventually } from "../../support/worlds/symphony.ts";

const minuteMs = 60_000;
const failures = { when: ["failed"], to: "webhook", url: "$HOOK_URL" };

async function worldOf(receiver: FakeReceiver, rules: readonly object[] = [failures], more = {}) {
  const env = { HOOK_URL: receiver.url, HOOK_SECRET: "signing-canary-0123" };
  const world = await NoticeWorld.open({ rules, env, ...more });
  world.notices.follow();
  return world;
}

/** A wait is looked at again every minute. */
async function pass(world: NoticeWorld, minutes: number): Promise<void> {
  for (let left = minutes; left > 0; left--) {
    world.clock.advance(minuteMs);
    await nextTurn();
  }
}

async function arrived(receiver: FakeReceiver, count: number): Promise<void> {
  await eventually(`${count} requests`, async () => receiver.received.length >= count);
}

test("D26: 40 issues that fail in one minute are one message with the count", async () => {
  await using receiver = await FakeReceiver.open();
  await using world = await worldOf(receiver);
  for (let number = 1; number <= 40; number++) {
    world.publish(failedEvent(`EX-${number}`));
    await world.waiting("webhook", number);
    world.clock.advance(1_000);
  }
  assert.equal(receiver.received.length, 0, "they are collected for a minute");
  world.clock.advance(20_000);
  await world.outcome("webhook", "sent");
  const [only, ...others] = receiver.received;
  assert.equal(others.length, 0);
  assert.equal(only?.body.headline, "40 issues failed");
  assert.deepEqual([only?.body.total, only?.body.occasions.length, only?.body.more], [40, 20, 20]);
  // D30: the message that docs/notices.md shows has the same fields.
  const written = snippets().find(
    ({ page, language }) => page === "docs/notices.md" && language === "json",
  );
  const shown = JSON.parse(written?.body ?? "");
  assert.deepEqual(Object.keys(shown), Object.keys(only?.body));
  assert.deepEqual(Object.keys(shown.occasions[0]), Object.keys(only?.body.occasions[0]));
});

test("D26: a burst over the edge of the minute is two messages, and each failure is in one of them", async () => {
  await using receiver = await FakeReceiver.open();
  await using world = await worldOf(receiver);
  for (let number = 1; number <= 40; number++) {
    world.publish(failedEvent(`EX-${number}`));
    await world.waiting("webhook", number <= 30 ? number : number - 30);
    world.clock.advance(2_000);
    if (number === 30) await world.outcome("webhook", "sent");
  }
  // To the minute: a request that is under way has its own time limit.
  world.clock.advance(40_000);
  await arrived(receiver, 2);
  assert.deepEqual(
    receiver.received.map(({ body }) => body.headline),
    ["30 issues failed", "10 issues failed"],
  );
  assert.equal(new Set(receiver.received.map(({ body }) => body.id)).size, 2);
});

test("D26: what needs a person is sent within 5 s, with what else waits", async () => {
  await using receiver = await FakeReceiver.open();
  await using world = await worldOf(receiver, [{ ...failures, when: ["failed", "needs"] }]);
  const needs = { kind: "approval", options: ["approve", "decline"] };
  world.publish(failedEvent("EX-1"), {
    type: "issue.blocked",
    issueId: "id-EX-2",
    issueIdentifier: "EX-2",
    attemptId: "att_2",
    message: "waits for a person: run `curl secret.example`?",
    data: { needs, next: "symphony respond EX-2 approve --id ask_2" },
  });
  await world.waiting("webhook", 2);
  world.clock.advance(5_000);
  await world.outcome("webhook", "sent");
  const { body, text } = receiver.received[0] ?? {};
  assert.equal(body.headline, "2 notices: 1 issue needs you, 1 failed");
  assert.ok(!text?.includes("curl"), "what is asked is left to detail: full");
  const next = body.occasions.map((one: { next: string }) => one.next);
  const approve = "symphony respond EX-2 approve --id ask_2";
  assert.deepEqual(next, ["symphony transition EX-1 queued", approve]);
});

test("what keeps new work from starting is reported once when it lasts for 5 minutes, and not when it ends before", async () => {
  await using receiver = await FakeReceiver.open();
  await using world = await worldOf(receiver, [{ ...failures, when: ["stopped", "failed"] }]);
  const away = { type: "tracker.error", message: "the tracker refuses its token" } as const;
  const back = { type: "tracker.recovered", message: "the tracker answers again" } as const;
  world.publish(away);
  await world.waiting("webhook", 1);
  // As long as a provider is waited for that names no time.
  await pass(world, 5);
  world.publish(back);
  await world.waiting("webhook", 0);
  // Another occasion does not take along what may end by itself.
  world.publish(away, failedEvent("EX-1"));
  await world.waiting("webhook", 2);
  world.clock.advance(minuteMs);
  await world.outcome("webhook", "sent");
  assert.equal(receiver.received[0]?.body.headline, "EX-1 failed: Title of id-EX-1");
  await pass(world, 4);
  world.clock.advance(20_000);
  await arrived(receiver, 2);
  const [only, ...others] = receiver.received[1]?.body.occasions ?? [];
  assert.equal(receiver.received[1]?.body.headline, "new work waits");
  assert.deepEqual([only.reason, only.next, others], [away.message, "symphony doctor", []]);
  // A new server finds it out anew.
  world.publish({ type: "server.started", message: "started" }, away);
  await world.waiting("webhook", 1);
});

test("a provider that is paused again and again is reported once in 6 hours, each agent for itself", async () => {
  await using receiver = await FakeReceiver.open();
  await using world = await worldOf(receiver, [{ ...failures, when: ["stopped", "failed"] }]);
  const paused = (agent: string) =>
    ({ type: "provider.paused", message: `${agent} waits`, data: { agent } }) as const;
  const resumed = { type: "provider.resumed", message: "", data: { agent: "codex" } } as const;
  world.publish(paused("codex"));
  await world.waiting("webhook", 1);
  world.publish(resumed, paused("codex"), paused("claude"));
  await world.waiting("webhook", 2);
  await pass(world, 5);
  world.clock.advance(20_000);
  await world.outcome("webhook", "sent");
  const { headline, occasions } = receiver.received[0]?.body ?? {};
  assert.equal(headline, "2 reasons why new work waits");
  assert.deepEqual(
    occasions.map((one: { reason: string }) => one.reason),
    ["codex waits", "claude waits"],
  );
  world.publish(resumed, paused("codex"), failedEvent("EX-1"));
  await world.waiting("webhook", 1);
  world.clock.advance(minuteMs);
  await arrived(receiver, 2);
  world.clock.advance(6 * 60 * minuteMs);
  world.publish(resumed, paused("codex"));
  await world.waiting("webhook", 1);
});

test("work that is not pushed is delivered when it waits for review; what is pushed is said once, by its push", async () => {
  await using receiver = await FakeReceiver.open();
  await using world = await worldOf(receiver, [{ ...failures, when: ["delivered"] }]);
  const review = (name: string, delivers: boolean) =>
    ({
      type: "issue.review",
      ...{ issueId: `id-${name}`, issueIdentifier: name },
      ...{ message: "its work is ready for review", data: { delivers } },
    }) as const;
  world.publish(review("EX-1", true), review("EX-2", false));
  await world.waiting("webhook", 1);
  world.clock.advance(minuteMs);
  await arrived(receiver, 1);
  const { headline, occasions } = receiver.received[0]?.body ?? {};
  assert.equal(headline, "EX-2 is delivered: Title of id-EX-2");
  assert.deepEqual(
    [occasions[0].reason, occasions[0].next],
    ["its work is ready for review", "symphony diff EX-2"],
  );
});

test("D26: a first start with an old journal reports nothing of the past", async () => {
  await using receiver = await FakeReceiver.open();
  await using world = await NoticeWorld.open({
    rules: [failures],
    env: { HOOK_URL: receiver.url },
  });
  world.publish(failedEvent("EX-1"), failedEvent("EX-2"));
  world.bus.flush();
  world.notices.follow();
  world.publish(failedEvent("EX-3"));
  await world.waiting("webhook", 1);
  world.clock.advance(minuteMs);
  await world.outcome("webhook", "sent");
  const [first] = receiver.received;
  assert.equal(first?.body.headline, "EX-3 failed: Title of id-EX-3");
});

test("D26: two restarts report nothing again, and miss nothing of what happened in between", async () => {
  await using receiver = await FakeReceiver.open();
  await using world = await worldOf(receiver);
  world.publish(failedEvent("EX-1"));
  await world.waiting("webhook", 1);
  world.clock.advance(minuteMs);
  await world.outcome("webhook", "sent");
  await world.restart();
  await world.notices.close();
  // As an event that a server wrote right before it was killed.
  world.publish(failedEvent("EX-2"));
  world.bus.flush();
  await world.restart();
  await world.waiting("webhook", 1);
  world.clock.advance(minuteMs);
  await arrived(receiver, 2);
  assert.deepEqual(
    receiver.received.map(({ body }) =>
      body.occasions.map((one: { issue_identifier: string }) => one.issue_identifier),
    ),
    [["EX-1"], ["EX-2"]],
  );
});

test("D26: the budget of a day and an open question are reported once, however often they are published", async () => {
  await using receiver = await FakeReceiver.open();
  const rule = { ...failures, when: ["budget", "needs"], batch_ms: 0 };
  await using world = await worldOf(receiver, [rule]);
  const budget = {
    type: "budget.reached",
    message: "100 of 100 tokens are used",
    data: { brake: "tokens_per_day", until: "2026-11-24T00:00:00.000Z" },
  } as const;
  const question = {
    type: "issue.blocked",
    issueId: "id-EX-1",
    issueIdentifier: "EX-1",
    attemptId: "att_1",
    message: "waits for a person: which database?",
    data: { needs: { kind: "question", options: [] } },
  } as const;
  world.publish(budget, question);
  await arrived(receiver, 1);
  await world.outcome("webhook", "sent");
  await world.restart();
  const answered = { type: "approval.resolved", attemptId: "att_1", message: "answered" } as const;
  world.publish(budget, question, answered, question);
  await arrived(receiver, 2);
  const [, second] = receiver.received;
  assert.equal(second?.body.total, 1, "the same question after an answer is a new one");
  assert.equal(second?.body.headline, "EX-1 needs you: Title of id-EX-1");
});

test("D26: one receiver in two rules gets it once, by either name of its address", async () => {
  await using receiver = await FakeReceiver.open();
  const env = { HOOK_URL: receiver.url, SAME_URL: receiver.url };
  const rules = [failures, { ...failures, when: ["failed", "done"], url: "$SAME_URL" }];
  await using world = await worldOf(receiver, rules, { env });
  world.publish(failedEvent("EX-1"), {
    type: "issue.completed",
    issueId: "id-EX-2",
    issueIdentifier: "EX-2",
    message: "completed in state Done",
  });
  await world.waiting("webhook", 1);
  await world.waiting("webhook-2", 1);
  world.clock.advance(minuteMs);
  await arrived(receiver, 2);
  const headlines = receiver.received.map(({ body }) => body.headline).sort();
  assert.deepEqual(headlines, ["EX-1 failed: Title of id-EX-1", "EX-2 is done: Title of id-EX-2"]);
});

test("D26: after a kill between send and note there is one repeat, marked, with the same id; after a second kill none", async () => {
  await using receiver = await FakeReceiver.open();
  receiver.answer = () => null;
  await using world = await worldOf(receiver);
  world.publish(failedEvent("EX-1"));
  await world.waiting("webhook", 1);
  world.clock.advance(minuteMs);
  await arrived(receiver, 1);
  // Its answer never comes: nothing is noted, as if the process had ended here.
  const killed = world.notices;
  world.reopen();
  world.notices.follow();
  await arrived(receiver, 2);
  const killedAgain = world.notices;
  world.reopen();
  world.notices.follow();
  await world.outcome("webhook", "unknown");
  const [first, repeat, ...others] = receiver.received;
  assert.equal(others.length, 0);
  assert.equal(repeat?.body.id, first?.body.id);
  assert.deepEqual([first?.body.repeat, repeat?.body.repeat], [false, true]);
  assert.match(repeat?.body.headline, /^\(repeated\) EX-1 failed/);
  await Promise.all([killed.close(), killedAgain.close()]);
});

test("D26: what cannot be noted is not sent, and is sent once when it can be", async () => {
  await using receiver = await FakeReceiver.open();
  await using world = await worldOf(receiver);
  world.publish(failedEvent("EX-1"));
  await world.waiting("webhook", 1);
  const other = new DatabaseSync(join(world.dir, "notify.db"));
  // Another process writes and does not end: no try can be noted.
  other.exec("BEGIN IMMEDIATE");
  world.clock.advance(minuteMs);
  await eventually("it is in the log", async () =>
    world.logged.some((line) => /notices/.test(line)),
  );
  assert.equal(receiver.received.length, 0);
  other.exec("ROLLBACK");
  other.close();
  await eventually("it is planned again", async () => world.clock.pending > 0);
  world.clock.advance(5_000);
  await world.outcome("webhook", "sent");
  assert.equal(receiver.received.length, 1);
});

test("quiet hours: what waits is sent as one digest when they end", async () => {
  await using receiver = await FakeReceiver.open();
  // The clock of the test begins at 10:00 UTC, which is 11:00 in Berlin.
  const quiet = { from: "10:00", to: "14:00", tz: "Europe/Berlin" };
  await using world = await worldOf(receiver, [{ ...failures, quiet_hours: quiet }]);
  for (const name of ["EX-1", "EX-2", "EX-3"]) {
    world.publish(failedEvent(name));
    await eventually("it is noted", async () => (world.notices.list()[0]?.waiting ?? 0) > 0);
    world.clock.advance(50 * minuteMs);
  }
  await world.waiting("webhook", 3);
  assert.equal(receiver.received.length, 0);
  const [{ quietUntil = null } = {}] = world.notices.list();
  assert.equal(quietUntil, Date.parse("2026-11-23T13:00:00Z"));
  // A clock that was set, as after the sleep of a machine, is noticed within a minute.
  world.clock.jump(30 * minuteMs);
  world.clock.advance(minuteMs);
  await world.outcome("webhook", "sent");
  assert.deepEqual(
    receiver.received.map(({ body }) => body.headline),
    ["3 issues failed"],
  );
});

test("a receiver that is down is tried three times, and the outcome is an event, a log line and in the list", async () => {
  await using receiver = await FakeReceiver.open();
  receiver.answer = () => ({ status: 503, text: "down for maintenance" });
  await using world = await worldOf(receiver);
  world.publish(failedEvent("EX-1"));
  await world.waiting("webhook", 1);
  world.clock.advance(minuteMs);
  await world.planned("webhook", 1);
  world.clock.advance(2_000);
  await world.planned("webhook", 2);
  world.clock.advance(10_000);
  const last = await world.outcome("webhook", "failed");
  assert.deepEqual([last.tries, last.category], [3, "receiver_error"]);
  assert.equal(last.reason, "HTTP 503: down for maintenance");
  assert.equal(receiver.received.length, 3);
  assert.equal(new Set(receiver.received.map(({ body }) => body.id)).size, 1);
  world.bus.flush();
  const [told] = world.history.events({ afterSeq: 0, limit: 10, types: ["notice.failed"] });
  assert.equal(
    told?.message,
    "a notice did not reach webhook after 3 tries: HTTP 503: down for maintenance",
  );
});

test("D27: a receiver that says Retry-After is asked again then, not before", async () => {
  await using receiver = await FakeReceiver.open();
  receiver.answer = (_, count) =>
    count === 1 ? { status: 429, headers: { "retry-after": "90" } } : { status: 200 };
  await using world = await worldOf(receiver);
  world.publish(failedEvent("EX-1"));
  await world.waiting("webhook", 1);
  world.clock.advance(minuteMs);
  const { due } = await world.planned("webhook", 1);
  assert.equal(due - world.clock.wall(), 90_000);
  await world.restart();
  await eventually("the retry is planned again", async () => world.clock.pending > 0);
  assert.equal(receiver.received.length, 1, "a restart does not forget the wait");
  world.clock.advance(60_000);
  await eventually("the rest of it is waited for", async () => world.clock.pending > 0);
  assert.equal(receiver.received.length, 1);
  world.clock.advance(30_000);
  const { tries } = await world.outcome("webhook", "sent");
  assert.equal(tries, 2);
});

test("notices wait for a secret that is not set, also over a restart, and are sent as one when it is; after three days no more", async () => {
  await using receiver = await FakeReceiver.open();
  const env: Record<string, string> = {};
  const signed = { ...failures, url: "$LATE_URL", secret: "$LATE_SECRET" };
  await using world = await NoticeWorld.open({ rules: [signed], env });
  world.notices.follow();
  world.publish(failedEvent("EX-1"));
  await world.waiting("webhook", 1);
  await pass(world, 2);
  env["LATE_URL"] = receiver.url;
  world.publish(failedEvent("EX-2"));
  await world.waiting("webhook", 2);
  await world.restart();
  await pass(world, 2);
  const [rule] = world.notices.list();
  assert.deepEqual([rule?.fault, rule?.waiting, rule?.last], ["LATE_SECRET is not set", 2, null]);
  env["LATE_SECRET"] = "late-canary-0123";
  world.clock.advance(minuteMs);
  const sent = await world.outcome("webhook", "sent");
  assert.deepEqual([sent.total, sent.tries, receiver.received.length], [2, 1, 1]);
  delete env["LATE_SECRET"];
  world.publish(failedEvent("EX-3"));
  await world.waiting("webhook", 1);
  await pass(world, 1);
  await eventually("it is looked at again", async () => world.clock.pending > 0);
  world.clock.advance(3 * 24 * 60 * minuteMs);
  await eventually("and again", async () => world.clock.pending > 0);
  world.clock.advance(minuteMs);
  const { reason, category } = await world.outcome("webhook", "failed");
  assert.deepEqual([category, reason], ["not_configured", "LATE_SECRET is not set"]);
});

test("D27: a refusal is final, and no part of the address is in what is said of it", async () => {
  await using receiver = await FakeReceiver.open();
  receiver.answer = () => ({ status: 404, text: `Cannot POST ${new URL(receiver.url).pathname}` });
  await using world = await worldOf(receiver);
  world.publish(failedEvent("EX-1"));
  await world.waiting("webhook", 1);
  world.clock.advance(minuteMs);
  const { reason, tries, category } = await world.outcome("webhook", "failed");
  assert.deepEqual([tries, category], [1, "refused"]);
  assert.match(reason, /^HTTP 404: Cannot POST /);
  const all = JSON.stringify([world.logged, reason, world.notices.list()]);
  assert.ok(!/canarytoken|T000CANARY|signing-canary/.test(all), all);
});

test("D27: a webhook is signed over time and body, with the id of the notice", async () => {
  await using receiver = await FakeReceiver.open();
  await using world = await worldOf(receiver, [{ ...failures, secret: "$HOOK_SECRET" }]);
  const [result] = await world.notices.test(null);
  assert.equal(result?.outcome, "sent");
  const [{ headers = {}, text = "", body } = {}] = receiver.received;
  const time = headers["x-symphony-timestamp"];
  assert.equal(time, String(world.clock.wall() / 1_000));
  const mac = createHmac("sha256", "signing-canary-0123").update(`${time}.${text}`).digest("hex");
  assert.equal(headers["x-symphony-signature"], `sha256=${mac}`);
  assert.equal(headers["x-symphony-notice-id"], body.id);
  assert.equal(body.type, "test");
});

test("D27: a title of 10,000 characters with mentions and emoji arrives at Slack, cut and dead", async () => {
  await using receiver = await FakeReceiver.open();
  receiver.answer = slackAnswer;
  const family = "👩‍👩‍👧‍👦";
  const title = `<!channel> & <@U123> @here ${family.repeat(10_000 / family.length)}`;
  const rule = { when: ["failed"], to: "slack", url: "$HOOK_URL" };
  const more = { titles: { "id-EX-1": title }, base: "https://symphony.example.com/desk/" };
  await using world = await worldOf(receiver, [rule], {
    ...more,
    env: { HOOK_URL: receiver.url },
  });
  world.publish(failedEvent("EX-1", `<!everyone> ${"very long & ".repeat(300)}`));
  await world.waiting("slack", 1);
  world.clock.advance(minuteMs);
  await world.outcome("slack", "sent");
  const [{ body } = {}] = receiver.received;
  const [mark] = slackMarks(body);
  assert.equal(
    mark,
    "https://symphony.example.com/desk/#/issue/EX-1|EX-1 failed",
    "the one thing that Slack acts on is the link to the issue",
  );
  assert.equal(slackMarks(body).length, 1);
  const header: string = body.blocks[0].text.text;
  assert.match(header, /^EX-1 failed: &lt;!channel&gt; &amp; &lt;@U123&gt; @here 👩‍👩‍👧‍👦/);
  assert.match(header, /👩‍👩‍👧‍👦…$/, "cut between what a reader sees as characters");
});

test("D27: 40 occasions with long titles stay within every limit of Slack and of Discord", async () => {
  await using slack = await FakeReceiver.open();
  await using discord = await FakeReceiver.open();
  slack.answer = slackAnswer;
  const rules = [
    { when: ["failed"], to: "slack", url: "$SLACK_URL", detail: "full" },
    { when: ["failed"], to: "discord", url: "$DISCORD_URL" },
  ];
  const titles = Object.fromEntries(
    Array.from({ length: 40 }, (_, at) => [
      `id-EX-${at}`,
      `@everyone [x](http://evil.example) ${"<&>".repeat(2_000)}`,
    ]),
  );
  const env = { SLACK_URL: slack.url, DISCORD_URL: discord.url };
  await using world = await NoticeWorld.open({ rules, titles, env, base: "http://127.0.0.1:4000" });
  world.notices.follow();
  world.publish(...Array.from({ length: 40 }, (_, at) => failedEvent(`EX-${at}`)));
  await world.waiting("slack", 40);
  world.clock.advance(minuteMs);
  await world.outcome("slack", "sent");
  await world.outcome("discord", "sent");
  const { body } = discord.received[0] ?? {};
  assert.ok(body.content.length <= 2_000, String(body.content.length));
  assert.deepEqual(body.allowed_mentions, { parse: [] });
  assert.ok(!/(?<!\\)\[x\]/.test(body.content), "a link in a title is text");
  assert.match(body.content, /and \d+ more <http:\/\/127\.0\.0\.1:4000\/>$/);
});

test("a dead receiver delays neither the others nor the series of events", async () => {
  await using dead = await FakeReceiver.open();
  await using live = await FakeReceiver.open();
  dead.answer = () => null;
  const rules = [failures, { ...failures, url: "$LIVE_URL" }];
  await using world = await worldOf(dead, rules, {
    env: { HOOK_URL: dead.url, LIVE_URL: live.url },
  });
  world.publish(failedEvent("EX-1"));
  await world.waiting("webhook", 1);
  await world.waiting("webhook-2", 1);
  world.clock.advance(minuteMs);
  await arrived(dead, 1);
  await world.outcome("webhook-2", "sent");
  const seen: number[] = [];
  world.bus.subscribe({}, ({ seq }) => seen.push(seq));
  world.publish(failedEvent("EX-2"));
  await eventually("further events are delivered", async () => seen.length > 0);
});

test("rules that are gone are forgotten; with the last one everything is", async () => {
  await using receiver = await FakeReceiver.open();
  await using world = await worldOf(receiver);
  world.publish(failedEvent("EX-1"));
  await world.waiting("webhook", 1);
  const { rules } = world.options;
  world.options = { ...world.options, rules: [] };
  world.notices.follow();
  world.publish(failedEvent("EX-2"));
  world.bus.flush();
  world.options = { ...world.options, rules };
  world.notices.follow();
  world.publish(failedEvent("EX-3"));
  await world.waiting("webhook", 1);
  world.clock.advance(minuteMs);
  await world.outcome("webhook", "sent");
  assert.equal(receiver.received[0]?.body.headline, "EX-3 failed: Title of id-EX-3");
});

test("a command gets the notice by stdin and environment, never as an argument, and no secret", async () => {
  await using receiver = await FakeReceiver.open();
  const script =
    'process.stdin.pipe(require("fs").createWriteStream(process.argv[1])); require("fs").writeFileSync(process.argv[1] + ".env", JSON.stringify({ env: process.env, argv: process.argv.slice(2) }))';
  const world = await NoticeWorld.open({ rules: [], env: { HOOK_URL: receiver.url } });
  await using _world = world;
  const out = join(world.dir, "notice.json");
  const command = [process.execPath, "-e", script, out];
  world.options = { ...world.options, rules: [{ when: ["failed"], to: "command", command }] };
  world.notices.follow();
  world.publish(failedEvent("EX-1", "$(touch x)"));
  await world.waiting("command", 1);
  world.clock.advance(minuteMs);
  await world.outcome("command", "sent");
  const document = JSON.parse(await readFile(out, "utf8"));
  assert.equal(document.headline, "EX-1 failed: Title of id-EX-1");
  const { env, argv } = JSON.parse(await readFile(`${out}.env`, "utf8"));
  assert.deepEqual(argv, []);
  assert.match(env.SYMPHONY_NOTICE_TEXT, /\$\(touch x\)/);
  assert.equal(env.HOOK_URL, undefined);
});
