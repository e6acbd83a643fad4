import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { liveProcesses } from "../../../../src/core/process/table.ts";
import { used } from "../../../support/fakes/claude-script.ts";
import { claudeBench } from "../../../support/worlds/claude-bench.ts";

// Rows of the case file of agents are named "A7: …".

const plain = { model: null };

describe("agent.kind claude", () => {
  test("turns on one session of one process: work is reported, tokens are summed, nothing is left", async () => {
    await using b = await claudeBench({
      turns: [
        {
          steps: [
            { do: "say", text: "I look." },
            { do: "tool", name: "Bash", input: { command: "make" }, runs: "no rule", fails: true },
            { do: "tool", name: "Write", input: { file_path: "/else/b" }, runs: "ok" },
            { do: "tool", name: "Read", input: { file_path: "a" }, asks: false },
            { do: "say", text: "Done." },
          ],
          result: used(10, 2, 100),
        },
        { steps: [{ do: "say", text: "Again." }], result: used(1, 1) },
      ],
    });
    {
      await using session = await b.start();
      await session.turn("please", plain);
      assert.deepEqual(b.types(), [
        ...["session.started", "turn.started", "message", "command", "approval.resolved"],
        ...["command", "approval.resolved", "file_change", "message", "tokens", "notice"],
        "turn.completed",
      ]);
      assert.deepEqual(b.said, ["I look.", "Done."]);
      await session.turn("go on", plain);
      assert.equal(b.said.at(-1), "Again.");
      const totals = b.events.flatMap((event) => (event.type === "tokens" ? [event.total] : []));
      assert.deepEqual(
        totals.map(({ input, cachedInput, output, total }) => [input, cachedInput, output, total]),
        [
          [110, 100, 2, 112],
          [111, 100, 3, 114],
        ],
      );
    }
    const command = b.events.findLast((event) => event.type === "command");
    assert.ok(command?.type === "command" && command.status === "failed");
    assert.equal(command.output, "no rule");
    const messages = await b.got("user");
    assert.ok(messages.every((message) => message["client_composed"] === true));
    assert.equal((await b.got("start")).length, 1);
    const left = (await liveProcesses()).filter(({ runId }) => runId === b.runId);
    assert.deepEqual(left, []);
  });
});
