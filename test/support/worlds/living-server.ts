import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { githubSecretValue, webhookSecretValue } from "../makers/webhook.ts";
import { freshProject, openReal, type RealServer } from "./real-server.ts";
import { eventually } from "./symphony.ts";

const agent = fileURLToPath(new URL("../../../src/demo/agent.ts", import.meta.url));

/** A real server with one of each resource: ENG-123 runs, and its agent waits for guidance. */
export interface LivingServer extends AsyncDisposable {
  readonly server: RealServer;
  /** The attempt of ENG-123, in its first turn. */
  readonly attemptId: string;
  readonly templateId: string;
}

/** ENG-1 to ENG-124, of which the last two may run; also a template, a secret, an overlay and two idle workspaces. */
export async function livingServer(): Promise<LivingServer> {
  const project = await freshProject();
  const script = join(project.dir, "script.json");
  const turns = [[{ do: "tokens", input: 5, output: 2 }, { do: "hang" }]];
  await writeFile(script, JSON.stringify({ issues: { default: turns } }));
  const command = `"${process.execPath}" "${agent}" --script "${script}" --state "${project.dir}/agent"`;
  await writeFile(join(project.dir, "WORKFLOW.md"), workflow(command));
  for (const key of ["ENG-1", "ENG-2"]) {
    await mkdir(join(project.dir, "workspaces", key), { recursive: true });
  }
  const env = {
    LINEAR_WEBHOOK_SECRET: webhookSecretValue,
    GITHUB_WEBHOOK_SECRET: githubSecretValue,
    HOME: project.dir,
  };
  const server = await openReal(project.dir, { env });
  const local = server.core.localIssues();
  for (let number = 1; number <= 124; number += 1) {
    local?.create({ title: `Issue ${number}`, labels: number > 122 ? ["ready"] : [] });
  }
  const put = async (method: string, path: string, body: unknown) => {
    const answer = await server.ask(path, { method, body });
    assert.ok(answer.status < 300, `${path}: ${answer.text}`);
    return answer.json();
  };
  const body = "Review {{ issue.title }}.";
  const template = await put("POST", "/api/v1/templates", { name: "second look", body });
  await put("POST", "/api/v1/secrets/OLD_KEY", { value: "old-canary-value" });
  await put("PUT", "/api/v1/config/overlay", { agent: { max_turns: 4 } });
  await put("POST", "/api/v1/refresh", {});
  const running = await eventually("ENG-123 and ENG-124 are worked on", async () => {
    const rows = (await server.ask("/api/v1/state")).json().running;
    return rows.length === 2 && rows.every((row: { turn_count: number }) => row.turn_count > 0)
      ? rows
      : null;
  });
  const row = running.find(
    (one: { issue_identifier: string }) => one.issue_identifier === "ENG-123",
  );
  return {
    server,
    attemptId: row.attempt_id,
    templateId: template.id,
    async [Symbol.asyncDispose]() {
      await server.stop();
      await project[Symbol.asyncDispose]();
    },
  };
}

function workflow(command: string): string {
  return `---
tracker: { kind: local, required_labels: [ready], provider: { prefix: ENG } }
workspace: { root: workspaces }
agent: { max_turns: 3, max_concurrent_agents: 2 }
host: { min_memory: 0, max_load: 0 }
codex: { command: ${JSON.stringify(command)}, read_timeout_ms: 60000 }
---
Work on {{ issue.title }}
`;
}
