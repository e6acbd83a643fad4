import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SymphonyError } from "../../src/core/model/errors.ts";
import { issue } from "../support/makers/issue.ts";
import { createWorld } from "../support/worlds/core.ts";
import { serve } from "../support/worlds/server.ts";

const post = (body: unknown = {}) => ({ method: "POST", body });

describe("the audit log", () => {
  test("records who did what to which issue and the outcome, and only the listed fields of the body", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    const entries: Record<string, unknown>[] = [];
    world.core.history.audit = (entry) => entries.push({ ...entry }) > 0;
    const headers = { "user-agent": "symphony-cli/1.2.3", "x-request-id": "r1" };
    await server.ask("/api/v1/ENG-1/transition", { ...post({ to: "nowhere" }), headers });
    await server.ask("/api/v1/refresh", post({ secret: "canary" }));
    await server.ask("/api/v1/ENG-1");
    await server.ask("/api/v1/ENG-1/abort", post({ nonsense: 1 }));
    const [first, second] = entries;
    assert.equal(entries.length, 2);
    const { at: when, ...facts } = first ?? {};
    assert.equal(when, world.scheduler.clock.wall());
    assert.deepEqual(facts, {
      actor: "cli",
      action: "issues.transition",
      target: "ENG-1",
      outcome: "transition_not_allowed",
      detail: { request_id: "r1", to: "nowhere" },
    });
    assert.deepEqual([second?.["actor"], second?.["outcome"]], ["api", "ok"]);
    assert.doesNotMatch(JSON.stringify(second), /canary/);
  });

  test("does not change the answer when it cannot be written, and the server's log reports it", async () => {
    await using world = await createWorld({ issues: [issue("ENG-1")] });
    await using server = await serve(world);
    world.core.history.audit = () => {
      throw new SymphonyError("storage_unavailable", "disk full");
    };
    assert.equal((await server.ask("/api/v1/refresh", post())).status, 202);
    assert.match(world.logged.join(""), /audit failed.*"request_id":"req_.*disk full/);
  });
});
