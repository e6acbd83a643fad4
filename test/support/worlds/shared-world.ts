import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { liveProcesses, runIdOf, signalProcess } from "../../../src/core/process/table.ts";
import { type FakeOpenai, startFakeOpenai } from "../fakes/fake-openai.ts";
import { codexHome } from "../makers/codex-home.ts";
import { type Place, symphony } from "./symphony.ts";

export interface SharedWorld extends Place, AsyncDisposable {
  readonly openai: FakeOpenai;
  readonly workspaces: string;
  /** Creates an issue; resolves with its identifier. */
  issue(title: string, ...labels: string[]): Promise<string>;
  /** The path of the same workflow with `codex.process: per_issue` and nothing to do. */
  perIssue(): Promise<string>;
  /** The shared agents that are recorded in the data directory. */
  daemons(): Promise<
    readonly { readonly id: string; readonly pid: number; readonly mark: string }[]
  >;
  /** Live processes of an attempt's commands. */
  commandsOf(attemptId: string): Promise<number>;
  /** Live processes of all shared agents, their commands included. */
  daemonProcesses(): Promise<readonly number[]>;
}

/** A local tracker, the real codex with `codex.process: shared`, and a model that follows `script`. */
export async function sharedWorld(
  script: unknown,
  settings = "",
  agent = "",
  more = "",
): Promise<SharedWorld> {
  const codex = process.env["SYMPHONY_CODEX"];
  assert.ok(codex, "set SYMPHONY_CODEX to the codex binary");
  const openai = await startFakeOpenai(script);
  const home = await codexHome(openai.url);
  const root = await mkdtemp(join(tmpdir(), "symphony-shared-"));
  const [workflowPath, dataDir] = [join(root, "WORKFLOW.md"), join(root, "data")];
  await writeFile(
    workflowPath,
    workflow(codex, home.workspaces, { settings, agent, more: more.replace("$ROOT", root) }),
  );
  const around = {
    workflowPath,
    dataDir,
    env: { HOME: home.userHome, CODEX_HOME: home.path, FAKE_MODEL_KEY: "k" },
  };
  const marked = async () =>
    (await liveProcesses()).filter(({ daemon }) => daemon?.startsWith(runIdOf(dataDir, "codex-")));
  return {
    ...around,
    openai,
    workspaces: home.workspaces,
    async issue(title, ...labels) {
      const flags = labels.flatMap((label) => ["--label", label]);
      const place = { ...around, cwd: root };
      const made = await symphony(place, "issue", "create", "--title", title, ...flags, "--json");
      assert.equal(made.code, 0, made.stderr);
      return JSON.parse(made.stdout).identifier;
    },
    async perIssue() {
      const path = join(root, "PER_ISSUE.md");
      const text = await readFile(workflowPath, "utf8");
      const idle = text.replace("process: shared", "process: per_issue");
      await writeFile(path, idle.replace("kind: local", "kind: local, active_states: [Never]"));
      return path;
    },
    async daemons() {
      const dir = join(dataDir, "codex-shared");
      const names = (await readdir(dir)).filter((name) => name.endsWith(".json"));
      return Promise.all(
        names.map(async (name) => JSON.parse(await readFile(join(dir, name), "utf8"))),
      );
    },
    async commandsOf(attemptId) {
      const runId = runIdOf(dataDir, attemptId);
      return (await liveProcesses()).filter((entry) => entry.runId === runId).length;
    },
    daemonProcesses: async () => (await marked()).map(({ pid }) => pid),
    async [Symbol.asyncDispose]() {
      for (const { pid } of await marked()) signalProcess(pid, "SIGKILL");
      await openai.close();
      await home[Symbol.asyncDispose]();
      await rm(root, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

function workflow(
  codex: string,
  workspaces: string,
  { settings, agent, more }: Readonly<Record<"settings" | "agent" | "more", string>>,
): string {
  return `---
tracker: { kind: local }
polling: { interval_ms: 500 }
host: { min_memory: 0, max_load: 0 }
workspace: { root: ${JSON.stringify(workspaces)} }
agent:
  max_concurrent_agents: 30
  max_turns: 3
  max_retry_backoff_ms: 1000
${agent}
codex:
  command: ${JSON.stringify(`'${codex}' app-server`)}
  env_passthrough: [FAKE_MODEL_KEY]
  process: shared
  read_timeout_ms: 30000
${settings}
${more}
---
Work on {{ issue.identifier }}: {{ issue.title }}
`;
}
