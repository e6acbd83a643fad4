import assert from "node:assert/strict";
import { test } from "node:test";
import { api } from "../../src/contract/api.ts";
import { issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { serve, type TestServer } from "../support/worlds/server.ts";

const reading = (server: TestServer) => async (query: string) =>
  api.audit.list.reply.parse((await server.ask(`/api/v1/audit${query}`)).json());

test("H-18: mutations are in the log, newest first, linked by their hashes", async () => {
  await using world = await createWorld({ issues: [issue("ENG-1"), issue("ENG-2")] });
  await using server = await serve(world);
  const read = reading(server);
  assert.deepEqual(await read(""), { entries: [], total: 0, limit: 50, offset: 0 });
  const body = { reason: "wrong branch" };
  await server.ask("/api/v1/eng-1/abort", { method: "POST", body });
  await server.ask("/api/v1/ENG-9/abort", { method: "POST", body });
  await server.ask("/api/v1/refresh", { method: "POST" });
  const { entries, total } = await read("");
  assert.equal(total, 3);
  assert.deepEqual(
    entries.map(({ seq, id, action, outcome }) => [seq, id, action, outcome]),
    [
      [3, "aud_3", "system.refresh", "ok"],
      [2, "aud_2", "issues.abort", "issue_not_found"],
      [1, "aud_1", "issues.abort", "ok"],
    ],
  );
  const [third, second, first] = entries;
  assert.deepEqual([third?.prev_hash, second?.prev_hash], [second?.hash, first?.hash]);
  assert.deepEqual([first?.prev_hash, first?.detail["reason"]], [null, "wrong branch"]);
});

test("the log has pages and filters, and refuses an unknown filter", async () => {
  await using world = await createWorld();
  await using server = await serve(world);
  const read = reading(server);
  const day = Date.parse("2026-11-23T00:00:00Z");
  for (let hour = 0; hour < 6; hour++) {
    world.core.history.audit({
      at: day + hour * 3_600_000,
      actor: hour % 2 === 0 ? "orchestrator" : "cli",
      action: hour < 3 ? "issue.held" : "issues.abort",
      target: "ENG-1",
      outcome: "ok",
      detail: {},
    });
  }
  const seqs = async (query: string) => {
    const { entries, total } = await read(query);
    return [entries.map(({ seq }) => seq), total];
  };
  assert.deepEqual(await seqs("?limit=2&offset=3"), [[3, 2], 6]);
  assert.deepEqual(await seqs("?actor=cli"), [[6, 4, 2], 3]);
  assert.deepEqual(await seqs("?action=issue.held&actor=orchestrator"), [[3, 1], 2]);
  assert.deepEqual(await seqs("?issue=eng-1&limit=1"), [[6], 6]);
  assert.equal((await server.ask("/api/v1/audit?issue=ENG-2")).status, 404);
  const window = "?since=2026-11-23T01:00:00Z&until=2026-11-23T05:00:00%2B01:00";
  assert.deepEqual(await seqs(window), [[4, 3, 2], 3]);
  for (const query of ["?limit=0", "?limit=501", "?offset=-1", "?actor=", "?since=yesterday"]) {
    const answer = await server.ask(`/api/v1/audit${query}`);
    assert.deepEqual([answer.status, answer.json().error.code], [400, "invalid_request"], query);
  }
});
