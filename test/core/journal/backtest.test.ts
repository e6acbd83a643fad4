import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { backtest } from "../../../src/core/journal/backtest.ts";
import { RecordFile } from "../../../src/core/journal/file.ts";
import { noTokens } from "../../../src/core/model/attempt.ts";
import type { Issue } from "../../../src/core/model/issue.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { recorderFor } from "../../support/makers/record.ts";
import { temporaryDir } from "../../support/makers/storage.ts";
import { Scheduler } from "../../support/worlds/scheduler.ts";

// A record made by hand: with one slot, ENG-1 runs for 10 minutes and uses 1,000 tokens, then ENG-2 for 20 minutes and 3,000;
// each is closed by its agent. ENG-3 is for nobody, or never has its turn.

const minute = 60_000;
const slots = (maxConcurrentAgents: number) =>
  config({ agent: { maxConcurrentAgents, stallTimeoutMs: 0 } });
const one = slots(1);

interface Work {
  readonly name: string;
  readonly minutes: number;
  readonly tokens: number;
}

const works: readonly Work[] = [
  { name: "ENG-1", minutes: 10, tokens: 1_000 },
  { name: "ENG-2", minutes: 20, tokens: 3_000 },
];

async function recorded(t: TestContext, issues: readonly Issue[]) {
  const dir = temporaryDir(t);
  const path = join(dir, "record.db");
  const world = new Scheduler(issues, one);
  const recorder = recorderFor(path, { clock: world.clock });
  world.decides = (state, input, context) => recorder.decide(state, input, context);
  const start = world.clock.wall();
  await world.begin();
  for (const { name, minutes, tokens } of works) {
    const run = world.run(name);
    const total = { ...noTokens, input: tokens, total: tokens };
    run.say({ type: "turn.started", turnId: "t" }, { type: "tokens", total });
    for (let n = 0; n < minutes; n++) await world.advance(minute);
    world.set({ ...issue(name), state: "Done" });
    run.say({ type: "turn.completed", turnId: "t" });
    await run.end();
    // It is read again, found closed, and the next one starts.
    await world.advance(1_000);
    await world.advance(500);
  }
  await world.advance(minute);
  await recorder.close();
  const file = RecordFile.open(path);
  t.after(() => file.close());
  return { file, start };
}

function minutesOf(wall: number | null, start: number): number | null {
  return wall === null ? null : Math.round((wall - start) / minute);
}

const issues = [issue("ENG-1", { priority: 1 }), issue("ENG-2", { priority: 2 })];

test("the same configuration decides the same", async (t) => {
  const { file } = await recorded(t, issues);
  const result = backtest(file, slots(1), 0);
  assert.equal(result.first, null);
  assert.deepEqual(result.differences, []);
  assert.deepEqual(result.recorded, { starts: 2, completed: 2, tokens: 4_000 });
  assert.deepEqual(result.estimated, { ...result.recorded, estimatedAttempts: 0 });
});

test("with two slots the second issue starts at once, and keeps its duration and tokens", async (t) => {
  const { file, start } = await recorded(t, issues);
  const result = backtest(file, slots(2), 0);
  assert.equal(result.first?.input, "candidates.fetched", "both are read before their start");
  assert.equal(minutesOf(result.first?.wall ?? null, start), 0);
  const shown = result.differences.map(
    ({ issue: name, what, recordedWall, nowWall, estimated }) => [
      ...[name, what, minutesOf(recordedWall, start), minutesOf(nowWall, start)],
      estimated,
    ],
  );
  assert.deepEqual(shown, [
    ["ENG-2", "start", 10, 0, false],
    ["ENG-2", "completed", 30, 20, false],
  ]);
  assert.deepEqual(result.estimated, { ...result.recorded, estimatedAttempts: 0 });
});

test("an attempt that never ran takes the median of its agent and label, and is marked", async (t) => {
  const third = issue("ENG-3", { priority: 3 });
  const { file, start } = await recorded(t, [...issues, third]);
  // Under the record, ENG-3 started when ENG-2 had ended, and had not ended itself.
  const result = backtest(file, slots(3), 0);
  const own = result.differences.filter((row) => row.issue === "ENG-3");
  assert.deepEqual(
    own.map(({ what, nowWall, estimated }) => [what, minutesOf(nowWall, start), estimated]),
    [
      ["start", 0, true],
      ["completed", 20, false],
    ],
  );
  assert.equal(result.estimated.estimatedAttempts, 1);
  assert.equal(
    result.estimated.tokens,
    4_000 + 3_000,
    "the median of 1,000 and 3,000 is the upper",
  );
});
