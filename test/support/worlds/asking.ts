import type { Needs } from "../../../src/core/model/attempt.ts";
import { issue } from "../makers/issue.ts";
import { createWorld, type World } from "./core.ts";
import { serve, type TestServer } from "./server.ts";

/** The question that ENG-1 waits on. */
export const needs: Needs = { kind: "approval", prompt: "Run rm?", options: ["accept", "decline"] };

/** A server over a world in which the agent of ENG-1 waits for an approval, and the agent of ENG-2 does not wait. */
export async function asking(): Promise<{ world: World; server: TestServer } & AsyncDisposable> {
  const world = await createWorld({ issues: [issue("ENG-1"), issue("ENG-2")] });
  const server = await serve(world);
  const sinceWall = world.scheduler.clock.wall();
  world.scheduler.run("ENG-1").say({
    type: "approval.requested",
    needs,
    ask: { id: "ask_1", sinceWall, untilWall: sinceWall + 60_000 },
  });
  return {
    world,
    server,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
}
