import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { noTokens } from "../../src/core/model/attempt.ts";
import { config, issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { serve } from "../support/worlds/server.ts";

const tokens = (total: number) => ({ type: "tokens", total: { ...noTokens, total } }) as const;

describe("brakes and limits over HTTP", () => {
  test("a used-up daily limit is in the snapshot, on the page, among the gates and in the metrics", async () => {
    const settings = config({ brakes: { tokensPerDay: 1_000 }, agent: { maxConcurrentAgents: 1 } });
    const issues = [issue("ENG-1"), issue("ENG-2")];
    await using world = await createWorld({ issues, config: settings });
    await using server = await serve(world);
    world.scheduler.run("ENG-1").say(tokens(2_500));
    world.core.bus.flush();
    const state = (await server.ask("/api/v1/state")).json();
    const why = "the day's token budget is used up: 2,500 of 1,000 (brakes.tokens_per_day)";
    assert.deepEqual(
      [state.paused[0].agent, state.paused[0].until],
      [null, "2026-11-24T00:00:00.000Z"],
    );
    assert.ok(state.paused[0].reason.startsWith(why));
    assert.ok(state.queued[0].waiting_for.startsWith(why));
    const { text } = await server.ask("/");
    assert.match(text, /Nothing new is started.*2,500 of 1,000/s);
    const metrics = await server.ask("/metrics");
    assert.match(metrics.text, /^symphony_brakes_total\{brake="tokens_per_day"\} 1$/m);
    const { explain } = (await server.ask("/api/v1/ENG-2")).json();
    const gate = explain.find((one: { gate: string }) => one.gate === "day_budget");
    assert.equal(gate.pass, false);
  });

  test("a paused provider and a braked issue are shown with their counts", async () => {
    const settings = config({ brakes: { tokensPerIssue: 1_000 } });
    const issues = [issue("ENG-1"), issue("ENG-2")];
    await using world = await createWorld({ issues, config: settings });
    await using server = await serve(world);
    const { scheduler } = world;
    const untilWall = scheduler.clock.wall() + 60_000;
    const limited = { code: "provider_limited", message: "no more now", untilWall };
    await scheduler.run("ENG-1").end({ kind: "failed", ...limited });
    scheduler.run("ENG-2").say(tokens(1_000));
    const state = (await server.ask("/api/v1/state")).json();
    assert.deepEqual(state.paused, [
      {
        gate: "provider",
        agent: "codex",
        until: new Date(untilWall).toISOString(),
        reason: "no more now",
      },
    ]);
    world.core.bus.flush();
    const events = world.core.history.events({ afterSeq: 0, limit: 100 });
    const held = events.find(({ type }) => type === "issue.held");
    assert.deepEqual(
      [held?.data["brake"], held?.data["used"], held?.data["limit"]],
      ["tokens_per_issue", 1_000, 1_000],
    );
    assert.ok(events.some(({ type }) => type === "provider.paused"));
  });
});
