// "S9" is a row of the cases of scheduler and configuration: a freed slot is used at once.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EventReader } from "../support/fakes/event-reader.ts";
import { hangingWorld } from "../support/worlds/hanging-world.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

/** Two issues, one slot, and an hour between two polls. */
const project = () => hangingWorld({ issues: ["ENG-1", "ENG-2"], pollMs: 3_600_000, agents: 1 });

test("S9: an abort gives its slot to the next issue at once, with one request and without a poll", async (t) => {
  await using place = await project();
  await using server = await Served.start(place);
  const [first = "", second = ""] = await eventually("one issue runs, one waits", async () => {
    const { running, queued } = await server.client.system.state({});
    const rows = [...running.filter(({ session_id }) => session_id), ...queued];
    return rows.length === 2 && rows.map((row) => row.issue_identifier);
  });
  const before = (await server.client.system.state({})).polling.last_poll_at;
  const requestsBefore = place.linear.requests.length;
  const aborted = await symphony(place, "abort", first);
  assert.equal(aborted.code, 0, aborted.stderr);
  await eventually("the other one runs", async () => {
    const { running } = await server.client.issues.detail({ params: { id: second } });
    return running?.session_id;
  });
  assert.equal(place.linear.requests.length - requestsBefore, 1);
  assert.equal((await server.client.system.state({})).polling.last_poll_at, before);
  await using reader = await EventReader.open(Number(new URL(server.url).port), "?since=0");
  const is = (name: string, type: string) => (message: EventReader["messages"][number]) =>
    message.event === type && message.data.issue_identifier === name;
  const started = is(second, "attempt.started");
  await reader.until(({ messages }) => messages.some(started));
  const ended = reader.messages.findIndex(is(first, "attempt.ended"));
  const next = reader.messages.findIndex(started);
  assert.ok(ended >= 0 && ended < next, "first the one is gone, then the other begins");
  assert.ok(!reader.messages.slice(ended, next).some(({ event }) => event === "poll.completed"));
  const [from, to] = [ended, next].map((index) => Date.parse(reader.messages[index]?.data.at));
  t.diagnostic(`slot freed to next start: ${Number(to) - Number(from)} ms, one request`);
});
