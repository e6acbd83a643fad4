// What a fleet decides without an engine.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { AgentEvent } from "../../../src/core/agent/agent.ts";
import { passwordsIn } from "../../../src/core/config/fleet.ts";
import { WorkerAgents } from "../../../src/core/fleet/agents.ts";
import { skewOf } from "../../../src/core/fleet/engine.ts";
import { Floor } from "../../../src/core/fleet/floor.ts";
import { verdictOf } from "../../../src/core/fleet/judging.ts";
import { leadOf, leaseTimes, type Presence, readLead } from "../../../src/core/fleet/lease.ts";
import { Members } from "../../../src/core/fleet/members.ts";
import { addressOf, openEngine } from "../../../src/core/fleet/opening.ts";
import { reportedEvent } from "../../../src/core/fleet/reported.ts";
import { readToken } from "../../../src/core/fleet/sealing.ts";
import { sighted } from "../../../src/core/fleet/sighting.ts";
import { whyNothing } from "../../../src/core/fleet/standing.ts";
import { Taking } from "../../../src/core/fleet/taking.ts";
import { EarlyParts } from "../../../src/core/fleet/talk.ts";
import { noTokens } from "../../../src/core/model/attempt.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import { openSecrets } from "../../../src/core/secrets/secrets.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { coded, temporaryDir } from "../../support/makers/storage.ts";
import { RedisServer } from "../../support/worlds/fleet.ts";
import { eventually } from "../../support/worlds/symphony.ts";

const mebibyte = 1024 * 1024;
const part = (run: string, seq: number, data: Buffer) => ({ run, seq, isLast: false, data });

test("parts that wait for their job are counted while they wait; a run that nothing takes is dropped whole", () => {
  let now = 0;
  const early = new EarlyParts({ now: () => now });
  const data = Buffer.alloc(mebibyte);
  for (let run = 0; run < 400; run++) {
    early.add(part(`run-${run}`, 1, data));
    early.add(part(`run-${run}`, 2, data));
    assert.equal(early.take(`run-${run}`).length, 2);
  }
  assert.equal(early.bytes, 0);
  for (let seq = 1; seq <= 200; seq++) early.add(part("old", seq, data));
  for (let seq = 1; seq <= 200; seq++) early.add(part("new", seq, data));
  assert.deepEqual([early.take("old").length, early.take("new").length], [0, 200]);
  early.add(part("unclaimed", 1, data));
  now = 31_000;
  early.add(part("other", 1, data));
  assert.equal(early.bytes, mebibyte);
  early.close("other");
  early.add(part("other", 2, data));
  assert.equal(early.bytes, 0);
});

test("an attempt that its worker says no more of is over at the next beat, when its last word has been read", () => {
  const run = {
    instance: "a",
    sinceWall: 0,
    dispatchedAt: 0,
    wasSeen: true,
    endOrder: "none",
  } as const;
  const presence = { instance: "a", runs: [] as string[], left: false } as never;
  const verdict = (missedAt: number | null, beat: number) => {
    const sighting = { presence, missingWall: null, beat, lastBeatAt: 0 } as never;
    return verdictOf("run", { ...run, missedAt }, { sighting, now: 0, leaseMs: 15_000 });
  };
  assert.deepEqual(verdict(null, 7), { missedAt: 7 });
  assert.deepEqual(verdict(7, 7), { missedAt: 7 });
  assert.deepEqual(verdict(7, 8), { gone: "has ended the agent" });
});

test("a lease that vanished counts from its last new beat, and anew when the engine was not read in between", () => {
  const at = (beat: number) => ({ instance: "one", beat }) as Presence;
  const look = (now: number, isGap = false) => ({ now, wall: now, isGap });
  const first = sighted(null, at(5), look(1_000));
  const same = sighted(first, at(5), look(2_000));
  assert.deepEqual([same.lastBeatAt, same.missingWall], [1_000, null]);
  const flushed = sighted(same, null, look(3_000));
  assert.deepEqual([flushed.lastBeatAt, flushed.missingWall], [1_000, 3_000]);
  assert.equal(sighted(flushed, null, look(9_000, true)).lastBeatAt, 1_000);
  assert.equal(sighted(same, null, look(9_000, true)).lastBeatAt, 9_000);
  // A replica that was behind shows an earlier beat.
  assert.equal(sighted(same, at(4), look(3_000)).missingWall, 3_000);
  assert.equal(sighted(flushed, at(6), look(4_000)).missingWall, null);
});

test("the lease is that of the server: the times scale with it, and a worker that counts another one gets nothing", () => {
  const { leaseMs, marginMs, renewMs, awayMs, maxSkewMs } = leaseTimes(6_000);
  assert.deepEqual([marginMs, renewMs, awayMs, maxSkewMs], [2_000, 1_000, 2_000, 1_500]);
  assert.deepEqual(leaseTimes(120_000).renewMs, 2_500);
  const lead = leadOf(7, "host", "/a|b", leaseMs);
  assert.deepEqual(readLead(lead), { epoch: "7", host: "host", leaseMs: 6_000 });
  // As servers wrote it before the lease could be set.
  assert.deepEqual(readLead("7|host|/a"), { epoch: "7", host: "host", leaseMs: 15_000 });
  // Who can write to the engine cannot make a worker run agents for ever.
  for (const text of [null, "", "x|h|/a", "7|h|/a|1", "7|h|/a|99999999", "7|h|/a|NaN"])
    assert.equal(readLead(text), null);
  const standing = { refusedBy: null, leads: true, epoch: 7, isSettled: true };
  const why = (parts: Partial<Presence>) => {
    const usual = { epoch: "7", protocol: 2, version: "0.9.0", takes: true, skewMs: 0, leaseMs };
    const presence = { ...usual, ...parts } as Presence;
    const sighting = { presence, missingWall: null, beat: 1, lastBeatAt: 0 };
    return whyNothing({ cordoned: false }, sighting, { ...standing, times: leaseTimes(leaseMs) });
  };
  assert.equal(why({}), null);
  assert.equal(
    why({ leaseMs: 15_000 }),
    "its version 0.9.0 does not understand a lease of 6000 ms",
  );
  assert.match(
    why({ protocol: 1 }) ?? "",
    /^its version 0\.9\.0 speaks protocol 1, and this server's \S+ protocol 2: on its machine npm install /,
  );
  assert.equal(why({ skewMs: -1_600 }), "its clock is 2 s behind the engine's");
});

test("a queue that leaves a job waiting at three looks in a row, with room for it, is opened again", async () => {
  const made: string[] = [];
  const logged: string[] = [];
  let jobs = 1;
  const taking = new Taking({
    open() {
      const name = `taker ${made.push("opened")}`;
      let runs = false;
      return {
        isRunning: () => runs,
        async run() {
          runs = true;
        },
        async close() {
          made.push(`${name} closed`);
        },
      };
    },
    waiting: async () => jobs,
    log: (message) => logged.push(message),
  });
  taking.keep();
  const looks = async (...room: readonly boolean[]) => {
    for (const hasRoom of room) await taking.replaceStuck(hasRoom);
  };
  await looks(true, true, false, true, true);
  jobs = 0;
  await looks(true, true, true);
  assert.deepEqual(made, ["opened"]);
  jobs = 1;
  await looks(true, true, true);
  assert.deepEqual(made, ["opened", "taker 1 closed", "opened"]);
  assert.ok(taking.isRunning);
  assert.match(logged.join(), /^the queue of the worker does not move: it is opened again$/);
});

test("18: a machine that asks again with the same token and key is admitted, another one is not", async (t) => {
  const members = await (await fleetFile(t)).open();
  const { invitation } = readToken(await members.invite(1_000, 0));
  const asked = { id: "a", name: "build-1", secret: secretOf("s"), host: "h" };
  assert.equal(await members.admit(invitation, asked, 1), null);
  assert.equal(await members.admit(invitation, asked, 1), null);
  for (const other of [
    { ...asked, id: "b", name: "build-2" },
    { ...asked, secret: secretOf("t") },
  ])
    assert.match((await members.admit(invitation, other, 1)) ?? "", /used already/);
  assert.equal(members.all.length, 1);
});

test("the workers are what was acknowledged, their keys sealed; a lost or damaged file, or its lost key, stops the start", async (t) => {
  const { open, dir, file, secrets } = await fleetFile(t);
  const members = await open();
  const token = await members.invite(1_000, 0);
  const asked = { id: "a", name: "build-1", secret: secretOf("s"), host: "h" };
  assert.equal(await members.admit(readToken(token).invitation, asked, 1), null);
  await members.invite(1_000, 1);
  const text = readFileSync(file, "utf8");
  for (const name of readdirSync(dir)) {
    const content = readFileSync(join(dir, name), "utf8");
    for (const secret of [asked.secret, token.slice(-43)])
      assert.ok(!content.includes(secret), name);
  }
  const again = await open();
  assert.deepEqual(again.all, members.all);
  assert.equal(again.named("build-1").secret, asked.secret);
  assert.deepEqual([again.fleet, again.epoch > members.epoch], [members.fleet, true]);

  for (const damage of ["", text.slice(0, -20), text.replace("build-1", "build-2")]) {
    writeFileSync(file, damage);
    await assert.rejects(open(), coded("storage_corrupt"));
    assert.equal(readFileSync(file, "utf8"), damage, "nothing is written over it");
  }
  renameSync(file, `${file}.away`);
  await assert.rejects(open(), coded("storage_corrupt"));
  assert.ok(!existsSync(file));
  // One from before a backup was restored.
  writeFileSync(file, text);
  assert.ok((await open()).epoch > again.epoch, "no epoch comes twice");
  await secrets.remove("SYMPHONY_FLEET_KEY");
  await assert.rejects(open(), coded("storage_corrupt"));
  await secrets.put("SYMPHONY_FLEET_KEY", secretOf("other"));
  await assert.rejects(open(), coded("storage_corrupt"));
});

/** A data directory for the workers of a fleet, with a real store of secrets. */
async function fleetFile(t: TestContext) {
  const dir = temporaryDir(t);
  const clock = new FakeClock();
  const redactor = createRedactor();
  const secrets = await openSecrets({ dir, env: {}, clock, redactor });
  const open = () => {
    clock.advance(1_000);
    return Members.open({ dataDir: dir, clock, secrets });
  };
  return { dir, file: join(dir, "fleet.json"), secrets, open };
}

function secretOf(text: string): string {
  return Buffer.alloc(32, text).toString("base64url");
}

test("no part is looked for below one that every writer has settled since, unless the database counts anew", () => {
  let now = 0;
  const floor = new Floor({ now: () => now });
  floor.saw([7, 9]);
  now = 9_000;
  floor.saw([8, 12]);
  assert.equal(floor.at, 0);
  now = 10_000;
  floor.saw([]);
  now = 20_000;
  floor.saw([13]);
  assert.equal(floor.at, 12);
  floor.saw([1, 2]);
  assert.equal(floor.at, 0);
  now = 30_000;
  floor.saw([]);
  assert.equal(floor.at, 2);
});

test("the engine's URL sets no option of its client", () => {
  assert.equal(addressOf("rediss://u:p@h:6380/2"), "rediss://h:6380/2");
  for (const query of ["?keyPrefix=a", "?family=6", "?tls=false", "#a"])
    assert.throws(() => addressOf(`redis://h:6379/0${query}`), /no query/);
  assert.equal(
    addressOf("postgres://u:p%40@[::1]:5/d?sslmode=verify-full"),
    "postgres://[::1]:5/d",
  );
  for (const [wrong, says] of [
    ["h", /must name a database/],
    ["h/a/b", /must name a database/],
    ["u:50%@h/d", /a % that begins no code/],
    ["h/%FF", /a % that begins no code/],
    ["u%C3:%A9@h/d", /a % that begins no code/],
    ["h/d?sslmode=require", /no parameter but sslmode=verify-full/],
    ["h/d?sslmode=verify-full&host=other", /no parameter but/],
    ["h/d?options=-c%20x", /no parameter but/],
    ["h/d#a", /no parameter but/],
  ] as const)
    assert.throws(() => addressOf(`postgresql://${wrong}`), says, wrong);
  assert.deepEqual(passwordsIn("postgres://u:p%40s%C3%A9@h/d"), ["p%40s%C3%A9", "p@sé"]);
});

/** One of each type; the compiler requires all of them. */
const everyEvent: { readonly [Type in AgentEvent["type"]]: Extract<AgentEvent, { type: Type }> } = {
  "session.started": { type: "session.started", threadId: "t", resumed: true, countsAnew: true },
  "turn.started": { type: "turn.started", turnId: "1" },
  "turn.completed": { type: "turn.completed", turnId: "1" },
  "turn.failed": { type: "turn.failed", turnId: "1", message: "no" },
  message: { type: "message", text: "" },
  command: { type: "command", command: "ls", status: "failed", exitCode: null, output: null },
  file_change: { type: "file_change", status: "completed", paths: ["a"] },
  tool_call: { type: "tool_call", tool: "issue_get", outcome: "completed" },
  tokens: { type: "tokens", total: { ...noTokens, total: 3 }, models: { m: noTokens } },
  rate_limits: { type: "rate_limits", limits: { primary: { used: 1 } } },
  "approval.requested": {
    type: "approval.requested",
    needs: { kind: "question", prompt: "which?", options: ["a"] },
    ask: { id: "ask", sinceWall: 1, untilWall: 2 },
  },
  "approval.resolved": { type: "approval.resolved", decision: "a", automatic: false, askId: "ask" },
  "steer.delivered": { type: "steer.delivered", steerId: "s" },
  notice: { type: "notice", message: "m", malformed: false },
  activity: { type: "activity", method: "delta" },
};

test("each event of an agent on a worker is taken over whole, and what is none is a notice", () => {
  for (const event of Object.values(everyEvent))
    assert.deepEqual(reportedEvent(JSON.parse(JSON.stringify(event))), event);
  const { tokens } = everyEvent;
  for (const hostile of [
    ...[null, 1, "message", [], {}, { type: "__proto__" }, { type: "message" }],
    ...[
      { type: "message", text: ["x"] },
      { type: "message", text: "x".repeat(11 * mebibyte) },
    ],
    ...["9", -1, null, "NaN", {}].map((total) => ({ ...tokens, total: { ...noTokens, total } })),
    { ...tokens, total: undefined },
    { ...tokens, models: { m: { total: "1" } } },
    { ...everyEvent["approval.requested"], ask: { id: 1 } },
    { ...everyEvent.command, exitCode: "0" },
    { ...everyEvent.file_change, paths: "a" },
  ]) {
    const { type } = reportedEvent(JSON.parse(JSON.stringify(hostile)));
    assert.equal(type, "notice", JSON.stringify(hostile).slice(0, 100));
  }
  // Where the agent's host is, only this machine can know.
  const detached = { ...everyEvent["session.started"], detached: true, issueId: "other" };
  assert.deepEqual(reportedEvent(detached), everyEvent["session.started"]);
});

test("an id that the engine has already is told as a bug, and the job that is there stays the only one", async (t) => {
  await using redis = await RedisServer.start();
  await using engine = await openEngine(redis.url, { fleet: "f" });
  const queue = engine.queue("w");
  t.after(() => queue.close());
  await queue.add("att_1-7", "one");
  await assert.rejects(
    queue.add("att_1-7", "one"),
    /another job att_1-7: an id came twice, which is a bug/,
  );
  assert.equal(redis.cli("llen", "{symphony:f}:w:wait"), "1");
  // References only.
  assert.ok(redis.cli("hgetall", "{symphony:f}:w:att_1-7").length < 1_000);
  await queue.drop("att_1-7");
  await queue.add("att_1-7", "one");
  await queue.drop("att_1-7");
  assert.equal(redis.cli("llen", "{symphony:f}:w:wait"), "0");
  // One that a worker has taken and ended before it is read back was given, too.
  const taken: string[] = [];
  const take = async ({ id }: { readonly id?: string | undefined }) => void taken.push(String(id));
  const taker = engine.taker({ worker: "w", take, lockMs: 15_000, concurrency: 4 });
  t.after(() => taker.close(true));
  const running = taker.run();
  const runs = Array.from({ length: 40 }, (_, at) => `att_${at}-8`);
  for (const run of runs) await queue.add(run, "one");
  await eventually("each was taken", async () => taken.length === runs.length);
  assert.deepEqual(taken.toSorted(), runs.toSorted());
  await taker.close(true);
  await running;
});

test("what begins before a login is refused on a worker does not say that it works there", () => {
  const clock = new FakeClock();
  const agents = new WorkerAgents({
    ...{ kinds: [], clock, env: {}, dir: "/none", workspaceRoot: "/none", worker: "w" },
    key: Buffer.alloc(32),
    hide() {},
    log() {},
    changed() {},
  });
  const trouble = () => agents.found.agents[0]?.trouble ?? null;
  const early = clock.now();
  clock.advance(1_000);
  agents.failed("codex", new SymphonyError("provider_refused", "401"));
  agents.started("codex", early);
  assert.match(trouble() ?? "", /^401, tried again at /);
  clock.advance(1_000);
  agents.started("codex", clock.now());
  assert.equal(trouble(), null);
});

test("an engine that answers slowly makes no clock wrong; what no delay explains is told", async () => {
  const skew = (off: number, tookMs: number) => {
    let now = 1_000_000;
    const wall = async () => {
      now += tookMs;
      return now - tookMs - off;
    };
    return skewOf({ wall }, { wall: () => now });
  };
  assert.equal(await skew(0, 20_000), 0);
  assert.equal(await skew(3_600_000, 2), 3_600_000);
  assert.equal(await skew(-3_600_000, 2_000), -3_598_000);
});
