import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { serve } from "../support/worlds/server.ts";

const post = (body: unknown) => ({ method: "POST", body });
const path = "/api/v1/eng-1/model";

describe("POST /api/v1/:id/model", () => {
  test("chooses, shows and clears, on disk before the answer", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    const chosen = await server.ask(path, post({ model: "gpt-x", reasoning_effort: "high" }));
    assert.deepEqual(
      [chosen.status, chosen.json()],
      [
        200,
        {
          issue_identifier: "ENG-1",
          model: "gpt-x",
          reasoning_effort: "high",
          agent: null,
          applies: "next_turn",
        },
      ],
    );
    assert.equal(world.scheduler.records.get("id-ENG-1")?.model, "gpt-x");
    const shown = (await server.ask("/api/v1/ENG-1")).json();
    assert.partialDeepStrictEqual(shown.overrides, { model: "gpt-x", reasoning_effort: "high" });
    assert.ok(
      shown.recent_events.some(({ event }: { event: string }) => event === "model.changed"),
    );
    const cleared = (await server.ask(path, post({ model: null }))).json();
    assert.deepEqual(
      [cleared.model, cleared.reasoning_effort, cleared.applies],
      [null, null, "next_attempt"],
    );
    const after = (await server.ask("/api/v1/ENG-1")).json();
    assert.partialDeepStrictEqual(after.overrides, { model: null, reasoning_effort: null });
  });

  test("also works for a waiting issue, from its next attempt on", async () => {
    const settings = config({ agent: { maxConcurrentAgents: 1 } });
    await using world = await createWorld({
      issues: [issue("ENG-0"), issue("ENG-1")],
      config: settings,
    });
    await using server = await serve(world);
    const answer = await server.ask(path, post({ model: "gpt-x" }));
    assert.equal(answer.json().applies, "next_attempt");
    await server.ask("/api/v1/ENG-0/transition", post({ to: "held" }));
    await world.scheduler.run("ENG-0").end({ kind: "stopped" });
    await world.scheduler.advance(60_000);
    assert.equal((await server.ask("/api/v1/ENG-1")).json().running.model, "gpt-x");
  });

  test("refuses an invalid choice and an unknown issue", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    const wrong = [
      {},
      { model: "" },
      { model: 7 },
      { model: "a\nb" },
      { model: null, reasoning_effort: "high" },
      { model: "gpt-x", reasoning_effort: "very high" },
      { model: "gpt-x", effort: "high" },
    ];
    for (const body of wrong) {
      const answer = await server.ask(path, post(body));
      assert.deepEqual(
        [answer.status, answer.json().error.code],
        [400, "invalid_request"],
        JSON.stringify(body),
      );
    }
    const missing = await server.ask("/api/v1/ENG-404/model", post({ model: "gpt-x" }));
    assert.deepEqual([missing.status, missing.json().error.code], [404, "issue_not_found"]);
    assert.equal(world.scheduler.records.size, 0);
  });

  test("is in the audit log with what was chosen", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    const entries: Record<string, unknown>[] = [];
    world.core.history.audit = (entry) => entries.push({ ...entry }) > 0;
    await server.ask(path, post({ model: "gpt-x", reasoning_effort: "low" }));
    const [{ action, target, outcome, detail } = {}] = entries;
    assert.deepEqual([action, target, outcome], ["issues.model", "eng-1", "ok"]);
    const { model, reasoning_effort: effort } = detail as Record<string, unknown>;
    assert.deepEqual([model, effort], ["gpt-x", "low"]);
  });
});
