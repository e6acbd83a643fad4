// What the hooks of a real server can use. "A23" is a row of the cases of agents.

import assert from "node:assert/strict";
import { realpathSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";

const agentFile = fileURLToPath(new URL("../../src/demo/agent.ts", import.meta.url));

const hook = `env > "$SYMPHONY_WORKSPACE/../../env-$SYMPHONY_ISSUE_IDENTIFIER"
if [ "$SYMPHONY_OUTCOME" = completed ]; then to="In Review"; else to=Canceled; fi
sh -c 'symphony issue move "$SYMPHONY_ISSUE_IDENTIFIER" "$0"' "$to"`;

async function project(withTurns: boolean) {
  const root = realpathSync(await mkdtemp(join(tmpdir(), "symphony-hooks-")));
  const parts = [process.execPath, agentFile, "--script", join(root, "script.json")];
  const agent = [...parts, "--state", join(root, "agent")].map((part) => `"${part}"`).join(" ");
  const turn = [{ do: "edit", path: "work.txt", content: "done\n" }];
  await writeFile(join(root, "script.json"), JSON.stringify({ issues: { default: [turn] } }));
  const front = {
    tracker: { kind: "local", provider: { states: ["In Review"] } },
    workspace: { root: "./workspaces" },
    agent: { max_turns: 1 },
    hooks: { after_run: hook },
    codex: { command: withTurns ? agent : "sh -c 'exit 3'", read_timeout_ms: 30_000 },
  };
  const profile = "echo read >> ~/reads; export FROM_PROFILE=yes SYMPHONY_TOKEN=t";
  await writeFile(join(root, ".profile"), profile);
  await writeFile(join(root, "WORKFLOW.md"), `---\n${JSON.stringify(front)}\n---\nDo it.\n`);
  return {
    ...{ root, cwd: root, dataDir: join(root, ".symphony") },
    workflowPath: join(root, "WORKFLOW.md"),
    env: { HOME: root },
    async [Symbol.asyncDispose]() {
      await rm(root, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

async function runOne(withTurns: boolean, state: string) {
  await using place = await project(withTurns);
  await using server = await Served.start(place);
  const made = await symphony(place, "issue", "create", "--title", "One");
  assert.equal(made.code, 0, made.stderr);
  await eventually(`the hook moves it to ${state}`, async () => {
    const { issue } = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
    return issue.state === state;
  });
  const lines = (await readFile(join(place.root, "env-LOCAL-1"), "utf8")).split("\n");
  const value = (name: string) =>
    lines.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1);
  assert.equal(value("SYMPHONY_URL"), server.url);
  assert.equal(value("SYMPHONY_DATA_DIR"), place.dataDir);
  assert.equal(value("SYMPHONY_ATTEMPT"), "0");
  assert.match(value("SYMPHONY_ATTEMPT_ID") ?? "", /^att_/);
  assert.ok(!lines.some((line) => line.startsWith("SYMPHONY_TOKEN=")));
  assert.equal(value("FROM_PROFILE"), "yes");
  assert.equal(await readFile(join(place.root, "reads"), "utf8"), "read\n", "once for a server");
  return [value("SYMPHONY_OUTCOME"), value("SYMPHONY_ERROR")];
}

test("A23: a hook moves the issue with this server's own symphony, also from a script that it starts", async () => {
  assert.deepEqual(await runOne(true, "In Review"), ["completed", ""]);
});

test("A23: a hook knows that the attempt failed, and why", async () => {
  assert.deepEqual(await runOne(false, "Canceled"), ["failed", "port_exit"]);
});
