import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { eventually, Served } from "../support/worlds/symphony.ts";

const workflow = (root: string) => `---
tracker:
  kind: local
polling:
  interval_ms: 200
workspace:
  root: ${JSON.stringify(join(root, "workspaces"))}
hooks:
  after_run: cp prompt.txt answer.json ${JSON.stringify(root)}
agent:
  kind: command
command:
  output: jsonl
  prompt: file
  line: |
    if [ "$SYMPHONY_TURN" = 1 ]; then
      echo '{"type":"message","text":"Working."}'
      while [ ! -e go ]; do sleep 0.05; done
      exit 0
    fi
    cat "$SYMPHONY_PROMPT_FILE" > prompt.txt
    echo '{"type":"tool_call","id":1,"tool":"issue_move","arguments":{"state":"Done"}}'
    head -n 1 > answer.json
---
Work on {{ issue.identifier }}
`;

test("a shell script works on an issue: guidance is in its next prompt, and it closes the issue itself", async () => {
  const root = await mkdtemp(join(tmpdir(), "symphony-command-journey-"));
  try {
    const workflowPath = join(root, "WORKFLOW.md");
    await mkdir(join(root, "workspaces"));
    await writeFile(workflowPath, workflow(root));
    const place = { workflowPath, dataDir: join(root, "data"), env: { HOME: root } };
    await using served = await Served.start(place);
    const { identifier: id } = await served.client.issues.create({ body: { title: "Say hello" } });
    const eventsOf = async (type: string) =>
      (await served.events(id)).filter((event) => event.type === type);
    await eventually("the script works", async () => (await eventsOf("agent.message")).length > 0);
    await served.client.issues.steer({
      params: { id },
      headers: {},
      body: { message: "Use tabs, please" },
    });
    assert.deepEqual(await eventsOf("steer.delivered"), []);
    await writeFile(join(root, "workspaces", id, "go"), "");
    await eventually("the script has received its answer", async () =>
      (await readFile(join(root, "answer.json"), "utf8")).includes("tool_result"),
    );
    assert.match(await readFile(join(root, "prompt.txt"), "utf8"), /Use tabs, please/);
    await eventually("the issue is done", async () => {
      const { counts } = await served.client.system.state({ query: {} });
      return counts.completed === 1;
    });
    assert.equal((await eventsOf("steer.delivered")).length, 1);
    assert.equal((await eventsOf("turn.started")).length, 2);
  } finally {
    await rm(root, { recursive: true, force: true, maxRetries: 5 });
  }
});
