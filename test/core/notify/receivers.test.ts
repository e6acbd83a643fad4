// What receivers may answer, and what is made of it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeReceiver } from "../../support/fakes/receiver.ts";
import { failedEvent, NoticeWorld } from "../../support/worlds/notices.ts";
import { eventually } from "../../support/worlds/symphony.ts";

const minuteMs = 60_000;

test("D27: a redirect is refused in words, {ok: false} of a chat is no success, and an answer without its end is one", async () => {
  await using receiver = await FakeReceiver.open();
  const rules = ["slack", "webhook"].map((to) => ({ when: ["failed"], to, url: "$HOOK_URL" }));
  await using world = await NoticeWorld.open({ rules, env: { HOOK_URL: receiver.url } });
  const outcomes = async () =>
    (await world.notices.test(null)).map(({ outcome, reason }) => [outcome, reason]);
  receiver.answer = () => ({ status: 307, headers: { location: `${receiver.url}/other` } });
  const moved = "HTTP 307: it names another address, and a notice is not carried there";
  for (const [outcome, reason = ""] of await outcomes()) {
    assert.equal(outcome, "failed");
    assert.ok(reason.startsWith(moved), reason);
  }
  assert.equal(receiver.received.length, 2, "nothing was carried to the other address");
  receiver.answer = () => ({ status: 200, text: '{"ok":false,"error":"channel_not_found"}' });
  assert.deepEqual(await outcomes(), [
    ["failed", "refused with HTTP 200: channel_not_found"],
    ["sent", "HTTP 200"],
  ]);
  receiver.answer = () => ({ status: 200, headers: { "content-length": "99" }, text: "o" });
  const open = outcomes();
  await eventually("both wait for the end", async () => receiver.received.length === 6);
  let isOver = false;
  void open.finally(() => {
    isOver = true;
  });
  await eventually("the time is over", async () => {
    world.clock.advance(10_000);
    return isOver;
  });
  assert.deepEqual(await open, [
    ["sent", "HTTP 200"],
    ["sent", "HTTP 200"],
  ]);
});

test("a command that reads nothing gets the notice all the same, and one that fails says why", async () => {
  const rules = [
    { name: "reads-nothing", when: ["failed"], to: "command", command: ["true"] },
    {
      name: "fails",
      when: ["failed"],
      to: "command",
      command: ["sh", "-c", "echo full >&2; exit 3"],
    },
  ];
  const titles = { "id-EX-1": "x".repeat(300_000) };
  await using world = await NoticeWorld.open({
    rules,
    titles,
    env: { PATH: process.env["PATH"] ?? "" },
  });
  world.notices.follow();
  world.publish(failedEvent("EX-1"));
  await world.waiting("reads-nothing", 1);
  world.clock.advance(minuteMs);
  assert.equal((await world.outcome("reads-nothing", "sent")).tries, 1);
  assert.equal((await world.planned("fails", 1)).tries, 1);
  const [, failed] = await world.notices.test(null);
  assert.deepEqual([failed?.outcome, failed?.reason], ["failed", "sh: exit 3: full"]);
});

test("an address with a stray % or an identifier with half a character is no reason to try without end", async () => {
  await using receiver = await FakeReceiver.open();
  const rules = [{ when: ["failed"], to: "slack", url: "$HOOK_URL" }];
  const given = { rules, env: { HOOK_URL: receiver.url }, base: "https://host.example/%zz" };
  await using world = await NoticeWorld.open(given);
  world.notices.follow();
  world.publish(failedEvent("EX-\ud800"));
  await world.waiting("slack", 1);
  world.clock.advance(minuteMs);
  assert.equal((await world.outcome("slack", "sent")).tries, 1);
});
