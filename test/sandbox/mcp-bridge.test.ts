import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import type { AgentTools } from "../../src/core/agent/agent.ts";
import { commandBench } from "../support/worlds/command-bench.ts";

/** A program that starts the server of $SYMPHONY_MCP_CONFIG and calls its tool, without a library. */
const client = `
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
const { tracker } = JSON.parse(readFileSync(process.env.SYMPHONY_MCP_CONFIG, "utf8")).mcpServers;
const child = spawn(tracker.command, tracker.args, {
  env: { ...process.env, ...tracker.env },
  stdio: ["pipe", "pipe", "inherit"],
});
console.error(process.env.SYMPHONY_MCP_CONFIG);
const send = (message) => child.stdin.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\\n");
send({ id: 1, method: "initialize", params: { protocolVersion: "2025-06-18" } });
send({ method: "notifications/initialized" });
send({ id: 2, method: "tools/call", params: { name: "issue_move", arguments: { state: "Done" } } });
for await (const line of createInterface({ input: child.stdout })) {
  const { id, result } = JSON.parse(line);
  if (id !== 2) continue;
  console.log(JSON.stringify(result));
  child.stdin.end();
}
`;

test("a command agent at level safe uses the tracker's tools from inside the sandbox", async () => {
  await using b = await commandBench();
  const program = await b.program("client.mjs", client);
  await using bench = await commandBench({
    config: { line: `"${process.execPath}" "${program}"`, readablePaths: [b.root] },
  });
  const calls: unknown[] = [];
  const tools: AgentTools = {
    specs: [{ name: "issue_move", description: "", inputSchema: { type: "object" } }],
    async call(name, args) {
      calls.push([name, args]);
      return { success: true, output: "moved" };
    },
  };
  {
    await using session = await bench.start({ level: "safe", tools });
    await session.turn("go", { model: null });
    // A second turn is a second process, which starts the server again.
    await session.turn("go", { model: null });
  }
  assert.deepEqual(
    calls,
    [1, 2].map(() => ["issue_move", { state: "Done" }]),
  );
  const answer = JSON.stringify({ content: [{ type: "text", text: "moved" }], isError: false });
  assert.deepEqual(bench.said, [answer, answer]);
  const used = bench.events.filter((event) => event.type === "tool_call");
  assert.equal(used.length, 2);
  const [config = ""] = bench.logs;
  assert.ok(config.endsWith("/mcp.json") && !existsSync(config), "nothing of it is left");
});
