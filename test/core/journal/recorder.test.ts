import assert from "node:assert/strict";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Config } from "../../../src/core/config/config.ts";
import { RecordFile } from "../../../src/core/journal/file.ts";
import { sourceOf, stateAt } from "../../../src/core/journal/reading.ts";
import type { Recorder, RecorderOptions } from "../../../src/core/journal/recorder.ts";
import { Replay } from "../../../src/core/journal/replay.ts";
import { noTokens } from "../../../src/core/model/attempt.ts";
import type { Issue } from "../../../src/core/model/issue.ts";
import type { Input } from "../../../src/core/orchestrator/messages.ts";
import { emptyState, type State } from "../../../src/core/orchestrator/state.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { config, issue } from "../../support/makers/issue.ts";
import { batchesOf, recorderFor, recordTexts } from "../../support/makers/record.ts";
import { temporaryDir } from "../../support/makers/storage.ts";
import { eventually } from "../../support/worlds/symphony.ts";

const canary = "canary-5b1f0e77c2";

/** A scheduler whose every read is answered at once; the recorder decides. */
class Bench {
  readonly clock = new FakeClock();
  readonly recorder: Recorder;
  readonly file: string;
  state: State = emptyState();
  config: Config;
  issues: readonly Issue[] = [];
  events = 0;
  took = 0;

  constructor(dir: string, settings = config(), options: Partial<RecorderOptions> = {}) {
    this.file = join(dir, "record.db");
    this.config = settings;
    this.recorder = recorderFor(this.file, {
      clock: this.clock,
      lastEvent: () => this.events,
      shown: () => ({ config: { agent: { ...this.config.agent } }, origins: {} }),
      ...options,
    });
  }

  apply(input: Input): void {
    // As performance.now() has it: millionths of a ms.
    this.took = Math.round((this.took + 1.234567) * 1e6) / 1e6;
    const { state, effects } = this.recorder.decide(this.state, input, {
      config: this.config,
      problem: null,
      now: this.clock.now() + this.took,
      wall: this.clock.wall(),
      prior: () => ({ count: 0, resume: null, thread: null, tokens: 0, idle: null }),
    });
    this.state = state;
    for (const effect of effects) {
      if (effect.type === "publish") this.events += 1;
      if (!("request" in effect)) continue;
      const { request } = effect;
      const read = (ids: readonly string[]) => this.issues.filter(({ id }) => ids.includes(id));
      if (effect.type === "preflight") {
        this.apply({ type: "preflight.ended", request, problem: null });
      } else if (effect.type === "fetchCandidates") {
        this.apply({ type: "candidates.fetched", request, issues: this.issues });
      } else if (effect.type === "verifyIssues") {
        const { ids } = effect;
        this.apply({ type: "issues.verified", request, ids, issues: read(ids) });
      } else if (effect.type === "refreshRunning") {
        const { ids } = effect;
        this.apply({ type: "running.refreshed", request, ids, issues: read(ids) });
      }
    }
  }

  poll(): void {
    this.clock.advance(30_000);
    this.apply({ type: "poll.due" });
  }
}

test("an unchanged poll of 10,000 issues takes under 100 bytes on disk", async (t) => {
  const bench = new Bench(temporaryDir(t), config({ agent: { maxConcurrentAgents: 0 } }));
  bench.issues = Array.from({ length: 10_000 }, (_, n) =>
    issue(`ENG-${n}`, { description: `Text of ${n}`, dispatchable: false }),
  );
  bench.poll();
  await bench.recorder.settled();
  const size = async () => {
    await bench.recorder.read(async (file) => file.compact());
    return statSync(bench.file).size;
  };
  const before = await size();
  const polls = 300;
  for (let n = 0; n < polls; n++) {
    bench.poll();
    // Each poll is a batch of its own, as on an idle server.
    await bench.recorder.settled();
  }
  const bytes = ((await size()) - before) / polls;
  t.diagnostic(`${bytes} bytes for each poll`);
  assert.ok(bytes < 100, `${bytes} bytes`);
  await bench.recorder.close();
});

test("D8: an idle server with 1,000 issues writes under 1 KB a minute, and no poll is missing", async (t) => {
  const bench = new Bench(temporaryDir(t), config({ agent: { maxConcurrentAgents: 0 } }));
  const listed = () =>
    Array.from({ length: 1_000 }, (_, n) => issue(`ENG-${n}`, { dispatchable: false }));
  bench.issues = listed();
  bench.poll();
  await bench.recorder.settled();
  const size = () => statSync(bench.file).size + statSync(`${bench.file}-wal`).size;
  const before = size();
  const minutes = 60;
  for (let n = 0; n < 2 * minutes; n++) {
    // A tracker may return new objects for what has not changed.
    if (n % 2 === 0) bench.issues = listed();
    bench.poll();
    bench.clock.advance(1_000);
    for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
  const file = RecordFile.open(bench.file);
  t.after(() => file.close());
  await eventually("what waited is written by itself", async () => file.lastInput() > 3 * minutes);
  const bytes = (size() - before) / minutes;
  t.diagnostic(`${bytes} bytes a minute`);
  assert.ok(bytes < 1_024, `${bytes} bytes`);
  await bench.recorder.close();
  assert.equal(bench.recorder.lost, 0);
  const { marks } = await replayed(file);
  assert.ok(marks.length >= 3 * 2 * minutes && marks.every(([now, then]) => now === then));
});

test("a poll that brings one more issue at the end of the list is written at once", async (t) => {
  const bench = new Bench(temporaryDir(t), config({ agent: { maxConcurrentAgents: 0 } }));
  const names = ["ENG-1", "ENG-2"].map((name) => issue(name, { dispatchable: false }));
  bench.issues = names;
  bench.poll();
  await bench.recorder.settled();
  const file = RecordFile.open(bench.file);
  t.after(() => file.close());
  const before = file.lastInput();
  bench.issues = [...names, issue("ENG-3", { dispatchable: false })];
  bench.poll();
  bench.clock.advance(1_000);
  await eventually("it is written", async () => file.lastInput() > before);
  await bench.recorder.close();
});

test("a poll that brings one changed issue adds that issue alone", async (t) => {
  const bench = new Bench(temporaryDir(t), config({ agent: { maxConcurrentAgents: 0 } }));
  bench.issues = Array.from({ length: 500 }, (_, n) => issue(`ENG-${n}`));
  bench.poll();
  bench.issues = bench.issues.map((one, at) => (at === 250 ? { ...one, title: "Changed" } : one));
  bench.poll();
  // A tracker may return new objects for what has not changed.
  bench.issues = bench.issues.map((one) => ({ ...one }));
  bench.poll();
  bench.issues = [...bench.issues.slice(3), issue("ENG-900")].reverse();
  bench.poll();
  await bench.recorder.close();
  const file = RecordFile.open(bench.file);
  t.after(() => file.close());
  const bodies = batchesOf(file).map(({ body }) => body);
  const lines = bodies.flatMap((body) => body.split("\n").map((line) => JSON.parse(line)));
  const lists = lines.flatMap(([, , , , , more]) => (more?.list ? [more.list] : []));
  assert.equal(lists[0]?.length, 502, "the first list is all new");
  assert.deepEqual(lists[1]?.slice(0, 5), [0, 0, 250, 2, 1]);
  assert.deepEqual(lists[1]?.slice(6), [0, 251, 249]);
  // The first copy is a section of the configuration: `notify` is as empty as the states of the prompts.
  assert.deepEqual(lists[2], [1, 0, 500, 2]);
  const end = await stateAt(file, { input: Number.MAX_SAFE_INTEGER });
  assert.deepEqual(end.state, bench.state);
});

test("no secret that is known by its value reaches the record", async (t) => {
  const redactor = createRedactor();
  redactor.add(canary);
  const hidden = {
    redact: (text: string) => redactor.redact(text),
    secretsKnown: () => redactor.known(),
  };
  const settings = config({ tracker: { provider: { api_key: canary, [`x ${canary}`]: 1 } } });
  const bench = new Bench(temporaryDir(t), settings, {
    ...hidden,
    shown: () => ({ config: { note: `it is ${canary}` }, origins: {} }),
  });
  const [own] = [issue("ENG-1", { title: canary, description: `"\n${canary}\\` })];
  bench.issues = [own, issue("ENG-2", { nativeRef: { [`key ${canary}`]: [canary] } })];
  bench.poll();
  const attemptId = bench.state.issues.of("running").get(own.id)?.attemptId ?? "";
  assert.ok(attemptId, "an attempt has started");
  const of = { issueId: own.id, attemptId };
  bench.apply({
    type: "attempt.reported",
    ...of,
    event: { type: "message", text: `I read ${Buffer.from(canary).toString("base64")}` },
  } as Input);
  bench.apply({ type: "operator.transitioned", issueId: own.id, to: "held", reason: canary });
  const exit = { kind: "failed", code: "turn_failed", message: canary, git: null } as const;
  bench.apply({ type: "attempt.exited", ...of, exit });
  bench.apply({ type: "storage.changed", trouble: { reason: canary, waiting: 1, sinceWall: 0 } });
  await bench.recorder.close();
  const raw = readFileSync(bench.file, "latin1");
  const texts = recordTexts(bench.file);
  assert.ok(texts.includes("[redacted]") && texts.includes("attempt.exited"));
  for (const form of [canary, Buffer.from(canary).toString("base64")]) {
    assert.ok(!raw.includes(form) && !texts.includes(form), "it is in the record");
  }
  const file = RecordFile.open(bench.file);
  t.after(() => file.close());
  const { marks } = await replayed(file);
  assert.ok(marks.length > 5 && marks.every(([now, then]) => now === then), "it replays");
});

/** Every decision of the first segment, as decided now and as recorded. */
async function replayed(file: RecordFile) {
  const [segment] = file.segments();
  const checkpoint = file.firstOf(segment?.id ?? 0);
  assert.ok(checkpoint);
  const replay = new Replay({ checkpoint, source: sourceOf(file, checkpoint) });
  const marks = [...replay.decisions()].map(({ mark, recorded }) => [mark, recorded] as const);
  return { replay, marks };
}

test("a secret that is learned later begins a new segment without it", async (t) => {
  const redactor = createRedactor();
  const bench = new Bench(temporaryDir(t), config(), {
    redact: (text) => redactor.redact(text),
    secretsKnown: () => redactor.known(),
  });
  bench.issues = [issue("ENG-1", { title: canary, dispatchable: false })];
  bench.poll();
  await bench.recorder.settled();
  redactor.add(canary);
  bench.poll();
  await bench.recorder.close();
  const file = RecordFile.open(bench.file);
  t.after(() => file.close());
  assert.deepEqual(
    file.segments().map(({ why }) => why),
    ["start", "secret"],
  );
  const { state } = await stateAt(file, { input: Number.MAX_SAFE_INTEGER });
  assert.equal(state.candidates[0]?.title, "[redacted]");
});

test("a disk that refuses the record stops no decision; what was lost is counted", async (t) => {
  const dir = temporaryDir(t);
  const place = join(dir, "later");
  const said: (string | null)[] = [];
  const bench = new Bench(place, config(), { onTrouble: (reason) => said.push(reason) });
  bench.issues = [issue("ENG-1")];
  bench.poll();
  await bench.recorder.settled();
  assert.equal(bench.state.issues.of("running").size, 1, "it is decided all the same");
  assert.match(bench.recorder.trouble?.reason ?? "", /record\.db/);
  const { lost } = bench.recorder;
  assert.ok(lost > 0);
  mkdirSync(place);
  bench.apply({ type: "refresh.requested" });
  assert.equal(bench.recorder.lost, lost + 1, "it is not tried again at once");
  bench.clock.advance(30_000);
  bench.poll();
  await bench.recorder.settled();
  assert.equal(bench.recorder.trouble, null);
  assert.deepEqual([said.length, said[1]], [2, null], "both are said once");
  await bench.recorder.close();
  const file = RecordFile.open(bench.file);
  t.after(() => file.close());
  assert.deepEqual(
    file.segments().map(({ why }) => why),
    ["gap"],
  );
  assert.deepEqual((await stateAt(file, { input: 1e9 })).state, bench.state);
});

test("decisions that find no room to wait for the disk are counted, and the record goes on after the gap", async (t) => {
  const bench = new Bench(temporaryDir(t));
  bench.issues = [issue("ENG-1", { dispatchable: false })];
  bench.poll();
  while (bench.recorder.lost === 0) bench.apply({ type: "hours.due" });
  bench.issues = [issue("ENG-2", { dispatchable: false })];
  bench.apply({ type: "poll.due" });
  assert.ok(bench.recorder.lost > 1);
  await bench.recorder.settled();
  bench.poll();
  await bench.recorder.close();
  const file = RecordFile.open(bench.file);
  t.after(() => file.close());
  assert.deepEqual(
    file.segments().map(({ why }) => why),
    ["start", "gap"],
  );
  assert.deepEqual((await stateAt(file, { input: 1e9 })).state, bench.state);
});

test("a damaged record is left as it is, and stops no decision", async (t) => {
  const bench = new Bench(temporaryDir(t));
  writeFileSync(bench.file, "not a database, but long enough to be read as one".repeat(100));
  bench.poll();
  await bench.recorder.settled();
  assert.match(bench.recorder.trouble?.reason ?? "", /Cannot use .*record\.db/);
  assert.match(readFileSync(bench.file, "utf8"), /^not a database/);
  await bench.recorder.close();
});

test("segments older than the history is kept are removed whole", async (t) => {
  const dir = temporaryDir(t);
  const bench = new Bench(dir, config(), { days: () => 2 });
  bench.issues = [issue("ENG-1", { dispatchable: false })];
  for (let day = 0; day < 5; day++) {
    bench.clock.advance(24 * 60 * 60 * 1_000);
    bench.poll();
    await bench.recorder.settled();
  }
  for (let n = 0; n < 20; n++) bench.clock.advance(20);
  const file = RecordFile.open(bench.file);
  t.after(() => file.close());
  assert.equal(file.segments().length, 3, "two whole days, and the one that began before them");
  const { replay, marks } = await replayed(file);
  assert.ok(marks.every(([now, then]) => now === then));
  assert.equal(replay.state.candidates.length, 1);
  await bench.recorder.close();
});

test("after 30 days and more, an earlier moment is as few decisions away, and the file grows no further", async (t) => {
  const between = 40;
  const bench = new Bench(temporaryDir(t), config(), {
    ...{ days: () => 30, checkpointEvery: between },
  });
  bench.issues = Array.from({ length: 30 }, (_, n) => issue(`ENG-${n}`, { dispatchable: false }));
  const moments: { readonly at: number; readonly state: State }[] = [];
  const play = async (days: number) => {
    for (let day = 0; day < days; day++) {
      for (let poll = 0; poll < 50; poll++) bench.poll();
      moments.push({ at: bench.clock.wall(), state: bench.state });
      // The second half of the day is quiet.
      for (let poll = 0; poll < 30; poll++) bench.poll();
      await bench.recorder.settled();
      bench.clock.advance(24 * 60 * 60 * 1_000 - 80 * 30_000);
      // Old segments are removed in small steps.
      for (let n = 0; n < 20; n++) bench.clock.advance(20);
    }
  };
  const size = async () => {
    await bench.recorder.read(async (file) => file.compact());
    return statSync(bench.file).size;
  };
  await play(33);
  const full = await size();
  await play(40);
  assert.ok((await size()) <= full * 1.1, `${await size()} bytes, ${full} after 33 days`);
  await bench.recorder.close();
  const file = RecordFile.open(bench.file);
  t.after(() => file.close());
  const segments = file.segments();
  assert.ok(segments.length <= 32, `${segments.length} segments`);
  for (const { at, state } of moments.slice(-30)) {
    const from = file.checkpointBefore({ at });
    const then = await stateAt(file, { at });
    assert.deepEqual(then.state, state);
    assert.ok(then.input - (from?.input ?? 0) <= between, "few decisions are made again");
  }
  const [first] = moments;
  await assert.rejects(stateAt(file, { at: first?.at ?? 0 }), { code: "not_recorded" });
});

test("a configuration and what decisions asked are part of the record", async (t) => {
  const bench = new Bench(temporaryDir(t));
  bench.issues = [issue("ENG-1"), issue("ENG-2")];
  bench.config = config({ agent: { maxConcurrentAgents: 1 } });
  bench.poll();
  bench.config = config({ agent: { maxConcurrentAgents: 2 } });
  bench.apply({ type: "config.changed" });
  bench.poll();
  await bench.recorder.close();
  const file = RecordFile.open(bench.file);
  t.after(() => file.close());
  const { replay, marks } = await replayed(file);
  assert.ok(marks.every(([now, then]) => now === then));
  assert.equal(replay.state.issues.of("running").size, 2);
  const early = await stateAt(file, { input: 3 });
  const shown = [early, replay].map((one) => one.shown);
  assert.deepEqual(
    shown.map((one) => Reflect.get(Object(Reflect.get(Object(one), "config")), "agent")),
    [1, 2].map((maxConcurrentAgents) => ({ ...bench.config.agent, maxConcurrentAgents })),
  );
  assert.notEqual(early.configHash, replay.configHash);
  assert.equal(replay.state.usage.tokens.total, noTokens.total);
});
