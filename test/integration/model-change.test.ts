import assert from "node:assert/strict";
import { test } from "node:test";
import { equipmentWorld } from "../support/worlds/equipment-world.ts";
import { openaiWorld } from "../support/worlds/openai-world.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

const agents = { codex: equipmentWorld, openai: openaiWorld } as const;

for (const [agent, worldOf] of Object.entries(agents)) {
  test(`${agent}: a model that is chosen in mid-turn is used from the next turn, on the same thread`, async () => {
    await using world = await worldOf();
    await world.play(
      { type: "shell", cmd: "sleep 3" },
      { type: "text", text: "The first turn is over." },
    );
    await using server = await Served.start(world);
    await eventually("the command runs", async () => {
      const { running } = await server.client.system.state({});
      return running[0]?.last_event === "agent.command";
    });
    const chosen = await symphony(world, "model", world.issue, "fake-other", "--json");
    assert.equal(chosen.code, 0, chosen.stderr);
    assert.equal(JSON.parse(chosen.stdout).applies, "next_turn");
    await eventually(
      "the issue is Done",
      async () => (await world.stateOf(world.issue)) === "Done",
    );
    const models = await world.models();
    assert.equal(models.indexOf("fake-other"), 2, models.join(", "));
    assert.notEqual(models[0], "fake-other");
    const { attempts } = await server.client.issues.attempts({ params: { id: world.issue } });
    assert.equal(attempts.length, 1);
  });
}
