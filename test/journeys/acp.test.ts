// A real `symphony serve` with a scripted agent of the Agent Client Protocol. Rows of the case file of agents are named "A1: …".

import assert from "node:assert/strict";
import { test } from "node:test";
import { piece } from "../support/fakes/acp-script.ts";
import { acpWorld, type LimitsWorld } from "../support/worlds/limits-world.ts";
import { journalOf } from "../support/worlds/scripted-agent.ts";
import { eventually, Served } from "../support/worlds/symphony.ts";

const serve = (world: LimitsWorld) => Served.start(world, "--i-understand");

/** The first issue, as soon as its row in the state satisfies `is`. */
async function ended(server: Served, list: "completed" | "failed" | "held") {
  return eventually(`an issue is ${list}`, async () => {
    const state = await server.client.system.state({});
    return state[list][0];
  });
}

test("the agent moves its issue by the tracker's tools, which it starts as an MCP server", async () => {
  await using world = await acpWorld({
    turns: [
      {
        steps: [
          { do: "tool", name: "issue_comment", arguments: { body: "all green" } },
          { do: "tool", name: "issue_move", arguments: { state: "Done" } },
          piece("Done."),
        ],
      },
    ],
  });
  await using server = await serve(world);
  const { issue_identifier: id } = await ended(server, "completed");
  const events = await server.events(id);
  const tools = events.filter(({ type }) => type === "agent.tool_call");
  assert.deepEqual(
    tools.map(({ data }) => data["tool"]),
    ["issue_comment", "issue_move"],
  );
  const { comments } = await server.client.issues.comments({ params: { id } });
  assert.deepEqual(
    comments.map(({ author, body }) => [author, body]),
    [["agent", "all green"]],
  );
  const [opened] = await journalOf(world.root, "session/new");
  assert.ok(!JSON.stringify(opened).includes("token"), "the token is not in the request");
});
