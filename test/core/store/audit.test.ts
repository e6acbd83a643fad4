import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { auditDecisions } from "../../../src/core/decision-audit.ts";
import { createBus } from "../../../src/core/events/bus.ts";
import { createLogger } from "../../../src/core/events/log.ts";
import { auditHash, auditRowOf } from "../../../src/core/store/audit.ts";
import { verifyAudit } from "../../../src/core/store/audit-verify.ts";
import { openHistory } from "../../../src/core/store/history.ts";
import type { AuditEntry, AuditQuery, AuditRecord } from "../../../src/core/store/store.ts";
import { FakeClock } from "../../support/fakes/fake-clock.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const entry = (fields: Partial<AuditEntry> = {}): AuditEntry => ({
  at: 1_000,
  actor: "api",
  action: "issues.abort",
  target: "ENG-1",
  outcome: "ok",
  detail: { reason: "a word" },
  ...fields,
});

/** A log of `count` entries, closed. */
function log(t: TestContext, count: number) {
  const dir = temporaryDir(t);
  const file = join(dir, "history.db");
  const history = openHistory(file);
  for (let n = 1; n <= count; n++) history.audit(entry({ at: n, target: `ENG-${n}` }));
  history.close();
  const sql = (text: string, ...values: (string | number)[]) => {
    const db = new DatabaseSync(file);
    try {
      return db.prepare(text).all(...values);
    } finally {
      db.close();
    }
  };
  return { dir, file, sql };
}

test("THREAT-23: a complete log verifies, also while it is written, and so does an empty one", (t) => {
  const { dir, file } = log(t, 3);
  const history = openHistory(file);
  t.after(() => history.close());
  assert.deepEqual([verifyAudit(dir).fault, verifyAudit(dir).entries], [null, 3]);
  history.audit(entry());
  const { entries, head, fault } = verifyAudit(dir);
  assert.deepEqual([entries, head?.seq, fault], [4, 4, null]);
  assert.deepEqual(verifyAudit(temporaryDir(t)), {
    entries: 0,
    unchecked: 0,
    head: null,
    afterHead: 0,
    fault: null,
  });
});

test("THREAT-23: every edited, dropped, swapped and truncated entry is named", (t) => {
  const count = 12;
  const { dir, file, sql } = log(t, count);
  const whole = sql("SELECT * FROM audit ORDER BY seq");
  const put = (rows: readonly Record<string, unknown>[]) => {
    const db = new DatabaseSync(file);
    db.exec("BEGIN; DELETE FROM audit");
    const insert = db.prepare("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    for (const row of rows) insert.run(...(Object.values(row) as (string | number | null)[]));
    db.exec("COMMIT");
    db.close();
  };
  const field = fc.constantFrom("at", "actor", "action", "target", "outcome", "detail", "hash");
  const at = fc.integer({ min: 0, max: count - 1 });
  const attack = fc.oneof(
    fc.record({ kind: fc.constant("edit"), at, field, other: at }),
    fc.record({ kind: fc.constantFrom("drop", "cut", "rehash"), at, field, other: at }),
    fc.record({ kind: fc.constant("swap"), at, field, other: at }),
  );
  const attacked = (rows: Record<string, unknown>[], index: number, other: number) => ({
    row: rows[index] ?? {},
    otherRow: rows[other] ?? {},
  });
  fc.assert(
    fc.property(attack, ({ kind, at: index, field: name, other }) => {
      const rows = whole.map((row) => ({ ...row }) as Record<string, unknown>);
      const { row, otherRow } = attacked(rows, index, other);
      if (kind === "edit") row[name] = name === "at" ? Number(row["at"]) + 1 : `${row[name]}x`;
      if (kind === "rehash") {
        row["outcome"] = "denied";
        row["hash"] = auditHash(auditRowOf(row as never));
      }
      if (kind === "drop") rows.splice(index, 1);
      if (kind === "cut") rows.length = index;
      if (kind === "swap") [row["seq"], otherRow["seq"]] = [otherRow["seq"], row["seq"]];
      put(rows);
      const expected = kind === "swap" && index === other ? null : Math.min(index, other) + 1;
      const { fault } = verifyAudit(dir);
      assert.equal(fault?.seq ?? null, kind === "swap" ? expected : index + 1, kind);
    }),
    { numRuns: 60 },
  );
  put(whole);
  assert.equal(verifyAudit(dir).fault, null);
});

test("THREAT-23: a number out of range is named like any other edit", (t) => {
  const { dir, sql } = log(t, 3);
  sql("UPDATE audit SET at = 9223372036854775806 WHERE seq = 2");
  assert.deepEqual([verifyAudit(dir).fault?.kind, verifyAudit(dir).fault?.seq], ["edited", 2]);
  sql("UPDATE audit SET seq = 9223372036854775806 WHERE seq = 1");
  assert.deepEqual([verifyAudit(dir).fault?.kind, verifyAudit(dir).fault?.seq], ["missing", 1]);
});

test("THREAT-23: a recalculated chain is detected by the second file", (t) => {
  const { dir, sql } = log(t, 4);
  let prevHash = "";
  for (const found of sql("SELECT * FROM audit ORDER BY seq").map(auditRowOf)) {
    const row = { ...found, outcome: "denied", prevHash };
    prevHash = auditHash(row);
    const change = "UPDATE audit SET outcome = ?, prev_hash = ?, hash = ? WHERE seq = ?";
    sql(change, row.outcome, row.prevHash, prevHash, row.seq);
  }
  assert.deepEqual([verifyAudit(dir).fault?.kind, verifyAudit(dir).fault?.seq], ["edited", 4]);
});

test("THREAT-23: a truncation stays detectable after further writes", (t) => {
  const { dir, file, sql } = log(t, 5);
  sql("DELETE FROM audit WHERE seq > 3");
  const history = openHistory(file);
  history.audit(entry());
  history.close();
  assert.deepEqual([verifyAudit(dir).fault?.kind, verifyAudit(dir).fault?.seq], ["missing", 4]);
});

test("THREAT-23: a crash before the second file was written is not a fault; without that file nothing is certain", (t) => {
  const { dir, file, sql } = log(t, 2);
  const [, second] = sql("SELECT * FROM audit ORDER BY seq").map(auditRowOf);
  const head = join(dir, "audit.head");
  writeFileSync(head, JSON.stringify({ seq: 1, hash: second?.prevHash }));
  assert.equal(verifyAudit(dir).fault, null);
  for (const damaged of ["", "{}", "not JSON"]) {
    writeFileSync(head, damaged);
    assert.equal(verifyAudit(dir).fault?.kind, "no_head");
  }
  rmSync(head);
  assert.deepEqual(verifyAudit(dir).fault?.seq, null);
  const history = openHistory(file);
  history.audit(entry());
  history.close();
  assert.equal(verifyAudit(dir).fault, null);
});

test("pages return the same as a plain search through all entries", (t) => {
  const history = openHistory(join(temporaryDir(t), "history.db"));
  t.after(() => history.close());
  const actors = ["cli", "api", "orchestrator"] as const;
  for (let n = 0; n < 40; n++) {
    const actor = actors[n % 3] ?? "api";
    const target = n % 5 === 0 ? null : `ENG-${n % 4}`;
    // The wall clock may go back.
    history.audit(entry({ at: (n * 7) % 40, actor, action: `a${n % 2}`, target }));
  }
  const all = history.auditPage({ limit: 500, offset: 0 }).entries;
  assert.deepEqual(
    all.map(({ seq }) => seq),
    Array.from({ length: 40 }, (_, index) => 40 - index),
  );
  const query = fc.record(
    {
      limit: fc.integer({ min: 1, max: 20 }),
      offset: fc.integer({ min: 0, max: 45 }),
      actor: fc.constantFrom(...actors),
      action: fc.constantFrom("a0", "a1", "a2"),
      target: fc.constantFrom("eng-1", "ENG-2", "ENG-9"),
      since: fc.integer({ min: 0, max: 40 }),
      until: fc.integer({ min: 0, max: 40 }),
    },
    { requiredKeys: ["limit", "offset"] },
  );
  fc.assert(
    fc.property(query, (asked) => {
      const found = all.filter((one) => matches(one, asked));
      assert.deepEqual(history.auditPage(asked), {
        entries: found.slice(asked.offset, asked.offset + asked.limit),
        total: found.length,
      });
    }),
  );
});

function matches(one: AuditRecord, query: AuditQuery): boolean {
  return (
    one.actor === (query.actor ?? one.actor) &&
    one.action === (query.action ?? one.action) &&
    (query.target === undefined || one.target === query.target.toUpperCase()) &&
    one.at >= (query.since ?? one.at) &&
    (query.until === undefined || one.at < query.until)
  );
}

test("decisions of the orchestrator are recorded once, also after a restart", (t) => {
  const file = join(temporaryDir(t), "history.db");
  const clock = new FakeClock();
  const redact = (text: string) => text;
  const logger = createLogger({ level: "error", format: "logfmt", sinks: [], clock, redact });
  const open = (listening: boolean) => {
    const history = openHistory(file);
    const bus = createBus({ history, clock, redact, onError: assert.ifError });
    if (listening) auditDecisions({ bus, history, log: logger });
    return { history, bus };
  };
  const issue = { issueId: "1", issueIdentifier: "ENG-1" };
  const ended = (outcome: string) =>
    ({
      type: "attempt.ended",
      ...issue,
      message: `attempt ${outcome}`,
      data: { outcome },
    }) as const;
  const first = open(true);
  first.bus.publish({ type: "issue.held", ...issue, message: "wrong branch" });
  for (const outcome of ["succeeded", "canceled", "stalled", "timed_out"]) {
    first.bus.publish(ended(outcome));
  }
  first.bus.publish({
    type: "workspace.removed",
    ...issue,
    message: "x",
    data: { by: "operator" },
  });
  first.bus.close();
  first.history.close();
  // A process that died between the event and its entry.
  const deaf = open(false);
  deaf.bus.publish(ended("interrupted"));
  deaf.bus.close();
  deaf.history.close();
  const second = open(true);
  t.after(() => second.history.close());
  second.bus.publish({ type: "issue.failed", ...issue, message: "retries used up" });
  return new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve))).then(() => {
    second.bus.close();
    const { entries } = second.history.auditPage({ limit: 50, offset: 0, actor: "orchestrator" });
    assert.deepEqual(entries.map(({ action, outcome }) => `${action} ${outcome}`).reverse(), [
      "issue.held ok",
      "attempt.stopped canceled",
      "attempt.stopped stalled",
      "attempt.failed timed_out",
      "attempt.interrupted interrupted",
      "issue.failed ok",
    ]);
    const [failed] = entries;
    assert.deepEqual([failed?.target, failed?.detail["reason"]], ["ENG-1", "retries used up"]);
  });
});

test("each step of delivery is recorded, with its facts and nothing that others wrote", (t) => {
  const clock = new FakeClock();
  const redact = (text: string) => text;
  const logger = createLogger({ level: "error", format: "logfmt", sinks: [], clock, redact });
  const history = openHistory(join(temporaryDir(t), "history.db"));
  t.after(() => history.close());
  const bus = createBus({ history, clock, redact, onError: assert.ifError });
  auditDecisions({ bus, history, log: logger });
  const issue = { issueId: "1", issueIdentifier: "ENG-1" };
  const steps = [
    ["work.committed", { commit: "abc", files: 2 }],
    ["branch.pushed", { branch: "eng-1", commit: "abc", repository: "shop" }],
    ["pull_request.opened", { number: 7, url: "https://github.test/pull/7", draft: false }],
    ["issue.moved", { from: "Todo", to: "In Review" }],
    ["feedback.answered", { number: 7, remark: "c1" }],
    ["delivery.refused", { step: "push", final: true }],
    ["pull_request.closed", { branch: "eng-1", number: 7, url: null }],
    ["pull_request.merged", { branch: "eng-1", number: null, url: null }],
  ] as const;
  bus.publish({ type: "feedback.received", ...issue, message: "ada: canary", data: {} });
  for (const [type, data] of steps) bus.publish({ type, ...issue, message: type, data });
  bus.close();
  const { entries } = history.auditPage({ limit: 50, offset: 0 });
  const made = entries.toReversed();
  assert.deepEqual(
    made.map(({ action, actor, outcome }) => `${action} ${actor} ${outcome}`),
    steps.map(([type]) => {
      return `${type} orchestrator ${type === "delivery.refused" ? "refused" : "ok"}`;
    }),
  );
  const detail = (at: number) => {
    const {
      event_seq: _,
      issue_id: __,
      attempt_id: ___,
      reason: ____,
      ...facts
    } = {
      ...made[at]?.detail,
    };
    return facts;
  };
  assert.deepEqual(detail(0), { commit: "abc" });
  assert.deepEqual(detail(2), { number: 7, url: "https://github.test/pull/7" });
  assert.deepEqual(detail(3), { from: "Todo", to: "In Review" });
  assert.deepEqual(detail(7), { branch: "eng-1" });
});
