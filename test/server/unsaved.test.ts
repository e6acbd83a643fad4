import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { SavedLater } from "../../src/core/store/durable.ts";
import type { AuditEntry } from "../../src/core/store/store.ts";
import { issue } from "../support/makers/issue.ts";
import { createWorld, type World } from "../support/worlds/core.ts";
import { settled } from "../support/worlds/scheduler.ts";
import { serve } from "../support/worlds/server.ts";

const post = (body: unknown = {}) => ({ method: "POST", body });
const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { errno: -28 });

function refuse(): never {
  const cause = { cause: full };
  throw new SymphonyError("storage_unavailable", "Cannot use history.db: it is full", cause);
}

/** The entries that the audit log receives; neither intents nor entries reach the disk. */
function refusingAudit({ core }: World): AuditEntry[] {
  const kept: AuditEntry[] = [];
  core.history.auditIntent = refuse;
  core.history.audit = (entry) => {
    kept.push(entry);
    return false;
  };
  return kept;
}

describe("FAULT-9: a disk that takes no audit entry", () => {
  test("refuses every request that neither stops an agent nor frees space, before anything is changed", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    const kept = refusingAudit(world);
    const before = world.scheduler.orchestrator.state;
    for (const [path, body] of [
      ["/api/v1/ENG-1/model", { model: "gpt-5.5" }],
      ["/api/v1/templates", { name: "second", body: "Look." }],
      ["/api/v1/refresh", {}],
    ] as const) {
      const answer = await server.ask(path, post(body));
      assert.equal(answer.status, 503, path);
      const { error } = answer.json();
      assert.equal(error.code, "storage_unavailable");
      assert.match(error.message, /^nothing was changed: .*no space left on device/);
    }
    assert.equal(world.scheduler.orchestrator.state, before);
    assert.equal(world.core.templates.all().length, 1);
    assert.deepEqual(
      kept.map(({ action, outcome }) => [action, outcome]),
      [
        ["issues.model", "storage_unavailable"],
        ["templates.create", "storage_unavailable"],
        ["system.refresh", "storage_unavailable"],
      ],
    );
  });

  test("does not prevent stopping an agent, and the answer says what is not saved", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    const kept = refusingAudit(world);
    const answer = await server.ask("/api/v1/ENG-1/abort", post({ reason: "enough" }));
    assert.equal(answer.status, 503);
    const { error } = answer.json();
    assert.match(error.message, /^it was done, but its audit entry is not saved yet/);
    assert.equal(error.details.saved_later, true);
    assert.equal(world.scheduler.run("ENG-1").stopReason, "aborted: enough");
    assert.deepEqual(
      kept.map(({ action, outcome }) => [action, outcome]),
      [["issues.abort", "ok"]],
    );
  });
});

describe("FAULT-9: a stop that is not saved yet", () => {
  /** The answer to an abort whose record waits for the disk, and its entries in the audit log. */
  async function aborted(world: World, saved: Promise<void>) {
    await using server = await serve(world);
    const entries: AuditEntry[] = [];
    world.core.history.audit = (entry) => entries.push(entry) > 0;
    world.scheduler.saveRecord = async () => {
      throw new SavedLater("Cannot use issue-records.json", full, saved);
    };
    const headers = { "x-request-id": "r1" };
    const answer = await server.ask("/api/v1/ENG-1/abort", { ...post(), headers });
    return { answer, entries };
  }

  test("is answered as not saved yet, and gets its audit entry when it is saved", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    const { promise, resolve } = Promise.withResolvers<void>();
    const { answer, entries } = await aborted(world, promise);
    assert.equal(answer.status, 503);
    const { error } = answer.json();
    assert.equal(
      error.message,
      "ENG-1: the stop took effect but is not saved yet (no space left on device); it is saved as soon as there is room",
    );
    const [row] = world.scheduler.orchestrator.state.issues.of("running").values();
    assert.equal(row?.stopping?.leadsTo, "hold");
    assert.deepEqual(entries, []);
    const requestedAt = new Date(world.scheduler.clock.wall()).toISOString();
    world.scheduler.clock.advance(5_000);
    resolve();
    await settled();
    assert.deepEqual(
      entries.map(({ action, target, outcome, detail }) => ({ action, target, outcome, detail })),
      [
        {
          action: "issues.abort",
          target: "ENG-1",
          outcome: "ok",
          detail: { request_id: "r1", answered: "storage_unavailable", asked_at: requestedAt },
        },
      ],
    );
  });

  test("gets an audit entry that says not saved when the server stops first", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    const { promise, reject } = Promise.withResolvers<void>();
    const { entries } = await aborted(world, promise);
    reject(new Error("the server ended"));
    await settled();
    assert.deepEqual(
      entries.map(({ outcome }) => outcome),
      ["storage_unavailable"],
    );
  });
});

test("FAULT-9: the storage fault is in the snapshot and on the page, and no state is written to the tracker meanwhile", async () => {
  await using world = await createWorld({ issues: [issue("ENG-1")] });
  await using server = await serve(world);
  const since = world.scheduler.clock.wall();
  const trouble = { reason: "no space left on device", waiting: 3, sinceWall: since };
  world.scheduler.orchestrator.post({ type: "storage.changed", trouble });
  const state = (await server.ask("/api/v1/state")).json();
  assert.deepEqual(state.storage, {
    reason: "no space left on device",
    waiting: 3,
    since: new Date(since).toISOString(),
  });
  const page = await server.ask("/");
  assert.match(
    page.text,
    /Nothing new is started.*cannot save: no space left on device; 3 writes wait/s,
  );
  const metrics = await server.ask("/metrics");
  assert.match(metrics.text, /^symphony_unsaved_writes 3$/m);
  const moved = await server.ask("/api/v1/ENG-1/transition", post({ to: "Done" }));
  assert.equal(moved.status, 503);
  assert.match(moved.json().error.message, /^nothing was changed: cannot save/);
  assert.equal(world.scheduler.issues.get("id-ENG-1")?.state, "Todo");
  world.scheduler.orchestrator.post({ type: "storage.changed", trouble: null });
  assert.equal((await server.ask("/api/v1/state")).json().storage, null);
});
