import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { RecordFile } from "../../../src/core/journal/file.ts";
import { sourceOf } from "../../../src/core/journal/reading.ts";
import type { Recorder } from "../../../src/core/journal/recorder.ts";
import { Replay } from "../../../src/core/journal/replay.ts";
import { recorderFor } from "../../support/makers/record.ts";
import { temporaryDir } from "../../support/makers/storage.ts";
import { Simulation } from "../../support/worlds/simulation.ts";

const dayMs = 24 * 60 * 60 * 1_000;

function recorderIn(dir: string): Recorder {
  return recorderFor(join(dir, "record.db"), {
    redact: (text) => text.replaceAll(/boom|version 1\d/g, "[redacted]"),
    secretsKnown: () => 1,
    checkpointEvery: 700,
  });
}

/** Plays a day in a world; what was decided since the last write is lost in each crash. */
async function recordedDay(dir: string, seed: number) {
  const recorders = [recorderIn(dir)];
  let decided = 0;
  let unwritten = 0;
  let lost = 0;
  const world = new Simulation(seed, {
    decide(state, input, context) {
      decided += 1;
      unwritten += 1;
      return (recorders.at(-1) ?? recorderIn(dir)).decide(state, input, context);
    },
    crashed() {
      lost += unwritten;
      unwritten = 0;
      recorders.push(recorderIn(dir));
    },
  });
  while (world.age < dayMs || world.restarts < 2) {
    world.run(world.events + 400);
    await recorders.at(-1)?.settled();
    unwritten = 0;
  }
  await recorders.at(-1)?.close();
  return { world, decided, lost, trouble: recorders.map(({ trouble }) => trouble?.reason) };
}

test("a day with crashes replays to every recorded state, decision by decision", async (t) => {
  const dir = temporaryDir(t);
  const { world, decided, lost, trouble } = await recordedDay(dir, 7);
  assert.ok(
    trouble.every((one) => one === undefined),
    trouble.join(),
  );
  const file = RecordFile.open(join(dir, "record.db"));
  t.after(() => file.close());
  let replayed = 0;
  let compared = 0;
  const segments = file.segments();
  for (const { id } of segments) {
    let from = file.firstOf(id);
    while (from !== null) {
      const replay = new Replay({ checkpoint: from, source: sourceOf(file, from) });
      assert.equal(replay.hash(), from.hash, "a checkpoint is read as it was written");
      const next = file.checkpointAfter(from);
      for (const one of replay.decisions(next && { input: next.input })) {
        replayed += 1;
        assert.equal(one.mark, one.recorded, `decision ${one.number}: ${one.input.type}`);
      }
      if (next !== null) {
        compared += 1;
        assert.equal(replay.hash(), next.hash, `the state after decision ${next.input}`);
      }
      from = next;
    }
  }
  t.diagnostic(JSON.stringify({ decided, lost, replayed, compared, segments: segments.length }));
  assert.ok(world.restarts > 0 && segments.length > world.restarts / 2);
  assert.equal(replayed, decided - lost, "only what a crash took is missing");
  assert.ok(compared >= 5, "states were compared");
});
