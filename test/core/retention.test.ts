import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createLogger } from "../../src/core/events/log.ts";
import { followRetention } from "../../src/core/followers.ts";
import { noTokens } from "../../src/core/model/attempt.ts";
import { restoredState } from "../../src/core/orchestrator/records.ts";
import { openHistory } from "../../src/core/store/history.ts";
import { FakeClock } from "../support/fakes/fake-clock.ts";
import { issue } from "../support/makers/issue.ts";
import { attempt, event, record, temporaryDir } from "../support/makers/storage.ts";

const dayMs = 86_400_000;

function openRetention(t: TestContext, settings: { days: number | null; held?: string }) {
  const file = join(temporaryDir(t), "history.db");
  const history = openHistory(file);
  t.after(() => history.close());
  const clock = new FakeClock();
  const logged: string[] = [];
  const sinks = [{ name: "test", write: (line: string) => void logged.push(line) }];
  const redact = (text: string) => text;
  const log = createLogger({ level: "info", format: "json", sinks, clock, redact });
  const held = record("ENG-1", { held: { reason: "a word", since: 1 } });
  const records = new Map(settings.held === undefined ? [] : [[settings.held, held]]);
  const totals = { tokens: noTokens, seconds: 0 };
  const state = restoredState({ records, totals, lastAttemptId: null }, { now: 0, wall: 0 });
  const follow = () =>
    followRetention({ history, clock, log, days: () => settings.days, state: () => state });
  return { file, history, clock, logged, follow };
}

/** `count` ended attempts of one issue, one per day from the clock's time on. */
function attemptsOf(name: string, count: number, from: number) {
  return Array.from({ length: count }, (_, n) => {
    const startedAt = from + n * dayMs;
    const tokens = { input: 5, cachedInput: 1, output: 2, reasoningOutput: 1, total: 7 };
    const id = `att_${String(n).padStart(5, "0")}_${name}`;
    const issueId = issue(name).id;
    return attempt(id, { issueId, startedAt, endedAt: startedAt + 2_000, tokens, number: n + 1 });
  });
}

test("old attempts are removed, except each issue's newest and those of issues that wait; the totals stay", (t) => {
  const { file, history, clock, logged, follow } = openRetention(t, {
    days: 90,
    held: issue("B-1").id,
  });
  const from = clock.wall() - 100 * dayMs;
  for (const name of ["A-1", "B-1"]) {
    for (const one of attemptsOf(name, 30, from)) history.saveAttempt(one);
  }
  for (const one of attemptsOf("C-1", 3, from)) history.saveAttempt(one);
  const open = attempt("att_00000_D", { issueId: "d", startedAt: from, endedAt: null });
  history.saveAttempt(open);
  history.saveAttempt(attempt("att_00001_D", { issueId: "d", startedAt: from, endedAt: from }));
  const before = history.totals();
  const stop = follow();
  clock.advance(10_000);
  const count = (name: string) => history.attemptsOf(issue(name).id, 500, 0).total;
  // Those of the first ten days are over 90 days old.
  assert.deepEqual([count("A-1"), count("B-1"), count("C-1")], [20, 30, 1]);
  assert.equal(history.latestAttempt(issue("C-1").id)?.number, 3);
  assert.equal(history.openAttempts().length, 1);
  assert.deepEqual(history.totals(), before);
  assert.match(logged.join(""), /old history removed.*"attempts":12/);
  clock.advance(5 * dayMs);
  assert.equal(count("A-1"), 15);
  assert.deepEqual(history.totals(), before);
  stop();
  clock.advance(50 * dayMs);
  assert.equal(count("A-1"), 15);
  const again = openHistory(file);
  t.after(() => again.close());
  assert.deepEqual(again.totals(), before);
});

test("an issue's newest attempt in each directory is not removed, because its work may still be there", (t) => {
  const { file, history, clock, follow } = openRetention(t, { days: 90 });
  const from = clock.wall() - 200 * dayMs;
  const places = ["/old/A-1", "/old/A-1", null, "/new/A-1", "/new/A-1", null];
  for (const [n, one] of attemptsOf("A-1", places.length, from).entries()) {
    history.saveAttempt({ ...one, workspacePath: places[n] ?? null });
  }
  const known = () => [...history.workspacePlaces()].map(({ path }) => path).toSorted();
  assert.deepEqual(known(), ["/new/A-1", "/old/A-1"]);
  const stop = follow();
  clock.advance(10_000);
  stop();
  const { attempts } = history.attemptsOf(issue("A-1").id, 500, 0);
  assert.deepEqual(
    attempts.map(({ number, workspacePath }) => [number, workspacePath]),
    [
      [6, null],
      [5, "/new/A-1"],
      [2, "/old/A-1"],
    ],
  );
  const again = openHistory(file);
  t.after(() => again.close());
  assert.deepEqual([...again.workspacePlaces()].map(({ path }) => path).toSorted(), known());
});

test("a directory belongs to the issue of the newest attempt there, whichever is saved last", (t) => {
  const { file, history } = openRetention(t, { days: null });
  const at = (id: string, name: string) =>
    attempt(id, {
      ...{ issueId: issue(name).id, issueIdentifier: name, workspacePath: "/root/A-1" },
    });
  const owner = (of: typeof history) =>
    [...of.workspacePlaces()].map(({ path, issueIdentifier }) => [path, issueIdentifier]);
  assert.deepEqual(owner(history), []);
  for (const one of [at("att_1", "A-1"), at("att_2", "B-1"), at("att_1", "A-1")]) {
    history.saveAttempt(one);
  }
  assert.deepEqual(owner(history), [["/root/A-1", "B-1"]]);
  const again = openHistory(file);
  t.after(() => again.close());
  assert.deepEqual(owner(again), [["/root/A-1", "B-1"]]);
});

test("old events are removed from the beginning in steps; the numbering continues even when all are old", (t) => {
  const { file, history, clock, follow } = openRetention(t, { days: 1 });
  const at = clock.wall();
  const events = Array.from({ length: 1_700 }, (_, n) => event(n + 1, { at: at - 2 * dayMs }));
  history.appendEvents(events);
  history.appendEvents([event(1_701, { at }), event(1_702, { at: at - 3 * dayMs })]);
  const stop = follow();
  clock.advance(0);
  assert.equal(history.oldestSeq(), 251);
  clock.advance(10_000);
  // No event is removed from the middle, however old its time is.
  assert.deepEqual([history.oldestSeq(), history.lastSeq()], [1_701, 1_702]);
  clock.advance(3 * dayMs);
  assert.equal(history.oldestSeq(), 1_702);
  stop();
  const again = openHistory(file);
  t.after(() => again.close());
  again.appendEvents([event(1_703)]);
  assert.equal(again.lastSeq(), 1_703);
});

test("null keeps everything indefinitely", (t) => {
  const { history, clock, follow } = openRetention(t, { days: null });
  for (const one of attemptsOf("A-1", 3, 0)) history.saveAttempt(one);
  history.appendEvents([event(1, { at: 0 }), event(2)]);
  t.after(follow());
  clock.advance(400 * dayMs);
  assert.equal(history.attemptsOf(issue("A-1").id, 9, 0).total, 3);
  assert.equal(history.oldestSeq(), 1);
});
