import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startFakeLinear } from "../fakes/fake-linear.ts";

const agentFile = fileURLToPath(new URL("../../../src/demo/agent.ts", import.meta.url));

interface Wanted {
  readonly issues: readonly string[];
  readonly pollMs: number;
  readonly agents: number;
}

/** A project whose agents print one line and never end by themselves, with a fake Linear. */
export async function hangingWorld({ issues, pollMs, agents }: Wanted) {
  const root = await mkdtemp(join(tmpdir(), "symphony-hanging-"));
  const linear = await startFakeLinear({
    issues: issues.map((identifier) => ({ identifier, state: "Todo" })),
  });
  const parts = [process.execPath, agentFile, "--script", join(root, "script.json")];
  const command = [...parts, "--state", join(root, "agent")].map((part) => `"${part}"`).join(" ");
  const turns = [[{ do: "say", text: "A long one." }, { do: "hang" }]];
  await writeFile(join(root, "script.json"), JSON.stringify({ issues: { default: turns } }));
  const workflowPath = join(root, "WORKFLOW.md");
  await writeFile(
    workflowPath,
    `---
tracker:
  kind: linear
  provider:
    endpoint: ${JSON.stringify(linear.url)}
    api_key: $LINEAR_API_KEY
    project_slug: ${JSON.stringify(linear.project)}
polling: { interval_ms: ${pollMs} }
workspace: { root: workspaces }
agent: { max_concurrent_agents: ${agents} }
host: { min_memory: 0, max_load: 0 }
codex: { command: ${JSON.stringify(command)}, read_timeout_ms: 30000 }
---
Work on {{ issue.identifier }}
`,
  );
  return {
    linear,
    workflowPath,
    dataDir: join(root, "data"),
    env: { LINEAR_API_KEY: linear.apiKey, HOME: root },
    async [Symbol.asyncDispose]() {
      await linear.close();
      await rm(root, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
