import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { equipmentWorld, type Played } from "../support/worlds/equipment-world.ts";
import { openaiWorld } from "../support/worlds/openai-world.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";
import type { World } from "../support/worlds/world.ts";

const agents = { codex: equipmentWorld, openai: openaiWorld } as const;

/** Prints text without progress: without a brake it would be started indefinitely. */
const talk = (input: number) => ({
  type: "text",
  text: "Almost there.",
  usage: { input, output: 10 },
});

async function limit(world: World, name: string, value: number): Promise<void> {
  const text = await readFile(world.workflowPath, "utf8");
  await writeFile(
    world.workflowPath,
    text.replace("agent:", `brakes:\n  ${name}: ${value}\nagent:`),
  );
}

/** Serves until the issue is held, releases it, and waits until it is done. */
async function heldThenDone(world: World & Played, reason: RegExp, raise?: string): Promise<void> {
  await using server = await Served.start(world);
  const held = await eventually("the issue is held", async () => {
    return (await server.client.system.state({})).held[0];
  });
  assert.match(held.reason, reason);
  if (raise) await symphony(world, "config", "overlay", "set", raise, "0");
  await eventually("its agent is gone", async () => {
    const { attempts } = await server.client.issues.attempts({ params: { id: world.issue } });
    return attempts.every(({ ended_at }) => ended_at !== null);
  });
  await world.play();
  const released = await symphony(world, "transition", world.issue, "queued");
  assert.equal(released.code, 0, released.stderr);
  await eventually("the issue is Done", async () => (await world.stateOf(world.issue)) === "Done");
}

for (const [agent, worldOf] of Object.entries(agents)) {
  describe(`a loop of ${agent} is stopped by each brake, and continues after its release`, () => {
    test("tokens of the issue", async () => {
      await using world = await worldOf();
      await limit(world, "tokens_per_issue", 5_000);
      await world.play(...Array.from({ length: 20 }, () => talk(2_000)));
      await heldThenDone(world, /^token budget used up: .* of 5,000 /);
    });

    test("turns without progress", async () => {
      await using world = await worldOf();
      await limit(world, "turns_without_progress", 2);
      await world.play(...Array.from({ length: 20 }, () => talk(10)));
      await heldThenDone(world, /: 2 of 2 \(brakes\.turns_without_progress\)$/);
    });

    test("the time of an attempt", async () => {
      await using world = await worldOf();
      await limit(world, "attempt_timeout_ms", 4_000);
      await world.play({ type: "hang", at: "created", sticky: true });
      await heldThenDone(
        world,
        /of 4,000 ms \(brakes\.attempt_timeout_ms\)$/,
        "brakes.attempt_timeout_ms",
      );
    });

    test("tokens of the day", async () => {
      await using world = await worldOf();
      await limit(world, "tokens_per_day", 1_000);
      await world.play(talk(2_000));
      await using server = await Served.start(world);
      await eventually("nothing new is started", async () => {
        const { paused, running } = await server.client.system.state({});
        return paused[0]?.agent === null && running.length === 0;
      });
      assert.notEqual(await world.stateOf(world.issue), "Done");
      const raised = await symphony(
        world,
        "config",
        "overlay",
        "set",
        "brakes.tokens_per_day",
        "0",
      );
      assert.equal(raised.code, 0, raised.stderr);
      await eventually("the issue is Done", async () => {
        return (await world.stateOf(world.issue)) === "Done";
      });
    });
  });
}
