import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { RecordFile } from "../../../src/core/journal/file.ts";
import { firstDifference, replayPart, reproOf } from "../../../src/core/journal/repro.ts";
import { recorderFor } from "../../support/makers/record.ts";
import { temporaryDir } from "../../support/makers/storage.ts";
import { Simulation } from "../../support/worlds/simulation.ts";

/** The record of some hours in a world with a secret in the texts of its issues. */
async function recorded(t: TestContext): Promise<RecordFile> {
  const dir = temporaryDir(t);
  const path = join(dir, "record.db");
  const recorder = recorderFor(path, {
    redact: (text) => text.replaceAll("boom", "[redacted]"),
    secretsKnown: () => 1,
    checkpointEvery: 400,
  });
  const world = new Simulation(11, {
    decide: (state, input, context) => recorder.decide(state, input, context),
  });
  for (let n = 0; n < 6; n++) {
    world.run(world.events + 300);
    await recorder.settled();
  }
  await recorder.close();
  const file = RecordFile.open(path);
  t.after(() => file.close());
  return file;
}

const issue = { id: "id-SIM-3", identifier: "SIM-3" };

test("one redacted file replays the decisions about an issue, without the record", async (t) => {
  const file = await recorded(t);
  const made = await reproOf(file, { issue, version: "1.0.0", since: 0 });
  const text = JSON.stringify(made);
  assert.ok(!text.includes("boom"));
  const { parts } = JSON.parse(text) as typeof made;
  const decisions = parts.flatMap((part) => part.decisions);
  t.diagnostic(`${decisions.length} decisions in ${text.length} bytes`);
  assert.ok(decisions.length > 20, "decisions about the issue");
  assert.ok(decisions.some(({ words }) => words.some((one) => one.startsWith("startAttempt"))));
  assert.ok(
    decisions.every(({ mark }) => mark !== null),
    "the record replays",
  );
  for (const part of parts) {
    assert.equal(firstDifference(replayPart(part, issue.id), part.decisions), null);
    const others = Object.values(part.contents).filter((one) => Object(one).identifier);
    const titles = others.map((one) => Object(one)).filter(({ id }) => id !== issue.id);
    assert.ok(
      titles.every(({ title }) => title === ""),
      "texts of other issues are left out",
    );
  }
});

test("a version that decides otherwise is told by the first decision that differs", async (t) => {
  const file = await recorded(t);
  const { parts } = await reproOf(file, { issue, version: "1.0.0", since: 0 });
  const [part] = parts.toSorted((a, b) => b.decisions.length - a.decisions.length);
  assert.ok(part && part.decisions.length > 3);
  const now = replayPart(part, issue.id);
  const at = Math.floor(part.decisions.length / 2);
  const then = part.decisions.map((one, n) => (n >= at ? { ...one, mark: "0000" } : one));
  const first = firstDifference(now, then);
  assert.equal(first?.now?.number, then[at]?.number);
  assert.equal(first?.recorded?.mark, "0000");
  const without = then.filter((_, n) => n !== at - 1);
  assert.deepEqual(firstDifference(now, without), { now: now[at - 1], recorded: null });
});
