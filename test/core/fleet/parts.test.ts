// What a fleet decides without an engine.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { addressOf } from "../../../src/core/fleet/engine.ts";
import type { Presence } from "../../../src/core/fleet/lease.ts";
import { Members } from "../../../src/core/fleet/members.ts";
import { readToken } from "../../../src/core/fleet/sealing.ts";
import { sighted } from "../../../src/core/fleet/sighting.ts";
import { EarlyParts } from "../../../src/core/fleet/talk.ts";

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

test("18: a machine that asks again with the same token and key is admitted, another one is not", async () => {
  const dir = mkdtempSync(join(tmpdir(), "symphony-members-"));
  const members = await Members.open(dir);
  const { invitation } = readToken(await members.invite(1_000, 0));
  const asked = { id: "a", name: "build-1", secret: "s", host: "h" };
  assert.equal(await members.admit(invitation, asked, 1), null);
  assert.equal(await members.admit(invitation, asked, 1), null);
  for (const other of [
    { ...asked, id: "b", name: "build-2" },
    { ...asked, secret: "t" },
  ])
    assert.match((await members.admit(invitation, other, 1)) ?? "", /used already/);
  assert.equal(members.all.length, 1);
  rmSync(dir, { recursive: true });
});

test("the engine's URL sets no option of its client", () => {
  assert.equal(addressOf("rediss://u:p@h:6380/2"), "rediss://h:6380/2");
  for (const query of ["?keyPrefix=a", "?family=6", "?tls=false", "#a"])
    assert.throws(() => addressOf(`redis://h:6379/0${query}`), /no query/);
});
