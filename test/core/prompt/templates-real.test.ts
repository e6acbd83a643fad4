import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { systemClock } from "../../../src/core/clock.ts";
import { createLogger } from "../../../src/core/events/log.ts";
import type { SymphonyEvent } from "../../../src/core/model/event.ts";
import { createCore } from "../../../src/core/start.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";

const agentFile = fileURLToPath(new URL("../../../src/demo/agent.ts", import.meta.url));

async function project() {
  const root = await mkdtemp(join(tmpdir(), "symphony-template-"));
  const at = (name: string) => join(root, name);
  const steps = [[{ do: "say", text: "heard: {{prompt}}" }]];
  await writeFile(at("script.json"), JSON.stringify({ issues: { default: steps } }));
  const words = [
    process.execPath,
    agentFile,
    "--script",
    at("script.json"),
    "--state",
    at("state"),
  ];
  const command = words.map((word) => `'${word}'`).join(" ");
  const workflow = `---
tracker: { kind: local, required_labels: [ready] }
workspace: { root: workspaces }
agent: { max_turns: 1 }
codex: { command: ${JSON.stringify(command)}, read_timeout_ms: 30000 }
---
The workflow's own for {{ issue.identifier }}
`;
  await writeFile(at("WORKFLOW.md"), workflow);
  const redactor = createRedactor();
  const clock = systemClock;
  const redact = (text: string) => redactor.redact(text);
  const log = createLogger({ level: "error", format: "logfmt", sinks: [], clock, redact });
  const open = () =>
    createCore({
      version: "1.2.3",
      workflowPath: at("WORKFLOW.md"),
      dataDir: root,
      env: { PATH: process.env["PATH"], HOME: root },
      flags: {},
      clock,
      log,
      redactor,
    });
  return { open, [Symbol.asyncDispose]: () => rm(root, { recursive: true }) };
}

test("the agent gets the prompt of the override, also after a restart, and without one the workflow's prompt", async () => {
  await using it = await project();
  const before = await it.open();
  const review = await before.templates.create("review", "Review {{ issue.title }}");
  const [first, second] = ["First", "Second"].map((title) =>
    before.localIssues()?.create({ title }),
  );
  assert.ok(first && second);
  await before.templates.choose(first, review.id);
  await before.stop();

  const core = await it.open();
  try {
    for (const { identifier } of [first, second]) {
      core.localIssues()?.edit(identifier, { labels: ["ready"] });
    }
    const said = new Map<string | null, string>();
    const { promise, resolve } = Promise.withResolvers<void>();
    core.bus.subscribe({ filter: { types: ["agent.message"] } }, (event: SymphonyEvent) => {
      said.set(event.issueIdentifier, event.message);
      if (said.size === 2) resolve();
    });
    await core.start();
    await promise;
    assert.equal(said.get(first.identifier), "heard: Review First");
    assert.match(said.get(second.identifier) ?? "", /^heard: The workflow's own for LOCAL-2$/);
    const templateOf = (id: string) => core.history.latestAttempt(id)?.templateId;
    assert.deepEqual([templateOf(first.id), templateOf(second.id)], [review.id, "workflow"]);
  } finally {
    await core.stop();
  }
});
