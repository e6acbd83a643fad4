import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Config } from "../../../src/core/config/config.ts";
import { type Delivered, fresh } from "../../../src/core/delivery/delivered.ts";
import { LivingComments, progressText } from "../../../src/core/delivery/living-comment.ts";
import { Outbox, type Written } from "../../../src/core/delivery/outbox.ts";
import { openDeliveryStore } from "../../../src/core/delivery/store.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { EventDraft, SymphonyEvent } from "../../../src/core/model/event.ts";
import type { Issue } from "../../../src/core/model/issue.ts";
import type { IssueRow } from "../../../src/core/orchestrator/issues.ts";
import { openLocalIssues } from "../../../src/core/tracker/local/issues.ts";
import { localOptions } from "../../../src/core/tracker/local/settings.ts";
import { createLocalTracker } from "../../../src/core/tracker/local/tracker.ts";
import { ownMarker, type Tracker } from "../../../src/core/tracker/tracker.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { startFakeLinear } from "../../support/fakes/fake-linear.ts";
import { linearTracker } from "../../support/fakes/linear-tracker.ts";
import { config } from "../../support/makers/issue.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const all = { updates: "all" } as const;
const second = 1_000;

/** As much of a row as the comment reads. */
function row(issue: Issue, fields: Readonly<Record<string, unknown>>): IssueRow {
  const none = { choices: {}, offer: null, questions: [], startedWall: 0, sinceWall: 0 };
  return { ...none, issue, ...fields } as unknown as IssueRow;
}

interface Options {
  readonly dir: string;
  readonly clock: FakeClock;
  readonly tracker: Tracker;
  readonly settings?: Partial<Config["tracker"]>;
  /** The server is killed at this step of the first write. */
  readonly killedAt?: "write" | "record" | "settle";
  readonly begun?: readonly IssueRow[];
}

/** The comment's part of a running server, with a real store. A killed one stands still. */
function server({ dir, clock, tracker, settings = all, killedAt, begun = [] }: Options) {
  const store = openDeliveryStore(dir, () => clock.wall());
  const rows = new Map(begun.map((one) => [one.issue.id, one]));
  const published: EventDraft[] = [];
  const written: Written["outcome"][] = [];
  let tell = (_event: SymphonyEvent) => {};
  const never = new Promise<never>(() => {});
  const comments = new LivingComments({
    ...{ clock, config: () => config({ tracker: settings }), tracker: () => tracker },
    bus: { publish: (event: EventDraft) => void published.push(event) } as never,
    log: { warn() {} } as never,
    store,
    redact: (text) => text.replaceAll("s3cr3t-1", "[redacted]"),
    rows: () => rows,
    tokensOf: () => 1_234_567,
    subscribe(_filter, listener) {
      tell = listener;
      return () => {};
    },
    save: (delivery) => store.save(delivery),
    order(issue, entry) {
      store.add([{ ...entry, issueId: issue.id }]);
      if (store.of(issue.id) === null) store.save({ ...fresh(issue), over: true });
      outbox.kick();
    },
  });
  const outbox: Outbox = new Outbox({
    clock,
    log: { error() {} },
    store,
    async write(entry) {
      if (killedAt === "write") return never;
      const known = store.of(entry.issueId);
      if (known === null) return { outcome: "dropped" };
      try {
        if (killedAt === "record") store.save = () => assert.fail("killed");
        const made = await comments.write(known);
        return killedAt === "settle" ? never : made;
      } catch (error) {
        if (killedAt !== undefined) return never;
        const isFinal = error instanceof SymphonyError && error.code === "issue_not_found";
        return { outcome: isFinal ? "final" : "failed", reason: String(error) };
      }
    },
    onWritten(entry, outcome) {
      written.push(outcome.outcome);
      const known = store.of(entry.issueId);
      if (known) comments.written(known, outcome);
    },
  });
  const show = (issue: Issue, fields: Readonly<Record<string, unknown>>) => {
    rows.set(issue.id, row(issue, fields));
    tell({ issueId: issue.id } as SymphonyEvent);
  };
  comments.start();
  outbox.kick();
  return { store, rows, outbox, show, published, written, comments };
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function localPlace(t: TestContext) {
  const dir = temporaryDir(t);
  const clock = new FakeClock();
  const settings = config().tracker;
  const issues = openLocalIssues(dir, localOptions(settings), clock);
  const tracker = createLocalTracker({ config: settings, dataDir: dir, clock });
  t.after(async () => {
    issues.close();
    await tracker.close();
  });
  const texts = (issue: Issue) => issues.comments(issue.identifier).comments;
  return { dir, clock, issues, tracker, texts };
}

test("one comment follows the issue: edited at most every 30 s, and never to the same text", async (t) => {
  const { dir, clock, issues, tracker, texts } = localPlace(t);
  const one = issues.create({ title: "one" });
  const { show, store, written } = server({ dir, clock, tracker });
  t.after(() => store.close());
  show(one, { claim: "running" });
  await settled();
  assert.deepEqual(
    texts(one).map(({ author, by, body }) => [author, by, body]),
    [["symphony", "own", `**symphony: under way.**\n\n${ownMarker}`]],
  );
  const version = issues.version();
  for (let at = 0; at < 5; at++) show(one, { claim: "running" });
  await settled();
  assert.equal(issues.version(), version, "nothing new, nothing written");
  show(one, { claim: "blocked", needs: { kind: "approval", prompt: "rm -rf @mallory" } });
  show(one, { claim: "held", reason: "asked @mallory of #4 s3cr3t-1" });
  await settled();
  clock.advance(29 * second);
  await settled();
  assert.equal(issues.version(), version, "not before 30 s are over");
  clock.advance(2 * second);
  await settled();
  const [only, ...more] = texts(one);
  assert.deepEqual(more, []);
  assert.match(only?.body ?? "", /on hold\*\*: asked .*\[redacted\]/, "THREAT-3");
  for (const live of ["@mallory", "#4"]) {
    assert.ok(!issues.hasComment(one.identifier, live), "DELIVERY-35: it notifies no one");
  }
  assert.deepEqual(
    written.filter((outcome) => outcome === "done"),
    ["done", "done"],
  );
});

test("what it says: under way, what is needed, where the result is; cost only where it is set", () => {
  const issue = { id: "i", identifier: "A-1" } as Issue;
  const known = { ...fresh(issue), comment: { text: "x", at: 0 } };
  const said = (fields: object, delivery: Delivered | null = null, tokens: number | null = null) =>
    progressText(row(issue, { ...fields }), delivery, tokens);
  const needs = { kind: "question", prompt: "the agent's own words" };
  assert.match(said({ claim: "running", questions: [{ needs }] }) ?? "", /needs an answer/);
  assert.doesNotMatch(said({ claim: "blocked", needs }) ?? "", /own words/);
  assert.match(said({ claim: "failed", reason: "agent output" }) ?? "", /failed\*\*, and/);
  assert.doesNotMatch(said({ claim: "failed", reason: "agent output" }) ?? "", /output/);
  assert.match(
    said({ claim: "retrying", after: null, waits: null, dueWall: 0 }) ?? "",
    /at 1970-01-01 00:00 UTC/,
  );
  const pullRequest = { number: 7, url: "https://g.test/7", state: "open" } as const;
  const offered = { ...known, branch: "b", pushed: "c", pullRequest: pullRequest as never };
  assert.match(said({ claim: "review" }, offered) ?? "", /\[pull request #7\]\(https:.*\), open/);
  assert.match(said({ claim: "completed" }, { ...offered, pullRequest: null }) ?? "", /branch `b`/);
  assert.doesNotMatch(said({ claim: "completed" }) ?? "", /tokens/);
  assert.match(said({ claim: "completed" }, null, 1_234_567) ?? "", /1,234,567 tokens/);
  assert.equal(progressText(undefined, fresh(issue), null), null, "no comment without work");
  const held = (reason: string) =>
    progressText(row(issue, { claim: "held", reason }), null, null)?.split("\n")[0];
  assert.equal(
    held("push refused: moved; next: git -C /srv/ws pull"),
    "**symphony: on hold**: push refused: moved",
  );
  assert.match(
    held("cannot read ~/x/y") ?? "",
    /hold\*\*: `symphony issue show` has the reason\.$/,
  );
  assert.match(
    held("see https://x.test/a and origin/main") ?? "",
    /https:\/\/x\.test\/a and origin/,
  );
  assert.match(progressText(undefined, known, null) ?? "", /does not work on this now/);
});

test("a server that is killed at any step of the write leaves one comment, and one write", async (t) => {
  await using fake = await startFakeLinear({ issues: [{ identifier: "ENG-1" }] });
  const { tracker, clock } = linearTracker(fake);
  for (const killedAt of ["write", "record", "settle"] as const) {
    const dir = temporaryDir(t);
    const [issue] = await tracker.fetchIssuesByIds([fake.issues[0]?.id ?? ""]);
    assert.ok(issue);
    const held = { claim: "held", reason: `killed at ${killedAt}` };
    const before = fake.requests.length;
    const first = server({ dir, clock, tracker, killedAt });
    first.show(issue, held);
    const mutations = () =>
      fake.requests.slice(before).filter(({ query }) => query.startsWith("mutation")).length;
    while (killedAt !== "write" && mutations() === 0) await settled();
    await settled();
    first.store.close();
    const again = server({ dir, clock, tracker, begun: [row(issue, held)] });
    while (again.written.length === 0) await settled();
    assert.equal(mutations(), 1, killedAt);
    assert.equal(again.store.waiting(), 0);
    again.store.close();
    assert.equal(fake.issues[0]?.comments.length, 1);
    assert.match(fake.issues[0]?.comments[0] ?? "", new RegExp(`killed at ${killedAt}`));
  }
});

test("a tracker that answers 500 after it did the thing has one comment; a broken credential is said once", async (t) => {
  await using fake = await startFakeLinear({
    issues: [{ identifier: "ENG-1" }, { identifier: "ENG-2" }],
  });
  const { tracker, clock } = linearTracker(fake);
  const { show, written, store, published } = server({ dir: temporaryDir(t), clock, tracker });
  t.after(() => store.close());
  const [one, two] = await tracker.fetchIssuesByIds(fake.issues.map(({ id }) => id));
  assert.ok(one && two);
  const until = async (count: number) => {
    while (written.length < count) await settled();
  };
  fake.fail({ kind: "lost", operation: "SymphonyWriteComment" });
  show(one, { claim: "running" });
  await until(1);
  assert.deepEqual(written, ["failed"]);
  clock.advance(61 * second);
  await until(2);
  assert.deepEqual(written, ["failed", "done"]);
  assert.equal(fake.issues[0]?.comments.length, 1);
  published.length = 0;

  fake.fail({ kind: "status", status: 403, times: 2, operation: "SymphonyComment" });
  clock.advance(61 * second);
  show(one, { claim: "completed" });
  show(two, { claim: "running" });
  await until(4);
  assert.deepEqual(written.slice(2), ["failed", "failed"]);
  assert.deepEqual(
    published.map(({ type, data }) => [type, data?.["step"]]),
    [["delivery.refused", "comment"]],
  );
  assert.match(published[0]?.message ?? "", /the tracker took no comment: .*HTTP 403/);
});

test("the rest of the tracker's budget is left to moves and polls", async (t) => {
  const { dir, clock, issues, tracker, texts } = localPlace(t);
  const one = issues.create({ title: "one" });
  let left = 0.05;
  // The local tracker has no budget.
  const scarce = new Proxy(tracker, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (name === "budgetLeft") return () => left;
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const { show, store } = server({ dir, clock, tracker: scarce });
  t.after(() => store.close());
  show(one, { claim: "running" });
  await settled();
  assert.equal(texts(one).length, 0);
  left = 0.5;
  clock.advance(61 * second);
  await settled();
  assert.equal(texts(one).length, 1);
});

test("with updates: state no comment is written", async (t) => {
  const { dir, clock, issues, tracker, texts } = localPlace(t);
  const one = issues.create({ title: "one" });
  const { show, store } = server({ dir, clock, tracker, settings: { updates: "state" } });
  t.after(() => store.close());
  show(one, { claim: "running" });
  await settled();
  assert.deepEqual([texts(one).length, store.waiting()], [0, 0]);
});
